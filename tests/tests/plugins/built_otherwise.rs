//! Plugins that were built otherwise than the node: they load, or are refused
//! with one line that says why.

use std::fs;

use integration_tests::swapping::{Echo, ODD, Odd, install, plugins, serving, swap};
use integration_tests::{NO_DEBUG, library_built_with};

/// What is built here is none of what else is built.
const APART: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/otherwise");

#[test]
fn a_plugin_of_another_profile_takes_over() {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut echo = runtime.block_on(Echo::open(&odd.node));
    let library = unoptimised("unwind");
    fs::write(&odd.settings, "VERSION=2.0.0\n").unwrap();
    install(setup, &library, ODD);
    let ended = swap(setup);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(serving(setup, "odd")["version"], "2.0.0");
    runtime.block_on(echo.works());
    runtime.block_on(Echo::open(&odd.node));
    // A panic of one copy of std stays in it.
    fs::write(&odd.settings, "VERSION=2.0.0\nFACTORY=panic\n").unwrap();
    let ended = plugins(setup, &["reload", "odd", "--force"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["refused", "has had enough"]);
    runtime.block_on(Echo::open(&odd.node));
    // And back to that of the node's own.
    fs::write(&odd.settings, "VERSION=1.0.0\n").unwrap();
    assert_eq!(plugins(setup, &["rollback", "odd"]).code(), 0);
    runtime.block_on(echo.works());
    runtime.block_on(Echo::open(&odd.node));
}

#[test]
fn a_plugin_whose_panics_would_end_the_node_is_refused() {
    let library = unoptimised("abort");
    refused(&library, &["panic = \"abort\"", "panic = \"unwind\""]);
}

#[test]
fn a_plugin_of_an_older_interface_is_refused() {
    let library = older(&[]);
    let words = ["built for plugin interface 0.9.0", "this node speaks 1."];
    refused(&library, &words);
    // One that says it is of today has another layout still.
    let library = older(&["--features", "claims-today"]);
    let words = [
        "the layout of its interface is another one",
        "build the plugin",
    ];
    refused(&library, &words);
}

/// The odd plugin with nothing optimised, with all checks that rustc can put
/// in, and with a strategy for panics.
fn unoptimised(panic: &str) -> Vec<u8> {
    let panic = format!("profile.dev.panic={panic:?}");
    let settings = [
        "profile.dev.opt-level=0",
        "profile.dev.debug=false",
        "profile.dev.package.\"*\".opt-level=0",
        &panic,
    ];
    let settings = settings
        .into_iter()
        .flat_map(|setting| ["--config", setting]);
    let args: Vec<_> = ["-p", "odd-plugin", "--target-dir", APART]
        .into_iter()
        .chain(settings)
        .collect();
    library_built_with(".", &args)
}

fn older(args: &[&str]) -> Vec<u8> {
    let args = [&["--target-dir", APART, "--config", NO_DEBUG], args].concat();
    library_built_with("tests/fixtures/older-interface", &args)
}

/// The check says so in one line, and so does a node that is to load it in
/// place of one that serves on.
fn refused(library: &[u8], words: &[&str]) {
    let odd = Odd::start("VERSION=1.0.0\n");
    let setup = &odd.node.setup;
    install(setup, library, ODD);
    let file = setup.plugins().join(ODD);
    for ended in [
        setup.node(&["plugins", "check"]).arg(&file).ended(),
        swap(setup),
    ] {
        assert_eq!(ended.code(), 1, "{ended}");
        assert_eq!(ended.err().lines().count(), 1, "{ended}");
        let line = ended.line_with(&[&["refused", ODD], words].concat());
        println!("{line}");
    }
    assert_eq!(serving(setup, "odd")["id"], 2);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(Echo::open(&odd.node));
}
