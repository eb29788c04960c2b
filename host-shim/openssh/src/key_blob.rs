//! The binary form of SSH public keys: RFC 4253 section 6.6 (RSA), RFC 5656
//! section 3.1 (ECDSA), RFC 8709 section 4 (Ed25519).

/// Lengths of RSA keys in bits: shorter ones are weak, longer ones OpenSSH
/// does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=16384;

/// Checks that `blob` is one whole key of type `algorithm`.
pub(crate) fn check(algorithm: &str, blob: &[u8]) -> Result<(), BlobError> {
    let mut rest = blob;
    let inner = string(&mut rest)?;
    if inner != algorithm.as_bytes() {
        return Err(BlobError::OtherAlgorithm {
            label: algorithm.to_owned(),
            inner: inner.iter().take(64).copied().map(printable).collect(),
        });
    }
    match algorithm.strip_prefix("ecdsa-sha2-") {
        Some(curve) => ecdsa(curve, &mut rest)?,
        None if algorithm == "ssh-rsa" => rsa(&mut rest)?,
        None => ed25519(&mut rest)?,
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BlobError::TrailingBytes)
    }
}

fn ed25519(rest: &mut &[u8]) -> Result<(), BlobError> {
    match string(rest)?.len() {
        32 => Ok(()),
        _ => Err(BlobError::WrongLength),
    }
}

fn ecdsa(curve: &str, rest: &mut &[u8]) -> Result<(), BlobError> {
    let field = match curve {
        "nistp256" => 32,
        "nistp384" => 48,
        _ => 66,
    };
    if string(rest)? != curve.as_bytes() {
        return Err(BlobError::OtherCurve);
    }
    // An uncompressed point: 4, then x and y (RFC 5656 asks for this form).
    match string(rest)? {
        [4, point @ ..] if point.len() == 2 * field => Ok(()),
        _ => Err(BlobError::WrongLength),
    }
}

fn rsa(rest: &mut &[u8]) -> Result<(), BlobError> {
    let exponent = unsigned(string(rest)?)?;
    let modulus = unsigned(string(rest)?)?;
    if exponent.is_empty() {
        return Err(BlobError::NotPositive);
    }
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = modulus.len() * 8 - leading as usize;
    if RSA_BITS.contains(&bits) {
        Ok(())
    } else {
        Err(BlobError::RsaBits { bits })
    }
}

/// The bytes of a positive number (RFC 4251, `mpint`) without leading zero
/// bytes.
fn unsigned(bytes: &[u8]) -> Result<&[u8], BlobError> {
    match bytes {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
        [first, ..] if (1..0x80).contains(first) => Ok(bytes),
        _ => Err(BlobError::NotPositive),
    }
}

/// Takes a string (RFC 4251, section 5): a length of four bytes, then that
/// many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BlobError> {
    let (length, tail) = rest.split_first_chunk().ok_or(BlobError::Truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (bytes, tail) = tail.split_at_checked(length).ok_or(BlobError::Truncated)?;
    *rest = tail;
    Ok(bytes)
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
