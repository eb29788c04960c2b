//! The keys that a client offered to a server, each with its outcome, for the
//! message that the login failed.

use std::fmt;

use super::key_file::KeyFileError;

/// A key that was tried, with its outcome.
#[derive(Debug)]
pub struct Tried {
    /// The file, or `agent` and the comment there.
    pub name: String,
    /// Kind and fingerprint, where they are known.
    pub key: String,
    /// The outcome.
    pub outcome: TriedOutcome,
}

/// The outcome of trying a key.
#[derive(Debug)]
pub enum TriedOutcome {
    /// The server does not accept it.
    Refused,
    /// The server accepts it as one of several steps; there is no other.
    NotEnough,
    /// It cannot be used.
    Unusable(KeyFileError),
    /// The agent did not sign with it.
    AgentFailed(String),
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.key.is_empty() {
            write!(f, " ({})", self.key)?;
        }
        match &self.outcome {
            TriedOutcome::Refused => write!(f, ": refused"),
            TriedOutcome::NotEnough => {
                write!(f, ": accepted, but the server wants more than a key")
            }
            TriedOutcome::Unusable(error) => write!(f, ": {error}"),
            TriedOutcome::AgentFailed(error) => write!(f, ": {error}"),
        }
    }
}
