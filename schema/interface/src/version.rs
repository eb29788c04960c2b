//! The version of the interface and its history.

/// The version of the interface that this crate describes.
///
/// | version | since      | what changed |
/// |---------|------------|--------------|
/// | 1       | 2026-11-22 | the first: root module, registration bundle, factory, handler, connection, byte stream, identity provider, event sink, extensions |
///
/// A node loads a plugin whose [`RegistrationBundle::interface_version`] is
/// equal to its own. The crate's own version (1.0.0) is what abi_stable
/// compares when it opens the library and stays as it is for as long as this
/// number does.
///
/// [`RegistrationBundle::interface_version`]: crate::RegistrationBundle::interface_version
pub const INTERFACE_VERSION: u32 = 1;
