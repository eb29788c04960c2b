//! The writer of OpenSSH's public and private key files (PROTOCOL.key, RFC
//! 8709).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const ALGORITHM: &[u8] = b"ssh-ed25519";
/// The block size in bytes that an unencrypted private section is padded to
/// (OpenSSH, PROTOCOL.key).
const BLOCK: usize = 8;
/// The number of base64 characters on a line, as `ssh-keygen` writes them.
const LINE: usize = 70;

/// The line of a public key file, without a line end.
pub(crate) fn public_line(public: &[u8; 32], comment: &str) -> String {
    let blob = STANDARD.encode(public_blob(public));
    let comment = one_line(comment);
    let gap = if comment.is_empty() { "" } else { " " };
    format!("ssh-ed25519 {blob}{gap}{comment}")
}

/// A private key file in the format of OpenSSH's PROTOCOL.key, not encrypted.
pub(crate) fn private_file(seed: &[u8; 32], public: &[u8; 32], comment: &str) -> Zeroizing<String> {
    let blob = public_blob(public);
    let secret = private_section(seed, public, &one_line(comment));

    // Sized ahead, here and below: growing would leave copies behind.
    let mut file = Zeroizing::new(Vec::with_capacity(128 + blob.len() + secret.len()));
    file.extend_from_slice(b"openssh-key-v1\0");
    put_string(&mut file, b"none"); // cipher
    put_string(&mut file, b"none"); // key derivation
    put_string(&mut file, b""); // its options
    file.extend_from_slice(&1u32.to_be_bytes()); // number of keys
    put_string(&mut file, &blob);
    put_string(&mut file, &secret);
    armour(&file)
}

fn private_section(seed: &[u8; 32], public: &[u8; 32], comment: &str) -> Zeroizing<Vec<u8>> {
    let mut section = Zeroizing::new(Vec::with_capacity(192 + comment.len()));
    // Twice the same number tells a right passphrase from a wrong one; without
    // a passphrase any will do. A fixed one keeps the file reproducible.
    section.extend_from_slice(&[0; 8]);
    put_string(&mut section, ALGORITHM);
    put_string(&mut section, public);
    let pair = Zeroizing::new([seed.as_slice(), public].concat());
    put_string(&mut section, &pair);
    put_string(&mut section, comment.as_bytes());
    let padding = section.len().next_multiple_of(BLOCK) - section.len();
    section.extend((1..).take(padding));
    section
}

fn armour(bytes: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(bytes));
    let mut text = Zeroizing::new(String::with_capacity(
        base64.len() + base64.len() / LINE + 128,
    ));
    text.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    text
}

/// The public key in SSH's binary form (RFC 8709, section 4).
fn public_blob(public: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    put_string(&mut blob, ALGORITHM);
    put_string(&mut blob, public);
    blob
}

/// Appends a string (RFC 4251, section 5): its length in four bytes, then the
/// bytes.
fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn one_line(comment: &str) -> String {
    comment.chars().filter(|c| !c.is_control()).collect()
}
