//! What every command fails with.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a command failed, whatever it was: one line for the user, and the status to
/// exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    status: u8,
    is_quiet: bool,
}

/// The status that ssh itself exits with when a connection fails.
pub(crate) const FAILED: u8 = 255;

impl Failure {
    /// The status to exit with.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// Whether a message would only litter the terminal: whoever started us has gone,
    /// or has been told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// A failure that nobody is told of.
    pub(crate) fn quiet(error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            is_quiet: true,
            ..Self::from(error)
        }
    }

    /// The same with another status to exit with.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// A signal asked us to end.
    pub(crate) fn signal() -> Self {
        Self::quiet(Cause::Signal)
    }

    /// The connection ended before the command; `end` is why, if that is known.
    pub(crate) fn lost(end: Option<String>) -> Self {
        Cause::Lost { end }.into()
    }

    pub(crate) fn stdio(error: io::Error) -> Self {
        Cause::Stdio(error).into()
    }

    /// What was asked for could not be written.
    pub(crate) fn unwritten(error: io::Error) -> Self {
        Cause::Unwritten(error).into()
    }

    pub(crate) fn own_path(error: io::Error) -> Self {
        Cause::OwnPath(error).into()
    }

    pub(crate) fn signals(error: io::Error) -> Self {
        Cause::Signals(error).into()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error),
            status: FAILED,
            is_quiet: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// What can befall any command.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("lost the connection before the command had ended{}", because(.end))]
    Lost { end: Option<String> },
    #[error("cannot use standard input and output: {0}")]
    Stdio(#[source] io::Error),
    #[error("cannot write what was asked for: {0}")]
    Unwritten(#[source] io::Error),
    #[error("cannot find out where this program lies: {0}")]
    OwnPath(#[source] io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("ended by a signal")]
    Signal,
}

fn because(end: &Option<String>) -> String {
    end.as_ref()
        .map(|end| format!(": {end}"))
        .unwrap_or_default()
}
