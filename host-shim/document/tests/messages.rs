//! What operators read when a document is wrong.

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

use alknet_document::{Document, Fault, Format, Position};
use common::{Node, faults, lines};
use serde_json::json;

const TOML: &[(&str, &str)] = &[
    // Values.
    (
        "[limits]\nmax_channels = \"ten\"\n",
        r#"node.toml:2:16: /limits/max_channels: expected an integer from 1 to 65535, found "ten""#,
    ),
    (
        "limits = { max_channels = 0 }",
        "node.toml:1:27: /limits/max_channels: expected an integer from 1 to 65535, found 0",
    ),
    (
        "limits.load = 1.5",
        "node.toml:1:15: /limits/load: expected a number from 0.0 to 1.0, found 1.5",
    ),
    (
        "[limits]\nmax_sessions = -1",
        "node.toml:2:16: /limits/max_sessions: expected an integer of at least 0, found -1",
    ),
    (
        "limits = []",
        "node.toml:1:10: /limits: expected a table, found an empty array",
    ),
    (
        "[[rules]]\ntarget = ''\naction = 'alow'\n",
        "node.toml:2:10: /rules/0/target: expected a non-empty string, found \"\"\n\
         node.toml:3:10: /rules/0/action: expected one of \"allow\", \"deny\", found \"alow\"; did you mean \"allow\"?",
    ),
    (
        "[[rules]]\ntarget = 'x'\naction = 'deny'\nprincipals = ['a', 'b', 3]\n",
        "node.toml:4:14: /rules/0/principals: expected an array of at most 2 items, each a string, found an array of 3 items\n\
         node.toml:4:25: /rules/0/principals/2: expected a string, found 3",
    ),
    (
        "log = 'verbose'",
        r#"node.toml:1:7: /log: expected one of "info", "debug", found "verbose""#,
    ),
    (
        "log = 'dbug'",
        r#"node.toml:1:7: /log: expected one of "info", "debug", found "dbug"; did you mean "debug"?"#,
    ),
    // Dates are strings.
    (
        "log = 1979-05-27",
        r#"node.toml:1:7: /log: expected one of "info", "debug", found "1979-05-27""#,
    ),
    // Fields.
    (
        "[limits]\nmaxchannels = 5\n",
        r#"node.toml:2:1: /limits: unknown field "maxchannels"; did you mean "max_channels"?"#,
    ),
    (
        "banner = 'x'",
        r#"node.toml:1:1: unknown field "banner"; the fields here are "keys", "limits", "listen", "log", "proxies", "rules""#,
    ),
    (
        "[[rules]]\naction = 'deny'\n[[rules]]\ntarget = 'x'",
        "node.toml:1:1: /rules/0: missing field \"target\": a non-empty string\n\
         node.toml:3:1: /rules/1: missing field \"action\": one of \"allow\", \"deny\"",
    ),
    // A misspelt field is not reported as missing too.
    (
        "[[rules]]\ntraget = 'x'\naction = 'deny'",
        r#"node.toml:2:1: /rules/0: unknown field "traget"; did you mean "target"?"#,
    ),
    // Forms.
    (
        "[keys]\nfrom = 'vualt'\n",
        r#"node.toml:2:8: /keys/from: expected one of "vault", "file", found "vualt"; did you mean "vault"?"#,
    ),
    (
        "[keys]\npath = 'x'",
        r#"node.toml:1:1: /keys: missing field "from": one of "vault", "file""#,
    ),
    (
        "[keys]\nfrom = 'file'\nfile = 3",
        "node.toml:1:1: /keys: missing field \"path\": a string\n\
         node.toml:3:1: /keys: unknown field \"file\"; the fields here are \"from\", \"path\"",
    ),
    (
        "keys = 3",
        r#"node.toml:1:8: /keys: expected a table with from = "vault" or a table with from = "file", found 3"#,
    ),
    (
        "[proxies.a]\nurl = 'x://'\npassword = '12345678'\nvia = 'dircet'",
        r#"node.toml:4:7: /proxies/a/via: expected "direct" or a table with the field "hop", found "dircet"; did you mean "direct"?"#,
    ),
    (
        "[proxies.a]\nurl = 'x://'\npassword = '12345678'\nvia = { hop = { host = 1 } }",
        "node.toml:4:24: /proxies/a/via/hop/host: expected a string, found 1",
    ),
    // Hidden values.
    (
        "[proxies.a]\nurl = 'nope'\npassword = 'hunter2'",
        "node.toml:2:7: /proxies/a/url: expected a string matching ^[a-z]+://, found \"nope\"\n\
         node.toml:3:12: /proxies/a/password: expected a string of at least 8 characters, found a value that is not shown",
    ),
    // Syntax.
    (
        "limits = ",
        "node.toml:1:10: no value follows `limits =`; give it one, or take the line out; settings that belong together stand under [limits]",
    ),
    (
        "[keys]\nfrom = \n",
        "node.toml:2:8: no value follows `from =`; give it one, or take the line out; settings that belong together stand under [keys.from]",
    ),
    (
        "listen = 127.0.0.1:4433 # here",
        r#"node.toml:1:15: a text stands in quotes; write "127.0.0.1:4433""#,
    ),
    (
        "log = debug",
        r#"node.toml:1:7: a text stands in quotes; write "debug""#,
    ),
    (
        "log = null",
        "node.toml:1:7: null is not a value; TOML has none: take the line out, and `log` has its default",
    ),
    (
        "log: 'debug'",
        "node.toml:1:6: key with no value, expected `=`; a field is set with `=`: `log = …`",
    ),
    (
        "[limits]\nmax_channels = \"128\"",
        "node.toml:2:16: /limits/max_channels: expected an integer from 1 to 65535, found \"128\"; write 128, without quotes",
    ),
    (
        "[rules]\ntarget = 'x'",
        "node.toml:1:1: /rules: expected an array, each a table with the fields \"target\", \"action\", found a table; write [[rules]], in two pairs of brackets",
    ),
    (
        "max_channels = 1",
        "node.toml:1:1: unknown field \"max_channels\"; it belongs under [limits]",
    ),
    (
        "[limits\nmax_channels = 1",
        "node.toml:1:8: unclosed table, expected `]`",
    ),
    (
        "listen = \"abc\nx = 1",
        "node.toml:1:14: invalid basic string, expected `\"`; a text ends with the quote it began with, on the same line",
    ),
    (
        "[limits]\nload = 1\nload = 2",
        r#"node.toml:3:1: field "load" is set twice; keep one of the two"#,
    ),
    (
        "[limits]\nload = -inf",
        "node.toml:2:8: /limits/load: expected a finite number, found -inf",
    ),
    (
        "limits.max_channels = 99999999999999999999",
        "node.toml:1:23: /limits/max_channels: expected an integer of at most 64 bits, found a longer one",
    ),
];

