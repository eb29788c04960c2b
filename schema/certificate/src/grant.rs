//! What of an identity's own a certificate may carry: what it asks for, as far as it
//! has that.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alknet_handler::Identity;
use alknet_ssh_policy::{Conditions, Scope, Service, Sources};

use crate::{Permits, SignRequest, UserTerms, Validity};

/// The kind of the resource that lists further principals for a peer's certificates,
/// beside its id.
const PRINCIPALS: &str = "ca:principals";
/// The kind of the resource that lists the accounts of a peer.
const ACCOUNTS: &str = "accounts";
/// The kind of the resource that lists where a peer may come from.
const FROM: &str = "ssh:from";

/// Who has a certificate signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An operator of the node.
    Operator,
    /// The peer itself, from this address if it has proven one.
    Peer(Option<IpAddr>),
}

impl UserTerms {
    /// The terms of a certificate for an identity. It is limited to the scopes and accounts that the
    /// identity has, or to those of them that are asked for; the conditions on the
    /// identity's log-ins hold for it as well. The serial number is left 0.
    ///
    /// # Errors
    /// When more is asked for than the identity has, or its conditions cannot be met.
    pub fn for_identity(
        identity: &Identity,
        request: &SignRequest,
        asker: Asker,
        longest: Duration,
    ) -> Result<Self, GrantError> {
        let conditions =
            Conditions::read(&identity.resources).map_err(|_| GrantError::Conditions)?;
        if let (Some(sources), Asker::Peer(from)) = (&conditions.from, asker)
            && !from.is_some_and(|from| sources.admit(from))
        {
            return Err(GrantError::Address);
        }
        let listed = |kind: &str| identity.resources.get(kind).cloned().unwrap_or_default();
        let own_names = [vec![identity.id.clone()], listed(PRINCIPALS)].concat();
        let principals = among(
            "principal",
            &own_names,
            request.principals.as_ref(),
            |own, asked| own == asked,
        )?;
        let covers = |own: &str, asked: &str| match (Scope::parse(own), Scope::parse(asked)) {
            (Ok(own), Ok(asked)) => own.covers(&asked),
            _ => false,
        };
        let scopes = among("scope", &identity.scopes, request.scopes.as_ref(), covers)?;
        let accounts = among(
            "account",
            &listed(ACCOUNTS),
            request.accounts.as_ref(),
            |own, asked| own == asked,
        )?;
        Ok(Self {
            serial: 0,
            key_id: identity.id.clone(),
            principals,
            validity: validity(request, &conditions, longest)?,
            permits: permits(&scopes, conditions.no_pty),
            scopes: Some(scopes),
            accounts: Some(accounts),
            force_command: conditions.command.clone(),
            source_address: source_address(&conditions, &listed(FROM))?,
        })
    }
}

/// What is asked for, if the identity has all of it; all that it has where nothing is
/// asked for.
fn among(
    what: &'static str,
    own: &[String],
    asked: Option<&Vec<String>>,
    covers: impl Fn(&str, &str) -> bool,
) -> Result<Vec<String>, GrantError> {
    let Some(asked) = asked else {
        return Ok(own.to_vec());
    };
    match asked
        .iter()
        .find(|asked| !own.iter().any(|own| covers(own, asked)))
    {
        None => Ok(asked.clone()),
        Some(more) => Err(GrantError::More {
            what,
            asked: more.clone(),
            has: Has(own.to_vec()),
        }),
    }
}

fn validity(
    request: &SignRequest,
    conditions: &Conditions,
    longest: Duration,
) -> Result<Validity, GrantError> {
    let lifetime = match request.lifetime_seconds {
        None => longest,
        Some(seconds) if seconds == 0 || seconds > longest.as_secs() => {
            return Err(GrantError::Lifetime {
                asked: seconds,
                longest: longest.as_secs(),
            });
        }
        Some(seconds) => Duration::from_secs(seconds),
    };
    let mut validity = Validity::from_now(lifetime);
    if let Some(expires) = conditions.expires {
        if expires <= SystemTime::now() {
            return Err(GrantError::Expired);
        }
        let expires = expires.duration_since(UNIX_EPOCH);
        validity.before = validity
            .before
            .min(expires.map_or(0, |since| since.as_secs()));
    }
    Ok(validity)
}

/// What OpenSSH is told to permit, so that a stock sshd permits no more than these
/// scopes do.
fn permits(scopes: &[String], no_pty: bool) -> Permits {
    let has = |services: &[Service]| {
        let mut scopes = scopes.iter().filter_map(|scope| Scope::parse(scope).ok());
        scopes.any(|scope| services.contains(&scope.service()))
    };
    Permits {
        pty: !no_pty && has(&[Service::Shell, Service::Exec]),
        port_forwarding: has(&[Service::Forward, Service::Listen, Service::StreamLocal]),
        agent_forwarding: has(&[Service::Agent]),
    }
}

