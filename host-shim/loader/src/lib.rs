//! Loads protocol plugins.
//!
//! A library that is truncated, foreign or being rewritten kills the process that opens it: inside `dlopen`, at the
//! next call, or in the layout check. So nothing is opened before it has passed these steps, each a module:
//!
//! 1. [`mod@discover`]: the files of the plugins directory.
//! 2. [`trust`]: the file is opened once and read whole; its owner and mode, those of its directories, its digest, and its
//!    [`signature`].
//! 3. [`elf`]: the bytes are a complete shared library for this machine that exports a plugin.
//! 4. [`stage`]: a private copy under a path and inode never used before, which is what gets opened.
//!
//! A step that says no returns a [`Refusal`]. [`load`] then opens the copy; [`bridge`] makes its handler one of ours,
//! and the [`registry`] routes connections to it.
//!
//! Opening a library runs code of its choosing. That call is in a file of its own, and what gives memory back is in another: `bind`, [`memory`]. Nothing else here is `unsafe`.

#![deny(unsafe_code)]

mod bind;
pub mod bridge;
pub mod digest;
pub mod discover;
pub mod elf;
mod folder;
mod helper;
pub mod load;
pub mod memory;
pub mod refusal;
pub mod registry;
pub mod signature;
pub mod stage;
pub mod text;
pub mod trust;

pub use bridge::{HandlerInputs, PluginFault, PluginHandler};
pub use digest::{Digest, DigestError};
pub use discover::{Candidate, DiscoverError, discover};
pub use helper::enter_helper;
pub use load::{LoadedPlugin, Prepared, is_plugin_name, try_out};
pub use refusal::Refusal;
pub use registry::{AlpnTaken, Generation, LiveConnection, Registry};
pub use signature::{Signer, SignerError};
pub use stage::{Stage, Staged};
pub use text::{one_line, shown, shown_alpn};
pub use trust::{CopyError, Trust, TrustedFile, check_place};
