//! From the name of a node to a logged-in SSH connection.

use std::path::{Path, PathBuf};

use alknet_ssh::client::{
    HostKeyError, HostName, HostTrust, Identities, KeyFile, KnownHostsError, fingerprint,
    record_host,
};
use alknet_ssh::{Client, ClientError, ClientOptions, PublicKey};

use super::dial::{DialError, dial};
use super::link::Link;
use crate::console::terminal::Terminal;
use crate::options::args::{LoginArgs, SessionArgs, Settings};
use crate::options::node::{Node, NodeError};
use crate::options::places;
use crate::options::ssh_options::{AgentChoice, Options, StrictHostKeys};

/// Connects to one node as often as need be. Passphrases are asked for once.
pub(crate) struct Connector {
    node: Node,
    settings: Settings,
    user: String,
    trust: HostTrust,
    identities: Identities,
    options: Options,
    ssh: ClientOptions,
    /// The files whose keys were encrypted at first.
    encrypted: Vec<PathBuf>,
    terminal: Terminal,
}

/// A logged-in SSH connection, and the QUIC connection under it.
pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) client: Client,
}

impl Connector {
    /// Gathers what is needed; nothing is sent yet.
    pub(crate) fn new(args: &SessionArgs, terminal: Terminal) -> Result<Self, SessionError> {
        let node = args.node.node()?;
        let options = Options::from_args(&args.login.options);
        let trust = trust(&node, &args.login, &options)?;
        for place in trust.passed_over() {
            terminal.detail(&format_args!(
                "{place} cannot be understood and is passed over"
            ));
        }
        let identities = identities(&node, &args.login, &options, terminal);
        let encrypted = identities.files.iter().filter(|file| file.is_encrypted());
        Ok(Self {
            user: user(&node, &args.login)?,
            trust,
            encrypted: encrypted.map(|file| file.path().to_owned()).collect(),
            identities,
            settings: Settings {
                redials: true,
                ..args.node.settings()
            },
            node,
            options,
            ssh: ClientOptions::default(),
            terminal,
        })
    }

    /// Prepares for a session whose first use is a command.
    pub(crate) fn for_command(mut self) -> Self {
        self.ssh.for_command = true;
        // The command cannot move to another address.
        self.settings.redials = false;
        self
    }

    /// A new QUIC connection, with an SSH connection on it.
    pub(crate) async fn connect(&mut self) -> Result<Session, SessionError> {
        let link = dial(&self.node, &self.settings, self.terminal).await?;
        match self.log_in(&link).await {
            Ok(client) => Ok(Session { link, client }),
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }

    /// Another SSH connection on the same QUIC connection.
    pub(crate) async fn log_in(&mut self, link: &Link) -> Result<Client, SessionError> {
        let mut client = match self.secure(link).await {
            Err(SessionError::Ssh(ClientError::HostKey(error))) => {
                let HostKeyError::Unknown { name, key } = *error else {
                    return Err(ClientError::HostKey(error).into());
                };
                self.meet(&name, &key, link.has_node_key()).await?;
                self.trust = self.trust.clone().pin(*key);
                self.secure(link).await?
            }
            outcome => outcome?,
        };
        self.terminal
            .detail(&format_args!("the server is {}", client.server_version()));
        let prompt = self.options.prompt();
        client
            .log_in(&self.user, &mut self.identities, &prompt)
            .await?;
        self.terminal
            .detail(&format_args!("logged in as {:?}", self.user));
        Ok(client)
    }

    /// Forgets the keys that a passphrase was given for. False if there were any:
    /// then nobody can log in again without asking.
    pub(crate) fn forget_unlocked(&mut self) -> bool {
        let encrypted = &self.encrypted;
        let files = &mut self.identities.files;
        let before = files.len();
        files.retain(|file| {
            file.is_encrypted() || !encrypted.iter().any(|path| path == file.path())
        });
        files.len() == before
    }

    async fn secure(&self, link: &Link) -> Result<Client, SessionError> {
        let stream = link.open().await.map_err(SessionError::Stream)?;
        let trust = self.trust.clone();
        let options = match link.round_trip() {
            Some(round_trip) => self.ssh.clone().for_round_trip(round_trip),
            None => self.ssh.clone(),
        };
        Ok(Client::connect_to(stream, &options, trust).await?)
    }

    /// Decides about a host of which nothing is known.
    async fn meet(
        &self,
        name: &HostName,
        key: &PublicKey,
        has_node_key: bool,
    ) -> Result<(), SessionError> {
        let shown = format!("{} {}", key.algorithm(), fingerprint(key));
        let unknown = || SessionError::UnknownHost {
            name: name.clone(),
            shown: shown.clone(),
        };
        match self.options.strict_host_keys {
            StrictHostKeys::Yes => return Err(unknown()),
            StrictHostKeys::AcceptNew => {}
            // Whoever holds the node's key speaks for the node.
            StrictHostKeys::Ask if has_node_key && self.node.node_key.is_some() => {}
            StrictHostKeys::Ask => {
                if !self
                    .confirmed(name, &shown, key)
                    .await
                    .ok_or_else(unknown)?
                {
                    return Err(SessionError::NotConfirmed);
                }
            }
        }
        let Some(file) = self.options.user_known_hosts.first() else {
            return Ok(());
        };
        match record_host(file, name, key) {
            Ok(()) => self.terminal.notice(&format_args!(
                "added the SSH host key of {name} ({shown}) to {}",
                file.display()
            )),
            Err(error) => self.terminal.notice(&error),
        }
        Ok(())
    }

    /// Asks the user as ssh does: yes, no, or the fingerprint. `None` where
    /// nobody can be asked.
    async fn confirmed(&self, name: &HostName, shown: &str, key: &PublicKey) -> Option<bool> {
        let prompt = self.options.prompt();
        let mut question = format!(
            "The authenticity of {name} cannot be established.\nIts SSH host key is {shown}.\n\
             Are you sure you want to continue connecting (yes/no/[fingerprint])? "
        );
        loop {
            let answer = prompt.line(&question).await?;
            match answer.trim() {
                "no" => return Some(false),
                "yes" => return Some(true),
                text if text == fingerprint(key) => return Some(true),
                _ => "Please type 'yes', 'no' or the fingerprint: ".clone_into(&mut question),
            }
        }
    }
}

impl Session {
    /// Says goodbye to the SSH server and then to the node, for when nothing
    /// more is to come from either side. Nobody waits for an answer; each is
    /// sent once.
    pub(crate) async fn close(self) {
        self.client.leave().await;
        self.link.close().await;
    }
}

/// Why an SSH connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    KnownHosts(#[from] KnownHostsError),
    #[error(transparent)]
    Ssh(#[from] ClientError),
    #[error("cannot open a stream to the node: {0}")]
    Stream(String),
    #[error(
        "refused to connect: the SSH host key of {name} is not known ({shown}). Connect once from a terminal and confirm it, or give it with --host-key as the node prints it"
    )]
    UnknownHost { name: HostName, shown: String },
    #[error("refused to connect: the SSH host key was not confirmed")]
    NotConfirmed,
    #[error(
        "{text:?} is not an SSH public key: expected a type and base64, as in \"ssh-ed25519 AAAA…\""
    )]
    HostKey { text: String },
    #[error("cannot find out your user name: give one with -l")]
    NoUser,
}

