//! JSON: serde_json reads the value, and a second pass over the same text, now known to be sound, finds the places.

use std::collections::HashMap;

use serde_json::Value;

use crate::document::{Flaw, FlawKind, MAX_DEPTH};
use crate::place::{Inside, Place};
use crate::pointer;

pub(crate) fn parse(text: &str) -> Result<(Value, Place), Flaw> {
    // Nesting is bounded by serde_json, at the depth of MAX_DEPTH, so the second pass is too.
    let value = serde_json::from_str(text).map_err(|error| syntax(text, &error))?;
    let place = Index { text, at: 0 }.value(None)?;
    Ok((value, place))
}

fn syntax(text: &str, error: &serde_json::Error) -> Flaw {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => text
            .match_indices('\n')
            .nth(line - 2)
            .map_or(0, |(at, _)| at + 1),
    };
    // Column 0 stands for the line break before the line.
    let offset = match error.column() {
        0 => line_start.saturating_sub(1),
        column => (line_start + column - 1).min(text.len()),
    };
    let message = error.to_string();
    let message = match message.rsplit_once(" at line ") {
        Some((message, _)) => message,
        None => &message,
    };
    let message = match message {
        _ if text.trim().is_empty() => "the text is empty, not even {}".to_owned(),
        "expected value" => "expected a value".to_owned(),
        "key must be a string" => "expected a field name in double quotes".to_owned(),
        "trailing characters" => "text after the end of the document".to_owned(),
        "recursion limit exceeded" => format!("values are nested deeper than {MAX_DEPTH} levels"),
        message => match message.strip_prefix("EOF while parsing ") {
            Some(inside) => format!("the text ends inside {inside}"),
            None => message.to_owned(),
        },
    };
    let (before, rest) = text.split_at_checked(offset).unwrap_or((text, ""));
    // The comma is what has to go, not the bracket after it.
    let offset = match message.as_str() {
        "trailing comma" => before.rfind(',').unwrap_or(offset),
        _ => offset,
    };
    Flaw {
        offset,
        pointer: String::new(),
        hint: advice(&message, rest).map(Into::into),
        problem: FlawKind::Syntax(message),
    }
}

/// What to do about a syntax error, by the text that the parser stopped at.
fn advice(message: &str, rest: &str) -> Option<&'static str> {
    let word = rest
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    match rest.chars().next() {
        Some('/' | '#') => Some("JSON has no comments; TOML does"),
        Some('\'') => Some("JSON strings stand in double quotes"),
        _ if message == "trailing comma" => Some("remove this comma: nothing follows it"),
        Some('"') if message.starts_with("expected `,`") => Some("a comma is missing before this"),
        _ if ["True", "False", "None", "TRUE", "FALSE", "NULL"].contains(&word) => {
            Some("JSON writes true, false and null")
        }
        _ if message == "expected a value" && !word.is_empty() => {
            Some("a string stands in double quotes")
        }
        _ => None,
    }
}

struct Index<'a> {
    text: &'a str,
    at: usize,
}

impl Index<'_> {
    fn value(&mut self, key: Option<usize>) -> Result<Place, Flaw> {
        self.skip_space();
        let start = self.at;
        let inside = match self.peek() {
            Some(b'{') => self.members()?,
            Some(b'[') => self.items()?,
            Some(b'"') => {
                self.string();
                Inside::Scalar
            }
            _ => {
                self.skip_while(|b| !matches!(b, b',' | b']' | b'}') && !is_space(b));
                Inside::Scalar
            }
        };
        Ok(Place { key, start, inside })
    }

    fn members(&mut self) -> Result<Inside, Flaw> {
        let mut members = HashMap::<String, Place>::new();
        self.at += 1;
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                self.at += 1;
                return Ok(Inside::Members(members));
            }
            let offset = self.at;
            let name = self.string();
            if let Some(first) = members.get(&name) {
                return Err(Flaw {
                    offset,
                    pointer: pointer::join("", &name),
                    problem: FlawKind::Duplicate {
                        name,
                        first: first.key,
                    },
                    hint: None,
                });
            }
            self.skip_space();
            self.at += 1; // the colon
            let place = self
                .value(Some(offset))
                .map_err(|flaw| flaw.inside(&name))?;
            members.insert(name, place);
            self.skip_comma();
        }
    }

    fn items(&mut self) -> Result<Inside, Flaw> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.skip_space();
            if matches!(self.peek(), Some(b']') | None) {
                self.at += 1;
                return Ok(Inside::Items(items));
            }
            let place = self
                .value(None)
                .map_err(|flaw| flaw.inside(&items.len().to_string()))?;
            items.push(place);
            self.skip_comma();
        }
    }

    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(quoted).unwrap_or_default()
    }

    fn skip_comma(&mut self) {
        self.skip_space();
        if self.peek() == Some(b',') {
            self.at += 1;
        }
    }

    fn skip_space(&mut self) {
        self.skip_while(is_space);
    }

    fn skip_while(&mut self, skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
