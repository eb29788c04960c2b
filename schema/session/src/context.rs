//! What the node tells a handler about the monitor at the handler's creation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the node tells a handler about starting processes: the member
/// `sessions` of `HandlerContext::more` in `alknet-plugin-interface`.
///
/// A handler without this member has no monitor and refuses to start processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerSessions {
    /// The number of a descriptor of this process: the handler's socket to the
    /// monitor. The handler duplicates it inside its factory; the node closes
    /// its own once the factory has returned.
    pub socket: i32,
    /// The mode, which says whose rights processes get.
    pub mode: Mode,
    /// The library the handler came from, for [`Program::Helper`](crate::Program::Helper).
    pub library: PathBuf,
    /// The account that stands for every user name that is not an account of
    /// the peer. [`Mode::Accounts`] only.
    #[serde(default)]
    pub default_account: Option<String>,
    /// The directory in which each guest has its home, named after the guest.
    pub guest_homes: PathBuf,
    /// Directories that no peer may reach through the handler: the node's
    /// state, its plugins.
    #[serde(default)]
    pub private: Vec<PathBuf>,
    /// The reason for which processes of guests cannot be confined on this
    /// machine, in one line for people; `None` if they can.
    #[serde(default)]
    pub no_confinement: Option<String>,
}

/// The two modes of a node, which say whose rights a peer's processes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All processes run as the node's own account: those of peers with the
    /// scope `ssh:unconfined` as they are, those of all others confined.
    Owner,
    /// Processes run as the account that the peer asked for, by a monitor that
    /// runs as root.
    Accounts,
}
