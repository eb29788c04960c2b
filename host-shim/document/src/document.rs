//! A document and the places of its values.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::fault::{Fault, Position, Problem};
use crate::place::{Lines, Place};
use crate::{json_text, pointer, toml_text};

/// The longest document that is read, in bytes: 4 MiB.
pub const MAX_SIZE: u64 = 4 << 20;

/// The deepest nesting of values that is read.
pub const MAX_DEPTH: usize = 128;

/// The number of characters of a string that are shown in a message.
const SHOWN: usize = 40;

/// The format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259). A field set twice is an error.
    Json,
    /// TOML 1.1. A date becomes a string; infinity and NaN are errors.
    Toml,
}

impl Format {
    /// The format that the file's name stands for: `.json` or `.toml`.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        if extension.eq_ignore_ascii_case("json") {
            Some(Self::Json)
        } else if extension.eq_ignore_ascii_case("toml") {
            Some(Self::Toml)
        } else {
            None
        }
    }

    /// What the format calls an object, with its article.
    pub(crate) fn object(self) -> &'static str {
        match self {
            Self::Json => "an object",
            Self::Toml => "a table",
        }
    }
}

/// A document that was read, and where each of its values stands.
pub struct Document {
    pub(crate) name: Arc<str>,
    format: Format,
    value: Value,
    place: Place,
    lines: Arc<Lines>,
    /// All of the text, of which this may be a part.
    text: Arc<str>,
    /// The pointer of this part within the whole document.
    base: String,
    /// Pointers whose values are not shown; `*` stands for any one segment.
    hidden: Vec<Vec<String>>,
}

/// What a parser found wrong, at a byte offset.
pub(crate) struct Flaw {
    pub(crate) offset: usize,
    pub(crate) pointer: String,
    pub(crate) problem: FlawKind,
    pub(crate) hint: Option<Box<str>>,
}

pub(crate) enum FlawKind {
    Syntax(String),
    /// A field is set again; the offset of the first.
    Duplicate {
        name: String,
        first: Option<usize>,
    },
    Unexpected {
        expected: &'static str,
        found: String,
    },
}

impl Document {
    /// Reads a file of at most [`MAX_SIZE`] bytes; its name says the format.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let name = Arc::<str>::from(path.display().to_string());
        let unreadable = |message: String| unreadable(&name, message);
        let format = Format::of(path)
            .ok_or_else(|| unreadable("the file's name must end in .json or .toml".into()))?;
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
            .map_err(|error: io::Error| unreadable(format!("cannot read the file: {error}")))?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(unreadable(format!(
                "the file is longer than {MAX_SIZE} bytes"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let valid = error.as_bytes().get(..offset).unwrap_or_default();
            let mut fault = unreadable("the text is not UTF-8; save the file as UTF-8".into());
            fault.position = Some(Lines::new(&String::from_utf8_lossy(valid)).position(offset));
            fault
        })?;
        Self::parse(&text, format, name)
    }

    /// Parses a text; `name` stands for the file in messages.
    ///
    /// A string in the top-level field `$schema`, which editors use, is left out of the value.
    pub fn parse(text: &str, format: Format, name: impl Into<Arc<str>>) -> Result<Self, Fault> {
        let name = name.into();
        if text.len() as u64 > MAX_SIZE {
            return Err(unreadable(
                &name,
                format!("the text is longer than {MAX_SIZE} bytes"),
            ));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = Lines::new(text);
        let parsed = match format {
            Format::Json => json_text::parse(text),
            Format::Toml => toml_text::parse(text),
        };
        let (mut value, place) = parsed.map_err(|flaw| flaw.into_fault(&name, &lines))?;
        if let Value::Object(members) = &mut value
            && members.get("$schema").is_some_and(Value::is_string)
        {
            members.remove("$schema");
        }
        Ok(Self {
            name,
            format,
            value,
            place,
            lines: Arc::new(lines),
            text: text.into(),
            base: String::new(),
            hidden: Vec::new(),
        })
    }

    /// Keeps the values at these pointers, and all below them, out of every message. A segment `*` stands for any:
    /// `/proxies/*/password`.
    #[must_use]
    pub fn hiding<'a>(mut self, pointers: impl IntoIterator<Item = &'a str>) -> Self {
        let patterns = pointers
            .into_iter()
            .map(|pattern| pointer::segments(pattern).collect());
        self.hidden.extend(patterns);
        self
    }

