//! Decides on commands, and how a granted one is run.

use std::ffi::OsString;

/// How a granted command is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// It is run by the shell, as one string.
    Shell(OsString),
    /// It is run directly, as a program with arguments.
    Direct {
        /// The program, as the scope or rule names it.
        program: OsString,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
}
