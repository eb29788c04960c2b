//! Whether the private half of a public key is at hand. A `.pub` file alone
//! proves nothing: a colleague's lies in `~/.ssh` as well as one's own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::secrets::wire::{take_string, take_u32};

/// The most bytes of a file that are read: far more than a private key has.
const MAX_LENGTH: u64 = 64 * 1024;
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
/// The bytes that a private key begins with (OpenSSH's PROTOCOL.key, section
/// 1).
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// What a private key file says of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrivateHalf {
    /// The file holds the private half, or does not say whose key it is: a file
    /// in PEM does not without its passphrase.
    Here,
    /// The file does not exist, or is not a private key.
    Missing,
    /// The file holds another key.
    OfAnotherKey,
}

/// Looks in `file` for the private half of a public key, given as a line of a
/// `.pub` file. The public half is written there in the clear, whether the file
/// has a passphrase or not.
pub(crate) fn private_half(file: &Path, public_line: &str) -> PrivateHalf {
    let Some(text) = read(file) else {
        return PrivateHalf::Missing;
    };
    let Some(armoured) = text.trim_start().strip_prefix(BEGIN) else {
        return match text.trim_start().starts_with("-----BEGIN ") && text.contains("PRIVATE KEY") {
            true => PrivateHalf::Here,
            false => PrivateHalf::Missing,
        };
    };
    let wanted = public_line.split_whitespace().nth(1);
    let wanted = wanted.and_then(|base64| BASE64_STANDARD.decode(base64).ok());
    match (public_blob(armoured), wanted) {
        (Some(held), Some(wanted)) if held == wanted => PrivateHalf::Here,
        (Some(_), Some(_)) => PrivateHalf::OfAnotherKey,
        _ => PrivateHalf::Missing,
    }
}

fn read(file: &Path) -> Option<Zeroizing<String>> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_LENGTH {
        return None;
    }
    let mut text = Zeroizing::new(String::new());
    let file = File::open(file).ok()?;
    file.take(MAX_LENGTH).read_to_string(&mut text).ok()?;
    Some(text)
}

fn public_blob(armoured: &str) -> Option<Vec<u8>> {
    let base64: Zeroizing<String> = Zeroizing::new(
        armoured
            .split(END)
            .next()?
            .split_ascii_whitespace()
            .collect(),
    );
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(base64.as_bytes()).ok()?);
    let mut rest = bytes.strip_prefix(MAGIC)?;
    // The cipher, its key derivation and the options of that.
    for _ in 0..3 {
        take_string(&mut rest)?;
    }
    (take_u32(&mut rest)? == 1).then_some(())?;
    take_string(&mut rest).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PUBLIC: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH me";

    /// A private key file as far as it can be read without its passphrase.
    fn private(public: &str) -> String {
        let blob = BASE64_STANDARD
            .decode(public.split(' ').nth(1).unwrap())
            .unwrap();
        let mut bytes = MAGIC.to_vec();
        let mut put = |string: &[u8]| {
            bytes.extend(u32::try_from(string.len()).unwrap().to_be_bytes());
            bytes.extend(string);
        };
        put(b"aes256-ctr");
        put(b"bcrypt");
        put(b"options");
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(u32::try_from(blob.len()).unwrap().to_be_bytes());
        bytes.extend(blob);
        let base64 = BASE64_STANDARD.encode(bytes);
        let (first, second) = base64.split_at(70);
        format!("{BEGIN}\n{first}\n{second}\n{END}\n")
    }

    #[test]
    fn a_file_is_asked_whose_key_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("id");
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Missing);
        fs::write(&file, private(PUBLIC)).unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Here);
        let other = PUBLIC.replace("BwcH me", "BwcI me");
        assert_eq!(private_half(&file, &other), PrivateHalf::OfAnotherKey);
        fs::write(&file, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n").unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Here);
        fs::write(&file, "my notes").unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Missing);
    }
}
