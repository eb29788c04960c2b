//! How a node is named on the command line.

use std::fmt;
use std::str::FromStr;

use alknet_quic::{NodeKey, NodeKeyError};

use super::iroh_address::{self, IrohAddress, IrohAddressError};
use super::target::{Target, TargetError};

/// A node as it is named on the command line: `[USER@]` and then a name from
/// `nodes.toml`, `ed25519:HEX@HOST[:PORT]`, `HOST[:PORT]` or `iroh:ID[@WAY,…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeName {
    pub(super) user: Option<String>,
    pub(super) text: String,
    pub(super) address: Result<Address, AddressError>,
}

/// The address of a node, with its key where that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) node_key: Option<NodeKey>,
    pub(crate) target: Target,
    /// The ways to it through iroh, if it is reached so; then the target is its name
    /// and no address.
    pub(crate) iroh: Option<Box<IrohAddress>>,
}

impl NodeName {
    /// The name as it was given, without the user.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name as it was given.
    pub(crate) fn whole(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.text),
            None => self.text.clone(),
        }
    }
}

impl FromStr for NodeName {
    type Err = AddressError;

    /// Reads a name; fails for a text that is neither a name nor an address.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, text) = match text.split_once('@') {
            Some((key, _)) if KEY_PREFIXES.iter().any(|it| key.starts_with(it)) => (None, text),
            Some(("", _)) => return Err(AddressError::NoUser),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let address = text.parse();
        if let Err(error) = &address
            && text.contains([':', '@'])
        {
            return Err(AddressError::clone(error));
        }
        if text.is_empty() {
            return Err(TargetError::NoHost.into());
        }
        Ok(Self {
            user,
            text: text.to_owned(),
            address,
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with(iroh_address::PREFIX) {
            let iroh: IrohAddress = text.parse()?;
            return Ok(Self {
                node_key: Some(iroh.key),
                target: Target::named(format!("{}{}", iroh_address::PREFIX, iroh.id())),
                iroh: Some(Box::new(iroh)),
            });
        }
        let (node_key, target) = match text.split_once('@') {
            Some((key, target)) => (Some(key.parse()?), target),
            None => (None, text),
        };
        Ok(Self {
            node_key,
            target: target.parse()?,
            iroh: None,
        })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const KEY_PREFIXES: [&str; 2] = ["ed25519:", iroh_address::PREFIX];

/// Why a text does not name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the user before the @ is missing")]
    NoUser,
    #[error("{0}")]
    Key(#[from] NodeKeyError),
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("{0}")]
    Iroh(#[from] IrohAddressError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_keys_and_addresses_are_told_apart() {
        let key = NodeKey::from_bytes([7; 32]);
        let name = |text: &str| text.parse::<NodeName>().unwrap();
        assert_eq!(name("me@home").user.as_deref(), Some("me"));
        assert_eq!(name("home").user, None);
        let pinned = name(&format!("{key}@[::1]:5"));
        assert_eq!(pinned.user, None);
        assert_eq!(pinned.address.unwrap().node_key, Some(key));
        let both = name(&format!("me@{key}@host"));
        assert_eq!(both.user.as_deref(), Some("me"));
        assert_eq!(both.address.unwrap().target.to_string(), "host:4433");
        let id = "07".repeat(32);
        let iroh = name(&format!("me@iroh:{id}@1.2.3.4:5"));
        assert_eq!(iroh.user.as_deref(), Some("me"));
        let address = iroh.address.unwrap();
        assert_eq!(address.node_key, Some(key));
        assert_eq!(address.target.to_string(), format!("iroh:{id}"));
        assert_eq!(name(&format!("iroh:{id}")).user, None);
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| text.parse::<NodeName>().unwrap_err().to_string();
        assert!(fault("h:x").contains("port"));
        assert!(fault("ed25519:12@h").contains("64 hexadecimal digits"));
        assert!(fault("@h").contains("user"));
        assert!(fault("").contains("host"));
    }
}
