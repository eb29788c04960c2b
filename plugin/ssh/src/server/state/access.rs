//! What the peer of one SSH connection may do at the moment, and what it is
//! doing with that: when its permissions change, what is no longer granted
//! ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use alknet_ssh_policy::{Basis, Command, Denied, Host, Policy, Restrictions, Subject};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::server::auth::Holder;

/// The permissions of one SSH connection's peer.
#[derive(Clone)]
pub(crate) struct Access(Arc<Mutex<State>>);

struct State {
    permissions: Arc<RwLock<Arc<Permissions>>>,
    holder: Option<Holder>,
    granted: HashMap<u64, (Request, CancellationToken)>,
    last_grant: u64,
}

/// The permissions of the configuration in force, the same for all connections.
pub(crate) struct Permissions {
    pub(crate) policy: Policy,
    /// Whether peers may be given ports below 1024.
    pub(crate) privileged_ports: bool,
    /// Whether file transfer has a root of its own.
    pub(crate) has_sftp_root: bool,
    /// Directories of the node's own, without links: no Unix socket in them is
    /// for peers, whatever grants it.
    pub(crate) private: Vec<PathBuf>,
}

/// Something that can be granted and later taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Exec {
        command: Vec<u8>,
        /// The command in the form in which it was granted.
        granted: Command,
        /// Whether it runs on a terminal.
        terminal: bool,
    },
    Forward {
        host: Host,
        port: u16,
        /// The address that was dialled.
        address: IpAddr,
    },
    Listen {
        asked: String,
        port: u16,
        bind: IpAddr,
        /// The port that was found, where the peer asked for any.
        found: Option<u16>,
    },
    Shell,
    Agent,
    StreamLocal {
        path: String,
        /// The real path of what was found there.
        found: Option<PathBuf>,
    },
    Sftp,
}

/// A permission in use; given back when dropped.
pub(crate) struct Grant {
    access: Access,
    id: u64,
    revoked: CancellationToken,
}

/// Why a request is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("nobody has logged in")]
    NotAuthenticated,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("{NEEDS_PRIVILEGE}")]
    Privileged,
    #[error("{NEEDS_ROOT}")]
    NoSftpRoot,
    #[error("ssh-copy-id would write ~/.ssh/authorized_keys, which this node does not read")]
    CopiesKey,
    #[error("the socket is in a directory of the node's own")]
    Private,
    #[error("a peer without the scope ssh:unconfined reaches no Unix socket, so none of its agent")]
    Confined,
}

/// The reason for which a privileged port is refused.
pub(crate) const NEEDS_PRIVILEGE: &str = "ports below 1024 need /forwarding/privileged_ports";

/// The reason for which file transfer is refused to peers that would see all
/// that the node sees.
pub(crate) const NEEDS_ROOT: &str =
    "file transfer needs a directory in /services/sftp/root, or the scope ssh:unconfined";

/// Ports that only the configuration can open to peers (tcp(7)).
pub(crate) fn is_privileged(port: u16) -> bool {
    (1..1024).contains(&port)
}

impl Access {
    /// Permissions of nobody yet. What is in force is looked up again for each
    /// request.
    pub(crate) fn new(permissions: Arc<RwLock<Arc<Permissions>>>) -> Self {
        Self(Arc::new(Mutex::new(State {
            permissions,
            holder: None,
            granted: HashMap::new(),
            last_grant: 0,
        })))
    }

    /// Sets the peer once it has proven who it is.
    pub(crate) fn claim(&self, holder: Holder) {
        self.lock().holder = Some(holder);
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        self.lock().holder.clone()
    }

