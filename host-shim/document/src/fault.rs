//! What is wrong with a document, and where.

use std::fmt;
use std::sync::Arc;

use alknet_text::visible;

use crate::document::Document;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// One thing that is wrong with a document. Its text form is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The document, as its reader named it.
    pub file: Arc<str>,
    /// The JSON pointer (RFC 6901) of the value; empty for the whole document.
    pub pointer: Box<str>,
    /// The fault's place in the text; `None` if the text could not be read.
    pub position: Option<Position>,
    /// What is wrong.
    pub problem: Problem,
    /// A suggestion: what may have been meant, or what to do.
    pub hint: Option<Box<str>>,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file could not be read, or is not text.
    Unreadable {
        /// What went wrong.
        message: String,
    },
    /// The text is not JSON or not TOML.
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// The same field is set twice.
    DuplicateField {
        /// The field.
        name: String,
        /// The line of the first, if known.
        first_line: Option<u32>,
    },
    /// A value that is not allowed in this place.
    Unexpected {
        /// The values that are allowed, in words.
        expected: String,
        /// The value, shortened, or what kind it is.
        found: String,
    },
    /// A field that does not exist.
    UnknownField {
        /// The field.
        name: String,
        /// The fields that exist, as far as they are known.
        valid: Vec<String>,
    },
    /// A field that must be there.
    MissingField {
        /// The field.
        name: String,
        /// Its values, if known.
        expected: Option<String>,
    },
    /// A fault that only the document's reader can find.
    Invalid {
        /// What is wrong, in its words.
        message: String,
    },
}

impl Fault {
    /// A fault that the document's reader found in the value at `pointer`. `message` must not show a secret.
    pub fn at(document: &Document, pointer: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(document, pointer, Problem::Invalid { message })
    }

    /// As [`Fault::at`], for a value in the place of which another was expected: "an address with a port".
    pub fn unexpected(document: &Document, pointer: &str, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        let found = document.show(pointer);
        Self::new(document, pointer, Problem::Unexpected { expected, found })
    }

    /// Adds a hint to the fault.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What would have been right, where that is known.
    pub fn expected(&self) -> Option<String> {
        match &self.problem {
            Problem::Unexpected { expected, .. } => Some(expected.clone()),
            Problem::UnknownField { valid, .. } if !valid.is_empty() => Some(one_of(valid)),
            Problem::MissingField { expected, .. } => expected.clone(),
            _ => None,
        }
    }

    /// What was there instead.
    pub fn found(&self) -> Option<String> {
        match &self.problem {
            Problem::Unexpected { found, .. } => Some(found.clone()),
            Problem::UnknownField { name, .. } | Problem::DuplicateField { name, .. } => {
                Some(format!("{name:?}"))
            }
            _ => None,
        }
    }

    /// A fault placed at the key if it is about a field's name, else at the value.
    pub(crate) fn new(document: &Document, pointer: &str, problem: Problem) -> Self {
        let position = match problem {
            Problem::UnknownField { .. } => document.locate_key(pointer),
            _ => document.locate(pointer),
        };
        Self {
            file: document.name.clone(),
            pointer: document.whole_pointer(pointer).into(),
            position: Some(position),
            problem,
            hint: None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.file))?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        // The message names the field; the pointer says where it stands.
        let pointer = match &self.problem {
            Problem::UnknownField { .. } | Problem::DuplicateField { .. } => self
                .pointer
                .rsplit_once('/')
                .map_or("", |(parent, _)| parent),
            _ => &self.pointer,
        };
        if !pointer.is_empty() {
            write!(f, " {}:", printable(pointer))?;
        }
        write!(f, " {}", self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { message } | Self::Syntax { message } | Self::Invalid { message } => {
                f.write_str(&printable(message))
            }
            Self::DuplicateField {
                name,
                first_line: None,
            } => write!(f, "field {name:?} is set twice"),
            Self::DuplicateField {
                name,
                first_line: Some(line),
            } => write!(f, "field {name:?} is set twice, first on line {line}"),
            Self::Unexpected { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownField { name, .. } => write!(f, "unknown field {name:?}"),
            Self::MissingField {
                name,
                expected: None,
            } => write!(f, "missing field {name:?}"),
            Self::MissingField {
                name,
                expected: Some(expected),
            } => write!(f, "missing field {name:?}: {expected}"),
        }
    }
}

/// `"a"`, or `one of "a", "b"`.
pub(crate) fn one_of(names: &[String]) -> String {
    let quoted = names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() == 1 {
        quoted
    } else {
        format!("one of {quoted}")
    }
}

/// Keeps a message on one line, and control characters off the terminal.
fn printable(text: &str) -> String {
    visible(text).into_owned()
}
