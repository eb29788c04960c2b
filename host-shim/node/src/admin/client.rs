//! The client of the admin socket: one request to the running node, one
//! answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::protocol::{Request, VERSION, request_line};
use super::socket::connect;
use crate::config::problem::FaultReport;
use crate::state::StateDir;

/// The time that a node may take for a request: each plugin may be tried out
/// for a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// The most bytes of an answer that are read: more than any has.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Asks the node that serves a state directory.
pub(crate) fn ask<T: DeserializeOwned>(state: &StateDir, request: &Request) -> Result<T, AskError> {
    Asking::begin(state, request)?.answer()
}

/// As [`ask`], then waits until the node has ended.
pub(crate) fn ask_and_outlive(
    state: &StateDir,
    request: &Request,
    meanwhile: impl FnOnce(),
) -> Result<(), AskError> {
    let mut asking = Asking::begin(state, request)?;
    asking.answer::<Value>()?;
    meanwhile();
    let io = |source| AskError::Io {
        dir: state.root().to_owned(),
        source,
    };
    let stream = asking.stream.get_ref();
    stream.set_read_timeout(None).map_err(io)?;
    // The node says nothing more: what comes is the end, one way or another.
    let _ = asking.stream.read_to_end(&mut Vec::new());
    Ok(())
}

/// A request that was sent.
struct Asking {
    dir: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Asking {
    fn begin(state: &StateDir, request: &Request) -> Result<Self, AskError> {
        let dir = || state.root().to_owned();
        let io = |source: io::Error| AskError::Io { dir: dir(), source };
        let mut stream = connect(state).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                AskError::NotRunning { dir: dir() }
            }
            _ => io(source),
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(io)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(io)?;
        stream
            .write_all(request_line(request).as_bytes())
            .map_err(io)?;
        Ok(Self {
            dir: dir(),
            stream: BufReader::new(stream),
        })
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, AskError> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(MAX_ANSWER)
            .read_until(b'\n', &mut line);
        let dir = self.dir.clone();
        match read {
            Ok(1..) => read_answer(&line).unwrap_or(Err(AskError::Unintelligible { dir })),
            Ok(0) => Err(AskError::Unintelligible { dir }),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Silent { dir },
                _ => AskError::Io { dir, source },
            }),
        }
    }
}

/// Reads an answer; `None` if the line is not one of this protocol.
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
    /// No node serves the state directory.
    #[error(
        "no node serves {}; start it with `alknet-node run --state '{}'`, or see what a start would say with `alknet-node check --state '{}'`",
        dir.display(), dir.display(), dir.display()
    )]
    NotRunning {
        /// The state directory.
        dir: PathBuf,
    },
    /// The node refused the request and says what is wrong.
    #[error("refused")]
    Refused(Vec<FaultReport>),
    /// The node does not answer in time.
    #[error("the node that serves {} does not answer; its log may say why", dir.display())]
    Silent {
        /// The state directory.
        dir: PathBuf,
    },
    /// The node's answer is not one of this protocol.
    #[error(
        "the node that serves {} gives no answer of the admin protocol, version {VERSION}; use the alknet-node it was started with",
        dir.display()
    )]
    Unintelligible {
        /// The state directory.
        dir: PathBuf,
    },
    /// The socket failed.
    #[error("cannot talk to the node that serves {}: {source}", dir.display())]
    Io {
        /// The state directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
