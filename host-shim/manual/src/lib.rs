//! What a command line says about itself, made from its clap definition: manual pages, and completions for shells.

#![forbid(unsafe_code)]

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

mod bash;
mod completions;
mod extra;

pub use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
pub use completions::{CompletionsArgs, complete_if_asked, words};
pub use extra::{Examples, Manual};

/// The arguments of `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write a page for each command into this directory; without it, the page of
    /// the program itself is printed
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ManArgs {
    /// Prints the manual page of this program, or writes those of all its commands.
    ///
    /// # Errors
    /// When standard output, or a file of the directory, cannot be written; the message then names it.
    pub fn write(&self, command: Command, manual: &Manual) -> io::Result<()> {
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let version = command.get_version().unwrap_or_default();
        let source = format!("{} {version}", command.get_name());
        match &self.folder {
            None => to_stdout(&page(command, &source, manual)?),
            Some(folder) => {
                let mut builder = DirBuilder::new();
                let made = builder.recursive(true).mode(0o755).create(folder);
                made.map_err(named(folder))?;
                write_pages(command, &source, manual, folder)
            }
        }
    }
}

fn write_pages(command: Command, source: &str, manual: &Manual, folder: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write_pages(command.clone(), source, manual, folder)?;
    }
    let file = folder.join(Man::new(command.clone()).get_filename());
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o644);
    let written = options
        .open(&file)
        .and_then(|mut out| out.write_all(&page(command, source, manual)?));
    written.map_err(named(&file))
}

fn page(command: Command, source: &str, manual: &Manual) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name());
    let sections = manual.sections(name);
    // An empty date would be left out, and what follows taken for it.
    Man::new(command)
        .date(" ")
        .source(source)
        .render(&mut page)?;
    page.extend_from_slice(sections.as_bytes());
    Ok(page)
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("cannot write {path}: {error}"))
}

fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
