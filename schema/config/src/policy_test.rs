//! Tests of the policy: a question and the answer that is expected.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use alknet_ssh_policy::{Host, Scope, listen_addresses};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};

use crate::SshConfigError;

/// The most tests that a configuration may have.
const MAX_TESTS: usize = 10_000;

/// A request and what must become of it. `alknet-node check`, every start and every
/// reload run all tests against the configuration they are in; where one fails, the
/// configuration does not come into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// Who asks: the id of a peer.
    #[schemars(length(min = 1), extend("examples" = ["alice"]))]
    pub identity: String,
    /// What it asks for: `exec:<command>`, `shell`, `sftp`, `subsystem:<name>`,
    /// `forward:<host>:<port>`, `listen:<address>:<port>`, `streamlocal:<path>`,
    /// `agent` or `env:<NAME>`. IPv6 stands in brackets.
    #[schemars(length(min = 1), extend("examples" = ["forward:db.internal:5432"]))]
    pub request: String,
    /// What must become of it: `allow` or `deny`.
    #[serde(deserialize_with = "expectation")]
    pub expect: Expectation,
    /// The addresses that the name in a `forward:` has. Nothing is looked up, so a name
    /// needs them; none, `[]`, is a name that has no address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>", extend("examples" = [["10.0.0.5"]]))]
    pub dns: Option<Vec<IpAddr>>,
    /// The address it comes from. By default one that its `ssh:from` admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("examples" = ["192.0.2.7"]))]
    pub from: Option<IpAddr>,
    /// The time of its log-in, such as `2030-12-31T00:00:00Z`. By default one at which
    /// nothing has expired, so that no test fails by itself one day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["2030-12-31T00:00:00Z"]))]
    pub at: Option<String>,
    /// The user name it logs in with, where peers have accounts. By default one that it
    /// may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Scopes that count in place of those of the peer. With them the identity need not
    /// be a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// What must become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

/// What a test asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestRequest {
    /// To run a command.
    Exec {
        /// The command line.
        command: String,
    },
    /// To have a shell.
    Shell,
    /// To use file transfer.
    Sftp,
    /// To use another subsystem.
    Subsystem {
        /// Its name.
        name: String,
    },
    /// To reach a target through the node.
    Forward {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// To have the node listen.
    Listen {
        /// The address, as a client writes it.
        address: String,
        /// The port; 0 for any.
        port: u16,
    },
    /// To reach a Unix socket.
    StreamLocal {
        /// Its path.
        path: String,
    },
    /// To have its agent forwarded.
    Agent,
    /// To set a variable.
    Env {
        /// Its name.
        name: String,
    },
}

