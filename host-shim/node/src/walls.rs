//! What a node has for starting its peers' processes: the monitor beside it,
//! and what handlers are told about it.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alknet_identity::PeersConfig;
use alknet_monitor::{
    LinkError, MonitorConfig, NodeLink, Whose, confinement_support, start_owner_mode,
};
use alknet_session::{HandlerSessions, Job, JobFilter, Mode};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use serde_json::{Value, json};

use crate::config::NodeConfig;
use crate::config::draft::Draft;
use crate::secrets::handed_over::HandedOver;
use crate::state::owners_keys;

/// The scope of peers whose processes are not confined.
pub(crate) const UNCONFINED: &str = "ssh:unconfined";

/// The time that processes have to end by themselves when an operator ends
/// them.
const JOB_GRACE: Duration = Duration::from_secs(2);

/// The warning about a node that root starts.
pub(crate) const ROOT_IS_OWNER: &str = "the node is started as root, so what peers with ssh:unconfined run has all of root's rights; give peers `accounts`, or start it as a user of its own";

/// A node's monitor, which alone starts peers' processes.
pub struct Walls {
    link: NodeLink,
    mode: Mode,
    default_account: Option<String>,
    guest_homes: PathBuf,
    private: Vec<PathBuf>,
    no_confinement: Option<String>,
    handed_over: Option<HandedOver>,
}

impl Walls {
    /// Forks the monitor off. This process must have no other thread.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn start_owner(draft: &Draft) -> io::Result<Self> {
        let guest_homes = draft.guest_homes();
        let private = draft.private();
        let mut closed = private.clone();
        closed.push(guest_homes.clone());
        closed.extend(owners_keys());
        let link = start_owner_mode(MonitorConfig {
            guest_homes: guest_homes.clone(),
            private: closed,
            accounts: None,
        })?;
        let homes = make_guest_homes(&guest_homes).err();
        Ok(Self {
            link,
            mode: Mode::Owner,
            default_account: None,
            no_confinement: confinement_support().err().or(homes),
            guest_homes,
            private,
            handed_over: None,
        })
    }

    /// The connection to the monitor that started this node as a user without
    /// rights.
    pub(crate) fn of_accounts(link: NodeLink, draft: &Draft, handed_over: HandedOver) -> Self {
        let accounts = draft.config.accounts.clone().unwrap_or_default();
        Self {
            link,
            mode: Mode::Accounts,
            default_account: accounts.default_account,
            guest_homes: draft.guest_homes(),
            private: draft.private(),
            no_confinement: confinement_support().err(),
            handed_over: Some(handed_over),
        }
    }

    /// What the monitor handed over, where it alone reads the secrets.
    pub(crate) fn handed_over(&self) -> Option<&HandedOver> {
        self.handed_over.as_ref()
    }

    /// The mode, which says whose rights peers' processes get.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The reason for which guests' processes cannot be confined on this
    /// machine; `None` if they can.
    pub fn no_confinement(&self) -> Option<&str> {
        self.no_confinement.as_deref()
    }

    /// What a handler from this library is told about the monitor, and the
    /// socket that it finds there, to be closed once the handler was made.
    ///
    /// # Errors
    /// When the monitor has ended.
    pub(crate) fn for_handler(&self, library: &Path) -> Result<(OwnedFd, Value), LinkError> {
        let socket = self.link.connect_handler()?;
        let sessions = HandlerSessions {
            socket: socket.as_raw_fd(),
            mode: self.mode,
            library: library.to_owned(),
            default_account: self.default_account.clone(),
            guest_homes: self.guest_homes.clone(),
            private: self.private.clone(),
            no_confinement: self.no_confinement.clone(),
        };
        Ok((socket, json!({ "sessions": sessions })))
    }

    /// The owner of a process, as far as the monitor knows.
    pub(crate) async fn whose(&self, pid: i32) -> Result<Whose, LinkError> {
        self.link.whose(pid).await
    }

    /// The jobs that go on although their channel has ended. Blocks until the
    /// monitor has answered.
    pub(crate) fn background_jobs(&self) -> Result<Vec<Job>, LinkError> {
        self.link.jobs(JobFilter {
            detached: true,
            ..JobFilter::default()
        })
    }

    /// Ends jobs with all their processes. Blocks until none is left.
    pub(crate) fn end_jobs(&self, filter: JobFilter) -> Result<(), LinkError> {
        self.link.end(filter, JOB_GRACE)
    }

    /// Completes when the monitor has ended.
    pub(crate) async fn ended(&self) {
        self.link.closed().await;
    }
}

/// Keeps this process's memory from others of the same user, and out of core
/// files (prctl(2), PR_SET_DUMPABLE; getrlimit(2)).
pub(crate) fn close_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| setrlimit(Resource::Core, none));
    if let Err(error) = closed {
        tracing::warn!(%error, "the memory of the node is not closed to its user's other processes");
    }
}

/// The peers whose processes are not confined.
pub(crate) fn unconfined(peers: &PeersConfig) -> Vec<String> {
    let all = peers.peers.iter().filter(|peer| !peer.disabled);
    all.filter(|peer| peer.scopes.iter().any(|scope| scope == UNCONFINED))
        .map(|peer| peer.id.clone())
        .collect()
}

/// Whether a node that root starts runs peers' processes as Unix accounts.
pub(crate) fn has_accounts(config: &NodeConfig, peers: &PeersConfig) -> bool {
    config.accounts.is_some() || peers.peers.iter().any(|peer| !peer.accounts.is_empty())
}

/// A warning that the accounts of peers do not count on a node that runs as its
/// owner; `None` if no peer has any.
pub(crate) fn accounts_not_served(config: &NodeConfig, peers: &PeersConfig) -> Option<String> {
    if !has_accounts(config, peers) {
        return None;
    }
    let with = peers.peers.iter().filter(|peer| !peer.accounts.is_empty());
    let with: Vec<_> = with.map(|peer| peer.id.as_str()).collect();
    let what = match with.is_empty() {
        true => "[accounts]".to_owned(),
        false => format!("the accounts of {}", with.join(", ")),
    };
    Some(match is_root() {
        true => format!(
            "{what}: needs a restart; the node that runs was started without accounts, and peers are its owner or guests until then"
        ),
        false => format!(
            "{what}: does not count; only a node that root starts runs processes as accounts"
        ),
    })
}

/// The peers that may start processes, all of them confined.
pub(crate) fn guests_with_processes(peers: &PeersConfig) -> Vec<String> {
    let unconfined = unconfined(peers);
    let starts = |scope: &String| {
        ["ssh:exec", "ssh:shell", "ssh:sftp"].contains(&scope.as_str())
            || scope.starts_with("ssh:exec:")
    };
    peers
        .peers
        .iter()
        .filter(|peer| !peer.disabled && peer.scopes.iter().any(starts))
        .filter(|peer| !unconfined.contains(&peer.id))
        .map(|peer| peer.id.clone())
        .collect()
}

/// The peers whose accounts are confined to files.
pub(crate) fn confined_accounts(peers: &PeersConfig) -> Vec<String> {
    let confined = peers.peers.iter().filter(|peer| !peer.disabled);
    let confined = confined.filter(|peer| !peer.files.is_empty());
    confined.map(|peer| peer.id.clone()).collect()
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

fn make_guest_homes(homes: &Path) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(homes) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(format!(
            "the directory of the guests' homes, {}, cannot be made: {error}; make it, with mode 0700, for the node's user",
            homes.display()
        )),
        _ => Ok(()),
    }
}
