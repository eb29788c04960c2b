//! Asks a plugin's handler what it would say to a request of a peer, without
//! anybody connecting. The handler decides, not the node.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use alknet_control::{ControlRequest, Explain, ExplainIdentity};
use alknet_handler::{CertificateQuery, IdentityProvider, ProtocolHandler};
use alknet_identity::{Peer, PeersConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

/// The time that looking up a name may take.
const LOOKUP: Duration = Duration::from_secs(5);
/// The most ids that a message lists; further ones are counted.
const MAX_NAMED: usize = 20;

/// What a peer may ask for, as the handlers' control request `explain` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Asked {
    /// To run a command.
    Exec {
        /// The command line.
        command: String,
    },
    /// To reach a target through the node.
    Forward {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
        /// What the name stands for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<IpAddr>,
    },
    /// To have the node listen.
    Listen {
        /// The address, as a client writes it.
        address: String,
        /// The port.
        port: u16,
    },
    /// To reach a Unix socket.
    StreamLocal {
        /// Its path.
        path: String,
    },
    /// To have a shell.
    Shell,
    /// To use SFTP.
    Sftp,
    /// To use another subsystem.
    Subsystem {
        /// Its name.
        name: String,
    },
    /// To have its agent forwarded.
    Agent,
    /// To set a variable.
    Env {
        /// Its name.
        name: String,
    },
}

impl Asked {
    /// Fills in the addresses of a name.
    ///
    /// # Errors
    /// When the name has no address, or none was found in time.
    async fn look_up(&mut self) -> Result<(), ExplainError> {
        let Self::Forward {
            host,
            port,
            addresses,
        } = self
        else {
            return Ok(());
        };
        if is_address(host) || !addresses.is_empty() {
            return Ok(());
        }
        let failed = |source| ExplainError::LookUp {
            host: host.clone(),
            source,
        };
        let found = timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), *port)))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(failed)?;
        for address in found {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        if addresses.is_empty() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        Ok(())
    }
}

/// Whether a host is an address, which nothing looks up.
pub(crate) fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.contains(':')
}

/// Writes the request in the form of a scope, with what was asked for in its
/// place.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, kind, host: &str, port| {
            if host.contains(':') {
                write!(f, "ssh:{kind}:[{host}]:{port}")
            } else {
                write!(f, "ssh:{kind}:{host}:{port}")
            }
        };
        match self {
            Self::Exec { command } => write!(f, "ssh:exec:{command}"),
            Self::Forward { host, port, .. } => place(f, "forward", host, port),
            Self::Listen { address, port } => place(f, "listen", address, port),
            Self::StreamLocal { path } => write!(f, "ssh:streamlocal:{path}"),
            Self::Shell => f.write_str("ssh:shell"),
            Self::Sftp => f.write_str("ssh:sftp"),
            Self::Subsystem { name } => write!(f, "ssh:subsystem:{name}"),
            Self::Agent => f.write_str("ssh:agent"),
            Self::Env { name } => write!(f, "ssh:env:{name}"),
        }
    }
}

/// The log-in that the question assumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LogIn {
    /// The address it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<IpAddr>,
    /// The time of the log-in in seconds since 1970; now if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    /// The certificate it logs in with, as in a `-cert.pub` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
}

/// A certificate that a handler has verified against its own authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certified {
    /// Fingerprint of the authority's key.
    ca_fingerprint: String,
    /// The certificate's key id.
    key_id: String,
    /// Its serial number.
    serial: u64,
    /// The principals it names.
    principals: Vec<String>,
}

/// The answer of a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Whether the handler would allow the request.
    pub(crate) allowed: bool,
    /// The reason, in a sentence.
    pub(crate) reason: String,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<Rule>,
    /// The scope that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// The answer for each address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<AddressAnswer>,
    /// The command that runs in place of the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<String>,
    /// Further conditions, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<String>,
    /// The certificate that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Certified>,
}

/// A rule of a plugin's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// The rule's index in its list, from 0.
    pub(crate) index: usize,
    /// JSON pointer within the plugin's configuration.
    pub(crate) pointer: String,
}

