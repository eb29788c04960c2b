//! The error of this crate: what is wrong, and where in the configuration.

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct SshConfigError {
    /// JSON pointer (RFC 6901) to the fault; empty for the whole.
    pub pointer: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl SshConfigError {
    pub(crate) fn at(pointer: &str, message: String) -> Self {
        Self {
            pointer: pointer.to_owned(),
            message,
        }
    }

    pub(crate) fn trailing(error: serde_json::Error) -> Self {
        Self::at("", error.to_string())
    }

    pub(crate) fn from_serde(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        use serde_path_to_error::Segment;

        let mut pointer = String::new();
        for segment in error.path() {
            match segment {
                Segment::Map { key } => push_token(&mut pointer, key),
                Segment::Seq { index } => push_token(&mut pointer, &index.to_string()),
                Segment::Enum { variant } => push_token(&mut pointer, variant),
                Segment::Unknown => {}
            }
        }
        Self {
            pointer,
            message: error.into_inner().to_string(),
        }
    }
}

/// Appends one reference token, escaped as RFC 6901 section 3 asks.
fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
}