const JSON: &[(&str, &str)] = &[
    (
        "{\n  \"limits\": {\n    \"max_channels\": \"ten\"\n  }\n}",
        r#"node.json:3:21: /limits/max_channels: expected an integer from 1 to 65535, found "ten""#,
    ),
    (
        "{\"keys\": null, \"limits\": null}",
        "node.json:1:26: /limits: expected an object, found null",
    ),
    (
        "{\"keys\": {\"from\": \"vault\", \"account\": 1.5}}",
        "node.json:1:39: /keys/account: expected an integer of at least 0, found 1.5",
    ),
    (
        "{\"keys\": true}",
        r#"node.json:1:10: /keys: expected an object with "from": "vault", an object with "from": "file" or null, found true"#,
    ),
    // Columns count characters, not bytes.
    (
        "{\"listen\": \"ééé\", \"lgo\": 1}",
        r#"node.json:1:19: unknown field "lgo"; did you mean "log"?"#,
    ),
    (
        "[]",
        "node.json:1:1: expected an object, found an empty array",
    ),
    (
        "{\"limits\": {},\n \"limits\": {}}",
        r#"node.json:2:2: field "limits" is set twice, first on line 1"#,
    ),
    (
        "{\"limits\": {\"load\": 1, \"lo\\u0061d\": 1}}",
        r#"node.json:1:24: /limits: field "load" is set twice, first on line 1"#,
    ),
    (
        "{\"log\": \"info\",}",
        "node.json:1:15: trailing comma; remove this comma: nothing follows it",
    ),
    (
        "{\"limits\": {\"load\": 1",
        "node.json:1:21: the text ends inside an object",
    ),
    (
        "{'log': 1}",
        "node.json:1:2: expected a field name in double quotes; JSON strings stand in double quotes",
    ),
    (
        "// the node\n{}",
        "node.json:1:1: expected a value; JSON has no comments; TOML does",
    ),
    (
        "{\"log\": \"info\"\n \"limits\": {}}",
        "node.json:2:2: expected `,` or `}`; a comma is missing before this",
    ),
    (
        "{\"limits\": {\"load\": None}}",
        "node.json:1:21: expected a value; JSON writes true, false and null",
    ),
    (
        "{\"log\": info}",
        "node.json:1:9: expected a value; a string stands in double quotes",
    ),
    (
        "{\"max_channels\": 1}",
        "node.json:1:2: unknown field \"max_channels\"; it belongs at /limits",
    ),
    ("{} {}", "node.json:1:4: text after the end of the document"),
    ("\n", "node.json:1:1: the text is empty, not even {}"),
    (
        "{\"listen\": \"a\nb\"}",
        "node.json:1:14: control character (\\u0000-\\u001F) found while parsing a string",
    ),
];

