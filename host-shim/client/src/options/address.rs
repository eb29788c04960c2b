//! How a node is named on the command line.

use std::fmt;
use std::str::FromStr;

use alknet_quic::{NodeKey, NodeKeyError};

use super::target::{Target, TargetError};

/// A node as it is named on the command line: `[USER@]` and then a name from
/// `nodes.toml`, `ed25519:HEX@HOST[:PORT]` or `HOST[:PORT]`.
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
            Some((key, _)) if key.starts_with(KEY_PREFIX) => (None, text),
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
        let (node_key, target) = match text.split_once('@') {
            Some((key, target)) => (Some(key.parse()?), target),
            None => (None, text),
        };
        Ok(Self {
            node_key,
            target: target.parse()?,
        })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const KEY_PREFIX: &str = "ed25519:";

/// Why a text does not name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the user before the @ is missing")]
    NoUser,
    #[error("{0}")]
    Key(#[from] NodeKeyError),
    #[error("{0}")]
    Target(#[from] TargetError),
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
