//! Whether the private half of a public key is at hand. A `.pub` file alone
//! proves nothing: a colleague's lies in `~/.ssh` as well as one's own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use alknet_openssh::{PrivateKeyError, PrivateKeyFile};
use zeroize::Zeroizing;

/// The most bytes of a file that are read: far more than a private key has.
const MAX_LENGTH: u64 = 64 * 1024;

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
    let held = match PrivateKeyFile::parse(text.as_bytes()) {
        Ok(held) => held,
        Err(PrivateKeyError::NotOpenSsh) if is_pem(&text) => return PrivateHalf::Here,
        Err(_) => return PrivateHalf::Missing,
    };
    match blob(held.public_line()) == blob(public_line) {
        true => PrivateHalf::Here,
        false => PrivateHalf::OfAnotherKey,
    }
}

fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN ") && text.contains("PRIVATE KEY")
}

/// The key itself, without its type and comment.
fn blob(public_line: &str) -> Option<&str> {
    public_line.split_whitespace().nth(1)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PUBLIC: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDe4boFJy5wzfwKPszkg7egO27Ma6/WjbXz0v7JyS+k2 me";
    /// The private half, with a passphrase; nobody lets this key in.
    const PRIVATE: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAPx3qjka
7fqc3XRws01MAZAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIDe4boFJy5wzfwKP
szkg7egO27Ma6/WjbXz0v7JyS+k2AAAAkPghB2Iya18xgRJcDKQtVexgvH7I6DD6UC4qo9
FVY0ca9R83/Jom6J5SopyDpbc+VeyWY+/g3w+ySiEq7RQUR0tdQtEH0zfAEU/D51QUcKLZ
9XSJEUWCwQCprBa8I6TePWAYJiSHLWSna33EDN7ucrVw+JBgsX1pjGZnE6FbuzesN5DXjQ
IZqXIcgnHX5haSsw==
-----END OPENSSH PRIVATE KEY-----
";

    #[test]
    fn a_file_is_asked_whose_key_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("id");
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Missing);
        fs::write(&file, PRIVATE).unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Here);
        let other = PUBLIC.replace("+k2 me", "+k3 me");
        assert_eq!(private_half(&file, &other), PrivateHalf::OfAnotherKey);
        fs::write(&file, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n").unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Here);
        fs::write(&file, "my notes").unwrap();
        assert_eq!(private_half(&file, PUBLIC), PrivateHalf::Missing);
    }
}
