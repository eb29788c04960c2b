//! What keeps a forward from being set up.

use std::path::PathBuf;

use alknet_ssh::ClientError;
use alknet_ssh::client::RemoteListener;

use super::listen::ListenError;

/// Why a forward cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error(transparent)]
    Local(#[from] ListenError),
    #[error("the node does not listen on {}: {source}", Shown(.listener))]
    Remote {
        listener: RemoteListener,
        source: ClientError,
    },
    #[error("{} must be UTF-8 for the node", .0.display())]
    Path(PathBuf),
}

/// A listener as people read it: an empty address is shown as all addresses.
pub(super) struct Shown<'a>(pub(super) &'a RemoteListener);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            RemoteListener::Tcp { address, port } if address.is_empty() => {
                write!(f, "all addresses, port {port}")
            }
            listener => listener.fmt(f),
        }
    }
}
