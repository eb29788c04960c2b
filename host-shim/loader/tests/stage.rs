//! The private copies that get loaded.

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

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use alknet_loader::{Digest, Stage, Trust, TrustedFile};
use common::{Plugins, plugin, set_mode};

#[test]
fn every_copy_has_a_path_and_an_inode_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let stage = Stage::open(&home.path().join("staged")).unwrap();
    let library = library();
    let copies = (0..8)
        .map(|_| stage.place(&library).unwrap())
        .collect::<Vec<_>>();
    let inodes = copies
        .iter()
        .map(|copy| {
            assert_eq!(std::fs::read(copy.path()).unwrap(), plugin());
            let name = copy.path().file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&Digest::of(plugin()).to_hex()), "{name}");
            let meta = std::fs::metadata(copy.path()).unwrap();
            assert_eq!(meta.mode() & 0o777, 0o444);
            (copy.path().to_owned(), meta.ino())
        })
        .collect::<HashSet<_>>();
    assert_eq!(inodes.len(), 8);
    assert_eq!(
        inodes
            .iter()
            .map(|(_, inode)| inode)
            .collect::<HashSet<_>>()
            .len(),
        8
    );
}

#[test]
fn a_copy_goes_away_with_its_owner_and_survives_the_sweep_until_then() {
    let home = tempfile::tempdir().unwrap();
    let stage = Stage::open(&home.path().join("staged")).unwrap();
    let dropped = stage.place(&library()).unwrap().path().to_owned();
    assert!(!dropped.exists());
    let kept = stage.place(&library()).unwrap();
    assert_ne!(kept.path(), dropped);
    assert_eq!(stage.sweep().unwrap(), 0);
    assert!(kept.path().exists());
}

#[test]
fn a_folder_that_was_removed_is_made_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("staged");
    let stage = Stage::open(&folder).unwrap();
    assert!(!stage.restore().unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(stage.restore().unwrap());
    std::fs::rename(&folder, home.path().join("elsewhere")).unwrap();
    let copy = stage.place(&library()).unwrap();
    assert!(copy.path().starts_with(&folder) && copy.path().exists());
}

#[test]
fn the_sweep_takes_what_ended_processes_left_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("staged");
    let stage = Stage::open(&folder).unwrap();
    let digest = Digest::of(b"x").to_hex();
    for (name, stays) in [
        (format!("{digest}-1-0.so"), false),
        (format!("{digest}-4194304-17.so"), false),
        (format!("{digest}-1.so"), true),
        (format!("{digest}-1-0.so.bak"), true),
        (format!("{}-1-0.so", &digest[1..]), true),
        ("notes.txt".to_owned(), true),
    ] {
        let path = folder.join(&name);
        std::fs::write(&path, "left").unwrap();
        let removed = stage.sweep().unwrap();
        assert_eq!(
            (path.exists(), removed),
            (stays, usize::from(!stays)),
            "{name}"
        );
    }
    let link = folder.join(format!("{digest}-2-0.so"));
    std::os::unix::fs::symlink("notes.txt", &link).unwrap();
    assert_eq!(stage.sweep().unwrap(), 0);
    assert!(link.is_symlink());
}

#[test]
fn the_folder_is_made_private_and_refused_when_it_is_not() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("staged");
    Stage::open(&folder).unwrap();
    Stage::open(&folder).unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
    set_mode(&folder, 0o750);
    let refusal = Stage::open(&folder).unwrap_err();
    assert!(refusal.to_string().contains("with mode 0750"), "{refusal}");

    set_mode(&folder, 0o700);
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    assert_eq!(Stage::open(&link).unwrap_err().kind(), "stage_folder");
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(Stage::open(&file).unwrap_err().kind(), "stage_folder");
    assert_eq!(
        Stage::open(Path::new("/")).unwrap_err().kind(),
        "stage_folder"
    );
    assert_eq!(
        Stage::open(&home.path().join("no/staged"))
            .unwrap_err()
            .kind(),
        "missing"
    );
}

#[test]
fn a_folder_in_which_others_can_replace_it_is_refused() {
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o777);
    assert_eq!(
        Stage::open(&home.path().join("staged")).unwrap_err().kind(),
        "writable"
    );
    set_mode(home.path(), 0o1777);
    Stage::open(&home.path().join("staged")).unwrap();
}

fn library() -> TrustedFile {
    TrustedFile::read(&Plugins::with(plugin()).library(), &Trust::default()).unwrap()
}
