//! `alknet login`: gets a certificate from a node that signs, and keeps it where ssh
//! finds it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alknet_certificate::{LONGEST_MESSAGE, SignAnswer, SignRequest, Signed};
use alknet_ssh::client::{
    AgentError, KeyFile, KeyFileError, LoginCertificate, LoginCertificateError, fresh_key,
    record_authority,
};
use alknet_ssh::{PrivateKey, PublicKey};
use alknet_text::visible;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::connection::dial::dial_verified;
use crate::connection::session::agent;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::{LoginCertificateArgs, Settings};
use crate::options::node::Node;
use crate::options::places;
use crate::options::ssh_options::Options;

/// The protocol of the plugin that signs.
const CA_ALPN: &str = "alknet/ca";

/// The least time between two renewals.
const LEAST_PAUSE: Duration = Duration::from_secs(5);
/// The time after which a renewal that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// `alknet login`: gets a certificate and keeps it; with `--renew`, for as long as
/// it is left running.
pub(crate) async fn run(args: &LoginCertificateArgs, terminal: Terminal) -> Result<(), Failure> {
    let mut node = args.node.node()?;
    node.identity_key = Some(identity_key(&node)?);
    let mut settings = args.node.settings();
    settings.alpn = CA_ALPN.into();
    let mut place = Place::of(args)?;
    let mut left = once(args, &node, &settings, &mut place, terminal).await?;
    if !args.renew {
        return Ok(());
    }
    loop {
        sleep((left * 2 / 3).max(LEAST_PAUSE)).await;
        left = match once(args, &node, &settings, &mut place, terminal).await {
            Ok(left) => left,
            Err(error) => {
                terminal.error(&error);
                // As long again as leads to the next try.
                TRY_AGAIN * 3 / 2
            }
        };
    }
}

/// The key that shows the node who asks.
fn identity_key(node: &Node) -> Result<PathBuf, LoginError> {
    if let Some(named) = &node.identity_key {
        return Ok(named.clone());
    }
    let usual = places::home().map(|home| home.join(".ssh/id_ed25519"));
    usual
        .filter(|path| path.exists())
        .ok_or(LoginError::NoIdentityKey)
}

/// Where key and certificate are kept.
enum Place {
    /// In the agent at this socket; a fresh key each time.
    Agent(PathBuf),
    /// In files, and in an agent too if there is one.
    File {
        key: Box<KeyFile>,
        agent: Option<PathBuf>,
    },
}

impl Place {
    fn of(args: &LoginCertificateArgs) -> Result<Self, LoginError> {
        let agent = agent(&Options::from_args(&[]));
        let (path, agent) = match (&args.key, agent) {
            (None, Some(socket)) => return Ok(Self::Agent(socket)),
            (None, None) => {
                let directory = places::config_directory().ok_or(LoginError::NoHome)?;
                (own_key(&directory)?, None)
            }
            (Some(named), agent) => (named.clone(), agent),
        };
        let key = KeyFile::read(&path).map_err(|error| LoginError::Key { path, error })?;
        Ok(Self::File {
            key: Box::new(key),
            agent,
        })
    }
}

/// The key file that is used where there is no agent; made if need be.
fn own_key(directory: &Path) -> Result<PathBuf, LoginError> {
    let path = directory.join("login_key");
    let failed = |error| LoginError::Write {
        path: path.clone(),
        error,
    };
    if path.exists() {
        return Ok(path);
    }
    let key = fresh_key("alknet login").map_err(failed)?;
    let text = key
        .to_openssh(Default::default())
        .map_err(|error| failed(io::Error::other(error)))?;
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(failed)?;
    Ok(path)
}

/// Gets one certificate and keeps it; gives how long it is valid.
async fn once(
    args: &LoginCertificateArgs,
    node: &Node,
    settings: &Settings,
    place: &mut Place,
    terminal: Terminal,
) -> Result<Duration, Failure> {
    let comment = format!("alknet login {}", node.target);
    let (key, private): (PublicKey, Option<Arc<PrivateKey>>) = match place {
        Place::Agent(_) => {
            let fresh = fresh_key(&comment).map_err(LoginError::Random)?;
            (fresh.public_key().clone(), Some(Arc::new(fresh)))
        }
        Place::File { key, agent } => {
            let path = key.path().to_owned();
            let fault = |error| LoginError::Key { path, error };
            let private = match (key.is_encrypted(), &agent, key.public_key()) {
                // Nobody is asked for a passphrase that is not needed.
                (_, None, Some(_)) => None,
                _ => Some(
                    key.unlock(&Options::from_args(&[]).prompt())
                        .await
                        .map_err(fault)?,
                ),
            };
            let public = key.public_key().cloned();
            (public.ok_or(LoginError::NotUnderstood)?, private)
        }
    };
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let request = SignRequest {
        public_key: key.to_openssh().map_err(|_| LoginError::NotUnderstood)?,
        principals: some(&args.principals),
        scopes: some(&args.scopes),
        accounts: some(&args.accounts),
        lifetime_seconds: args.lifetime,
    };
    let signed = ask(node, settings, &request, terminal).await?;
    let authority = PublicKey::from_openssh(&signed.authority);
    let authority = authority.map_err(|_| LoginError::NotUnderstood)?;
    let certificate = LoginCertificate::read(&signed.certificate, &key, &authority)
        .map_err(LoginError::Certificate)?;
    let kept = keep(place, private.as_deref(), &certificate, &comment).await?;
    terminal.notice(&format_args!(
        "certificate {} for {}, valid for {}: {kept}",
        certificate.serial(),
        visible(&certificate.principals().join(", ")),
        hours(certificate.left()),
    ));
    believe(args, &signed, &authority, node, terminal)?;
    Ok(certificate.left())
}

