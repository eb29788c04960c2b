//! What the monitor is told at its start, and how it executes the node.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// What the monitor is told when it starts; nothing of it changes later.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// The directory in which each guest has its home. A confined process's
    /// home must lie directly in it.
    pub guest_homes: PathBuf,
    /// Directories that no confined process may reach: the node's state, its
    /// plugins. A tree that holds one of them, or lies in one, is refused.
    pub private: Vec<PathBuf>,
    /// For a node that serves Unix accounts; `None` in owner mode.
    pub accounts: Option<AccountsConfig>,
}

/// The table `[accounts]` of the node's configuration, as the monitor needs it.
#[derive(Clone, Debug)]
pub struct AccountsConfig {
    /// The account that the network-facing process runs as.
    pub network_user: String,
    /// The account that stands for every user name that is not an account of
    /// the peer.
    pub default_account: Option<String>,
    /// Whether an account with the user id 0 may be asked for.
    pub allow_root: bool,
    /// The peers configuration, from which the monitor reads by itself which
    /// identity may have which accounts.
    pub peers: PathBuf,
}

/// How the node is executed in accounts mode.
#[derive(Debug)]
pub struct NodeProgram {
    /// The arguments, without the program's own name; the program is the one
    /// that runs now.
    pub arguments: Vec<OsString>,
    /// The environment, whole.
    pub environment: Vec<(OsString, OsString)>,
    /// What the node gets in a sealed descriptor ([`NodeLink::inherited`]):
    /// its secrets, in a form of its own.
    ///
    /// [`NodeLink::inherited`]: crate::NodeLink::inherited
    pub secrets: Zeroizing<Vec<u8>>,
    /// Further descriptors that the node inherits, with the numbers it expects
    /// them at: the sockets of systemd from 3 on (sd_listen_fds(3)).
    pub descriptors: Vec<(OwnedFd, i32)>,
}