#[test]
fn every_broken_document_has_its_message() {
    for (format, documents) in [(Format::Toml, TOML), (Format::Json, JSON)] {
        for (text, expected) in documents {
            assert_eq!(&faults(text, format), expected, "in:\n{text}");
        }
    }
}

#[test]
fn a_sound_document_passes_in_both_formats() {
    let toml = "\u{feff}\"$schema\" = 'node.json'\nlog = 'debug'\n[limits]\nmax_channels = 0x10\n[keys]\nfrom = 'vault'\naccount = 1\n";
    let json = r#"{"$schema": "node.json", "log": "debug", "limits": {"max_channels": 16}, "keys": {"from": "vault", "account": 1}}"#;
    assert_eq!(faults(toml, Format::Toml), "");
    assert_eq!(faults(json, Format::Json), "");
    let [toml, json] = [(toml, Format::Toml), (json, Format::Json)]
        .map(|(text, format)| Document::parse(text, format, "x").unwrap());
    assert_eq!(toml.value(), json.value());
    let node = toml.deserialize::<Node>().unwrap();
    assert_eq!(node.limits.max_channels, 16);
}

#[test]
fn only_a_text_named_schema_at_the_top_is_left_out() {
    let odd = faults("{\"$schema\": 1}", Format::Json);
    assert!(odd.contains("unknown field \"$schema\""), "{odd}");
    let inner = faults("{\"limits\": {\"$schema\": \"x\"}}", Format::Json);
    assert!(
        inner.contains("/limits: unknown field \"$schema\""),
        "{inner}"
    );
}

