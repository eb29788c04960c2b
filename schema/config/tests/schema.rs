//! The committed schemas are what the types say, and an independent validator
//! reads them to the same verdicts as the code.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::PathBuf;

use alknet_ssh_config::{SshConfig, audit_schema, capabilities_schema, ssh_config_schema};
use serde_json::{Value, json};

#[test]
fn the_committed_config_schema_is_current() {
    compare("ssh-config.schema.json", &ssh_config_schema());
}

#[test]
fn the_committed_capabilities_schema_is_current() {
    compare("ssh-capabilities.schema.json", &capabilities_schema());
}

#[test]
fn the_committed_audit_schema_is_current() {
    compare("ssh-audit.schema.json", &audit_schema());
}

#[test]
fn validator_and_code_agree() {
    let schema = jsonschema::validator_for(&ssh_config_schema()).unwrap();
    for (document, good) in documents() {
        let text = document.to_string();
        assert_eq!(schema.is_valid(&document), good, "schema: {text}");
        assert_eq!(SshConfig::from_json(&text).is_ok(), good, "code: {text}");
    }
}

#[test]
fn any_secret_can_be_granted_under_a_plain_name() {
    let schema = jsonschema::validator_for(&capabilities_schema()).unwrap();
    for (document, good) in [
        (json!({}), true),
        (json!({"proxy": "user:password", "a.b-c_1": ""}), true),
        (json!({"proxy": 1}), false),
        (json!({"Proxy": "x"}), false),
        (json!({"": "x"}), false),
        (json!({"a".repeat(65): "x"}), false),
    ] {
        assert_eq!(schema.is_valid(&document), good, "{document}");
    }
}

#[test]
fn every_bound_is_the_same_for_validator_and_code() {
    let schema = ssh_config_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut bounds = 0;
    for (topic, definition) in [
        (vec!["runtime"], "Runtime"),
        (vec!["limits"], "Limits"),
        (vec!["services", "exec"], "Exec"),
        (vec!["services", "sftp"], "Sftp"),
        (vec!["forwarding"], "Forwarding"),
        (vec!["transport"], "Transport"),
    ] {
        let properties = schema["$defs"][definition]["properties"]
            .as_object()
            .unwrap();
        for (name, property) in properties {
            let (Some(min), Some(max)) =
                (property["minimum"].as_i64(), property["maximum"].as_i64())
            else {
                continue;
            };
            bounds += 1;
            for (value, good) in [(min, true), (max, true), (min - 1, false), (max + 1, false)] {
                let document = topic
                    .iter()
                    .rev()
                    .fold(json!({ name: value }), |inner, key| json!({ *key: inner }));
                let text = document.to_string();
                assert_eq!(validator.is_valid(&document), good, "schema: {text}");
                assert_eq!(SshConfig::from_json(&text).is_ok(), good, "code: {text}");
            }
        }
    }
    assert!(bounds >= 15, "only {bounds} bounded fields found");
}

#[test]
fn every_field_is_described() {
    fn walk(path: &str, value: &Value) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                assert!(property.get("description").is_some(), "{path}/{name}");
            }
        }
        if let Some(object) = value.as_object() {
            for (key, inner) in object {
                walk(&format!("{path}/{key}"), inner);
            }
        }
    }
    walk("", &ssh_config_schema());
    walk("", &audit_schema());
}

