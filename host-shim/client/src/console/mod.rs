//! The terminal, standard input and output, and signals.

pub(crate) mod escape;
pub(crate) mod prompt;
pub(crate) mod raw_mode;
pub(crate) mod signals;
pub(crate) mod stdio;
pub(crate) mod terminal;
