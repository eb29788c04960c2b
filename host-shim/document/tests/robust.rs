//! No text makes the reader panic, and every place it reports lies in the text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod common;

use alknet_document::{Document, Format};
use proptest::prelude::*;
use serde_json::Value;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/\"é]{0,4}", inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Texts made of what the formats are made of go deeper than random characters.
fn fragments() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "[[",
        "]]",
        "\"",
        "'",
        ":",
        ",",
        "=",
        ".",
        "\n",
        " ",
        "\\",
        "\\u",
        "12",
        "-",
        "1e9",
        "true",
        "null",
        "a",
        "é",
        "\"k\"",
        "\"k\":",
        "limits",
        "k = ",
        "#",
        "//",
        "\"\"\"",
        "inf",
        "1979-05-27",
        "\u{feff}",
        "\0",
        "\t",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn read(text: &str, format: Format, pointer: &str) {
    match Document::parse(text, format, "x") {
        Ok(document) => {
            let at = document.locate(pointer).max(document.locate_key(pointer));
            assert!(at.line as usize <= text.matches('\n').count() + 1);
            let _ = document
                .validate(&common::schema())
                .map_err(|faults| common::lines(&faults));
            let _ = document
                .deserialize::<common::Node>()
                .map_err(|fault| fault.to_string());
        }
        Err(fault) => {
            let message = fault.to_string();
            assert!(!message.contains('\n'), "{message}");
            let at = fault.position.unwrap();
            assert!(at.line >= 1 && at.column >= 1);
            assert!(at.line as usize <= text.matches('\n').count() + 1);
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", pointer in ".{0,20}") {
        read(&text, Format::Json, &pointer);
        read(&text, Format::Toml, &pointer);
    }

    #[test]
    fn any_fragments_are_read_or_refused(text in fragments(), pointer in "(/[a-z0-9~]{0,3}){0,4}") {
        read(&text, Format::Json, &pointer);
        read(&text, Format::Toml, &pointer);
    }

    #[test]
    fn every_value_of_a_json_text_is_found_where_it_stands(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let document = Document::parse(&text, Format::Json, "x").unwrap();
        let mut pending = vec![(String::new(), &value)];
        while let Some((pointer, value)) = pending.pop() {
            let at = document.locate(&pointer);
            let line = text.split('\n').nth(at.line as usize - 1).unwrap();
            let rest = line.chars().skip(at.column as usize - 1).collect::<String>();
            let start = serde_json::to_string(value).unwrap().chars().next().unwrap();
            prop_assert!(rest.starts_with(start), "{pointer}: {rest}");
            match value {
                Value::Array(items) => {
                    pending.extend(items.iter().enumerate().map(|(i, item)| (format!("{pointer}/{i}"), item)));
                }
                Value::Object(members) => pending.extend(members.iter().map(|(name, member)| {
                    (format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), member)
                })),
                _ => {}
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_within_a_small_stack() {
    let inline = |depth: usize, key: &str| {
        format!(
            "a = {}1{}",
            format!("{{{key} = ").repeat(depth),
            "}".repeat(depth)
        )
    };
    let dotted = ["k"; 75].join(".");
    let texts = [
        (Format::Json, "[".repeat(100_000)),
        (Format::Json, "{\"a\":".repeat(100_000)),
        (
            Format::Json,
            format!("{}1{}", "[".repeat(129), "]".repeat(129)),
        ),
        (Format::Toml, format!("a = {}", "[".repeat(100_000))),
        (Format::Toml, format!("{} = 1", ["k"; 100_000].join("."))),
        // Each is within the parser's bounds, and both together are far beyond.
        (Format::Toml, inline(75, &dotted)),
        (Format::Toml, format!("[{dotted}]\n{}", inline(75, &dotted))),
    ];
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            for (format, text) in &texts {
                let fault = Document::parse(text, *format, "x").unwrap_err();
                assert!(fault.position.is_some(), "{fault}");
            }
            let text = format!("{}1{}", "[".repeat(127), "]".repeat(127));
            Document::parse(&text, Format::Json, "x").unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
}

/// A long key around many values must not be copied for each of them.
#[test]
fn a_large_document_takes_linear_space() {
    let key = "k".repeat(1 << 20);
    let numbers = vec!["1"; 200_000].join(",");
    let json = format!("{{\"{key}\": [{numbers}]}}");
    let toml = format!("{key} = [{numbers}]");
    for (format, text) in [(Format::Json, json), (Format::Toml, toml)] {
        let document = Document::parse(&text, format, "x").unwrap();
        assert_eq!(document.locate(&format!("/{key}/199999")).line, 1);
    }
}
