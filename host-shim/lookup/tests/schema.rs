//! The committed schema equals the one that the types give.
#![allow(clippy::expect_used)]

use std::path::Path;

#[test]
fn the_committed_schema_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/json/lookup.schema.json");
    let generated = alknet_lookup::lookup_schema();
    let generated = serde_json::to_string_pretty(&generated).expect("it is JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&file, &generated).expect("write the schema");
    }
    let committed = std::fs::read_to_string(&file).expect("read the schema");
    assert!(
        committed == generated,
        "schema/json/lookup.schema.json is stale: run this test with UPDATE_SCHEMAS=1 and commit"
    );
}
