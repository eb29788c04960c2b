//! Turning a document into a type.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::document::{Document, Format};
use crate::fault::{Fault, Problem, one_of};
use crate::pointer;
use crate::schema::unknown_field;
use crate::suggest::{closest, meant};

impl Document {
    /// Turns the document into a type. The fault is placed where serde stopped; what serde says is kept unless it may
    /// show a hidden value.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_path_to_error::deserialize(self.value()).map_err(|error| {
            let at = self.pointer_of(error.path());
            self.explain(&at, &error.inner().to_string())
        })
    }

    /// The path as a pointer, as far as it leads through the document: serde also counts the variants of enums.
    fn pointer_of(&self, path: &Path) -> String {
        let mut at = String::new();
        let mut value = self.value();
        for segment in path {
            let name = match segment {
                Segment::Seq { index } => index.to_string(),
                Segment::Map { key } => key.clone(),
                Segment::Enum { variant } => variant.clone(),
                Segment::Unknown => break,
            };
            let next = match value {
                Value::Object(members) => members.get(&name),
                Value::Array(items) => name
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index)),
                _ => None,
            };
            if let Some(next) = next {
                at = pointer::join(&at, &name);
                value = next;
            }
        }
        at
    }

    /// Makes a fault of serde's message, which has a fixed form for the common cases; other messages are
    /// kept.
    fn explain(&self, at: &str, message: &str) -> Fault {
        let quoted = || message.split('`').skip(1).step_by(2).map(str::to_owned);
        if message.starts_with("unknown field ") {
            let mut names = quoted();
            let name = names.next().unwrap_or_default();
            // serde stops at the key, whose value the path may already include.
            let last = pointer::segments(at).last();
            let parent = match at.rsplit_once('/') {
                Some((parent, _)) if last.as_ref() == Some(&name) => parent,
                _ => at,
            };
            return unknown_field(self, parent, &name, names.collect());
        }
        if message.starts_with("missing field ") {
            let name = quoted().next().unwrap_or_default();
            return Fault::new(
                self,
                at,
                Problem::MissingField {
                    name,
                    expected: None,
                },
            );
        }
        if message.starts_with("unknown variant ") {
            let variants = quoted().skip(1).collect::<Vec<_>>();
            let hint = match self.value().pointer(at).and_then(Value::as_str) {
                Some(text) if !self.hides(at) => closest(text, variants.iter().map(String::as_str)),
                _ => None,
            };
            let fault = Fault::unexpected(self, at, one_of(&variants));
            return match hint {
                Some(hint) => fault.with_hint(meant(hint)),
                None => fault,
            };
        }
        if message.starts_with("invalid ")
            && let Some((_, expected)) = message.rsplit_once(", expected ")
        {
            return Fault::unexpected(self, at, in_words(expected, self.format()));
        }
        if self.touches_hidden(at) {
            return Fault::at(self, at, "the value is not valid (it is not shown)");
        }
        Fault::at(self, at, message)
    }
}

/// Replaces the names of Rust's types, which serde uses, by the format's words.
fn in_words(expected: &str, format: Format) -> String {
    let range = |least: i64, most: u64| format!("an integer from {least} to {most}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "an integer of at least 0".to_owned(),
        "i8" => range(i8::MIN.into(), 0x7f),
        "i16" => range(i16::MIN.into(), 0x7fff),
        "i32" => range(i32::MIN.into(), 0x7fff_ffff),
        "i64" | "isize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => format.object().to_owned(),
        other if other.starts_with("struct ") => format.object().to_owned(),
        other => other.to_owned(),
    }
}
