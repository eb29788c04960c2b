//! The server's host keys: read from their files and checked for use.

use alknet_handler::{ConfigError, Secret};
use russh::keys::{Algorithm, PrivateKey};

/// Smallest RSA key accepted, in bits, for hosts and users.
pub(crate) const MIN_RSA_BITS: usize = 2048;

/// Reads host keys from OpenSSH private key files (PEM, not encrypted), one
/// secret each.
///
/// # Errors
/// When a key cannot be read, is encrypted, or is of a kind the server does
/// not offer. The message says which one by its place; it holds nothing of
/// the key.
pub fn parse_host_keys(secrets: &[Secret]) -> Result<Vec<PrivateKey>, ConfigError> {
    secrets
        .iter()
        .enumerate()
        .map(|(index, secret)| parse(secret).map_err(|fault| host_key_error(index, fault)))
        .collect()
}

/// Fails unless there is a key, and all can be offered.
pub(crate) fn check_host_keys(keys: &[PrivateKey]) -> Result<(), ConfigError> {
    if keys.is_empty() {
        return Err(ConfigError {
            pointer: String::new(),
            message: "no host key was given; the server needs at least one".to_owned(),
        });
    }
    for (index, key) in keys.iter().enumerate() {
        check(key).map_err(|fault| host_key_error(index, fault))?;
    }
    Ok(())
}

fn parse(secret: &Secret) -> Result<PrivateKey, &'static str> {
    let key = PrivateKey::from_openssh(secret.expose())
        .map_err(|_| "cannot be read; it must be an OpenSSH private key file")?;
    check(&key)?;
    Ok(key)
}

fn check(key: &PrivateKey) -> Result<(), &'static str> {
    if key.is_encrypted() {
        return Err("is encrypted; store it without a passphrase");
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(()),
        Algorithm::Rsa { .. } => match rsa_bits(key.public_key()) {
            Some(bits) if bits >= MIN_RSA_BITS => Ok(()),
            _ => Err("is an RSA key of fewer than 2048 bits; make a new one"),
        },
        _ => Err("is of a kind that cannot be used; use Ed25519, ECDSA or RSA"),
    }
}

/// The size of an RSA key's modulus; `None` for other keys.
pub(crate) fn rsa_bits(key: &russh::keys::PublicKey) -> Option<usize> {
    let modulus = key.key_data().rsa()?.n().as_positive_bytes()?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let leading = modulus.get(first)?.leading_zeros() as usize;
    Some((modulus.len() - first) * 8 - leading)
}

fn host_key_error(index: usize, fault: &str) -> ConfigError {
    ConfigError {
        pointer: String::new(),
        message: format!("host key {} {fault}", index + 1),
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::LineEnding;

    use super::*;

    #[test]
    fn an_openssh_key_is_read_and_rubbish_is_named_by_its_place() {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let pem = key.to_openssh(LineEnding::LF).unwrap();
        let good = Secret::new(pem.as_bytes().to_vec());
        let keys = parse_host_keys(std::slice::from_ref(&good)).unwrap();
        assert_eq!(keys[0].public_key().key_data(), key.public_key().key_data());

        let bad = Secret::new(b"rubbish".to_vec());
        let error = parse_host_keys(&[good, bad]).unwrap_err();
        assert!(error.message.starts_with("host key 2 "), "{error}");
    }

    #[test]
    fn no_key_at_all_is_refused() {
        assert!(check_host_keys(&[]).is_err());
    }
}
