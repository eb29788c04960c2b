//! What the peer of one SSH connection may do at the moment, and what it is
//! doing with that: when its permissions change, what is no longer granted
//! ends.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alknet_handler::Identity;
use alknet_ssh_policy::{Command, Denied, Host, Policy, Restrictions, Subject};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The permissions of one SSH connection's peer.
#[derive(Clone)]
pub(super) struct Access(Arc<Mutex<State>>);

struct State {
    policy: Arc<Policy>,
    holder: Option<Holder>,
    granted: HashMap<u64, (Request, CancellationToken)>,
    last_grant: u64,
}

/// Whose permissions they are.
#[derive(Clone)]
pub(super) struct Holder {
    /// The key that proved it.
    pub(super) fingerprint: String,
    pub(super) identity: Identity,
}

/// Something that can be granted and later taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Exec {
        command: Vec<u8>,
        /// How it is run.
        granted: Command,
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
    },
    StreamLocal {
        path: String,
    },
}

/// A permission in use; given back when dropped.
pub(super) struct Grant {
    access: Access,
    id: u64,
    revoked: CancellationToken,
}

/// Why something is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("nobody has logged in")]
    NotAuthenticated,
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl Access {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self(Arc::new(Mutex::new(State {
            policy,
            holder: None,
            granted: HashMap::new(),
            last_grant: 0,
        })))
    }

    /// The peer has proven who it is.
    pub(super) fn claim(&self, holder: Holder) {
        self.lock().holder = Some(holder);
    }

    pub(super) fn holder(&self) -> Option<Holder> {
        self.lock().holder.clone()
    }

    /// Asks the policy on behalf of the peer.
    pub(super) fn decide<T>(
        &self,
        decision: impl FnOnce(&Policy, &Subject<'_>) -> Result<T, Denied>,
    ) -> Result<T, Refused> {
        self.lock().decide(decision)
    }

    /// Decides on a command.
    pub(super) fn exec(&self, command: &[u8]) -> Result<(Command, Grant), Refused> {
        let (granted, _) = self.decide(|policy, subject| policy.exec(subject, command))?;
        let request = Request::Exec {
            command: command.to_vec(),
            granted: granted.clone(),
        };
        Ok((granted, self.grant(request)?))
    }

    /// Decides, and keeps the permission under watch while it is in use.
    pub(super) fn grant(&self, request: Request) -> Result<Grant, Refused> {
        let mut state = self.lock();
        state.decide(|policy, subject| request.decide(policy, subject))?;
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

    /// Puts other permissions in force; revokes what they do not grant.
    /// Returns how much that was.
    pub(super) fn update(&self, policy: Arc<Policy>, holder: Holder) -> usize {
        let mut state = self.lock();
        state.policy = policy;
        state.holder = Some(holder);
        let mut revoked = 0;
        for (request, token) in state.granted.values() {
            let still = state.decide(|policy, subject| request.decide(policy, subject));
            if still.is_err() && !token.is_cancelled() {
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
    ) -> Result<T, Refused> {
        let holder = self.holder.as_ref().ok_or(Refused::NotAuthenticated)?;
        let subject = Subject {
            id: &holder.identity.id,
            scopes: &holder.identity.scopes,
            restrictions: &Restrictions::default(),
        };
        decision(&self.policy, &subject).map_err(Refused::from)
    }
}

impl Request {
    fn decide(&self, policy: &Policy, subject: &Subject<'_>) -> Result<(), Denied> {
        match self {
            Self::Exec { command, granted } => match policy.exec(subject, command)? {
                (now, _) if now == *granted => Ok(()),
                _ => Err(Denied::OtherProgram),
            },
            Self::Forward {
                host,
                port,
                address,
            } => policy.forward(subject, host, *port, *address).map(drop),
            Self::Listen { asked, port, bind } => {
                policy.listen(subject, asked, *port, *bind).map(drop)
            }
            Self::StreamLocal { path } => policy.streamlocal(subject, path).map(drop),
        }
    }
}

impl Grant {
    /// Completes when the permission has been taken back.
    pub(super) fn revoked(&self) -> WaitForCancellationFuture<'_> {
        self.revoked.cancelled()
    }

    /// Says the same to what depends on this grant and may outlive it.
    pub(super) fn token(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.access.lock().granted.remove(&self.id);
    }
}
