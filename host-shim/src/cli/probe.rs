//! `probe`: the process in which the node loads a library first.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use alknet_loader::try_out;
use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::plugins::{ACCEPTED, REFUSED};

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// The private copy to load
    copy: PathBuf,
    /// The file it was made of
    source: PathBuf,
}

/// Loads a library and says what came of it, if it still can.
pub(super) fn probe(args: &ProbeArgs) -> ExitCode {
    // It has no purpose without the node.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let (verdict, code) = match try_out(&args.copy, &args.source) {
        Ok(()) => (ACCEPTED.to_owned(), ExitCode::SUCCESS),
        Err(refusal) => (format!("{REFUSED}{refusal}"), ExitCode::FAILURE),
    };
    let mut stdout = std::io::stdout();
    // The library may have left an unfinished line.
    let _ = writeln!(stdout, "\n{verdict}");
    let _ = stdout.flush();
    code
}