impl SessionError {
    /// Whether trying again would fail the same way, so that the user should
    /// decide.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            Self::Dial(DialError::Iroh(error)) => error.is_for_good(),
            Self::Dial(error) => matches!(
                error,
                DialError::WrongKey { .. } | DialError::ChangedKey(_) | DialError::KnownNodes(_)
            ),
            Self::Ssh(error) => matches!(
                error,
                ClientError::HostKey(_) | ClientError::NoKeyAccepted { .. }
            ),
            Self::Stream(_) => false,
            _ => true,
        }
    }
}

/// The user to log in as.
pub(crate) fn user(node: &Node, login: &LoginArgs) -> Result<String, SessionError> {
    let named = login.user.clone().or_else(|| node.user.clone());
    named.or_else(places::user_name).ok_or(SessionError::NoUser)
}

/// The private keys that were named for a node.
pub(crate) fn named_identity_files<'a>(node: &'a Node, login: &'a LoginArgs) -> &'a [PathBuf] {
    match login.identity_files.as_slice() {
        [] => &node.identity_files,
        files => files,
    }
}

fn trust(node: &Node, login: &LoginArgs, options: &Options) -> Result<HostTrust, SessionError> {
    let mut trust = HostTrust::new(HostName::new(
        &node.target.host,
        node.target.known_hosts_port(),
    ));
    let files = options.user_known_hosts.iter();
    for file in files.chain(&options.global_known_hosts) {
        trust = trust.known_hosts(file)?;
    }
    if let Some(text) = login.host_key.as_ref().or(node.host_key.as_ref()) {
        let key = PublicKey::from_openssh(text.trim())
            .map_err(|_| SessionError::HostKey { text: text.clone() })?;
        trust = trust.pin(key);
    }
    Ok(trust)
}

fn identities(node: &Node, login: &LoginArgs, options: &Options, terminal: Terminal) -> Identities {
    let named = named_identity_files(node, login);
    let mut identities = Identities {
        files_first: !named.is_empty(),
        has_tls_identity: node.identity_key.is_some(),
        agent: agent(options),
        ..Identities::default()
    };
    let paths = match named {
        [] => usual_identity_files(),
        files => files.iter().map(|file| places::expanded(file)).collect(),
    };
    for path in paths {
        match KeyFile::read(&path) {
            Ok(file) => identities.files.push(file),
            Err(error) => {
                terminal.notice(&format_args!("identity file {}: {error}", path.display()));
                identities.unusable.push((path, error));
            }
        }
    }
    if options.identities_only {
        identities.only_files = true;
    }
    identities
}

/// The key files that ssh looks for (ssh(1), `-i`), as far as they exist.
pub(crate) fn usual_identity_files() -> Vec<PathBuf> {
    let Some(home) = places::home() else {
        return Vec::new();
    };
    ["id_ed25519", "id_ecdsa", "id_rsa"]
        .iter()
        .map(|name| home.join(".ssh").join(name))
        .filter(|path| path.exists())
        .collect()
}

/// The socket of the agent, if one is used.
pub(crate) fn agent(options: &Options) -> Option<PathBuf> {
    match &options.agent {
        AgentChoice::None => None,
        AgentChoice::Socket(path) => Some(path.clone()),
        AgentChoice::Environment => std::env::var_os("SSH_AUTH_SOCK")
            .filter(|socket| !socket.is_empty())
            .map(|socket| Path::new(&socket).to_owned()),
    }
}
