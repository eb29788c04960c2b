//! TOML: the toml crate's tree with spans becomes a JSON value and the places.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use crate::document::{Flaw, FlawKind, MAX_DEPTH};
use crate::place::{Inside, Place};

pub(crate) fn parse(text: &str) -> Result<(Value, Place), Flaw> {
    let root = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let mut root = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
    let converted = convert(&root, None, 0);
    if converted.is_err() {
        flatten(root.get_mut());
    }
    converted
}

fn syntax(text: &str, error: &toml::de::Error) -> Flaw {
    let span = error.span().unwrap_or_default();
    let offset = span.start;
    let problem = match error.message() {
        "duplicate key" => FlawKind::Duplicate {
            name: text.get(span).unwrap_or_default().to_owned(),
            first: None,
        },
        message => {
            let (message, hint) = advise(text, offset, message.trim().replace('\n', ", "));
            return Flaw {
                offset,
                pointer: String::new(),
                problem: FlawKind::Syntax(message),
                hint: hint.map(Into::into),
            };
        }
    };
    Flaw {
        offset,
        pointer: String::new(),
        problem,
        hint: Some("keep one of the two".into()),
    }
}

/// What the parser says, in better words where the line shows what was meant, and what to do.
fn advise(text: &str, offset: usize, message: String) -> (String, Option<String>) {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = after.find('\n').unwrap_or(after.len());
    let line = text.get(start..offset + end).unwrap_or_default();
    let line = line.split(" #").next().unwrap_or_default().trim();
    let Some((key, value)) = line.split_once('=') else {
        let hint = match line.split_once(':') {
            Some((key, _)) if message.starts_with("key with no value") => {
                Some(format!("a field is set with `=`: `{} = …`", key.trim()))
            }
            _ => None,
        };
        return (message, hint);
    };
    let (key, value) = (key.trim(), value.trim());
    if value.is_empty() {
        let hint = format!(
            "give it one, or take the line out; settings that belong together stand under [{}{key}]",
            heading(text.get(..start).unwrap_or_default())
        );
        return (format!("no value follows `{key} =`"), Some(hint));
    }
    let is_value = |value: &str| DeTable::parse(&format!("x = {value}")).is_ok();
    let quoted = format!("\"{value}\"");
    let lower = value.to_lowercase();
    match lower.as_str() {
        "true" | "false" if !is_value(value) => {
            (message, Some(format!("write it in lower case: {lower}")))
        }
        "null" | "none" | "nil" => {
            let hint = format!("TOML has none: take the line out, and `{key}` has its default");
            ("null is not a value".to_owned(), Some(hint))
        }
        _ if value.starts_with(['"', '\'']) && !is_value(value) => (
            message,
            Some("a text ends with the quote it began with, on the same line".to_owned()),
        ),
        _ if !value.starts_with(['[', '{']) && !is_value(value) && is_value(&quoted) => (
            "a text stands in quotes".to_owned(),
            Some(format!("write {quoted}")),
        ),
        _ => (message, None),
    }
}

/// The heading that lines after `text` stand under, with a dot after it.
fn heading(text: &str) -> String {
    let headings = text.lines().rev().map(str::trim);
    let mut headings = headings.filter_map(|line| line.strip_prefix('[')?.split(']').next());
    match headings.next() {
        Some(name) if !name.starts_with('[') => format!("{name}."),
        _ => String::new(),
    }
}

fn convert(
    value: &Spanned<DeValue<'_>>,
    key: Option<usize>,
    depth: usize,
) -> Result<(Value, Place), Flaw> {
    let start = value.span().start;
    let flaw = |problem| Flaw {
        offset: start,
        pointer: String::new(),
        problem,
        hint: None,
    };
    if depth > MAX_DEPTH {
        let message = format!("values are nested deeper than {MAX_DEPTH} levels");
        return Err(flaw(FlawKind::Syntax(message)));
    }
    let (value, inside) = match value.get_ref() {
        DeValue::String(text) => (Value::String(text.to_string()), Inside::Scalar),
        DeValue::Boolean(value) => (Value::Bool(*value), Inside::Scalar),
        DeValue::Datetime(time) => (Value::String(time.to_string()), Inside::Scalar),
        DeValue::Integer(number) => (integer(number).map_err(flaw)?, Inside::Scalar),
        DeValue::Float(number) => (float(number).map_err(flaw)?, Inside::Scalar),
        DeValue::Array(items) => {
            let mut values = Vec::with_capacity(items.len());
            let mut places = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let converted = convert(item, None, depth + 1);
                let (value, place) = converted.map_err(|flaw| flaw.inside(&index.to_string()))?;
                values.push(value);
                places.push(place);
            }
            (Value::Array(values), Inside::Items(places))
        }
        DeValue::Table(table) => {
            let mut values = Map::new();
            let mut places = HashMap::with_capacity(table.len());
            for (key, member) in table {
                let name = key.get_ref();
                let converted = convert(member, Some(key.span().start), depth + 1);
                let (value, place) = converted.map_err(|flaw| flaw.inside(name))?;
                values.insert(name.to_string(), value);
                places.insert(name.to_string(), place);
            }
            (Value::Object(values), Inside::Members(places))
        }
    };
    Ok((value, Place { key, start, inside }))
}

fn integer(integer: &DeInteger<'_>) -> Result<Value, FlawKind> {
    i64::from_str_radix(integer.as_str(), integer.radix())
        .map(Value::from)
        .map_err(|_| FlawKind::Unexpected {
            expected: "an integer of at most 64 bits",
            found: "a longer one".to_owned(),
        })
}

fn float(float: &DeFloat<'_>) -> Result<Value, FlawKind> {
    let value = float.as_str().parse().ok().and_then(Number::from_f64);
    value
        .map(Value::Number)
        .ok_or_else(|| FlawKind::Unexpected {
            expected: "a finite number",
            found: float.as_str().chars().take(8).collect(),
        })
}

/// Takes a tree apart level by level: dropping a very deep one would recurse as deep. (Dotted keys inside inline tables
/// nest far beyond the parser's own bound.)
fn flatten(root: &mut DeValue<'_>) {
    let mut pending = vec![std::mem::replace(root, DeValue::Boolean(false))];
    while let Some(value) = pending.pop() {
        match value {
            DeValue::Array(items) => pending.extend(items.into_iter().map(Spanned::into_inner)),
            DeValue::Table(table) => {
                pending.extend(table.into_iter().map(|(_, value)| value.into_inner()))
            }
            _ => {}
        }
    }
}
