//! The mnemonic file: who may read it, and what is said when it is wrong.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use alknet_openssh::PrivateFileError;
use alknet_vault::{Mnemonic, MnemonicError};
use tempfile::TempDir;

use super::{MnemonicFileError, create, read};

const ABOUT: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon about";

fn file_with(text: impl AsRef<[u8]>, mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnemonic");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn refusal(path: &Path) -> MnemonicFileError {
    read(path).unwrap_err()
}

#[test]
fn what_is_written_can_be_read_and_only_by_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnemonic");
    let mnemonic = Mnemonic::generate().unwrap();
    create(&mnemonic, &path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let read = read(&path).unwrap();
    assert_eq!(read.expose_phrase(), mnemonic.expose_phrase());
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let (_folder, path) = file_with("precious", 0o600);
    let error = create(&Mnemonic::generate().unwrap(), &path).unwrap_err();
    assert!(matches!(error, MnemonicFileError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_dangling_link_is_not_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("elsewhere"), folder.path().join("link"));
    symlink(&target, &link).unwrap();
    create(&Mnemonic::generate().unwrap(), &link).unwrap_err();
    assert!(!target.exists());
}

#[test]
fn a_careless_file_is_read() {
    let (_folder, path) = file_with(format!("{}\r\n\n", ABOUT.to_uppercase()), 0o400);
    assert_eq!(read(&path).unwrap().expose_phrase().as_str(), ABOUT);
}

#[test]
fn a_file_open_to_others_is_refused_with_the_cure() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610] {
        let (_folder, path) = file_with(ABOUT, mode);
        let text = refusal(&path).to_string();
        assert!(
            text.contains(&format!("chmod 600 {}", path.display())),
            "{text}"
        );
        assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
    }
}

#[test]
fn someone_elses_file_is_refused() {
    let (_folder, path) = file_with(ABOUT, 0o600);
    if chown(&path, Some(12345), None).is_err() {
        eprintln!("SKIPPED: only root can give a file away");
        return;
    }
    let error = refusal(&path);
    assert!(
        matches!(
            error,
            MnemonicFileError::File(PrivateFileError::ForeignOwner { owner: 12345, .. })
        ),
        "{error}"
    );
}

#[test]
fn links_folders_and_missing_files_are_refused() {
    let (folder, path) = file_with(ABOUT, 0o600);
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        refusal(&link),
        MnemonicFileError::File(PrivateFileError::SymbolicLink { .. })
    ));
    assert!(matches!(
        refusal(folder.path()),
        MnemonicFileError::File(PrivateFileError::NotAFile { .. })
    ));
    let missing = folder.path().join("missing");
    let text = refusal(&missing).to_string();
    assert!(text.contains(&missing.display().to_string()), "{text}");
}

#[test]
fn wrong_contents_are_named_with_the_file_but_without_the_words() {
    let (_folder, path) = file_with(ABOUT.replacen("abandon", "abadon", 1), 0o600);
    let error = refusal(&path);
    assert!(matches!(
        error,
        MnemonicFileError::Invalid {
            source: MnemonicError::UnknownWord { position: 1 },
            ..
        }
    ));
    let text = format!("{error} {error:?}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(
        !text.contains("abadon") && !text.contains("about"),
        "{text}"
    );

    let (_folder, path) = file_with([0xff, 0xfe], 0o600);
    assert!(matches!(refusal(&path), MnemonicFileError::NotText { .. }));
    let (_folder, path) = file_with("a".repeat(5000), 0o600);
    assert!(matches!(
        refusal(&path),
        MnemonicFileError::File(PrivateFileError::TooLarge { .. })
    ));
    let (_folder, path) = file_with("", 0o600);
    assert!(matches!(
        refusal(&path),
        MnemonicFileError::Invalid {
            source: MnemonicError::WordCount { found: 0 },
            ..
        }
    ));
}