/// The answer of a handler for one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressAnswer {
    /// The address.
    pub(crate) address: String,
    /// Whether the handler would allow the request.
    pub(crate) allowed: bool,
    /// The reason.
    pub(crate) reason: String,
}

/// Asks `handler` what it would answer the peer with this id, logged in as
/// `log_in` says. A name that the peer asks for is looked up here; `identities`
/// resolves a certificate.
///
/// # Errors
/// When there is no such peer, the name has no address, or the handler does
/// not answer.
pub(crate) async fn explain(
    handler: &dyn ProtocolHandler,
    (peers, identities): (&PeersConfig, &dyn IdentityProvider),
    id: &str,
    log_in: &LogIn,
    asked: &mut Asked,
) -> Result<Answer, ExplainError> {
    let peer = find(peers, id)?;
    if peer.disabled {
        return Ok(Answer {
            reason: format!("the peer {id:?} is disabled, so it cannot log in"),
            ..Answer::default()
        });
    }
    asked.look_up().await?;
    let request = ControlRequest::Explain(Explain {
        identity: ExplainIdentity {
            id: peer.id.clone(),
            scopes: peer.scopes.clone(),
            resources: peer.resources.clone(),
        },
        request: json!(asked),
        log_in: json!(log_in),
    });
    let answer = handler
        .control(&request.to_json())
        .map_err(|error| ExplainError::Handler(error.to_string()))?;
    let answer: Answer = serde_json::from_str(&answer).map_err(ExplainError::Answer)?;
    let Some(certificate) = answer.certificate.clone() else {
        return Ok(answer);
    };
    let denied = |reason| Answer {
        reason,
        certificate: Some(certificate.clone()),
        ..Answer::default()
    };
    let mut of_another = None;
    // Some peers take a certificate for the user name that it names alone.
    for user in certificate
        .principals
        .iter()
        .map(String::as_str)
        .chain([""])
    {
        match identities
            .resolve_from_certificate(&certificate.query(user))
            .await
        {
            Ok(Some(identity)) if identity.id == id => return Ok(answer),
            Ok(Some(identity)) => of_another = Some(identity.id),
            Ok(None) => {}
            Err(error) => return Ok(denied(format!("it cannot log in: {error}"))),
        }
    }
    Ok(denied(match of_another {
        Some(other) => format!("the certificate is that of the peer {other:?}"),
        None => format!(
            "it cannot log in with this certificate: no peer takes one of this authority for {}",
            certificate.principals.join(", ")
        ),
    }))
}

impl Certified {
    fn query(&self, user: &str) -> CertificateQuery {
        CertificateQuery {
            ca_fingerprint: self.ca_fingerprint.clone(),
            key_id: self.key_id.clone(),
            serial: self.serial,
            principals: self.principals.clone(),
            requested_user: user.to_owned(),
        }
    }
}

fn find<'a>(peers: &'a PeersConfig, id: &str) -> Result<&'a Peer, ExplainError> {
    peers
        .peers
        .iter()
        .find(|peer| peer.id == id)
        .ok_or_else(|| {
            let mut known: Vec<_> = peers.peers.iter().map(|peer| peer.id.as_str()).collect();
            let more = known.len().saturating_sub(MAX_NAMED);
            known.truncate(MAX_NAMED);
            let known = match (known.is_empty(), more) {
                (true, _) => "there are none".to_owned(),
                (false, 0) => format!("there are {}", known.join(", ")),
                (false, more) => format!("there are {} and {more} more", known.join(", ")),
            };
            ExplainError::Unknown {
                id: id.to_owned(),
                known,
            }
        })
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// No peer has the id.
    #[error("no peer has the id {id:?}; {known}")]
    Unknown {
        /// The id.
        id: String,
        /// The ids of the peers.
        known: String,
    },
    /// A name could not be looked up.
    #[error("{host} cannot be looked up here: {source}; say what it stands for with --address")]
    LookUp {
        /// The name.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The handler refused to answer.
    #[error("the plugin does not explain its decisions: {0}")]
    Handler(String),
    /// The handler's answer is not of the known form.
    #[error("the plugin's answer is not understood: {0}")]
    Answer(serde_json::Error),
}