/// Asks the node.
async fn ask(
    node: &Node,
    settings: &Settings,
    request: &SignRequest,
    terminal: Terminal,
) -> Result<Signed, Failure> {
    let link = dial_verified(node, settings, terminal).await?;
    let asking = async {
        let mut stream = link.open().await.map_err(io::Error::other)?;
        let text = serde_json::to_vec(request).map_err(io::Error::other)?;
        stream.write_all(&text).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        let mut stream = stream.take(LONGEST_MESSAGE as u64);
        stream.read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(settings.timeout, asking).await;
    link.close().await;
    let answer = answer.map_err(|_| LoginError::Silent)?;
    let answer = answer.map_err(|error| LoginError::Lost(error.to_string()))?;
    match serde_json::from_slice(&answer) {
        Ok(SignAnswer::Signed(signed)) => Ok(signed),
        Ok(SignAnswer::Refused { reason }) => {
            Err(LoginError::Refused(visible(&reason).into_owned()).into())
        }
        Err(_) => Err(LoginError::NotUnderstood.into()),
    }
}

/// Keeps the certificate; says where.
async fn keep(
    place: &Place,
    private: Option<&PrivateKey>,
    certificate: &LoginCertificate,
    comment: &str,
) -> Result<String, LoginError> {
    let (socket, file) = match place {
        Place::Agent(socket) => (Some(socket), None),
        Place::File { key, agent } => (agent.as_ref(), Some(beside(key.path()))),
    };
    if let Some(file) = &file {
        let line = certificate.line().and_then(|line| write(file, &line));
        line.map_err(|error| LoginError::Write {
            path: file.clone(),
            error,
        })?;
    }
    let in_agent = match (socket, private) {
        (Some(socket), Some(key)) => Some(certificate.keep_in(socket, key, comment).await),
        _ => None,
    };
    match (in_agent, file) {
        (Some(Ok(())), None) => Ok("the agent has it".to_owned()),
        (Some(Err(error)), None) => Err(LoginError::Agent(error)),
        (Some(Ok(())), Some(file)) => Ok(format!("{} and the agent have it", file.display())),
        (_, Some(file)) => Ok(file.display().to_string()),
        (None, None) => Err(LoginError::NotUnderstood),
    }
}

/// Where ssh looks for the certificate of a key file.
fn beside(key: &Path) -> PathBuf {
    let text = key.as_os_str().to_string_lossy().into_owned();
    let stem = text.strip_suffix(".pub").unwrap_or(&text);
    PathBuf::from(format!("{stem}-cert.pub"))
}

fn write(file: &Path, line: &str) -> io::Result<()> {
    let fresh = file.with_extension("pub.new");
    let _ = std::fs::remove_file(&fresh);
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&fresh)?;
    out.write_all(format!("{}\n", line.trim_end()).as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&fresh, file)
}

/// Has ssh believe the authority about its hosts.
fn believe(
    args: &LoginCertificateArgs,
    signed: &Signed,
    authority: &PublicKey,
    node: &Node,
    terminal: Terminal,
) -> Result<(), LoginError> {
    let odd = |host: &String| host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic());
    if signed.hosts.is_empty() || signed.hosts.iter().any(odd) {
        return Ok(());
    }
    let usual = || places::home().map(|home| home.join(".ssh/known_hosts"));
    let file = args.known_hosts.clone().or_else(usual);
    let file = file.ok_or(LoginError::NoHome)?;
    let comment = format!("alknet login {}", node.target);
    match record_authority(&file, &signed.hosts, authority, &comment) {
        Ok(true) => terminal.notice(&format_args!(
            "{} has its authority for {} now: no question about their host keys",
            file.display(),
            signed.hosts.join(", ")
        )),
        Ok(false) => {}
        Err(error) => terminal.notice(&error),
    }
    Ok(())
}

/// A time for people.
fn hours(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, _) if time.as_secs() < 120 => format!("{} s", time.as_secs()),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(
        "the node has to know who asks: show it a key with --identity-key FILE (ssh-keygen -t ed25519 -N '' -f FILE), whose name (alknet identity-key FILE) its operator adds to your node_keys"
    )]
    NoIdentityKey,
    #[error("there is no home directory to keep a key in; name one with --key and --known-hosts")]
    NoHome,
    #[error("the node signs nothing: {0}")]
    Refused(String),
    #[error("the node did not answer in time")]
    Silent,
    #[error("the node ended the connection before it answered: {0}")]
    Lost(String),
    #[error("the node's answer is not understood; are both of the same version?")]
    NotUnderstood,
    #[error(transparent)]
    Certificate(LoginCertificateError),
    #[error(
        "the agent does not take the certificate: {0}; without an agent (SSH_AUTH_SOCK=) it is kept in files"
    )]
    Agent(#[source] AgentError),
    #[error("the key {}: {error}", path.display())]
    Key { path: PathBuf, error: KeyFileError },
    #[error("cannot write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("cannot make a key: {0}")]
    Random(#[source] io::Error),
}
