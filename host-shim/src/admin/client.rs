use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::protocol::{FaultReport, Request, VERSION, request_line};
use super::socket::connect;
use crate::state::StateFolder;

/// How long a node may take over a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Asks the node that serves a state folder.
pub(crate) fn ask<T: DeserializeOwned>(
    state: &StateFolder,
    request: &Request,
) -> Result<T, AskError> {
    let folder = || state.root().to_owned();
    let stream = connect(state).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskError::NotRunning { folder: folder() }
        }
        _ => AskError::Io {
            folder: folder(),
            source,
        },
    })?;
    let exchange = || {
        let mut stream = stream;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request_line(request).as_bytes())?;
        let mut line = Vec::new();
        BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut line)?;
        Ok(line)
    };
    let line = exchange().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            AskError::Silent { folder: folder() }
        }
        _ => AskError::Io {
            folder: folder(),
            source,
        },
    })?;
    if line.is_empty() {
        return Err(AskError::Unintelligible { folder: folder() });
    }
    read_answer(&line).unwrap_or_else(|| Err(AskError::Unintelligible { folder: folder() }))
}

/// `None` if it is no answer of our protocol.
fn read_answer<T: DeserializeOwned>(line: &[u8]) -> Option<Result<T, AskError>> {
    let answer: Value = serde_json::from_slice(line).ok()?;
    if answer.get("version")? != VERSION {
        return None;
    }
    if answer.get("ok")?.as_bool()? {
        return Some(Ok(serde_json::from_value(answer).ok()?));
    }
    let faults = serde_json::from_value(answer.get("faults")?.clone()).ok()?;
    Some(Err(AskError::Refused(faults)))
}

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is none.
    #[error(
        "no node serves {}; start it with `alknet-node run --state '{}'`, or see what a start would say with `alknet-node check --state '{}'`",
        folder.display(), folder.display(), folder.display()
    )]
    NotRunning {
        /// The state folder.
        folder: PathBuf,
    },
    /// It says what is wrong.
    #[error("refused")]
    Refused(Vec<FaultReport>),
    /// It does not answer.
    #[error("the node that serves {} does not answer; its log may say why", folder.display())]
    Silent {
        /// The state folder.
        folder: PathBuf,
    },
    /// Its answer is not of our protocol.
    #[error(
        "the node that serves {} gives no answer of the admin protocol, version {VERSION}; use the alknet-node it was started with",
        folder.display()
    )]
    Unintelligible {
        /// The state folder.
        folder: PathBuf,
    },
    /// The socket failed.
    #[error("cannot talk to the node that serves {}: {source}", folder.display())]
    Io {
        /// The state folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
