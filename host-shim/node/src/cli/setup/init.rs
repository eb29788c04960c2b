//! Makes a state directory. Nothing that is there is overwritten, and what was
//! made is removed again when a later step fails.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use alknet_identity::{Peer, PeersConfig};
use alknet_loader::{Refusal, Stage};
use alknet_openssh::{AuthorizedKey, KeyFileError, KeyWriteError, read_public_key_file};
use alknet_vault::{Ed25519Key, Mnemonic, MnemonicError};
use zeroize::Zeroizing;

use crate::config::DEFAULT_LISTEN;
use crate::secrets::keys::openssh_files;
use crate::secrets::mnemonic_file::{self, MnemonicFileError};
use crate::startup::editors;
use crate::state::STAGING;
use crate::state::{StateDir, lock_dir};
use crate::walls::UNCONFINED;

/// The library of the SSH plugin, as cargo names it.
pub(crate) const PLUGIN_FILE: &str = "libalknet_ssh_plugin.so";

/// What goes into a new state directory.
pub(crate) struct Contents {
    /// The address to serve QUIC on.
    pub(crate) listen: Option<SocketAddr>,
    /// The address to serve TCP on as well.
    pub(crate) tcp_listen: Option<SocketAddr>,
    /// A file with the mnemonic to use; a new one is made otherwise.
    pub(crate) mnemonic_file: Option<PathBuf>,
    /// The peers to let in.
    pub(crate) peers: Vec<Peer>,
    /// Make a key for the caller, and let it in as this peer, which has no key
    /// yet.
    pub(crate) make_client_key: Option<Peer>,
}

/// What `init` did that is worth saying.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The plugin that was copied, and from where.
    pub(crate) plugin: Option<PathBuf>,
    /// The directory of plugins that came with the installed program, which is
    /// used where it is.
    pub(crate) shared_plugins: Option<PathBuf>,
    /// The private key made for the caller.
    pub(crate) client_key: Option<PathBuf>,
    /// Whether a new mnemonic was made.
    pub(crate) new_mnemonic: bool,
}

/// Makes the state directory.
pub(crate) fn init(state: &StateDir, contents: Contents) -> Result<Made, InitError> {
    let mnemonic = match &contents.mnemonic_file {
        Some(file) => mnemonic_file::read(file)?,
        None => Mnemonic::generate()?,
    };
    let mut journal = Journal::default();
    journal.dir(state.root())?;
    // Two at once: one makes the directory, the other finds it made.
    let _lock = lock_dir(state.root()).map_err(|source| InitError::Io {
        action: "lock",
        path: state.root().to_owned(),
        source,
    })?;
    if state.is_initialised() {
        return Err(InitError::AlreadyThere {
            file: state.config_file(),
        });
    }
    let made = make(state, &contents, &mnemonic, &mut journal)?;
    journal.keep();
    Ok(made)
}

fn make(
    state: &StateDir,
    contents: &Contents,
    mnemonic: &Mnemonic,
    journal: &mut Journal,
) -> Result<Made, InitError> {
    let root = state.root();
    let mut made = Made {
        new_mnemonic: contents.mnemonic_file.is_none(),
        ..Made::default()
    };
    // A place the loader would not trust is named before anything is written.
    let staging = root.join(STAGING);
    let had_staging = staging.exists();
    Stage::open(&staging)?;
    if !had_staging {
        journal.made(staging);
    }
    let words = root.join("mnemonic");
    mnemonic_file::create(mnemonic, &words).map_err(|error| match error {
        MnemonicFileError::Exists { path } => InitError::HalfMade { path },
        error => error.into(),
    })?;
    journal.made(words);

    let mut peers = contents.peers.clone();
    if let Some(owner) = &contents.make_client_key {
        let path = state.client_key();
        let key = new_key()?;
        let id = &owner.id;
        let files = openssh_files(&key, id)?;
        journal.file(&path, 0o600, files.private().as_bytes())?;
        let public = format!("{}\n", files.public_line().trim());
        journal.file(&path.with_extension("pub"), 0o644, public.as_bytes())?;
        peers.push(Peer {
            keys: vec![public.trim().to_owned()],
            ..owner.clone()
        });
        made.client_key = Some(path);
    }
    let peers = PeersConfig {
        peers,
        ..PeersConfig::default()
    };
    journal.file(&state.peers_file(), 0o600, peers_text(&peers).as_bytes())?;
    let plugins = root.join("plugins");
    made.shared_plugins = shared_plugins().filter(|_| !plugins.exists());
    if made.shared_plugins.is_none() {
        journal.dir(&plugins)?;
        if is_empty(&plugins) {
            made.plugin = copy_plugin(&plugins, journal)?;
        }
    }
    // Last: its presence says that the directory is whole.
    let listen = contents
        .listen
        .map_or_else(|| DEFAULT_LISTEN.to_owned(), |addr| addr.to_string());
    journal.file(
        &root.join("node.toml"),
        0o600,
        config_text(&listen, contents.tcp_listen, made.shared_plugins.as_deref()).as_bytes(),
    )?;
    Ok(made)
}

