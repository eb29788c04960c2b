//! Who gets in, with what, and what may be done then.

mod authority;
mod authorized_keys;
mod certificates;
mod endpoint_identity;
mod explain;
mod lookup;
mod policy;
mod policy_tests;
mod refused_handshake;
mod revocation;
mod secrets;
