//! From a connection to what serves it: streams, the version exchange, the session's
//! life, and russh's calls.

pub(crate) mod connection;
pub(crate) mod russh_handler;
pub(crate) mod session;
pub(crate) mod version_exchange;
