//! The settings of shared connections (ssh_config(5), ControlMaster and
//! ControlPersist), and the identity of a connection.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::ShareError;
use super::folder::checked;
use crate::connection::session::{named_identity_files, user};
use crate::failure::Failure;
use crate::options::args::SessionArgs;
use crate::options::control_path::{ControlPath, Tokens};
use crate::options::node::Node;
use crate::options::ssh_options::Options;

/// Whether a process that keeps the connection is used or started
/// (ssh_config(5), ControlMaster).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masters {
    /// Use one that runs, where a socket was named.
    No,
    /// Start one; do without if there is one already.
    Yes,
    /// Use one, and start one if none runs.
    Auto,
}

/// The time it stays after its last use (ssh_config(5), ControlPersist).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    For(Duration),
    Forever,
}

/// The value of `share` in `nodes.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    No,
    Yes(Persist),
}

/// What such a process is told (ssh(1), `-O`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// Say whether it runs
    Check,
    /// End, and all commands with it
    Exit,
    /// Let no further commands in, and end after the last
    Stop,
}

/// The socket of the process that keeps a connection, and the identity of that
/// connection.
#[derive(Debug)]
pub(crate) struct Sharing {
    pub(crate) masters: Masters,
    pub(crate) persist: Persist,
    /// The socket, in a directory that is nobody else's.
    pub(crate) socket: PathBuf,
    /// The hash of node, key and user.
    pub(crate) peer: [u8; 32],
    /// The name that the user calls the node by.
    pub(crate) node: String,
}

impl Sharing {
    /// The sharing that the arguments ask for; `None` if nothing is to be
    /// shared.
    pub(crate) fn of(args: &SessionArgs) -> Result<Option<Self>, Failure> {
        Self::find(args, false)
    }

    /// The sharing that the arguments ask for, where one is required.
    pub(crate) fn required(args: &SessionArgs) -> Result<Self, Failure> {
        Ok(Self::find(args, true)?.ok_or(ShareError::NoPath)?)
    }

    fn find(args: &SessionArgs, required: bool) -> Result<Option<Self>, Failure> {
        let node = args.node.node()?;
        let options = Options::from_args(&args.login.options);
        let (masters, persist) = match node.share {
            Some(Share::Yes(persist)) => (Masters::Auto, persist),
            Some(Share::No) | None => (Masters::No, Persist::For(Duration::ZERO)),
        };
        let masters = options.control_master.unwrap_or(masters);
        let path = match &options.control_path {
            None if masters == Masters::No && !required => return Ok(None),
            Some(ControlPath::None) => return Ok(None),
            Some(path) => Some(path),
            None => None,
        };
        let user = user(&node, &args.login)?;
        let peer = peer(&node, args, &user);
        let tokens = Tokens {
            connection: connection(&node, args, &user, &options),
            node: args.node.node.text(),
            target: &node.target,
            user: &user,
        };
        let socket = match path {
            Some(ControlPath::At(pattern)) => pattern.path(&tokens),
            Some(ControlPath::None) | None => ControlPath::usual(&tokens),
        };
        Ok(Some(Self {
            masters,
            persist: options.control_persist.unwrap_or(persist),
            socket: checked(socket.ok_or(ShareError::NoPlace)?, path.is_none())?,
            peer,
            node: args.node.node.whole(),
        }))
    }
}

/// The hash of what a node must prove, and of the user.
fn peer(node: &Node, args: &SessionArgs, user: &str) -> [u8; 32] {
    let mut hash = Fields::new();
    hash.field(&node.target.to_string());
    hash.field(&format!("{:?}", node.node_key));
    let host_key = args.login.host_key.as_ref().or(node.host_key.as_ref());
    hash.field(&format!("{host_key:?}"));
    hash.field(user);
    hash.finished()
}

/// The hash of everything that decides how a connection is made.
fn connection(node: &Node, args: &SessionArgs, user: &str, options: &Options) -> [u8; 32] {
    let mut hash = Fields::new();
    hash.0.update(&peer(node, args, user));
    let files = named_identity_files(node, &args.login);
    hash.field(&format!("{files:?} {:?}", node.identity_key));
    hash.field(&format!("{:?}", args.node.reach.known_nodes));
    hash.field(&format!(
        "{:?} {:?} {:?} {:?} {:?}",
        options.strict_host_keys,
        options.user_known_hosts,
        options.global_known_hosts,
        options.identities_only,
        options.agent
    ));
    hash.finished()
}

/// A hash over texts, each with its length.
struct Fields(Context);

impl Fields {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn field(&mut self, text: &str) {
        self.0.update(&text.len().to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn finished(self) -> [u8; 32] {
        // SHA-256 always has 32 bytes.
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        bytes
    }
}

/// The text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoTime;

impl FromStr for Persist {
    type Err = NoTime;

    /// Reads yes, no, or a time as in ssh (sshd_config(5), TIME FORMATS). 0 is
    /// for ever, as in ssh.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        match text {
            "yes" | "true" => return Ok(Self::Forever),
            "no" | "false" => return Ok(Self::For(Duration::ZERO)),
            "" => return Err(NoTime),
            _ => {}
        }
        let mut rest = text;
        let mut seconds: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
            let number: u64 = number.parse().map_err(|_| NoTime)?;
            let mut unit = unit.chars();
            let factor = match unit.next() {
                None | Some('s' | 'S') => 1,
                Some('m' | 'M') => 60,
                Some('h' | 'H') => 3600,
                Some('d' | 'D') => 86_400,
                Some('w' | 'W') => 604_800,
                Some(_) => return Err(NoTime),
            };
            let part = number.checked_mul(factor).ok_or(NoTime)?;
            seconds = seconds.checked_add(part).ok_or(NoTime)?;
            rest = unit.as_str();
        }
        match seconds {
            0 => Ok(Self::Forever),
            1..=LONGEST => Ok(Self::For(Duration::from_secs(seconds))),
            _ => Err(NoTime),
        }
    }
}

/// The longest time in seconds, a hundred years: a longer one is a mistake, and
/// a clock might not hold it.
const LONGEST: u64 = 100 * 365 * 86_400;
/// The time that `share = true` stands for.
const USUAL: Duration = Duration::from_secs(600);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match YesOrTime::deserialize(input)? {
            YesOrTime::Yes(true) => Ok(Self::Yes(Persist::For(USUAL))),
            YesOrTime::Yes(false) => Ok(Self::No),
            YesOrTime::Time(text) => match text.parse() {
                Ok(persist) => Ok(Self::Yes(persist)),
                Err(NoTime) => Err(de::Error::custom(EXPECTED)),
            },
        }
    }
}

const EXPECTED: &str = "expected true, false or a time such as \"10m\"";

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false or a time such as \"10m\"")]
enum YesOrTime {
    Yes(bool),
    Time(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_ssh() {
        let seconds = |seconds| Ok(Persist::For(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("no", seconds(0)),
            ("yes", Ok(Persist::Forever)),
            ("0", Ok(Persist::Forever)),
            ("30", seconds(30)),
            ("10m", seconds(600)),
            ("1h30m", seconds(5400)),
            ("1w2D", seconds(9 * 86_400)),
            ("", Err(NoTime)),
            ("m", Err(NoTime)),
            ("-1", Err(NoTime)),
            ("10x", Err(NoTime)),
            ("99999999999999999999", Err(NoTime)),
            ("9999999999w", Err(NoTime)),
        ] {
            assert_eq!(text.parse::<Persist>(), expected, "{text:?}");
        }
    }
}
