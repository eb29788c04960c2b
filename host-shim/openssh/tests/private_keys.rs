//! Private key files: what we write `ssh-keygen` reads, and the other way
//! round.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use alknet_openssh::{Ed25519KeyFiles, PrivateFile, PrivateKeyError, PrivateKeyFile};

/// RFC 8032 section 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const PUBLIC: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
const LINE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

fn files(comment: &str) -> Ed25519KeyFiles {
    Ed25519KeyFiles::new(&SEED, &PUBLIC, comment).unwrap()
}

fn keygen(args: &[&str]) -> Option<String> {
    let output = match Command::new("ssh-keygen").args(args).output() {
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: ssh-keygen is not installed: {error}");
            return None;
        }
        output => output.unwrap(),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_files_are_reproducible_and_one_line_stays_one_line() {
    assert_eq!(files("my node").public_line(), format!("{LINE} my node"));
    assert_eq!(files("").public_line(), LINE);
    let sneaky = files("a\nssh-ed25519 AAAA");
    assert_eq!(sneaky.public_line().lines().count(), 1);
    assert_eq!(files("x").private(), files("x").private());
}

#[test]
fn what_is_written_is_read_back() {
    let text = files("me").private().to_owned();
    let key = PrivateKeyFile::parse(format!("\n{text}\nwhat follows").as_bytes()).unwrap();
    assert!(!key.is_encrypted());
    assert_eq!(key.public_line(), LINE);
    assert_eq!(*key.ed25519_seed().unwrap(), SEED);
    for (damage, error) in [
        (text.replacen("b3Bl", "!!!!", 1), PrivateKeyError::Base64),
        (text.replacen("AAAA", "AAAB", 1), PrivateKeyError::Damaged),
        (text[..200].to_owned(), PrivateKeyError::Damaged),
        (LINE.to_owned(), PrivateKeyError::NotOpenSsh),
        (text.replace("OPENSSH ", ""), PrivateKeyError::NotOpenSsh),
    ] {
        let said = PrivateKeyFile::parse(damage.as_bytes()).err();
        assert_eq!(said, Some(error), "{damage}");
    }
}

#[test]
fn ssh_keygen_reads_the_private_key() {
    let directory = tempfile::tempdir().unwrap();
    // Comments of every length, so that every amount of padding is met.
    for length in 0..9 {
        let files = files(&"c".repeat(length));
        let file = directory.path().join(format!("key{length}"));
        fs::write(&file, files.private()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let Some(line) = keygen(&["-y", "-f", file.to_str().unwrap()]) else {
            return;
        };
        assert_eq!(line.trim_end(), files.public_line());
    }
}

#[test]
fn keys_of_ssh_keygen_are_read_with_and_without_a_passphrase() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, bits, passphrase) in [
        ("ed25519", "256", ""),
        ("ed25519", "256", "secret"),
        ("ecdsa", "384", ""),
        ("rsa", "2048", ""),
        ("rsa", "2048", "secret"),
    ] {
        let path = directory.path().join(format!("{kind}{passphrase}"));
        let file = path.to_str().unwrap();
        let args = ["-q", "-t", kind, "-b", bits, "-a", "1", "-f", file, "-N"];
        if keygen(&[&args[..], &[passphrase]].concat()).is_none() {
            return;
        }
        let text = PrivateFile::default().read(&path, 65536).unwrap();
        let key = PrivateKeyFile::parse(&text).unwrap();
        assert_eq!(key.is_encrypted(), !passphrase.is_empty());
        assert_eq!(
            key.ed25519_seed().is_some(),
            (kind, passphrase) == ("ed25519", "")
        );
        let public = fs::read_to_string(Path::new(&format!("{file}.pub"))).unwrap();
        assert!(public.starts_with(key.public_line()), "{public}");
        let listed = keygen(&["-l", "-f", file]).unwrap();
        assert!(listed.contains(&key.fingerprint()), "{listed}");
    }
}
