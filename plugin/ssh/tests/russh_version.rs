//! Some of russh's limits cannot be tested for. This notices when they have to
//! be looked at again.

#![allow(clippy::unwrap_used, missing_docs)]

#[test]
fn the_known_limits_were_written_for_this_version_of_russh() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
    let lock = lock.unwrap();
    let mut lines = lock.lines();
    lines.find(|line| *line == "name = \"russh\"").unwrap();
    assert_eq!(
        lines.next(),
        Some("version = \"0.65.1\""),
        "russh has changed: go through host-shim/docs/known-limits.md, take out what is gone, \
         and then name the new version here"
    );
}
