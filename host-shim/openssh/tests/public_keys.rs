//! Single SSH public keys and files of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alknet_openssh::{AuthorizedKey, BlobError, KeyError, KeyFileError, read_public_key_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use tempfile::TempDir;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAD7iH49kblpJQrYKdyQce965pJrbRt2TuUYc5gxDPMp";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDyMxO0fVds2cs9eckSshY8+GRC4MWVGTjbEQGwBVXMlK/W0+klcafDj4VJi2p1HbEjlPHsaQ1dX/e8ZQ8Yvkdg=";
/// 1024 bits.
const WEAK_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCVrrZNFi7kETIUu6wy43Sts+2BswXnxdyfLw/aLPHPPSRQ5TY3S3eIn1Dy7DbTOlliXrB1Kirtg7PiKIwg9wSlICVm6F8kMGd0RnJQzP+EbKajfEUBPEF3DRBU9CDPiuG/fVtLEWQNpb3oggBDXhFR6Zsni47WyMwvMzMimsPdXQ==";

fn parse(line: &str) -> Result<AuthorizedKey, KeyError> {
    line.parse()
}

fn blob_error(algorithm: &str, blob: &[u8]) -> BlobError {
    match parse(&format!("{algorithm} {}", STANDARD.encode(blob))) {
        Err(KeyError::Blob(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn file_with(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.pub");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_key_is_read_with_its_fingerprint_and_comment() {
    let key = parse(&format!("{ED25519}   alice's old laptop \n")).unwrap();
    assert_eq!(key.algorithm, "ssh-ed25519");
    assert_eq!(key.comment, "alice's old laptop");
    assert_eq!(key.line, format!("{ED25519} alice's old laptop"));
    assert_eq!(
        key.fingerprint,
        "SHA256:mz+ISWus/X+oKX2AAPb5phxsUCpAwy9pd0GHUDe19dA"
    );
    let key = parse(ECDSA).unwrap();
    assert_eq!(key.comment, "");
    assert_eq!(key.line, ECDSA);
    assert_eq!(
        key.fingerprint,
        "SHA256:luobCenlUy+Nhr5Eb0XMhn5UvWXwjqkZ/RMgST3CeTU"
    );
}

#[test]
fn what_cannot_be_authorised_is_refused_by_name() {
    let said = |line: &str| parse(line).unwrap_err().to_string();
    assert!(said("").contains("is empty"));
    assert!(said("ssh-ed25519").contains("nothing follows `ssh-ed25519`"));
    assert!(said("hello world").contains("begins with one of ssh-ed25519, ecdsa"));
    assert!(said("ssh-dss AAAA").contains("ssh-dss keys are not accepted"));
    assert!(said("sk-ssh-ed25519@openssh.com AAAA").contains("not supported yet"));
    assert!(said("ssh-ed25519-cert-v01@openssh.com AAAA").contains("is a certificate"));
    assert!(said("ssh-ed25519 AAAA*").contains("not valid base64"));
    assert!(said(&format!("{ED25519} a\nb")).contains("one line"));
    assert!(said(WEAK_RSA).contains("an RSA key of 1024 bits"));
}

#[test]
fn options_are_named_but_their_values_are_not() {
    let options = r#"no-pty,command="echo \"a b\", c",from="10.0.0.1""#;
    let error = parse(&format!("{options} {ED25519}")).unwrap_err();
    let expected = KeyError::Options {
        options: "no-pty, command, from".into(),
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("remove them"), "{error}");
}

#[test]
fn a_private_key_is_not_repeated() {
    let error = parse("-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXk").unwrap_err();
    assert_eq!(error, KeyError::NotAPublicKey);
    assert!(!format!("{error}{error:?}").contains("b3Bl"));
}

#[test]
fn the_binary_form_must_be_whole_and_what_the_label_says() {
    let name = string(b"ssh-ed25519");
    let whole = [name.clone(), string(&[7; 32])].concat();
    assert!(parse(&format!("ssh-ed25519 {}", STANDARD.encode(&whole))).is_ok());
    for length in 1..whole.len() {
        assert_eq!(
            blob_error("ssh-ed25519", &whole[..length]),
            BlobError::Truncated
        );
    }
    let more = [whole.clone(), vec![0]].concat();
    assert_eq!(blob_error("ssh-ed25519", &more), BlobError::TrailingBytes);
    let short = [name, string(&[7; 31])].concat();
    assert_eq!(blob_error("ssh-ed25519", &short), BlobError::WrongLength);
    let error = blob_error("ssh-rsa", &whole);
    assert_eq!(
        error.to_string(),
        "the line says ssh-rsa, but the key inside says `ssh-ed25519`; copy the line again"
    );
}

#[test]
fn ecdsa_points_and_curves_must_fit() {
    let point = |first: u8, length: usize| string(&[vec![first], vec![9; length]].concat());
    let name = string(b"ecdsa-sha2-nistp384");
    let p384 = string(b"nistp384");
    let whole = [name.clone(), p384.clone(), point(4, 96)].concat();
    assert!(parse(&format!("ecdsa-sha2-nistp384 {}", STANDARD.encode(whole))).is_ok());
    for wrong in [point(4, 64), point(2, 96), point(4, 97), string(&[])] {
        let blob = [name.clone(), p384.clone(), wrong].concat();
        assert_eq!(
            blob_error("ecdsa-sha2-nistp384", &blob),
            BlobError::WrongLength
        );
    }
    let blob = [name, string(b"nistp256"), point(4, 64)].concat();
    assert_eq!(
        blob_error("ecdsa-sha2-nistp384", &blob),
        BlobError::OtherCurve
    );
}

#[test]
fn rsa_numbers_must_be_sound() {
    let rsa = |e: &[u8], n: &[u8]| [string(b"ssh-rsa"), string(e), string(n)].concat();
    let modulus = [vec![0], vec![0xff; 256]].concat();
    let good = rsa(&[1, 0, 1], &modulus);
    assert!(parse(&format!("ssh-rsa {}", STANDARD.encode(good))).is_ok());
    for e in [&[][..], &[0], &[0, 1], &[0x80]] {
        assert_eq!(
            blob_error("ssh-rsa", &rsa(e, &modulus)),
            BlobError::NotPositive
        );
    }
    assert_eq!(
        blob_error("ssh-rsa", &rsa(&[3], &[0xff; 256])),
        BlobError::NotPositive
    );
    // 0x7f in front: 2047 bits.
    let bits = blob_error("ssh-rsa", &rsa(&[3], &[0x7f; 256]));
    assert_eq!(bits, BlobError::RsaBits { bits: 2047 });
    let huge = rsa(&[3], &[0x7f; 4096]);
    assert_eq!(
        blob_error("ssh-rsa", &huge),
        BlobError::RsaBits { bits: 32767 }
    );
}

#[test]
fn a_key_file_is_read_with_its_comments_skipped() {
    let (_folder, path) = file_with(format!("# mine\r\n\n{ED25519} a\r\n  {ECDSA} b\n"));
    let keys = read_public_key_file(&path).unwrap();
    let comments: Vec<_> = keys.iter().map(|key| key.comment.as_str()).collect();
    assert_eq!(comments, ["a", "b"]);
}

#[test]
fn a_bad_line_is_named_with_file_and_number() {
    let (_folder, path) = file_with(format!("{ED25519}\n\nrestrict {ECDSA}\n"));
    let text = read_public_key_file(&path).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{}:3: options", path.display())),
        "{text}"
    );
}

#[test]
fn files_without_keys_are_refused() {
    let missing = Path::new("no such file.pub");
    let error = read_public_key_file(missing).unwrap_err();
    assert!(matches!(error, KeyFileError::Read { .. }), "{error}");
    for (text, wanted) in [
        (&b"# nothing\n"[..], "holds no key"),
        (b"\xff\xfe", "not a text file"),
        (&[b'#'; 1_100_000], "larger than 1 MiB"),
    ] {
        let (_folder, path) = file_with(text);
        let said = read_public_key_file(&path).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI needs ssh-keygen");
        eprintln!("SKIPPED: ssh-keygen is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (kind, bits) in [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
        ("rsa", "3072"),
    ] {
        let path = folder.path().join(format!("{kind}{bits}"));
        let file = path.to_str().unwrap();
        keygen(&[
            "-q",
            "-t",
            kind,
            "-b",
            bits,
            "-N",
            "",
            "-C",
            "a comment",
            "-f",
            file,
        ]);
        let public = format!("{file}.pub");
        let listed = keygen(&["-l", "-f", &public]);
        let keys = read_public_key_file(Path::new(&public)).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].comment, "a comment");
        assert_eq!(
            listed.split(' ').nth(1).unwrap(),
            keys[0].fingerprint,
            "{listed}"
        );
    }
}

fn keygen(arguments: &[&str]) -> String {
    let output = Command::new("ssh-keygen").args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_blob_is_read_or_refused(
        label in 0usize..5,
        blob in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let label = [
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ecdsa-sha2-nistp521",
            "ssh-rsa",
        ][label];
        let blob = [string(label.as_bytes()), blob].concat();
        let _ = parse(&format!("{label} {}", STANDARD.encode(blob)));
    }
}