    /// Asks the policy on behalf of the peer.
    pub(crate) fn decide<T>(
        &self,
        decision: impl FnOnce(&Policy, &Subject<'_>) -> Result<T, Denied>,
    ) -> Result<T, AccessError> {
        self.lock().decide(decision)
    }

    /// The restrictions of the peer's credentials.
    pub(crate) fn restrictions(&self) -> Result<Restrictions, AccessError> {
        self.decide(|_, subject| Ok(subject.restrictions.clone()))
    }

    /// Decides on a terminal, before it is known what runs on it.
    pub(crate) fn terminal(&self) -> Result<(), AccessError> {
        self.decide(|policy, subject| policy.terminal(subject, None))
    }

    /// Decides on a command, on a terminal or not.
    pub(crate) fn exec(
        &self,
        command: &[u8],
        terminal: bool,
    ) -> Result<(Command, Grant), AccessError> {
        let (granted, _) = self.decide(|policy, subject| policy.exec(subject, command))?;
        let request = Request::Exec {
            command: command.to_vec(),
            granted: granted.clone(),
            terminal,
        };
        Ok((granted, self.grant(request)?))
    }

    /// Decides, and keeps the permission under watch while it is in use.
    pub(crate) fn grant(&self, request: Request) -> Result<Grant, AccessError> {
        let mut state = self.lock();
        state.check(&request)?;
        state.last_grant += 1;
        let id = state.last_grant;
        let revoked = CancellationToken::new();
        state.granted.insert(id, (request, revoked.clone()));
        Ok(Grant {
            access: self.clone(),
            id,
            revoked,
        })
    }

    /// Revokes what is no longer granted to the peer, which may have other
    /// scopes now. Returns the number of grants revoked.
    pub(crate) fn update(&self, holder: Holder) -> usize {
        let mut state = self.lock();
        state.holder = Some(holder);
        let mut revoked = 0;
        for (request, token) in state.granted.values() {
            if state.check(request).is_err() && !token.is_cancelled() {
                token.cancel();
                revoked += 1;
            }
        }
        revoked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn decide<T>(
        &self,
        decision: impl FnOnce(&Policy, &Subject<'_>) -> Result<T, Denied>,
    ) -> Result<T, AccessError> {
        let holder = self.holder.as_ref().ok_or(AccessError::NotAuthenticated)?;
        decision(&self.permissions().policy, &holder.subject()).map_err(AccessError::from)
    }

    fn check(&self, request: &Request) -> Result<(), AccessError> {
        if let Request::Listen { port, .. } = request
            && is_privileged(*port)
            && !self.permissions().privileged_ports
        {
            return Err(AccessError::Privileged);
        }
        if let Request::StreamLocal {
            found: Some(real), ..
        } = request
        {
            let permissions = self.permissions();
            if permissions.private.iter().any(|own| real.starts_with(own)) {
                return Err(AccessError::Private);
            }
        }
        if *request == Request::Sftp && !self.permissions().has_sftp_root {
            let unconfined = self.decide(|_, subject| Ok(subject.is_unconfined()))?;
            // What is switched off or not granted comes first.
            self.decide(|policy, subject| policy.sftp(subject))?;
            if !unconfined {
                return Err(AccessError::NoSftpRoot);
            }
        }
        self.decide(|policy, subject| request.decide(policy, subject))
    }

    fn permissions(&self) -> Arc<Permissions> {
        let permissions = self.permissions.read();
        let permissions = permissions.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&permissions)
    }
}

impl Request {
    fn decide(&self, policy: &Policy, subject: &Subject<'_>) -> Result<(), Denied> {
        match self {
            Self::Exec {
                command,
                granted,
                terminal,
            } => match policy.exec(subject, command)? {
                (now, _) if now == *granted && *terminal => policy.terminal(subject, Some(granted)),
                (now, _) if now == *granted => Ok(()),
                _ => Err(Denied::OtherProgram),
            },
            Self::Forward {
                host,
                port,
                address,
            } => policy.forward(subject, host, *port, *address).map(drop),
            Self::Listen {
                asked,
                port,
                bind,
                found,
            } => {
                policy.listen(subject, asked, *port, *bind)?;
                // "Any port" is granted as such, but not one that a rule denies.
                not_denied(found.map(|found| policy.listen(subject, asked, found, *bind)))
            }
            Self::Shell => policy.shell(subject).map(drop),
            Self::Agent => policy.agent(subject).map(drop),
            Self::StreamLocal { path, found } => {
                policy.streamlocal(subject, path)?;
                match found {
                    Some(real) => policy.streamlocal_found(subject, real.as_os_str().as_bytes()),
                    None => Ok(()),
                }
            }
            Self::Sftp => policy.sftp(subject).map(drop),
        }
    }
}

/// Lets everything pass but what a rule denies.
fn not_denied(decision: Option<Result<Basis, Denied>>) -> Result<(), Denied> {
    match decision {
        Some(Err(denied @ Denied::Rule { .. })) => Err(denied),
        _ => Ok(()),
    }
}

impl Grant {
    /// Completes when the permission has been taken back.
    pub(crate) fn revoked(&self) -> WaitForCancellationFuture<'_> {
        self.revoked.cancelled()
    }

    /// The request that was granted.
    pub(crate) fn request(&self) -> Option<Request> {
        let state = self.access.lock();
        state
            .granted
            .get(&self.id)
            .map(|(request, _)| request.clone())
    }

    /// A token that is cancelled with the grant, for tasks that may outlive it.
    pub(crate) fn token(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.access.lock().granted.remove(&self.id);
    }
}
