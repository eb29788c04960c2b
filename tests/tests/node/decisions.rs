//! The index of the decisions (`host-shim/docs/adr/README.md`) lists every one.

use std::collections::BTreeSet;
use std::fs;

use integration_tests::workspace;

#[test]
fn every_decision_is_in_the_index_under_its_title() {
    let directory = workspace().join("host-shim/docs/adr");
    let index = fs::read_to_string(directory.join("README.md")).unwrap();
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(&directory).unwrap() {
        files.insert(entry.unwrap().file_name().into_string().unwrap());
    }
    files.remove("README.md");
    assert!(files.len() > 70, "{} records", files.len());
    for file in &files {
        let (number, _) = file.split_once('-').unwrap();
        let text = fs::read_to_string(directory.join(file)).unwrap();
        let title = text.lines().next().unwrap();
        let (_, title) = title.split_once(". ").unwrap();
        let line = format!("| {number} | [{title}]({file}) | ");
        assert!(index.contains(&line), "the index does not say {line:?}");
    }
    for link in index.split("](").skip(1) {
        let (file, _) = link.split_once(')').unwrap();
        assert!(
            files.contains(file),
            "the index links to {file}, which is not there"
        );
    }
}
