//! The settings of shared connections (ssh_config(5), ControlMaster and
//! ControlPersist), and the identity of a connection.

use std::path::PathBuf;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::directory::checked;
use super::error::ShareError;
use crate::connection::session::{named_identity_files, user};
use crate::failure::Failure;
use crate::options::args::SessionArgs;
use crate::options::control_path::{ControlPath, Tokens};
use crate::options::node::Node;
use crate::options::sharing::{Masters, Persist, Share};
use crate::options::ssh_options::Options;

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
    hash.field(&node.address());
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
