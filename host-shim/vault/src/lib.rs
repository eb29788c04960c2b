//! The node's keys: a BIP39 mnemonic and SLIP-0010 derivation.
//!
//! One secret, a mnemonic of 12 to 24 words, gives every key of a node. The
//! words become a seed ([`Mnemonic`], BIP39), the seed becomes a tree of
//! Ed25519 keys ([`Vault`], SLIP-0010), and four fixed places in that tree are
//! the node's TLS identity ([`NODE_IDENTITY_PATH`]), its SSH host key
//! ([`HOST_KEY_PATH`]), the root of the key for its secrets at rest
//! ([`SECRETS_PATH`]) and the key of its certificate authority
//! ([`CERTIFICATE_AUTHORITY_PATH`]). Whoever keeps the words can rebuild the node.
//!
//! Secrets are wiped when dropped and their `Debug` shows nothing. Copies the
//! hash functions make on the stack while they run are beyond our reach.
//!
//! ```
//! use alknet_vault::{Mnemonic, Vault};
//!
//! let mnemonic = Mnemonic::generate()?;
//! let vault = Vault::from_mnemonic(&mnemonic, "");
//! println!("{:02x?}", vault.host_key().public_key());
//! # Ok::<(), alknet_vault::MnemonicError>(())
//! ```

#![forbid(unsafe_code)]

mod key;
mod mnemonic;
mod path;
mod slip10;
mod vault;

pub use key::Ed25519Key;
pub use mnemonic::{Mnemonic, MnemonicError, Seed};
pub use path::{DerivationPath, PathError, PathProblem};
pub use vault::{
    CERTIFICATE_AUTHORITY_PATH, HOST_KEY_PATH, NODE_IDENTITY_PATH, SECRETS_PATH, Vault,
};
