//! "Did you mean", and how to write what was meant.

use serde_json::Value;

use crate::document::Format;
use crate::pointer;

/// "did you mean …?", if one of the candidates is close to `name`.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(name, candidates).map(meant)
}

pub(crate) fn meant(name: &str) -> String {
    format!("did you mean {name:?}?")
}

/// How to write a value that is of the wrong kind, where it shows what was meant. `kinds` are those of the schema.
pub(crate) fn rewritten(value: &Value, kinds: &[&str], at: &str, format: Format) -> Option<String> {
    let wants = |kind: &str| kinds.contains(&kind);
    let field = pointer::segments(at).last().unwrap_or_default();
    match value {
        Value::String(text) if wants("boolean") => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" => Some("write true, without quotes".to_owned()),
            "false" | "no" | "off" => Some("write false, without quotes".to_owned()),
            _ => None,
        },
        Value::Number(number) if wants("boolean") => match number.as_u64() {
            Some(0) => Some("write false".to_owned()),
            Some(1) => Some("write true".to_owned()),
            _ => None,
        },
        Value::String(text) if wants("integer") => match text.trim().parse::<i64>() {
            Ok(number) => Some(format!("write {number}, without quotes")),
            Err(_) => in_units(text, &field),
        },
        Value::Object(_) if wants("array") && format == Format::Toml => {
            let name = pointer::segments(at).collect::<Vec<_>>().join(".");
            Some(format!("write [[{name}]], in two pairs of brackets"))
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if wants("array") => {
            Some("put it in brackets, [ … ]".to_owned())
        }
        _ => None,
    }
}

/// Converts a text with a unit, such as "10 min", for a field whose name says what it counts.
fn in_units(text: &str, field: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let (factor, counted) = if field.ends_with("seconds") {
        let factor = match unit.as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86400,
            _ => return None,
        };
        (factor, "seconds")
    } else if field.ends_with("bytes") {
        let factor = match unit.as_str() {
            "b" | "byte" | "bytes" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return None,
        };
        (factor, "bytes")
    } else {
        return None;
    };
    let number = number.checked_mul(factor)?;
    Some(format!("write {number}: the field counts {counted}"))
}

/// The candidate that `name` is most likely a misspelling of, if one is close.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    candidates
        .into_iter()
        .map(|candidate| {
            let length = candidate.chars().count().max(name.chars().count());
            let distance = strsim::damerau_levenshtein(&name, &plain(candidate));
            (distance, length, candidate)
        })
        // A third of the letters may be wrong; in a short word, one.
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1) && distance < length)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        let names = ["max_channels", "listen", "tls", "uid"];
        for (name, expected) in [
            ("maxchannels", Some("max_channels")),
            ("max-channels", Some("max_channels")),
            ("maxChannels", Some("max_channels")),
            ("lisetn", Some("listen")),
            ("tlss", Some("tls")),
            ("banner", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(name, names), expected, "{name}");
        }
    }

    #[test]
    fn what_was_meant_is_written_as_it_should_be() {
        let integer: &[&str] = &["integer", "null"];
        for (value, kinds, at, expected) in [
            (
                json!("10s"),
                integer,
                "/a/drain_seconds",
                "write 10: the field counts seconds",
            ),
            (
                json!("2 min"),
                integer,
                "/x_seconds",
                "write 120: the field counts seconds",
            ),
            (
                json!("4 MiB"),
                integer,
                "/x_bytes",
                "write 4194304: the field counts bytes",
            ),
            (json!("5 minutes"), integer, "/x_bytes", ""),
            (json!("99999999999999999999s"), integer, "/x_seconds", ""),
            (json!("999999999999999999d"), integer, "/x_seconds", ""),
            (json!("é"), integer, "/x_seconds", ""),
            (json!("-1"), integer, "/x", "write -1, without quotes"),
            (
                json!("Yes"),
                &["boolean"],
                "/x",
                "write true, without quotes",
            ),
            (json!(0), &["boolean"], "/x", "write false"),
            (json!(2), &["boolean"], "/x", ""),
            (json!("a"), &["array"], "/x", "put it in brackets, [ … ]"),
            (
                json!({}),
                &["array"],
                "/x/y",
                "write [[x.y]], in two pairs of brackets",
            ),
            (json!({}), &["string"], "/x", ""),
        ] {
            let found = rewritten(&value, kinds, at, Format::Toml);
            assert_eq!(found.unwrap_or_default(), expected, "{value} at {at}");
        }
    }
}