fn documents() -> Vec<(Value, bool)> {
    vec![
        (json!({}), true),
        (json!([]), false),
        (json!({"runtime": {}}), true),
        (json!({"runtime": null}), false),
        (json!({"runtime": [1]}), false),
        (json!({"colour": "red"}), false),
        (json!({"limits": {"colour": "red"}}), false),
        (json!({"limits": {"login_grace_seconds": 1.5}}), false),
        (json!({"limits": {"login_grace_seconds": "60"}}), false),
        (json!({"services": {"exec": {"shell": "/bin/bash"}}}), true),
        (json!({"services": {"sftp": {"root": "/srv/files"}}}), true),
        (json!({"services": {"sftp": {"root": "files"}}}), false),
        (json!({"services": {"sftp": {"root": "/a\u{0}"}}}), false),
        (json!({"services": {"sftp": [true]}}), false),
        (json!({"services": {"exec": {"shell": "bash"}}}), false),
        (json!({"services": {"exec": {"shell": ""}}}), false),
        (
            json!({"services": {"exec": {"environment": {"A_1": "x"}}}}),
            true,
        ),
        (
            json!({"services": {"exec": {"environment": {"A_1": 1}}}}),
            false,
        ),
        (
            json!({"services": {"exec": {"environment": {"1A": "x"}}}}),
            false,
        ),
        (
            json!({"services": {"exec": {"environment": {"": "x"}}}}),
            false,
        ),
        (
            json!({"services": {"exec": {"environment": {"A": "x\u{0}"}}}}),
            false,
        ),
        (
            json!({"services": {"exec": {"accept_env": ["LC_*", "A"]}}}),
            true,
        ),
        (json!({"services": {"exec": {"accept_env": ["*"]}}}), false),
        (
            json!({"services": {"exec": {"accept_env": ["A=B"]}}}),
            false,
        ),
        (json!({"services": {"shell": {}}}), true),
        (json!({"services": {"shell": []}}), false),
        (
            json!({"services": {"shell": {"program": "/bin/bash"}}}),
            true,
        ),
        (json!({"services": {"shell": {"program": null}}}), true),
        (json!({"services": {"shell": {"program": "bash"}}}), false),
        (json!({"services": {"agent_forwarding": []}}), false),
        (
            json!({"services": {"subsystems": {"a@b-c~": "cat -v"}}}),
            true,
        ),
        (json!({"services": {"subsystems": {"a,b": "cat"}}}), false),
        (json!({"services": {"subsystems": {"": "cat"}}}), false),
        (json!({"services": {"subsystems": {"a": " "}}}), false),
        (json!({"limits": {"max_startups": []}}), false),
        (json!({"limits": {"max_startups": "10:30:100"}}), false),
        (
            json!({"limits": {"max_startups": {"start": 10, "full": 10}}}),
            true,
        ),
        (json!({"limits": {"max_startups": {"rate": 101}}}), false),
        (json!({"limits": {"penalties": {"exempt": []}}}), true),
        (json!({"limits": {"penalties": {"exempt": [""]}}}), false),
        (json!({"limits": {"penalties": {"max_seconds": 0}}}), false),
        (json!({"limits": {"penalties": false}}), false),
        (json!({"endpoint_identity": {"allow_none": true}}), true),
        (json!({"endpoint_identity": []}), false),
        (json!({"audit": []}), false),
        (json!({"audit": {"file": "/a"}}), true),
        (json!({"audit": {"file": "a"}}), false),
        (json!({"audit": {"file": "/a/"}}), false),
        (json!({"audit": {"destinations": "some"}}), false),
        (
            json!({"audit": {"destinations": "hashed", "hash_key": "audit"}}),
            true,
        ),
        (json!({"audit": {"hash_key": "A"}}), false),
        (json!({"forwarding": []}), false),
        (json!({"forwarding": {"egress": []}}), false),
        (json!({"forwarding": {"rules": {}}}), false),
        (json!({"forwarding": {"rules": [[]]}}), false),
        (json!({"forwarding": {"rules": [{}]}}), false),
        (
            json!({"forwarding": {"rules": [["db:22", "allow", []]]}}),
            false,
        ),
        (
            json!({"forwarding": {"rules": [{"target": "db:22", "action": "deny"}]}}),
            true,
        ),
        (
            json!({"forwarding": {"rules": [{"target": "db:22", "action": "deny", "principals": [""]}]}}),
            false,
        ),
        (
            json!({"forwarding": {"rules": [{"target": "", "action": "deny"}]}}),
            false,
        ),
        (
            json!({"forwarding": {"rules": [{"target": "db:22", "action": "Deny"}]}}),
            false,
        ),
        (
            json!({"forwarding": {"rules": [{"target": "db:22", "action": {"deny": null}}]}}),
            false,
        ),
        (
            json!({"services": {"rules": [{"target": "exec", "action": "deny", "principals": ["bob"]}]}}),
            true,
        ),
        (
            json!({"forwarding": {"egress": {"proxy": "http://[::1]:3128", "credentials": "p"}}}),
            true,
        ),
        (
            json!({"forwarding": {"egress": {"proxy": null, "credentials": null}}}),
            true,
        ),
        (
            json!({"forwarding": {"egress": {"proxy": "http://p:1", "credentials": "P"}}}),
            false,
        ),
    ]
}

fn compare(name: &str, schema: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../json")
        .join(name);
    let wanted = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "schema/json/{name} is out of date; run\n    \
         UPDATE_SCHEMAS=1 cargo test -p alknet-ssh-config\nand commit the result"
    );
}