#[test]
fn what_serde_says_is_put_in_the_same_form() {
    for (text, expected) in [
        (
            "[limits]\nmax_channels = \"ten\"",
            r#"x:2:16: /limits/max_channels: expected an integer from 0 to 65535, found "ten""#,
        ),
        (
            "lgo = 1",
            r#"x:1:1: unknown field "lgo"; did you mean "log"?"#,
        ),
        (
            "log = 'inf'",
            r#"x:1:7: /log: expected one of "info", "debug", found "inf"; did you mean "info"?"#,
        ),
        (
            "[[rules]]\ntarget='x'",
            r#"x:1:1: /rules/0: missing field "action""#,
        ),
        ("limits = 3", "x:1:10: /limits: expected a table, found 3"),
        (
            "[proxies.a]\nurl = 'x'\npassword = 8",
            "x:3:12: /proxies/a/password: expected a string, found a value that is not shown",
        ),
    ] {
        let document = Document::parse(text, Format::Toml, "x").unwrap();
        let document = document.hiding(["/proxies/*/password"]);
        assert_eq!(
            document.deserialize::<Node>().unwrap_err().to_string(),
            expected
        );
    }
}

#[test]
fn a_secret_in_a_message_of_its_type_is_not_shown() {
    #[derive(Debug)]
    struct Picky;
    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(serde::de::Error::custom(format!(
                "{text} is a bad password"
            )))
        }
    }
    #[derive(Debug, serde::Deserialize)]
    struct Config {
        #[allow(dead_code)]
        password: Picky,
    }
    let document = Document::parse("password = 'hunter2'", Format::Toml, "x").unwrap();
    let shown = document.deserialize::<Config>().unwrap_err().to_string();
    assert_eq!(shown, "x:1:12: /password: hunter2 is a bad password");
    let document = document.hiding(["/password"]);
    let hidden = document.deserialize::<Config>().unwrap_err().to_string();
    assert_eq!(
        hidden,
        "x:1:12: /password: the value is not valid (it is not shown)"
    );
    assert!(!format!("{document:?}").contains("hunter2"));
}

#[test]
fn other_keywords_are_worded_too() {
    let schema = json!({
        "properties": {
            "ports": { "type": "array", "uniqueItems": true, "items": { "type": "integer", "exclusiveMinimum": 0, "multipleOf": 5 } },
            "names": { "propertyNames": { "pattern": "^[a-z]+$" }, "minProperties": 1 },
            "either": { "oneOf": [ { "type": "object", "required": ["a"] }, { "type": "object", "required": ["b"] } ] },
            "secret": { "type": "string", "maxLength": 3 },
            "old": false
        },
        "unevaluatedProperties": false
    });
    let text = "ports = [5, 5, 7]\neither = { a = 1, b = 2 }\nold = 1\nold2 = 1\nsecret = 'a\\u0007 long line that is cut after forty characters'\n\
                [names]\nA1 = 1";
    let document = Document::parse(text, Format::Toml, "x").unwrap();
    assert_eq!(
        lines(&document.validate(&schema).unwrap_err()),
        "x:1:9: /ports: expected items that differ, found the same item twice\n\
         x:1:16: /ports/2: expected an integer above 0 that is a multiple of 5, found 7\n\
         x:2:10: /either: takes more than one of the forms allowed: a table with the field \"a\" or a table with the field \"b\"; keep the fields of one\n\
         x:3:7: /old: expected nothing here, found 1\n\
         x:4:1: unknown field \"old2\"; the fields here are \"either\", \"names\", \"old\", \"ports\", \"secret\"\n\
         x:5:10: /secret: expected a string of at most 3 characters, found \"a\\\\u0007 long line that is cut after fort…\"\n\
         x:7:6: /names/A1: a field here is named by a string matching ^[a-z]+$, which \"A1\" is not"
    );
}

#[test]
fn a_wrong_schema_is_one_fault_and_nothing_is_fetched() {
    let document = Document::parse("{}", Format::Json, "x.json").unwrap();
    for schema in [
        json!({"type": 3}),
        json!({"$ref": "https://example.com/schema.json"}),
    ] {
        let faults = document.validate(&schema).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert!(
            lines(&faults).starts_with("x.json:1:1: its JSON Schema is wrong"),
            "{}",
            lines(&faults)
        );
    }
}

