//! Decisions about one SSH connection's authentication attempts.

mod accounts;
mod address;
mod authenticator;
mod certificate;
mod connection_identity;
mod credential;
mod explain;
mod key;
mod krl;
mod revoked;
mod rules;
mod saved;

pub(crate) use self::accounts::Accounts;
pub(crate) use self::authenticator::{Authenticator, Claims, Recorder};
pub(crate) use self::connection_identity::ConnectionIdentity;
pub(crate) use self::credential::{Credential, Holder};
pub(crate) use self::explain::LogIn;
pub(crate) use self::rules::LoginRules;
pub(crate) use self::saved::SavedCredential;