/// The addresses of `ssh:from` in the form that certificates have them in.
fn source_address(conditions: &Conditions, from: &[String]) -> Result<Option<String>, GrantError> {
    if conditions.from.is_none() {
        return Ok(None);
    }
    let listed = from.join(",");
    match Sources::networks(&listed) {
        Ok(_) => Ok(Some(listed)),
        Err(_) => Err(GrantError::From),
    }
}

/// Why an identity gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// More is asked for than the identity has.
    #[error("the {what} {asked:?} is more than the peer has; it has {has}")]
    More {
        /// What kind of thing: `principal`, `scope` or `account`.
        what: &'static str,
        /// What was asked for.
        asked: String,
        /// What it has.
        has: Has,
    },
    /// It is asked to be valid for too long, or not at all.
    #[error("{asked} s is not a lifetime that is signed; ask for 1 to {longest} s")]
    Lifetime {
        /// The seconds asked for.
        asked: u64,
        /// The most there are.
        longest: u64,
    },
    /// The identity comes from where it may not come from.
    #[error("the peer's address is not one it may come from (ssh:from)")]
    Address,
    /// The identity is let in no more.
    #[error("the peer is let in no more since the time in its ssh:expires")]
    Expired,
    /// A certificate cannot say where the identity may come from.
    #[error(
        "the peer's ssh:from has exceptions or patterns, which a certificate cannot carry; list addresses and networks"
    )]
    From,
    /// The conditions on the identity mean nothing.
    #[error("the peer's resources about SSH are not understood")]
    Conditions,
}

/// What an identity has, for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Has(Vec<String>);

impl fmt::Display for Has {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("none"),
            some => f.write_str(&some.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86400);

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn alice(resources: &[(&str, &[&str])]) -> Identity {
        Identity {
            id: "alice".to_owned(),
            scopes: list(&["ssh:exec", "ssh:forward:*.internal:443"]),
            resources: resources
                .iter()
                .map(|(kind, values)| ((*kind).to_owned(), list(values)))
                .collect(),
        }
    }

    fn ask(identity: &Identity, request: &SignRequest) -> Result<UserTerms, GrantError> {
        UserTerms::for_identity(identity, request, Asker::Operator, DAY)
    }

    #[test]
    fn without_wishes_it_carries_all_that_the_identity_has() {
        let alice = alice(&[("accounts", &["deploy"]), ("ca:principals", &["staff"])]);
        let terms = ask(&alice, &SignRequest::default()).unwrap();
        assert_eq!(terms.principals, ["alice", "staff"]);
        assert_eq!(terms.scopes, Some(alice.scopes.clone()));
        assert_eq!(terms.accounts, Some(list(&["deploy"])));
        let permits = Permits {
            agent_forwarding: false,
            ..Permits::ALL
        };
        assert_eq!(terms.permits, permits);
    }

    #[test]
    fn less_is_given_and_more_refused() {
        let alice = alice(&[]);
        let asking = |scope: &str| SignRequest {
            scopes: Some(list(&[scope])),
            ..SignRequest::default()
        };
        let terms = ask(&alice, &asking("ssh:exec:git")).unwrap();
        assert_eq!(terms.scopes, Some(list(&["ssh:exec:git"])));
        assert!(!terms.permits.port_forwarding);
        for more in ["ssh:shell", "ssh:forward:*:443", "nonsense"] {
            let refused = ask(&alice, &asking(more)).unwrap_err();
            assert!(refused.to_string().contains(more), "{refused}");
        }
        for request in [
            SignRequest {
                principals: Some(list(&["root"])),
                ..SignRequest::default()
            },
            SignRequest {
                accounts: Some(list(&["root"])),
                ..SignRequest::default()
            },
            SignRequest {
                lifetime_seconds: Some(DAY.as_secs() + 1),
                ..SignRequest::default()
            },
        ] {
            assert!(ask(&alice, &request).is_err(), "{request:?}");
        }
    }

    #[test]
    fn conditions_go_with_it() {
        let bound = alice(&[
            ("ssh:command", &["date"]),
            ("ssh:from", &["192.0.2.0/24"]),
            ("ssh:no-pty", &["yes"]),
        ]);
        let terms = ask(&bound, &SignRequest::default()).unwrap();
        assert_eq!(terms.force_command.as_deref(), Some("date"));
        assert_eq!(terms.source_address.as_deref(), Some("192.0.2.0/24"));
        assert!(!terms.permits.pty);
        let request = SignRequest::default();
        for elsewhere in ["198.51.100.1".parse().ok(), None] {
            let asker = Asker::Peer(elsewhere);
            let refused = UserTerms::for_identity(&bound, &request, asker, DAY);
            assert_eq!(refused, Err(GrantError::Address));
        }
        let over = alice(&[("ssh:expires", &["2020-01-01T00:00:00Z"])]);
        assert_eq!(ask(&over, &request), Err(GrantError::Expired));
        let odd = alice(&[("ssh:from", &["!10.0.0.1", "10.0.0.0/8"])]);
        assert_eq!(ask(&odd, &request), Err(GrantError::From));
    }
}
