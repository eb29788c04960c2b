//! Basic credentials in an HTTP field (RFC 7617).

use base64::prelude::{BASE64_STANDARD, Engine};
use zeroize::Zeroizing;

use crate::Credentials;

/// Whether Basic can carry these: the user name has no colon, and neither of
/// the two a control character (RFC 7617, section 2).
pub(super) fn can_carry(credentials: &Credentials) -> bool {
    let plain = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_control);
    !credentials.username().contains(&b':')
        && plain(credentials.username())
        && plain(credentials.password())
}

/// Appends the value of an Authorization field, `Basic …`.
pub(super) fn write(credentials: &Credentials, out: &mut Vec<u8>) {
    // Sized ahead, here and by the caller: growing would leave copies behind.
    let (username, password) = (credentials.username(), credentials.password());
    let mut plain = Zeroizing::new(Vec::with_capacity(username.len() + 1 + password.len()));
    plain.extend_from_slice(username);
    plain.push(b':');
    plain.extend_from_slice(password);
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*plain));
    out.extend_from_slice(b"Basic ");
    out.extend_from_slice(encoded.as_bytes());
}

/// How many bytes [`write`] appends.
pub(super) fn length(credentials: &Credentials) -> usize {
    let plain = credentials.username().len() + 1 + credentials.password().len();
    "Basic ".len() + plain.div_ceil(3) * 4
}

/// The credentials in the value of an Authorization field; none if it is of
/// another scheme or malformed.
pub(super) fn read(value: &[u8]) -> Option<Credentials> {
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let encoded = encoded.trim_ascii();
    let mut plain = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = BASE64_STANDARD.decode_slice(encoded, &mut plain).ok()?;
    let plain = plain.get(..length)?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let (username, password) = plain.split_at_checked(colon)?;
    let password = password.get(1..)?;
    Credentials::new(username, password).ok()
}