    /// The value at `pointer` as a document of its own, whose faults keep their place in this one; `None` if there is
    /// no such value. For a part that has its own schema.
    pub fn part(&self, pointer: &str) -> Option<Self> {
        let value = self.value.pointer(pointer)?.clone();
        let (place, _) = self.place.find(pointer);
        Some(Self {
            name: self.name.clone(),
            format: self.format,
            value,
            place: place.clone(),
            lines: Arc::clone(&self.lines),
            text: Arc::clone(&self.text),
            base: format!("{}{pointer}", self.base),
            hidden: self.hidden.clone(),
        })
    }

    /// The pointer within the whole document of what stands at `pointer` in this part.
    pub(crate) fn whole_pointer(&self, pointer: &str) -> String {
        format!("{}{pointer}", self.base)
    }

    /// The name that stands for the file in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format of the document.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The whole text it was read from, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The contents.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The position of the value at `pointer`, or else of the innermost value that exists on the way to it.
    pub fn locate(&self, pointer: &str) -> Position {
        self.lines.position(self.place.find(pointer).0.start)
    }

    /// The position of the key of the field at `pointer`; if it does not exist or is not a field, as
    /// [`Document::locate`].
    pub fn locate_key(&self, pointer: &str) -> Position {
        let (place, exact) = self.place.find(pointer);
        let offset = place.key.filter(|_| exact).unwrap_or(place.start);
        self.lines.position(offset)
    }

    /// The value at `pointer` for a message: short, and not shown if hidden.
    pub(crate) fn show(&self, pointer: &str) -> String {
        let value = self.value.pointer(pointer);
        match value {
            None => "nothing".to_owned(),
            Some(Value::Object(_)) => self.format.object().to_owned(),
            Some(Value::Array(items)) if items.is_empty() => "an empty array".to_owned(),
            Some(Value::Array(items)) if items.len() == 1 => "an array of 1 item".to_owned(),
            Some(Value::Array(items)) => format!("an array of {} items", items.len()),
            Some(_) if self.hides(pointer) => "a value that is not shown".to_owned(),
            Some(Value::String(text)) => clip(text),
            Some(scalar) => scalar.to_string(),
        }
    }

    /// Whether the value at `pointer` is hidden.
    pub(crate) fn hides(&self, pointer: &str) -> bool {
        let pointer = &self.whole_pointer(pointer);
        self.hidden.iter().any(|pattern| {
            let mut segments = pointer::segments(pointer);
            pattern.iter().all(|wanted| {
                segments
                    .next()
                    .is_some_and(|segment| wanted == "*" || *wanted == segment)
            })
        })
    }

    /// Whether a value hidden may lie at, above or below `pointer`.
    pub(crate) fn touches_hidden(&self, pointer: &str) -> bool {
        let pointer = &self.whole_pointer(pointer);
        self.hidden.iter().any(|pattern| {
            let mut both = pattern.iter().zip(pointer::segments(pointer));
            both.all(|(wanted, segment)| wanted == "*" || *wanted == segment)
        })
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The value may hold secrets.
        f.debug_struct("Document")
            .field("name", &self.name)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Flaw {
    /// The same fault with the pointer extended by the value around it.
    pub(crate) fn inside(mut self, segment: &str) -> Self {
        self.pointer.insert_str(0, &pointer::join("", segment));
        self
    }

    fn into_fault(self, name: &Arc<str>, lines: &Lines) -> Fault {
        let problem = match self.problem {
            FlawKind::Syntax(message) => Problem::Syntax { message },
            FlawKind::Duplicate { name, first } => Problem::DuplicateField {
                name,
                first_line: first.map(|first| lines.position(first).line),
            },
            FlawKind::Unexpected { expected, found } => Problem::Unexpected {
                expected: expected.to_owned(),
                found,
            },
        };
        Fault {
            file: name.clone(),
            pointer: self.pointer.into(),
            position: Some(lines.position(self.offset)),
            problem,
            hint: self.hint,
        }
    }
}

/// A string in quotes, shortened.
pub(crate) fn clip(text: &str) -> String {
    let mut shown = text.chars().take(SHOWN).collect::<String>();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn unreadable(name: &Arc<str>, message: String) -> Fault {
    Fault {
        file: name.clone(),
        pointer: "".into(),
        position: None,
        problem: Problem::Unreadable { message },
        hint: None,
    }
}
