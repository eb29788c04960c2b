//! A plugin from nothing: `plugins new`, cargo, the check, and a node that serves it.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::{Alknet, Ended, NODE, Run, Setup, library_of_crate, workspace};

/// What is built here is none of what else is built.
const APART: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/otherwise");

/// Makes the crate of a plugin in a directory of its own, with the dependencies that
/// the workspace has.
fn new_crate(setup: &Setup) -> PathBuf {
    let directory = setup.folder().join("hello");
    setup
        .node(&["plugins", "new", "hello", "--dir"])
        .arg(&directory)
        .arg("--sdk")
        .arg(workspace().join("plugin/sdk"))
        .output();
    let lock = workspace().join("Cargo.lock");
    fs::copy(lock, directory.join("Cargo.lock")).unwrap();
    directory
}

fn check(setup: &Setup, file: &Path, deep: bool) -> Ended {
    let args: &[&str] = match deep {
        true => &["plugins", "check", "--deep"],
        false => &["plugins", "check"],
    };
    setup.node(args).arg(file).ended()
}

/// One crate for all of it: what it costs is to build the SDK.
#[test]
fn a_new_plugin_builds_keeps_to_the_interface_and_serves() {
    let setup = Setup::new();
    let directory = new_crate(&setup);
    let library = library_of_crate(&directory, APART);
    assert_eq!(library.file_name().unwrap(), "libhello.so");
    let installed = setup.install(&library, "libhello.so");
    let ended = check(&setup, &installed, true);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("serves alknet/hello"), "{ended}");

    setup.append(
        "node.toml",
        "\n[plugins.config.hello]\ngreeting = \"hello, \"\n",
    );
    let node = setup.start();
    let user = Alknet::to(&node);
    let run = user.run(&["connect", "--alpn", "alknet/hello", NODE]);
    let ended = run.stdin("world\n").ended();
    assert_eq!(
        (ended.code(), ended.out().as_str()),
        (0, "hello, world\n"),
        "{ended}"
    );
    node.logged(&["plugin::hello::connection", "opened"]);
    typical_mistakes(&directory);
}

/// They are named in the author's words.
fn typical_mistakes(directory: &Path) {
    let setup = &Setup::empty();
    fs::create_dir_all(setup.plugins()).unwrap();
    let (lib, manifest) = (directory.join("src/lib.rs"), directory.join("Cargo.toml"));
    let text = fs::read_to_string(&lib).unwrap();
    fs::write(&lib, "pub fn nothing() {}\n").unwrap();
    let library = library_of_crate(directory, APART);
    let installed = setup.install(&library, "libhello.so");
    for deep in [false, true] {
        let ended = check(setup, &installed, deep);
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(ended.to_string().contains("`export_plugin!`"), "{ended}");
        assert!(!ended.to_string().contains("_1as_"), "{ended}");
    }
    fs::write(&lib, text).unwrap();

    let text = fs::read_to_string(&manifest).unwrap();
    let (before, after) = text.split_once("crate-type = [\"cdylib\"]").unwrap();
    fs::write(&manifest, format!("{before}{after}")).unwrap();
    let rlib = library_of_crate(directory, APART);
    let installed = setup.install(&rlib, "libhello.rlib");
    // Nor is there the file that an author would look for.
    let looked_for = installed.with_extension("so");
    fs::remove_file(&looked_for).unwrap();
    for file in [installed, looked_for] {
        let ended = check(setup, &file, false);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&["refused", "libhello", "crate-type = [\"cdylib\"]"]);
    }
}

#[test]
fn a_name_that_cannot_be_one_is_refused_and_nothing_is_overwritten() {
    let setup = Setup::empty();
    for name in ["Hello", "ssh", "self", "2fast"] {
        let new = setup.node(&["plugins", "new", name, "--dir"]);
        let ended = new.arg(setup.folder().join("x")).ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[name, "cannot be the name of a plugin"]);
    }
    let directory = setup.folder().join("there");
    fs::create_dir(&directory).unwrap();
    let new = setup.node(&["plugins", "new", "there", "--dir"]);
    let ended = new.arg(&directory).ended();
    assert_eq!(ended.code(), 1, "{ended}");
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    let new = setup.node(&["plugins", "new", "there", "--sdk"]);
    let ended = new.arg(setup.folder()).ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["--sdk"]);
}

#[test]
fn the_crates_that_authors_use_can_be_published() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let crates = [
        "alknet-control",
        "alknet-handler",
        "alknet-plugin-interface",
        "alknet-plugin",
    ];
    let ended = Run::new(cargo)
        .dir(workspace())
        .args(["package", "--offline", "--allow-dirty", "--no-verify"])
        .args([
            "--target-dir",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/packages"),
        ])
        .args(crates.iter().flat_map(|name| ["-p", name]))
        .ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(!ended.err().contains("warning"), "{ended}");
    assert_eq!(
        ended.err().matches("Packaged").count(),
        crates.len(),
        "{ended}"
    );
}
