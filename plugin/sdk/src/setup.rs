//! What a handler is given at its creation.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use alknet_handler::IdentityProvider;
use rustix::io::fcntl_dupfd_cloexec;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::{LiveConfig, NoSecrets};

/// The lowest number of a descriptor that is not one of the standard streams.
const FIRST: i32 = 3;

/// Everything that a handler gets when it is made.
#[non_exhaustive]
pub struct Setup<C, S = NoSecrets> {
    /// The configuration in force.
    pub config: LiveConfig<C>,
    /// The secrets that the operator granted.
    pub secrets: S,
    /// The identity provider, for protocols that authenticate by themselves.
    pub identities: Arc<dyn IdentityProvider>,
    /// The node's host keys in OpenSSH's private key format (PROTOCOL.key), the
    /// preferred one first.
    pub host_keys: Vec<alknet_handler::Secret>,
    /// The metrics, to be declared now.
    pub metrics: Metrics,
    /// The number of this handler among those that the node has made.
    pub generation: u64,
    /// Whether the handler is only tried out, so that it must leave no traces.
    pub trial: bool,
    /// The object with what later versions of the node add.
    pub more: Value,
}

impl<C, S> Setup<C, S> {
    /// A descriptor of our own for one that the node lends in
    /// [`more`](Self::more), by its number; while the handler is made, not later.
    ///
    /// # Errors
    /// When no such descriptor is open.
    #[allow(unsafe_code)]
    pub fn lent_descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        if number < FIRST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: it is borrowed for one call, which duplicates it. The node keeps
        // what it lends open until the factory has returned. A number that it did
        // not lend is an error of that call, or stands for another descriptor of
        // this process, which the call does not change.
        let lent = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(fcntl_dupfd_cloexec(lent, FIRST)?)
    }
}
