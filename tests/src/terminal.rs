//! A program on a pseudo-terminal (pty(7)), with a user who types and reads.

use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use crate::{HANG, Run, eventually};

/// A program on a terminal of its own, with a user who types and reads.
/// Killed when dropped.
pub struct Terminal {
    near: Arc<Pty>,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// The number of bytes that were searched already.
    read: usize,
    screen: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program on a terminal of that many rows and columns.
    pub fn open(run: Run, rows: u16, columns: u16) -> Self {
        let (near, far) = open().unwrap();
        near.resize(Size::new(rows, columns)).unwrap();
        let command = run.env("TERM", "xterm").into_command();
        let child = Command::from(command).spawn(far).unwrap();
        let near = Arc::new(near);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (source, sink) = (Arc::clone(&near), Arc::clone(&shown));
        let screen = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with an error when nobody uses the terminal any more.
            while let Ok(read @ 1..) = (&*source).read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            near,
            child,
            shown,
            read: 0,
            screen: Some(screen),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types these keys, as a user would.
    pub fn types(&mut self, keys: &str) -> &mut Self {
        (&*self.near).write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Gives the window this size, as a user would.
    pub fn resize(&mut self, rows: u16, columns: u16) -> &mut Self {
        self.near.resize(Size::new(rows, columns)).unwrap();
        self
    }

    /// Waits until `text` is shown, and gives what was shown before it since
    /// the last such wait. What the user types is usually shown as well.
    pub fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(before) = self.find(text) {
                return before;
            }
            assert!(Instant::now() < deadline, "no {text:?} in:\n{}", self.all());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn find(&mut self, text: &str) -> Option<String> {
        let shown = self.shown.lock().unwrap();
        let rest = &shown[self.read..];
        let mut windows = rest.windows(text.len());
        let at = windows.position(|window| window == text.as_bytes())?;
        self.read += at + text.len();
        Some(String::from_utf8_lossy(&rest[..at]).into_owned())
    }

    /// All that was shown so far.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits for the program's end.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = eventually("the program on the terminal ends", || {
            self.child.try_wait().unwrap()
        });
        if let Some(screen) = self.screen.take() {
            screen.join().unwrap();
        }
        (status, self.all())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
