//! The error that a command of the client ends with.

use std::io;

use alknet_quic::openssh::StanzaError;
use alknet_ssh::ClientError;

use crate::commands::cp::CpError;
use crate::commands::forward::Unusable;
use crate::commands::keys::KeysError;
use crate::connection::bridge::BridgeError;
use crate::connection::dial::DialError;
use crate::connection::host_key::HostKeyError;
use crate::connection::identity_key::IdentityKeyError;
use crate::connection::session::SessionError;
use crate::control_master::ShareError;
use crate::options::node::NodeError;

/// Why a command failed, in one line for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    IdentityKey(#[from] IdentityKeyError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Ssh(#[from] ClientError),
    #[error("lost the connection before the command had ended{}", because(.end))]
    Lost { end: Option<String> },
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error(transparent)]
    Forward(#[from] Unusable),
    #[error(transparent)]
    Copy(#[from] CpError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    #[error(transparent)]
    Stanza(#[from] StanzaError),
    #[error("cannot use standard input and output: {0}")]
    Stdio(#[source] io::Error),
    #[error("cannot write what was asked for: {0}")]
    Manual(#[source] io::Error),
    #[error("cannot find out where this program lies: {0}")]
    OwnPath(#[source] io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("ended by a signal")]
    Signal,
}

impl Failure {
    /// Whether the program that started this one has gone, so that a message
    /// would only litter the terminal.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self, Self::Bridge(BridgeError::ReaderGone) | Self::Signal)
    }
}

fn because(end: &Option<String>) -> String {
    end.as_ref()
        .map(|end| format!(": {end}"))
        .unwrap_or_default()
}