/// The peers that `--authorize` names: one a file, called after the file.
pub(crate) fn peers_from_files(files: &[PathBuf]) -> Result<Vec<Peer>, InitError> {
    let mut peers: Vec<Peer> = Vec::new();
    let mut owners: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for file in files {
        let mut keys = Vec::new();
        for key in read_public_key_file(file)? {
            match owners.insert(key.fingerprint.clone(), file) {
                None => keys.push(key),
                Some(first) if first == file => {}
                Some(first) => {
                    return Err(InitError::SharedKey {
                        fingerprint: key.fingerprint,
                        first: first.clone(),
                        second: file.clone(),
                    });
                }
            }
        }
        let wanted = file
            .file_stem()
            .map(|stem| peer_id(&stem.to_string_lossy()))
            .unwrap_or_else(|| "peer".to_owned());
        let id = (1..)
            .map(|n| {
                if n == 1 {
                    wanted.clone()
                } else {
                    format!("{wanted}-{n}")
                }
            })
            .find(|id| peers.iter().all(|peer| peer.id != *id))
            .unwrap_or(wanted);
        peers.push(peer_with(&id, &keys));
    }
    Ok(peers)
}

/// Lets the caller into a node whose peers file names nobody.
pub(crate) fn authorize_in(state: &StateDir, peer: Peer) -> Result<(), InitError> {
    let path = state.peers_file();
    let peers = PeersConfig {
        peers: vec![peer],
        ..PeersConfig::default()
    };
    let mut journal = Journal::default();
    let fresh = path.with_extension("toml.new");
    journal.file(&fresh, 0o600, peers_text(&peers).as_bytes())?;
    fs::rename(&fresh, &path).map_err(|source| InitError::Io {
        action: "replace",
        path,
        source,
    })?;
    journal.keep();
    Ok(())
}

/// A peer who may run commands with all the rights of the node's own account.
pub(crate) fn peer_with(id: &str, keys: &[AuthorizedKey]) -> Peer {
    peer(id, keys.iter().map(|key| key.line.clone()))
}

/// The caller's name, as a peer's id.
pub(crate) fn caller_id() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    peer_id(&name.unwrap_or_else(|_| "owner".to_owned()))
}

/// Why a state directory could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// The directory holds a node already.
    #[error(
        "{} exists: the directory holds a node already. Start it with `alknet-node run`, or choose another directory with --state",
        file.display()
    )]
    AlreadyThere {
        /// Its configuration.
        file: PathBuf,
    },
    /// The directory holds a mnemonic but no configuration: an earlier try was
    /// cut off.
    #[error(
        "{} exists, but the directory holds no node: an earlier start was cut off. Move the file elsewhere and give it with --mnemonic-file to keep those keys, or remove it for new ones",
        path.display()
    )]
    HalfMade {
        /// The mnemonic file.
        path: PathBuf,
    },
    /// Two of the given files hold the same key.
    #[error(
        "the key {fingerprint} is in {} and in {}; name one of the two",
        first.display(), second.display()
    )]
    SharedKey {
        /// The key.
        fingerprint: String,
        /// The file that came first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A given file holds no key that can be authorised.
    #[error("{0}")]
    KeyFile(#[from] KeyFileError),
    /// The directory is in a place where others could change it.
    #[error("{0}")]
    Place(#[from] Refusal),
    /// The given mnemonic file cannot be used, or the new one not be written.
    #[error("{0}")]
    MnemonicFile(#[from] MnemonicFileError),
    /// No new mnemonic could be made.
    #[error("cannot make a mnemonic: {0}")]
    Mnemonic(#[from] MnemonicError),
    /// The key for the caller cannot be written.
    #[error("{0}")]
    Key(#[from] KeyWriteError),
    /// The system's source of randomness failed.
    #[error("cannot make a key: the system gives no random bytes")]
    Random,
    /// A file or directory could not be made.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn peer(id: &str, keys: impl IntoIterator<Item = String>) -> Peer {
    Peer {
        id: id.to_owned(),
        keys: keys.into_iter().collect(),
        scopes: vec!["ssh:exec".to_owned(), UNCONFINED.to_owned()],
        ..Peer::default()
    }
}

/// A name with only the characters an id may have.
fn peer_id(name: &str) -> String {
    let id: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-@".contains(c) {
                c
            } else {
                '-'
            }
        })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(60)
        .collect();
    if id.is_empty() { "peer".to_owned() } else { id }
}

fn new_key() -> Result<Ed25519Key, InitError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|_| InitError::Random)?;
    Ok(Ed25519Key::from_seed(&seed))
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Copies the library that lies beside the running program, if there is one.
fn copy_plugin(dir: &Path, journal: &mut Journal) -> Result<Option<PathBuf>, InitError> {
    let Some(source) = beside_the_program(PLUGIN_FILE) else {
        return Ok(None);
    };
    let bytes = fs::read(&source).map_err(|error| InitError::Io {
        action: "read",
        path: source.clone(),
        source: error,
    })?;
    journal.file(&dir.join(PLUGIN_FILE), 0o644, &bytes)?;
    Ok(Some(source))
}

/// A file in the directory of the running program.
pub(crate) fn beside_the_program(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}

/// The directory for plugins that belongs to an installed program:
/// `/usr/lib/alknet/plugins` for `/usr/bin/alknet-node`.
fn shared_plugins() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let dir = program.parent()?.parent()?.join("lib/alknet/plugins");
    (dir.is_dir() && dir.to_str().is_some()).then_some(dir)
}

