//! Which public keys may log in, and what they are called.

use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::connection::host_key::{MIN_RSA_BITS, rsa_bits};
use crate::server::metrics::AuthError;

/// Whether a signature by this key with this algorithm is accepted.
///
/// # Errors
/// The reason for which it is not accepted.
pub(super) fn check_algorithm(key: &PublicKey, algorithm: &Algorithm) -> Result<(), AuthError> {
    match algorithm {
        // It would be known by the key in it, but not be found among revoked ones.
        _ if key.key_data().is_certificate() => Err(AuthError::Algorithm),
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(()),
        Algorithm::Rsa { hash: None } => Err(AuthError::Sha1),
        Algorithm::Rsa { hash: Some(_) } => match rsa_bits(key) {
            Some(bits) if bits >= MIN_RSA_BITS => Ok(()),
            _ => Err(AuthError::WeakRsa),
        },
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(AuthError::SecurityKey),
        _ => Err(AuthError::Algorithm),
    }
}

/// The fingerprint of a key, `SHA256:<base64>`, as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
