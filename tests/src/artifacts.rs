//! The binaries and libraries under test, built by cargo or named by
//! variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

/// What the workspace builds.
#[derive(Debug)]
pub struct Artifacts {
    /// The daemon `alknet-node`.
    pub node: PathBuf,
    /// The client `alknet`.
    pub client: PathBuf,
    /// The library of the SSH plugin.
    pub plugin: PathBuf,
    /// The library of `fixtures/odd-plugin`.
    pub odd: PathBuf,
    /// The library of `plugin/echo`.
    pub echo: PathBuf,
    /// The library of `plugin/ca`.
    pub ca: PathBuf,
}

/// The artifacts: named by `ALKNET_TEST_NODE`, `ALKNET_TEST_CLIENT`,
/// `ALKNET_TEST_PLUGIN`, `ALKNET_TEST_FIXTURE`, `ALKNET_TEST_ECHO` and
/// `ALKNET_TEST_CA`, or else built here.
///
/// A library lies elsewhere under `cargo test` than under `cargo build`, and a
/// stale copy may lie in the other place. So cargo is asked, once a process,
/// for what it built just now, in this test's own profile.
pub fn artifacts() -> &'static Artifacts {
    static FOUND: OnceLock<Artifacts> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut built = None;
        let mut find = |variable, target, what: fn(&Value) -> Option<&str>| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .unwrap_or_else(|| {
                    let built: &Vec<Value> = built.get_or_insert_with(build);
                    pick(built, target, what)
                })
        };
        Artifacts {
            node: find("ALKNET_TEST_NODE", "alknet-node", executable),
            client: find("ALKNET_TEST_CLIENT", "alknet", executable),
            plugin: find("ALKNET_TEST_PLUGIN", "alknet_ssh_plugin", library),
            odd: find("ALKNET_TEST_FIXTURE", "odd_plugin", library),
            echo: find("ALKNET_TEST_ECHO", "alknet_echo", library),
            ca: find("ALKNET_TEST_CA", "alknet_ca_plugin", library),
        }
    })
}

/// The directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// The contents of the library that cargo builds with these arguments in a
/// directory of the workspace, besides what the tests themselves are of.
pub fn library_built_with(folder: &str, args: &[&str]) -> Vec<u8> {
    // Another build may put another library in the same place.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let args = [&["--locked"], args].concat();
    let built = cargo_build(&workspace().join(folder), &args);
    let found = built.iter().rev().find_map(library);
    let path = found.unwrap_or_else(|| panic!("cargo built no library with {args:?}"));
    fs::read(path).unwrap()
}

/// The library that cargo builds of a crate outside the workspace, of dependencies
/// that are on this machine.
pub fn library_of_crate(directory: &Path, target: &str) -> PathBuf {
    let args = ["--offline", "--target-dir", target, "--config", NO_DEBUG];
    let built = cargo_build(directory, &args);
    let built = built.last().expect("cargo built the crate");
    let mut files = built["filenames"].as_array().unwrap().iter();
    let path = files.find_map(|file| {
        let file = file.as_str()?;
        [".so", ".rlib"]
            .iter()
            .any(|end| file.ends_with(end))
            .then_some(file)
    });
    path.expect("cargo built a library").into()
}

/// For crates that are built for a test alone.
pub const NO_DEBUG: &str = "profile.dev.debug=false";

fn build() -> Vec<Value> {
    // All of it: for a part, cargo would choose other features of the
    // dependencies and build those again.
    let mut args = vec!["--locked", "--workspace"];
    if !cfg!(debug_assertions) {
        args.push("--release");
    }
    cargo_build(workspace(), &args)
}

fn cargo_build(folder: &Path, args: &[&str]) -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(folder)
        .args(["build", "--message-format=json"])
        .args(args)
        .stderr(Stdio::inherit());
    // What cargo told this test of its own package would make build scripts
    // (ring's) run again, here and then outside.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().expect("cargo can be run");
    assert!(output.status.success(), "cargo build {args:?} fails");
    String::from_utf8(output.stdout)
        .expect("cargo speaks UTF-8")
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|message: &Value| message["reason"] == "compiler-artifact")
        .collect()
}

fn pick(built: &[Value], target: &str, what: fn(&Value) -> Option<&str>) -> PathBuf {
    built
        .iter()
        .filter(|message| message["target"]["name"] == target)
        .find_map(what)
        .unwrap_or_else(|| panic!("cargo built no {target}"))
        .into()
}

fn executable(message: &Value) -> Option<&str> {
    message["executable"].as_str()
}

fn library(message: &Value) -> Option<&str> {
    message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .find(|name| name.ends_with(".so"))
}
