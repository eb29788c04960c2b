//! The Unix account that a user name stands for.

use alknet_handler::Identity;

use crate::server::metrics::AuthError;

/// The kind of the resource that lists the accounts a peer may log in to.
const KIND: &str = "accounts";

/// Which account of the system a peer logs in to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// The node's own account, whatever name is given.
    #[default]
    OfNode,
    /// The accounts of the peer.
    OfPeers {
        /// The one that stands for all other names.
        default: Option<String>,
    },
}

impl Accounts {
    /// The account that a user name stands for. `None` where it is the node's
    /// own, and for a peer without an account, which is let in for what needs
    /// no process.
    ///
    /// # Errors
    /// When the peer has accounts, but none with this name.
    pub(crate) fn choose(
        &self,
        identity: &Identity,
        user: &str,
    ) -> Result<Option<String>, AuthError> {
        let Self::OfPeers { default } = self else {
            return Ok(None);
        };
        let accounts = identity.resources.get(KIND);
        if accounts.is_some_and(|accounts| accounts.iter().any(|account| account == user)) {
            return Ok(Some(user.to_owned()));
        }
        match (accounts, default) {
            (_, Some(default)) => Ok(Some(default.clone())),
            (None, None) => Ok(None),
            (Some(_), None) => Err(AuthError::Account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(accounts: Option<&[&str]>) -> Identity {
        let mut identity = Identity::default();
        if let Some(accounts) = accounts {
            let accounts = accounts.iter().map(|&account| account.to_owned());
            identity
                .resources
                .insert(KIND.to_owned(), accounts.collect());
        }
        identity
    }

    #[test]
    fn a_name_stands_for_an_account_of_the_peer_or_the_default_one() {
        let named = |name: &str| Ok(Some(name.to_owned()));
        let two = identity(Some(&["deploy", "www"]));
        let strict = Accounts::OfPeers { default: None };
        assert_eq!(strict.choose(&two, "www"), named("www"));
        assert_eq!(strict.choose(&two, "root"), Err(AuthError::Account));
        assert_eq!(
            strict.choose(&identity(Some(&[])), "www"),
            Err(AuthError::Account)
        );
        assert_eq!(strict.choose(&identity(None), "www"), Ok(None));
        let default = Accounts::OfPeers {
            default: Some("guest".to_owned()),
        };
        assert_eq!(default.choose(&two, "www"), named("www"));
        assert_eq!(default.choose(&two, "root"), named("guest"));
        assert_eq!(default.choose(&identity(None), "root"), named("guest"));
        assert_eq!(Accounts::OfNode.choose(&two, "root"), Ok(None));
    }
}
