//! The layout of the interface equals its golden copy.
#![allow(clippy::panic, clippy::expect_used)]

use std::path::Path;

#[test]
fn the_layout_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout.golden");
    let layout = alknet_plugin_interface::layout::describe();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &layout).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(&golden).expect("read the golden file");
    assert!(
        layout == expected,
        "the layout of the interface changed. A plugin built before the change can no longer be \
         loaded: raise INTERFACE_VERSION and its history, then run this test with \
         UPDATE_GOLDEN=1.\n--- golden\n{expected}\n--- now\n{layout}"
    );
}
