//! What is wrong with the text of an option.

/// Why a text is not an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("expected NAME=VALUE")]
    NoValue,
    #[error(
        "{name:?} is not supported; there are StrictHostKeyChecking, UserKnownHostsFile, GlobalKnownHostsFile, BatchMode, IdentitiesOnly, IdentityAgent, ControlMaster, ControlPath and ControlPersist"
    )]
    Unknown { name: String },
    #[error("{name} is {expected}")]
    Value {
        name: &'static str,
        expected: &'static str,
    },
    #[error("host keys are always checked; accept-new trusts a host at the first connection")]
    NotChecking,
    #[error(
        "ControlMaster takes no, yes or auto: nobody is asked before a connection is used again"
    )]
    NotAsking,
    #[error(
        "ControlPath has {token:?}, which stands for nothing: there are %C, %d, %h, %i, %n, %p, %r, %u and %%"
    )]
    Token { token: String },
}