/// Why a text is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestRequestError {
    /// It begins like a scope.
    #[error("leave out `ssh:` at the beginning of {text:?}")]
    Prefix {
        /// The text.
        text: String,
    },
    /// There is no such kind of request, or it lacks what it is about.
    #[error(
        "{text:?} is not a request; expected exec:<command>, shell, sftp, subsystem:<name>, \
         forward:<host>:<port>, listen:<address>:<port>, streamlocal:<path>, agent or env:<NAME>"
    )]
    Kind {
        /// The text.
        text: String,
    },
    /// A host and a port were expected.
    #[error(
        "{text:?} does not end in a host and a port, such as db.internal:5432 or [::1]:22; ports \
         to connect to are 1 to 65535"
    )]
    Place {
        /// The text.
        text: String,
    },
    /// The host or the address could not be asked for.
    #[error("{host:?} cannot be asked for: {reason}")]
    Host {
        /// The host or address.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl PolicyTest {
    /// What the test asks for.
    ///
    /// # Errors
    /// When it is not a request, or one that no client could make.
    pub fn asked(&self) -> Result<TestRequest, TestRequestError> {
        TestRequest::parse(&self.request)
    }

    /// The time of the log-in, where one is given.
    pub fn time(&self) -> Option<SystemTime> {
        let time = self.at.as_deref()?.parse::<Timestamp>().ok()?;
        Some(time.into())
    }

    fn validate(&self, pointer: &str) -> Result<(), SshConfigError> {
        let fault =
            |field: &str, message| Err(SshConfigError::at(&format!("{pointer}/{field}"), message));
        if self.identity.is_empty() {
            return fault("identity", "expected the id of a peer".to_owned());
        }
        if let Some(at) = &self.at
            && at.parse::<Timestamp>().is_err()
        {
            let message = format!("{at:?} is not a time; write one like 2030-12-31T00:00:00Z");
            return fault("at", message);
        }
        for (index, scope) in self.scopes.iter().flatten().enumerate() {
            if let Err(error) = Scope::parse(scope) {
                return fault(&format!("scopes/{index}"), error.to_string());
            }
        }
        let request = match self.asked() {
            Ok(request) => request,
            Err(error) => return fault("request", error.to_string()),
        };
        let name = match &request {
            TestRequest::Forward { host, .. } => match Host::parse(host) {
                Ok(Host::Name(name)) => Some(name),
                _ => None,
            },
            _ => None,
        };
        match (name, &self.dns) {
            (Some(name), None) => fault(
                "request",
                format!("{name} has to be given addresses with `dns`: nothing is looked up"),
            ),
            (None, Some(_)) => fault(
                "dns",
                "only a name in a `forward:` has addresses; leave this out".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

impl TestRequest {
    /// Reads a request as a test has it.
    ///
    /// # Errors
    /// When it is not one, or one that no client could make.
    pub fn parse(text: &str) -> Result<Self, TestRequestError> {
        let of = || text.to_owned();
        if text.starts_with("ssh:") {
            return Err(TestRequestError::Prefix { text: of() });
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let has_rest = text.contains(':');
        let rest_of = || rest.to_owned();
        Ok(match kind {
            "shell" if !has_rest => Self::Shell,
            "sftp" if !has_rest => Self::Sftp,
            "agent" if !has_rest => Self::Agent,
            "exec" if !rest.is_empty() => Self::Exec { command: rest_of() },
            "subsystem" if !rest.is_empty() => Self::Subsystem { name: rest_of() },
            "streamlocal" if !rest.is_empty() => Self::StreamLocal { path: rest_of() },
            "env" if !rest.is_empty() => Self::Env { name: rest_of() },
            "forward" => {
                let place = host_and_port(rest).filter(|(_, port)| *port > 0);
                let (host, port) = place.ok_or_else(|| TestRequestError::Place { text: of() })?;
                if let Err(error) = Host::parse(&host) {
                    let reason = error.to_string();
                    return Err(TestRequestError::Host { host, reason });
                }
                Self::Forward { host, port }
            }
            "listen" => {
                let place = host_and_port(rest);
                let (address, port) =
                    place.ok_or_else(|| TestRequestError::Place { text: of() })?;
                if let Err(error) = listen_addresses(&address) {
                    let (host, reason) = (address, error.to_string());
                    return Err(TestRequestError::Host { host, reason });
                }
                Self::Listen { address, port }
            }
            _ => return Err(TestRequestError::Kind { text: of() }),
        })
    }
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if inner.is_none() && host.contains(':') {
        return None;
    }
    Some((inner.unwrap_or(host).to_owned(), port.parse().ok()?))
}

/// Checks all tests of a configuration.
pub(crate) fn validate(tests: &[PolicyTest]) -> Result<(), SshConfigError> {
    if tests.len() > MAX_TESTS {
        let message = format!("{} tests; at most {MAX_TESTS} are run", tests.len());
        return Err(SshConfigError::at("/tests", message));
    }
    let mut seen = BTreeMap::new();
    for (index, test) in tests.iter().enumerate() {
        let pointer = format!("/tests/{index}");
        test.validate(&pointer)?;
        // All that counts for the outcome.
        let question = (
            (&test.identity, &test.request, &test.dns, test.from),
            (&test.at, &test.user, &test.scopes),
        );
        if let Some((first, expect)) = seen.insert(question, (index, test.expect))
            && expect != test.expect
        {
            return Err(SshConfigError::at(
                &format!("{pointer}/expect"),
                format!("the same test at /tests/{first} expects the contrary; take out one"),
            ));
        }
    }
    Ok(())
}

/// Names the values in place of what serde would say of a variant.
fn expectation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expectation, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = Expectation::deserialize(text.as_str().into_deserializer());
    known.map_err(|_: serde::de::value::Error| {
        serde::de::Error::custom(format!("expected `allow` or `deny`, found {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SshConfig;

    #[test]
    fn requests_are_written_like_scopes() {
        let owned = str::to_owned;
        for (text, request) in [
            ("shell", TestRequest::Shell),
            ("sftp", TestRequest::Sftp),
            ("agent", TestRequest::Agent),
            (
                "exec:echo a:b; ls",
                TestRequest::Exec {
                    command: owned("echo a:b; ls"),
                },
            ),
            (
                "subsystem:x@y",
                TestRequest::Subsystem { name: owned("x@y") },
            ),
            (
                "forward:[::1]:22",
                TestRequest::Forward {
                    host: owned("::1"),
                    port: 22,
                },
            ),
            (
                "listen::8080",
                TestRequest::Listen {
                    address: String::new(),
                    port: 8080,
                },
            ),
            (
                "listen:localhost:0",
                TestRequest::Listen {
                    address: owned("localhost"),
                    port: 0,
                },
            ),
            (
                "streamlocal:/run/a:b",
                TestRequest::StreamLocal {
                    path: owned("/run/a:b"),
                },
            ),
            (
                "env:LANG",
                TestRequest::Env {
                    name: owned("LANG"),
                },
            ),
        ] {
            assert_eq!(TestRequest::parse(text), Ok(request), "{text}");
        }
        for (text, words) in [
            ("ssh:shell", "leave out `ssh:`"),
            ("", "expected exec:<command>"),
            ("exce:ls", "expected exec:<command>"),
            ("exec:", "expected exec:<command>"),
            ("shell:now", "expected exec:<command>"),
            ("forward:db", "does not end in a host and a port"),
            ("forward:db:0", "does not end in a host and a port"),
            ("forward:db:65536", "does not end in a host and a port"),
            ("forward:::1:22", "does not end in a host and a port"),
            ("forward:d b:22", "cannot be asked for"),
            ("listen:db.internal:22", "cannot be asked for"),
        ] {
            let error = TestRequest::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_test_is_named_with_its_place() {
        for (test, pointer, words) in [
            (
                r#"{"identity":"a","request":"forward:db:22","expect":"deny"}"#,
                "/tests/0/request",
                "with `dns`",
            ),
            (
                r#"{"identity":"a","request":"shell","dns":["::1"],"expect":"deny"}"#,
                "/tests/0/dns",
                "leave this out",
            ),
            (
                r#"{"identity":"a","request":"forward:10.0.0.1:22","dns":[],"expect":"deny"}"#,
                "/tests/0/dns",
                "leave this out",
            ),
            (
                r#"{"identity":"a","request":"shell","at":"tomorrow","expect":"deny"}"#,
                "/tests/0/at",
                "2030-12-31T00:00:00Z",
            ),
            (
                r#"{"identity":"","request":"shell","expect":"deny"}"#,
                "/tests/0/identity",
                "the id of a peer",
            ),
            (
                r#"{"identity":"a","request":"shell","expect":"denied"}"#,
                "/tests/0/expect",
                "`allow` or `deny`",
            ),
            (
                r#"{"identity":"a","request":"shell","expects":"deny"}"#,
                "/tests/0/expects",
                "expects",
            ),
            (
                r#"{"identity":"a","request":"shell","from":"here","expect":"deny"}"#,
                "/tests/0/from",
                "IP address",
            ),
            (r#"["a","shell","deny"]"#, "/tests/0", "an array was found"),
        ] {
            let error = SshConfig::from_json(&format!(r#"{{"tests":[{test}]}}"#)).unwrap_err();
            assert_eq!(error.pointer, pointer, "{test}: {error}");
            assert!(error.message.contains(words), "{test}: {error}");
        }
    }

    #[test]
    fn a_test_that_expects_the_contrary_of_another_is_refused() {
        let test = |expect| format!(r#"{{"identity":"a","request":"shell","expect":"{expect}"}}"#);
        let both = |one, other| format!(r#"{{"tests":[{},{}]}}"#, test(one), test(other));
        SshConfig::from_json(&both("deny", "deny")).unwrap();
        let error = SshConfig::from_json(&both("deny", "allow")).unwrap_err();
        assert_eq!(error.pointer, "/tests/1/expect");
        assert!(error.message.contains("/tests/0"), "{error}");
    }
}
