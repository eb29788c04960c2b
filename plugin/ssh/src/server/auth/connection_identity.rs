//! The identity that a whole connection belongs to, so that it never serves
//! two.

use std::sync::{Mutex, PoisonError};

use alknet_handler::Identity;

/// The identity that a connection belongs to. The endpoint found it from the
/// peer's TLS key, or the first SSH connection on it did; from then on a key of
/// somebody else is refused, so that one connection is never two people with
/// the scopes of both.
#[derive(Debug, Default)]
pub(crate) struct ConnectionIdentity(Mutex<Option<String>>);

impl ConnectionIdentity {
    pub(crate) fn new(identity: Option<&Identity>) -> Self {
        Self(Mutex::new(identity.map(|identity| identity.id.clone())))
    }

    pub(super) fn admits(&self, identity: &Identity) -> bool {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.as_ref().is_none_or(|owner| *owner == identity.id)
    }

    pub(super) fn claim(&self, identity: &Identity) -> bool {
        let mut owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *owner.get_or_insert_with(|| identity.id.clone()) == identity.id
    }

    pub(crate) fn is_known(&self) -> bool {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owner.is_some()
    }
}
