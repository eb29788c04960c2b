//! What is kept with a job: enough to ask again, when its channel and session
//! are gone, whether its peer may still have it.

use std::net::IpAddr;
use std::time::SystemTime;

use alknet_handler::IdentityProvider;
use alknet_ssh_policy::Command;
use serde::{Deserialize, Serialize};

use crate::server::auth::{Accounts, Holder, LoginRules, SavedCredential};
use crate::server::state::access::{Permissions, Request};

/// The longest command that is kept as it is.
const LONGEST_COMMAND: usize = 4096;

/// The note of a job. The monitor keeps it as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Tells our notes from those of other handlers.
    ssh: Version,
    identity: String,
    /// The name the peer logged in with.
    user: String,
    peer: Option<IpAddr>,
    credential: SavedCredential,
    request: Started,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "1")]
    One,
}

/// The request that the job was started by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Started {
    Exec {
        command: Vec<u8>,
        /// Whether a shell runs it.
        by_shell: bool,
        terminal: bool,
        /// The forced command that runs in its place.
        forced: Option<Vec<u8>>,
    },
    Shell,
    Sftp,
}

/// Whether a job may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may go on until this time, as far as is known now.
    Granted { until: Option<SystemTime> },
    /// It must end.
    Denied,
}

/// What is in force when a note is judged.
pub(crate) struct InForce<'a> {
    pub(crate) identities: &'a dyn IdentityProvider,
    pub(crate) permissions: &'a Permissions,
    pub(crate) rules: &'a LoginRules,
    pub(crate) accounts: &'a Accounts,
}

impl Note {
    pub(crate) fn new(holder: &Holder, peer: Option<IpAddr>, request: &Request) -> Self {
        Self {
            ssh: Version::One,
            identity: holder.identity.id.clone(),
            user: holder.user.clone(),
            peer,
            credential: holder.credential.save(),
            request: match request {
                Request::Exec {
                    command,
                    granted,
                    terminal,
                } => Started::Exec {
                    terminal: *terminal,
                    command: decisive(command),
                    by_shell: matches!(granted, Command::Shell(_)),
                    forced: forced(holder),
                },
                Request::Sftp => Started::Sftp,
                _ => Started::Shell,
            },
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a note; `None` for one of another handler.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Asks the identity store and the policy again. `None` when the store
    /// does not answer.
    pub(crate) async fn standing(&self, now: &InForce<'_>) -> Option<Standing> {
        let Some(credential) = self.credential.restore() else {
            return Some(Standing::Denied);
        };
        if credential.check(now.rules).is_err() {
            return Some(Standing::Denied);
        }
        let identity = match credential.resolve(now.identities).await {
            Ok(Some(identity)) if identity.id == self.identity => identity,
            Ok(_) => return Some(Standing::Denied),
            Err(error) => {
                tracing::error!(%error, "an identity look-up failed");
                return None;
            }
        };
        let time = SystemTime::now();
        let holder = Holder::new(
            credential,
            identity,
            &self.user,
            self.peer,
            now.accounts,
            time,
        );
        let Ok(holder) = holder else {
            return Some(Standing::Denied);
        };
        Some(match self.is_granted(now.permissions, &holder) {
            true => Standing::Granted {
                until: holder.expires,
            },
            false => Standing::Denied,
        })
    }

    fn is_granted(&self, permissions: &Permissions, holder: &Holder) -> bool {
        let (policy, subject) = (&permissions.policy, &holder.subject());
        match &self.request {
            Started::Exec {
                command,
                by_shell,
                terminal,
                forced: forced_then,
            } => policy.exec(subject, command).is_ok_and(|(now, _)| {
                forced(holder) == *forced_then
                    && matches!(now, Command::Shell(_)) == *by_shell
                    && (!terminal || policy.terminal(subject, Some(&now)).is_ok())
            }),
            Started::Shell => policy.shell(subject).is_ok(),
            Started::Sftp => policy.sftp(subject).is_ok(),
        }
    }
}

fn forced(holder: &Holder) -> Option<Vec<u8>> {
    let forced = holder.restrictions.force_command.as_deref();
    forced.map(decisive)
}

/// A command, or the part of a long one that decisions depend on: its first
/// word, or that it has none.
fn decisive(command: &[u8]) -> Vec<u8> {
    if command.len() <= LONGEST_COMMAND {
        return command.to_vec();
    }
    match shlex::bytes::split(command)
        .unwrap_or_default()
        .into_iter()
        .next()
    {
        Some(word) if word.len() <= LONGEST_COMMAND => {
            shlex::bytes::try_quote(&word).map_or_else(|_| b"'".to_vec(), |word| word.into_owned())
        }
        // Unbalanced, as a command that cannot be split.
        _ => b"'".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_command_the_first_word_is_kept() {
        assert_eq!(decisive(b"echo 'a"), b"echo 'a");
        let long = format!("'my git' {}", "x".repeat(LONGEST_COMMAND));
        let kept = shlex::bytes::split(&decisive(long.as_bytes()));
        assert_eq!(kept, Some(vec![b"my git".to_vec()]));
        let open = format!("echo '{}", "x".repeat(LONGEST_COMMAND));
        assert_eq!(shlex::bytes::split(&decisive(open.as_bytes())), None);
    }
}