#[cfg(test)]
mod tests {
    use alknet_handler::{AuthContext, BoxFuture, ConfigError, Connection, HandlerError};
    use serde_json::Value;
    use std::sync::Arc;

    use super::*;

    /// Allows whatever the scope `all` is for, and tells what it was asked.
    struct Fake;

    impl ProtocolHandler for Fake {
        fn handle(
            &self,
            _: Arc<dyn Connection>,
            _: AuthContext,
        ) -> BoxFuture<'static, Result<(), HandlerError>> {
            Box::pin(async { Ok(()) })
        }

        fn reconfigure(&self, _: &str) -> Result<(), ConfigError> {
            Ok(())
        }

        fn drain(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }

        fn status(&self) -> String {
            "{}".to_owned()
        }

        fn control(&self, request: &str) -> Result<String, ConfigError> {
            let request: Value = serde_json::from_str(request).unwrap();
            assert_eq!(request["command"], "explain");
            let scopes = request["identity"]["scopes"].as_array().unwrap();
            Ok(json!({
                "allowed": scopes.contains(&"ssh:shell".into()),
                "reason": request["request"].to_string(),
                "later": "more",
            })
            .to_string())
        }
    }

    fn peers() -> PeersConfig {
        let peer = |id: &str, scope: &str, disabled| Peer {
            id: id.to_owned(),
            scopes: vec![scope.to_owned()],
            disabled,
            ..Peer::default()
        };
        PeersConfig {
            peers: vec![
                peer("ann", "ssh:shell", false),
                peer("bob", "ssh:sftp", false),
                peer("eve", "ssh:shell", true),
            ],
            ..PeersConfig::default()
        }
    }

    #[tokio::test]
    async fn the_handler_decides_with_the_peers_scopes() {
        let config = peers();
        let store = alknet_identity::PeerStore::new(peers()).unwrap();
        let log_in = LogIn::default();
        let ask = async |id| {
            let asked = &mut Asked::Shell;
            explain(&Fake, (&config, &store), id, &log_in, asked).await
        };
        let answer = ask("ann").await.unwrap();
        assert!(answer.allowed);
        assert_eq!(answer.reason, "{\"kind\":\"shell\"}");
        assert!(!ask("bob").await.unwrap().allowed);
        let answer = ask("eve").await.unwrap();
        assert!(!answer.allowed && answer.reason.contains("disabled"));
        let error = ask("mallory").await.unwrap_err().to_string();
        assert!(error.contains("ann, bob, eve"), "{error}");
    }

    #[test]
    fn requests_have_the_handlers_form() {
        for (asked, sent, shown) in [
            (
                Asked::Exec {
                    command: "git x".to_owned(),
                },
                json!({"kind": "exec", "command": "git x"}),
                "ssh:exec:git x",
            ),
            (
                Asked::Forward {
                    host: "::1".to_owned(),
                    port: 22,
                    addresses: Vec::new(),
                },
                json!({"kind": "forward", "host": "::1", "port": 22}),
                "ssh:forward:[::1]:22",
            ),
            (
                Asked::StreamLocal {
                    path: "/run/x".to_owned(),
                },
                json!({"kind": "streamlocal", "path": "/run/x"}),
                "ssh:streamlocal:/run/x",
            ),
            (
                Asked::Env {
                    name: "LANG".to_owned(),
                },
                json!({"kind": "env", "name": "LANG"}),
                "ssh:env:LANG",
            ),
        ] {
            assert_eq!(serde_json::to_value(&asked).unwrap(), sent);
            assert_eq!(asked.to_string(), shown);
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_addresses_are_not() {
        let forward = |host: &str| Asked::Forward {
            host: host.to_owned(),
            port: 22,
            addresses: Vec::new(),
        };
        let mut asked = forward("localhost");
        asked.look_up().await.unwrap();
        let Asked::Forward { addresses, .. } = asked else {
            unreachable!()
        };
        assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
        for address in ["192.0.2.1", "::1", "fe80::1%eth0"] {
            let mut asked = forward(address);
            asked.look_up().await.unwrap();
            assert_eq!(asked, forward(address));
        }
        let error = forward("no such name").look_up().await.unwrap_err();
        assert!(error.to_string().contains("--address"), "{error}");
    }
}
