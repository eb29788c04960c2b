//! `check` and an independent validator of JSON Schema give the same verdict on
//! every sample, with the schemas that are committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::{Ended, Run, Setup, requires, workspace};
use serde_json::{Value, json};

/// The validator, which shares no code with ours.
const VALIDATOR: &str = "check-jsonschema";

#[test]
fn the_committed_schemas_are_schemas() {
    if !requires(&[VALIDATOR]) {
        return;
    }
    let files = files(&workspace().join("schema/json"));
    for file in &files {
        let schema: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let draft = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(schema["$schema"], draft, "{}", file.display());
    }
    Run::new(VALIDATOR)
        .arg("--check-metaschema")
        .args(files)
        .output();
}

#[test]
fn a_nodes_configuration() {
    compare("node", "node-config", |setup, sample| {
        put(setup, sample, "node");
        setup.on_state("check").ended()
    });
}

#[test]
fn peers() {
    compare("peers", "peers", |setup, sample| {
        let name = put(setup, sample, "peers");
        let text = format!("peers_file = \"{name}\"\n");
        fs::write(setup.config_file(), text).unwrap();
        setup.on_state("check").ended()
    });
}

#[test]
fn the_ssh_plugins_configuration() {
    compare("ssh", "ssh-config", |setup, sample| {
        let text = fs::read_to_string(sample).unwrap();
        let config: Value = match extension(sample) {
            "toml" => toml::from_str(&text).unwrap(),
            _ => serde_json::from_str(&text).unwrap(),
        };
        let whole = json!({ "plugins": { "config": { "ssh": config } } });
        fs::remove_file(setup.config_file()).unwrap();
        fs::write(setup.state().join("node.json"), whole.to_string()).unwrap();
        setup.on_state("check").ended()
    });
}

#[test]
fn secrets() {
    compare("capabilities", "ssh-capabilities", |setup, sample| {
        let secrets: Value = serde_json::from_slice(&fs::read(sample).unwrap()).unwrap();
        let secrets = secrets.as_object().unwrap();
        for (name, value) in secrets {
            let set = setup.node(&["secret", "set", name, "--state"]);
            let set = set.arg(setup.state()).stdin(value.as_str().unwrap());
            let ended = set.ended();
            if !ended.status.success() {
                return ended;
            }
        }
        let names: Vec<_> = secrets.keys().collect();
        setup.append(
            "node.toml",
            &format!("\n[plugins.secrets]\nssh = {names:?}\n"),
        );
        setup.on_state("check").ended()
    });
}

/// Every sample of a kind, against both.
fn compare(kind: &str, schema: &str, check: impl Fn(&Setup, &Path) -> Ended) {
    if !requires(&[VALIDATOR]) {
        return;
    }
    let schema = workspace().join(format!("schema/json/{schema}.schema.json"));
    let samples = workspace().join("tests/samples").join(kind);
    for (group, by_schema, by_check) in [
        ("good", true, true),
        ("bad", false, false),
        ("beyond", true, false),
    ] {
        let samples = files(&samples.join(group));
        let refused = refused_by_schema(&schema, &samples);
        for sample in samples {
            let name = sample.display();
            let refused = refused.contains(&sample);
            assert_eq!(refused, !by_schema, "{name}");
            let checked = check(&Setup::new(), &sample);
            assert_eq!(checked.code(), i32::from(!by_check), "{name}: {checked}");
        }
    }
}

/// Those samples that do not agree with the schema: one start of the validator for
/// all of them.
fn refused_by_schema(schema: &Path, samples: &[PathBuf]) -> BTreeSet<PathBuf> {
    if samples.is_empty() {
        return BTreeSet::new();
    }
    let validated = Run::new(VALIDATOR)
        .args(["--output-format", "json", "--schemafile"])
        .arg(schema)
        .args(samples)
        .ended();
    let report: Value = serde_json::from_str(&validated.out())
        .unwrap_or_else(|_| panic!("a fault in the question: {validated}"));
    // A file that is not JSON or TOML at all is a fault of the sample's.
    assert_eq!(
        report["parse_errors"].as_array().map_or(0, Vec::len),
        0,
        "{report:#}"
    );
    let errors = report["errors"].as_array().into_iter().flatten();
    errors
        .map(|error| PathBuf::from(error["filename"].as_str().unwrap()))
        .collect()
}

/// Puts a sample into the state directory, in place of the file there; gives its
/// name there.
fn put(setup: &Setup, sample: &Path, stem: &str) -> String {
    let _ = fs::remove_file(setup.state().join(format!("{stem}.toml")));
    let name = format!("{stem}.{}", extension(sample));
    fs::copy(sample, setup.state().join(&name)).unwrap();
    name
}

fn extension(file: &Path) -> &str {
    file.extension().unwrap().to_str().unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
