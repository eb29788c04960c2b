//! The requests and answers of the admin protocol, one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::problem::FaultReport;

/// The version of the protocol, in every line of it.
pub(super) const VERSION: u64 = 1;
/// The longest request, in bytes with its line end.
pub(super) const MAX_REQUEST: usize = 64 * 1024;
/// The most faults that an answer lists; further ones are counted.
const MAX_FAULTS: usize = 200;

/// A request to the running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Put the changed configuration in force.
    Reload {
        /// Only say what would happen.
        #[serde(default)]
        dry_run: bool,
        /// An empty file, or one that is cut short, is meant so.
        #[serde(default)]
        accept_empty: bool,
        /// The same for the peers file alone, which whoever asks has changed.
        #[serde(default)]
        accept_peers: bool,
    },
    /// Say how the node is doing.
    Status {},
    /// Load what changed in the plugins directory.
    PluginsReload {
        /// One plugin alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// A new generation of what did not change as well.
        #[serde(default)]
        force: bool,
        /// Swap nothing that would end sessions by `max_draining`. A node
        /// older than this knows no such thing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        confirm: bool,
    },
    /// Have the version before the last swap serve again.
    PluginsRollback {
        /// The plugin; not needed where only one was swapped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// As for `PluginsReload`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        confirm: bool,
    },
    /// Have a plugin serve no more.
    PluginsUnload {
        /// The plugin.
        name: String,
        /// As for `PluginsReload`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        confirm: bool,
    },
    /// List the sessions of all plugins.
    SessionsList {},
    /// End one session, with what it left in the background.
    SessionsClose {
        /// The generation that serves the session.
        generation: u64,
        /// The session's number within its generation.
        id: u64,
    },
    /// End all sessions of a peer, with what they left in the background.
    SessionsCloseOf {
        /// The peer.
        identity: String,
    },
    /// Accept no more, and end once the last connection has.
    Drain {},
    /// Stop, as SIGTERM would.
    Stop {
        /// End live sessions at once.
        #[serde(default)]
        now: bool,
    },
}

/// A request as a line.
pub(super) fn request_line(request: &Request) -> String {
    line(request, &[])
}

/// Reads the request of a line, or gives the refusal to answer with.
pub(super) fn parse_request(line: &[u8]) -> Result<Request, FaultReport> {
    let mut members: Map<String, Value> = serde_json::from_slice(line)
        .map_err(|error| FaultReport::new(format!("the request is not a JSON object: {error}")))?;
    match members.remove("version") {
        Some(version) if version == VERSION => {}
        Some(other) => {
            return Err(FaultReport::new(format!(
                "this node speaks version {VERSION} of the admin protocol, not {other}; use the alknet-node it was started with"
            )));
        }
        None => return Err(FaultReport::new("the request has no `version`")),
    }
    serde_json::from_value(Value::Object(members))
        .map_err(|error| FaultReport::new(format!("this node cannot do that: {error}")))
}

/// The answer to a request that was carried out.
pub(super) fn done_line(body: &impl Serialize) -> String {
    line(body, &[("ok", true.into())])
}

/// The answer to a request that was refused.
pub(super) fn refused_line(mut faults: Vec<FaultReport>) -> String {
    let more = faults.len().saturating_sub(MAX_FAULTS);
    if more > 0 {
        faults.truncate(MAX_FAULTS);
        faults.push(FaultReport::new(format!("and {more} more faults")));
    }
    let faults = serde_json::to_value(faults).unwrap_or_default();
    line(&Map::new(), &[("ok", false.into()), ("faults", faults)])
}

fn line(body: &impl Serialize, more: &[(&str, Value)]) -> String {
    let mut members = match serde_json::to_value(body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.insert("version".to_owned(), VERSION.into());
    for (name, value) in more {
        members.insert((*name).to_owned(), value.clone());
    }
    format!("{}\n", Value::Object(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way_there() {
        for dry_run in [false, true] {
            let request = Request::Reload {
                dry_run,
                accept_empty: !dry_run,
                accept_peers: dry_run,
            };
            let line = request_line(&request);
            assert_eq!(parse_request(line.as_bytes()), Ok(request));
        }
        for request in [
            Request::Status {},
            Request::PluginsReload {
                name: Some("ssh".to_owned()),
                force: true,
                confirm: true,
            },
            Request::SessionsClose {
                generation: 2,
                id: 7,
            },
        ] {
            let line = request_line(&request);
            assert_eq!(parse_request(line.as_bytes()), Ok(request));
        }
        let short = parse_request(br#"{"version":1,"command":"reload"}"#);
        assert_eq!(
            short,
            Ok(Request::Reload {
                dry_run: false,
                accept_empty: false,
                accept_peers: false,
            })
        );
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        for (line, said) in [
            (&b"reload"[..], "not a JSON object"),
            (b"[]", "not a JSON object"),
            (br#"{"command":"reload"}"#, "no `version`"),
            (br#"{"version":2,"command":"reload"}"#, "version 1"),
            (br#"{"version":1,"command":"relaod"}"#, "relaod"),
            (br#"{"version":1,"command":"reload","dry":true}"#, "dry"),
            (b"\xff", "not a JSON object"),
        ] {
            let fault = parse_request(line).unwrap_err();
            assert!(fault.message.contains(said), "{fault:?}");
        }
    }

    #[test]
    fn a_thousand_faults_are_counted() {
        let faults = vec![FaultReport::new("x"); 1000];
        let answer: Value = serde_json::from_str(&refused_line(faults)).unwrap();
        let faults = answer["faults"].as_array().unwrap();
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert_eq!(faults[MAX_FAULTS]["message"], "and 800 more faults");
    }
}
