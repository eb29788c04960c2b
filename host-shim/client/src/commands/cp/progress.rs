//! The progress bar of a copy.

use std::cell::Cell;
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Plan;
use crate::console::terminal::{Terminal, is_ready};

/// The progress of the copy, as a bar on the terminal. It is drawn where
/// that does not block: nobody waits for a terminal that was stopped (Ctrl-S).
pub(super) struct Progress {
    bar: ProgressBar,
    /// Bytes of files that are done, and of those under way.
    position: Cell<u64>,
    files: Cell<usize>,
    done: Cell<usize>,
    moved: Cell<u64>,
}

/// The bytes of one file. Unless [`kept`](Self::kept), they do not count once
/// it is dropped.
pub(super) struct Counted<'a> {
    progress: &'a Progress,
    bytes: Cell<u64>,
}

impl Counted<'_> {
    /// Counts bytes that have been copied.
    pub(super) fn add(&self, bytes: u64) {
        let moved = &self.progress.moved;
        moved.set(moved.get() + bytes);
        self.found(bytes);
    }

    /// Counts bytes that were at the target already.
    pub(super) fn found(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        let position = self.progress.position.get();
        self.progress.set_position(position + bytes);
    }

    /// Keeps the count: the file is done.
    pub(super) fn kept(self) {
        self.bytes.set(0);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let position = self.progress.position.get();
        self.progress
            .set_position(position.saturating_sub(self.bytes.get()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !is_ready() {
            // The end of a bar is drawn as well.
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

impl Progress {
    /// Makes a bar, which is hidden where standard error is not a terminal.
    pub(super) fn new(terminal: Terminal) -> Self {
        let bar = ProgressBar::hidden();
        if std::io::stderr().is_terminal() && !terminal.is_quiet() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Self {
            bar,
            position: Cell::new(0),
            files: Cell::new(0),
            done: Cell::new(0),
            moved: Cell::new(0),
        }
    }

    pub(super) fn start(&self, plan: &Plan) {
        if !is_ready() {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let sizes = plan.files.iter().filter_map(|file| file.attributes.size);
        // Whatever a server says.
        self.bar.set_length(sizes.fold(0, u64::saturating_add));
        self.files.set(plan.files.len());
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.show_count();
    }

    /// Counts the bytes of one file.
    pub(super) fn file(&self) -> Counted<'_> {
        Counted {
            progress: self,
            bytes: Cell::new(0),
        }
    }

    /// Counts a file that is done.
    pub(super) fn one_more(&self) {
        self.done.set(self.done.get() + 1);
        self.show_count();
    }

    /// A number that grows whenever something is copied.
    pub(super) fn moved(&self) -> u64 {
        self.moved.get() + self.done.get() as u64
    }

    /// Has something else written to the terminal meanwhile.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        if is_ready() {
            self.bar.suspend(say);
        } else {
            say();
        }
    }

    /// Leaves the bar as it is.
    pub(super) fn finish(&self) {
        if is_ready() {
            self.bar.abandon();
        }
    }

    fn set_position(&self, position: u64) {
        self.position.set(position);
        if is_ready() {
            self.bar.set_position(position);
        }
    }

    fn show_count(&self) {
        if !is_ready() {
            return;
        }
        let (done, files) = (self.done.get(), self.files.get());
        self.bar.set_message(match files {
            1 => String::new(),
            files => format!("{done}/{files} files"),
        });
    }
}
