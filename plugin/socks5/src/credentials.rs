//! A user name and password, and their message in SOCKS5 (RFC 1929).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{DecodeError, Message, Progress, decode, put_short_string};

/// A user name and password (RFC 1929, RFC 7617). Wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    username: Vec<u8>,
    password: Vec<u8>,
}

impl Credentials {
    /// Takes a user name and a password, as bytes of any encoding.
    ///
    /// # Errors
    /// When one of them is longer than 255 bytes, or the user name is empty.
    pub fn new(
        username: impl Into<Vec<u8>>,
        password: impl Into<Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        // Built first, so that refused ones are wiped too.
        let credentials = Self {
            username: username.into(),
            password: password.into(),
        };
        if credentials.username.is_empty() {
            Err(CredentialsError::NoUsername)
        } else if credentials.username.len() > 255 {
            Err(CredentialsError::UsernameTooLong)
        } else if credentials.password.len() > 255 {
            Err(CredentialsError::PasswordTooLong)
        } else {
            Ok(credentials)
        }
    }

    pub(crate) fn username(&self) -> &[u8] {
        &self.username
    }

    pub(crate) fn password(&self) -> &[u8] {
        &self.password
    }

    /// Whether both are the same; how long it takes tells their lengths only.
    pub fn matches(&self, other: &Self) -> bool {
        let username = self.username.ct_eq(&other.username);
        let password = self.password.ct_eq(&other.password);
        (username & password).into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Message for Credentials {
    /// Empty strings are let through, since clients send them; they match
    /// nothing but themselves.
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError> {
        decode(bytes, |reader| match reader.array()? {
            [1] => Ok(Self {
                username: reader.short_string()?.to_vec(),
                password: reader.short_string()?.to_vec(),
            }),
            [found] => Err(DecodeError::AuthVersion { found }.into()),
        })
    }

    fn encode(&self) -> Vec<u8> {
        // Sized ahead: growing would leave copies of the password behind.
        let mut out = Vec::with_capacity(3 + self.username.len() + self.password.len());
        out.push(1);
        put_short_string(&mut out, &self.username);
        put_short_string(&mut out, &self.password);
        out
    }
}

/// Why a user name and password cannot be sent over SOCKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The user name is empty.
    #[error("the SOCKS user name is empty")]
    NoUsername,
    /// The user name is too long.
    #[error("the SOCKS user name is longer than 255 bytes")]
    UsernameTooLong,
    /// The password is too long.
    #[error("the SOCKS password is longer than 255 bytes")]
    PasswordTooLong,
}
