//! Completions for shells: a script for each, by which the shell asks the program itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use clap::{Args, Command};
use clap_complete::aot::Shell;
use clap_complete::env::{CompleteEnv, Elvish, Fish, Powershell, Shells, Zsh};

use crate::bash::Bash;
use crate::to_stdout;

/// By which a shell's script says that it asks, and for which shell.
const VARIABLE: &str = "ALKNET_COMPLETE";

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell that is to complete the commands
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script that teaches the shell the commands of this program. It asks the
    /// program as it was started: by its name, or by the path to it.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub fn print(&self, command: Command) -> io::Result<()> {
        let name = command.get_name().to_owned();
        let started_as = std::env::args_os()
            .next()
            .unwrap_or_else(|| OsString::from(&name));
        let program = match Path::new(&started_as).components().count() {
            1 => started_as,
            _ => std::path::absolute(&started_as)?.into_os_string(),
        };
        let shell = self.shell.to_string();
        let shells = shells();
        let shell = shells.completer(&shell);
        let shell = shell.ok_or_else(|| io::Error::other("no completions for this shell"))?;
        // Into memory first: the generators do not expect that writing fails.
        let mut script = Vec::new();
        let program = program.to_string_lossy();
        shell.write_registration(VARIABLE, &name, &name, &program, &mut script)?;
        to_stdout(&script)
    }
}

/// Answers a shell that completes a command line, and ends the process; returns where none asks.
pub fn complete_if_asked(factory: impl Fn() -> Command) {
    CompleteEnv::with_factory(|| without_hidden(factory()))
        .var(VARIABLE)
        .shells(shells())
        .complete();
}

/// The words of the command line that is being completed, for what depends on the others.
pub fn words() -> impl Iterator<Item = OsString> {
    let words = std::env::args_os().skip_while(|word| word != OsStr::new("--"));
    words.skip(1)
}

const fn shells() -> Shells<'static> {
    Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh])
}

/// Hidden commands would be completed where no other begins as they do.
fn without_hidden(command: Command) -> Command {
    Command::new(command.get_name().to_owned())
        .version(command.get_version().unwrap_or_default().to_owned())
        .args(command.get_arguments())
        .subcommands(command.get_subcommands().filter(|c| !c.is_hide_set()))
}