#[test]
fn the_reader_of_a_document_can_add_faults_of_its_own() {
    let text = "[[peers]]\nkey = 'a'\n[[peers]]\nkey = 'a'\n";
    let document = Document::parse(text, Format::Toml, "peers.toml").unwrap();
    let fault =
        Fault::at(&document, "/peers/1/key", "the key of peer 0 again").with_hint("remove one");
    assert_eq!(
        fault.to_string(),
        "peers.toml:4:7: /peers/1/key: the key of peer 0 again; remove one"
    );
    let fault = Fault::unexpected(&document, "/peers/0/key", "an ssh-ed25519 key");
    assert_eq!(
        fault.to_string(),
        "peers.toml:2:7: /peers/0/key: expected an ssh-ed25519 key, found \"a\""
    );
    assert_eq!(
        (fault.expected().as_deref(), fault.found().as_deref()),
        (Some("an ssh-ed25519 key"), Some("\"a\""))
    );
}

#[test]
fn a_part_with_a_schema_of_its_own_keeps_its_place() {
    let text = "[plugins.ssh]\nlog = 'dbug'\nlgo = 1\n[plugins.ssh.proxies.a]\nurl = 'x://'\npassword = 'short'\n";
    let document = Document::parse(text, Format::Toml, "node.toml").unwrap();
    let document = document.hiding(["/plugins/*/proxies/*/password"]);
    let part = document.part("/plugins/ssh").unwrap();
    assert_eq!(
        lines(&part.validate(&common::schema()).unwrap_err()),
        "node.toml:2:7: /plugins/ssh/log: expected one of \"info\", \"debug\", found \"dbug\"; did you mean \"debug\"?\n\
         node.toml:3:1: /plugins/ssh: unknown field \"lgo\"; the fields here are \"keys\", \"limits\", \"listen\", \"log\", \"proxies\", \"rules\"\n\
         node.toml:6:12: /plugins/ssh/proxies/a/password: expected a string of at least 8 characters, found a value that is not shown"
    );
    assert!(document.part("/plugins/http").is_none());
}

#[test]
fn a_place_that_is_missing_is_that_of_the_value_around_it() {
    let text = "{\n  \"a~/b\": [1, {\"c\": 2}]\n}";
    let document = Document::parse(text, Format::Json, "x").unwrap();
    let at = |line, column| Position { line, column };
    assert_eq!(document.locate(""), at(1, 1));
    assert_eq!(document.locate("/a~0~1b"), at(2, 11));
    assert_eq!(document.locate_key("/a~0~1b"), at(2, 3));
    assert_eq!(document.locate("/a~0~1b/1/c"), at(2, 21));
    assert_eq!(document.locate_key("/a~0~1b/1/c"), at(2, 16));
    assert_eq!(document.locate("/a~0~1b/1/none/at/all"), at(2, 15));
    assert_eq!(document.locate("/none"), at(1, 1));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, contents: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(contents) = contents {
            std::fs::write(&path, contents).unwrap();
        }
        let message = Document::read(&path).unwrap_err().to_string();
        message
            .strip_prefix(&format!("{}:", path.display()))
            .unwrap()
            .to_owned()
    };
    assert!(refused("none.json", None).starts_with(" cannot read the file: "));
    assert_eq!(
        refused("node.yaml", Some(b"a: 1")),
        " the file's name must end in .json or .toml"
    );
    assert_eq!(
        refused("node.toml", Some(b"a = 1\nb = '\xff'")),
        "2:6: the text is not UTF-8; save the file as UTF-8"
    );
    assert_eq!(
        refused("long.toml", Some(&[b'\n'; (4 << 20) + 1])),
        " the file is longer than 4194304 bytes"
    );
    std::fs::write(folder.path().join("good.TOML"), "a = 1").unwrap();
    Document::read(&folder.path().join("good.TOML")).unwrap();
}
