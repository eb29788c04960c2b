//! What all connections of a handler share: the configuration in force, what peers
//! may do, who is connected and what listens.

pub(crate) mod access;
pub(crate) mod end;
pub(crate) mod listeners;
pub(crate) mod server_state;
pub(crate) mod sessions;
