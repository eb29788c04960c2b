//! The binary form of SSH public keys: RFC 4253 section 6.6 (RSA), RFC 5656
//! section 3.1 (ECDSA), RFC 8709 section 4 (Ed25519).

use ssh_key::encoding::Decode;
use ssh_key::public::{KeyData, RsaPublicKey};

/// Lengths of RSA keys in bits: shorter ones are weak, longer ones OpenSSH
/// does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16384;

/// Reads `blob`, which has to be one whole key of type `algorithm`, the first
/// word of its line.
pub(crate) fn read(algorithm: &str, blob: &[u8]) -> Result<KeyData, BlobError> {
    let mut rest = blob;
    let inner = Vec::<u8>::decode(&mut rest).map_err(|_| BlobError::Truncated)?;
    if inner != algorithm.as_bytes() {
        return Err(BlobError::OtherAlgorithm {
            label: algorithm.to_owned(),
            inner: inner.iter().take(64).copied().map(printable).collect(),
        });
    }
    let fields = rest;
    let mut rest = blob;
    let key = KeyData::decode(&mut rest).map_err(|_| cause(algorithm, fields))?;
    if !rest.is_empty() {
        return Err(BlobError::TrailingBytes);
    }
    match &key {
        KeyData::Rsa(key) => check_bits(key)?,
        // The uncompressed form, which RFC 5656 asks for, begins with a 4.
        KeyData::Ecdsa(key) if key.as_sec1_bytes().first() != Some(&4) => {
            return Err(BlobError::WrongLength);
        }
        _ => {}
    }
    Ok(key)
}

/// The cause for which the fields behind the name of `algorithm` are not a key:
/// `ssh-key` says no more than that they are not.
fn cause(algorithm: &str, mut fields: &[u8]) -> BlobError {
    let curve = algorithm.strip_prefix("ecdsa-sha2-");
    let count = if algorithm == "ssh-ed25519" { 1 } else { 2 };
    let mut strings = Vec::new();
    for _ in 0..count {
        match Vec::<u8>::decode(&mut fields) {
            Ok(string) => strings.push(string),
            Err(_) => return BlobError::Truncated,
        }
    }
    match (curve, strings.first()) {
        (Some(curve), Some(inner)) if inner != curve.as_bytes() => BlobError::OtherCurve,
        (None, _) if algorithm == "ssh-rsa" => BlobError::NotPositive,
        _ => BlobError::WrongLength,
    }
}

fn check_bits(key: &RsaPublicKey) -> Result<(), BlobError> {
    let modulus = key.n().as_positive_bytes().unwrap_or_default();
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(leading as usize);
    match RSA_BITS.contains(&bits) {
        true => Ok(()),
        false => Err(BlobError::RsaBits { bits }),
    }
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() {
        byte.into()
    } else {
        '?'
    }
}

/// Why the decoded base64 is not the key its label promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It ends early.
    #[error("the key is incomplete; copy the whole line again")]
    Truncated,
    /// Something follows the key.
    #[error("there are bytes after the end of the key; copy the line again")]
    TrailingBytes,
    /// The key inside is of another type than the line says.
    #[error("the line says {label}, but the key inside says `{inner}`; copy the line again")]
    OtherAlgorithm {
        /// The type at the start of the line.
        label: String,
        /// The type inside, unprintable characters replaced.
        inner: String,
    },
    /// The curve inside is not the one of the key's type.
    #[error("the curve inside the key is not the one its type says; copy the line again")]
    OtherCurve,
    /// The key's value has a size no such key has.
    #[error("the key has the wrong length; copy the whole line again")]
    WrongLength,
    /// An RSA number is zero, negative or oddly encoded.
    #[error("a number of the RSA key is not positive or wrongly encoded; copy the line again")]
    NotPositive,
    /// An RSA key is too weak or too large.
    #[error(
        "an RSA key of {bits} bits is not accepted; it needs {} to {} bits, or better: make an \
         ssh-ed25519 key",
        RSA_BITS.start(), RSA_BITS.end()
    )]
    RsaBits {
        /// Size of its modulus.
        bits: usize,
    },
}