fn peers_text(peers: &PeersConfig) -> String {
    format!("#:schema ./{}\n{}", editors::PEERS, peers.to_toml_string())
}

fn config_text(listen: &str, tcp_listen: Option<SocketAddr>, plugins: Option<&Path>) -> String {
    let schema = editors::NODE;
    let dir = plugins.and_then(Path::to_str).unwrap_or("plugins");
    let dir = toml_edit::value(dir);
    let tcp_listen = match tcp_listen {
        Some(addr) => format!("tcp_listen = \"{addr}\""),
        None => "# tcp_listen = \"127.0.0.1:2222\"".to_owned(),
    };
    format!(
        "\
#:schema ./{schema}
# The configuration of this node. `alknet-node check` names every fault in it.
# Paths are relative to this directory; what is left out has its default.

# The UDP address to serve QUIC on.
listen = \"{listen}\"
# A TCP address to serve on as well, for stock `ssh -p` without our client.
{tcp_listen}

# Uncomment to be reached by the node's key from behind NAT as well, by way of a
# relay of your own (host-shim/docs/iroh.md):
# [iroh]
# enabled = true
# relays = [\"https://relay.example.org\"]

[log]
# error, warn, info, debug or trace; then target=level for parts of the program.
filter = \"info\"
# human or json
format = \"human\"

# Uncomment to answer GET /metrics for Prometheus, on this machine only:
# [metrics]
# listen = \"127.0.0.1:9464\"

[plugins]
# Every *.so in this directory is loaded, at the start and when
# `alknet-node plugins reload` says so; with watch = true, when it changes.
folder = {dir}
watch = false
# Uncomment to load only files with these digests (sha256sum prints them):
# allow_digests = [\"sha256:…\"]
# Uncomment to load only files that one of these keys has signed:
# signers = [\"ssh-ed25519 AAAA… release key\"]

# Secrets that a plugin is given, stored with `alknet-node secret set NAME`:
# [plugins.secrets]
# ssh = [\"proxy\"]

# The configuration of the SSH plugin; `alknet-node schema ssh` describes every
# field.
[plugins.config.ssh]
"
    )
}

/// The files and directories that were made, to be removed unless all succeeds.
#[derive(Default)]
struct Journal(Vec<PathBuf>);

impl Journal {
    fn made(&mut self, path: PathBuf) {
        self.0.push(path);
    }

    /// Makes a directory that only its owner can enter, and those missing above
    /// it.
    fn dir(&mut self, path: &Path) -> Result<(), InitError> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| InitError::Io {
                action: "create the directory",
                path: path.to_owned(),
                source,
            })?;
        self.made(path.to_owned());
        Ok(())
    }

    fn file(&mut self, path: &Path, mode: u32, contents: &[u8]) -> Result<(), InitError> {
        let failed = |source| InitError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(failed)?;
        self.made(path.to_owned());
        file.write_all(contents).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // What cannot be removed stays; the error that led here is told.
            let _ = if path.is_dir() {
                fs::remove_dir(path)
            } else {
                fs::remove_file(path)
            };
        }
    }
}
