//! What this crate, and with it the plugin it is linked into, was built with.

/// The compiler, as `rustc --version` prints it: for
/// [`RegistrationBundle::rustc`](crate::RegistrationBundle::rustc).
pub const RUSTC: &str = env!("ALKNET_RUSTC");

/// The target triple: for
/// [`RegistrationBundle::target`](crate::RegistrationBundle::target).
pub const TARGET: &str = env!("ALKNET_TARGET");
