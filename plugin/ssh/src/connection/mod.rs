//! What both ends of an SSH connection have in common: the stream under it, flow
//! control, algorithms, host keys and the version exchange. It knows neither end.

pub(crate) mod algorithms;
mod clear_text;
pub(crate) mod host_certificates;
pub(crate) mod host_key;
pub(crate) mod kexinit;
pub(crate) mod open_failure;
pub(crate) mod path;
pub(crate) mod queue;
pub(crate) mod server_opened_channel;
mod signal;
pub(crate) mod transport;
pub(crate) mod window;

pub use self::signal::Signal;

/// The software version both sides announce (RFC 4253 section 4.2).
pub(crate) const SSH_ID: &str = concat!("SSH-2.0-alknet_", env!("CARGO_PKG_VERSION"));
