//! A configuration file that was read and is valid in itself. No plugin is
//! loaded for it.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use alknet_document::{Document, Fault, Format, join_pointer};
use alknet_identity::{PeerStore, PeersConfig};
use alknet_loader::check_place;
use alknet_openssh::Ed25519KeyFiles;
use alknet_session::Tree;
use alknet_vault::Vault;
use zeroize::Zeroizing;

use crate::config::log_filter;
use crate::config::problem::NodeError;
use crate::config::{self, NodeConfig};
use crate::secrets::handed_over::HandedOver;
use crate::secrets::keys::{self, HostKey, KeysError, NodeKeys, PublicKeys};
use crate::secrets::mnemonic_file;
use crate::secrets::{Granter, SecretSource, SecretsError, SecretsFile};
use crate::state::{RUN, STAGING, guest_homes, owners_keys};

/// A configuration file as it was read.
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The configuration as the file says it, with no part of it overridden.
    pub config: NodeConfig,
    /// The file's text, for messages.
    pub document: Document,
}

/// A configuration file that was read and is valid in itself.
pub struct Draft {
    /// The configuration, defaults filled in.
    pub config: NodeConfig,
    source: Source,
    base: Base,
}

impl Draft {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, not just the first.
    pub fn read(path: &Path) -> Result<Self, Vec<NodeError>> {
        check_place(path).map_err(|refusal| vec![NodeError::Place(refusal)])?;
        let (document, config) = read_config(path).map_err(config_problems)?;
        outranks_no_other(path, &document).map_err(config_problems)?;
        Ok(Self {
            config: config.clone(),
            source: Source {
                file: path.to_owned(),
                config,
                document,
            },
            base: Base::of(path),
        })
    }

    /// The text it was read from.
    pub(crate) fn document(&self) -> &Document {
        &self.source.document
    }

    /// The file it was read from.
    pub(crate) fn file(&self) -> &Path {
        &self.source.file
    }

    /// The file that holds the secrets.
    pub(crate) fn secrets_file(&self) -> SecretsFile {
        SecretsFile::new(self.base.join(&self.config.secrets_file))
    }

    /// The key to the secrets.
    pub(crate) fn secrets_key(&self) -> Result<Zeroizing<[u8; 32]>, Vec<NodeError>> {
        let mut problems = Vec::new();
        let vault = read_vault(self.document(), &self.config, &self.base, &mut problems);
        vault.map(|vault| vault.secrets_key()).ok_or(problems)
    }

    /// The key of the node's certificate authority, in OpenSSH's format.
    pub(crate) fn certificate_authority(&self) -> Result<Ed25519KeyFiles, Vec<NodeError>> {
        let mut problems = Vec::new();
        let vault = read_vault(self.document(), &self.config, &self.base, &mut problems);
        let key = vault.map(|vault| vault.certificate_authority());
        let files = key.map(|key| keys::openssh_files(&key, "alknet certificate authority"));
        match files {
            Some(Ok(files)) => Ok(files),
            Some(Err(_)) => Err(vec![KeysError::Derivation.into()]),
            None => Err(problems),
        }
    }

    /// The keys and secrets that the monitor hands over to the node of this
    /// configuration: those of the node, and those granted to plugins. A secret
    /// that is not stored is left out; the node says so.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(crate) fn hand_over(&self) -> Result<HandedOver, Vec<NodeError>> {
        let mut problems = Vec::new();
        let (document, config, base) = (self.document(), &self.config, &self.base);
        let vault = read_vault(document, config, base, &mut problems);
        let keys = read_keys(document, config, base, vault.as_ref(), &mut problems);
        let (Some(vault), Some(keys)) = (vault, keys) else {
            return Err(problems);
        };
        let mut handed_over = HandedOver::new(&vault, &keys);
        let (file, key) = (self.secrets_file(), vault.secrets_key());
        for (plugin, names) in &config.plugins.secrets {
            for (index, name) in names.iter().enumerate() {
                match file.get(&key, name) {
                    Ok(secret) => handed_over.add(name, &secret),
                    Err(SecretsError::Unknown { .. }) => {}
                    Err(error) => {
                        let list = join_pointer("/plugins/secrets", plugin);
                        problems.push(at(document, &format!("{list}/{index}"), &error));
                    }
                }
            }
        }
        match problems.is_empty() {
            true => Ok(handed_over),
            false => Err(problems),
        }
    }

    /// The files that only the monitor reads.
    pub(crate) fn files_of_secrets(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let named = [&config.mnemonic_file, &config.secrets_file].into_iter();
        let named = named.chain(&config.passphrase_file);
        let named = named.chain(&config.host_key_files);
        named.map(|path| self.base.join(path)).collect()
    }

    /// The public keys that a node would have with the files as they are.
    /// `None` where this process may not read them any more.
    pub(crate) fn public_keys(&self) -> Result<Option<PublicKeys>, Vec<NodeError>> {
        let mut problems = Vec::new();
        let (document, config, base) = (self.document(), &self.config, &self.base);
        if let Err(error) = File::open(base.join(&config.mnemonic_file))
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            return Ok(None);
        }
        let vault = read_vault(document, config, base, &mut problems);
        let keys = read_keys(document, config, base, vault.as_ref(), &mut problems);
        keys.map(|keys| Some(keys.public())).ok_or(problems)
    }

    /// The node's keys and where its secrets are: what the monitor handed over,
    /// or files. Whatever is wrong is added to the problems.
    pub(crate) fn keys_and_secrets(
        &self,
        handed_over: Option<&HandedOver>,
        problems: &mut Vec<NodeError>,
    ) -> (Option<NodeKeys>, SecretSource) {
        if let Some(handed_over) = handed_over {
            let keys = handed_over.keys();
            let keys = keys.map_err(|error| problems.push(error.into())).ok();
            return (keys, SecretSource::Memory(handed_over.secrets()));
        }
        let (document, config, base) = (self.document(), &self.config, &self.base);
        let vault = read_vault(document, config, base, problems);
        let keys = read_keys(document, config, base, vault.as_ref(), problems);
        let file = self.secrets_file();
        let key = vault.map(|vault| vault.secrets_key());
        (keys, SecretSource::File { file, key })
    }

    /// The directory for private copies of libraries, of a node whose secrets
    /// the monitor hands over or of one that reads them itself.
    pub(crate) fn staging(&self, is_handed_over: bool) -> PathBuf {
        let run = match is_handed_over {
            true => Path::new(RUN),
            false => Path::new(""),
        };
        self.base.join(&run.join(STAGING))
    }

    /// The configuration, and the file it came from.
    pub(crate) fn into_parts(self) -> (NodeConfig, Source) {
        (self.config, self.source)
    }

    /// The plugins that are granted a secret.
    pub(crate) fn granted_to(&self, secret: &str) -> impl Iterator<Item = &str> {
        let grants = self.config.plugins.secrets.iter();
        grants
            .filter(move |(_, names)| names.iter().any(|name| name == secret))
            .map(|(plugin, _)| plugin.as_str())
    }

    /// The directory that plugins are found in.
    pub(crate) fn plugins_dir(&self) -> PathBuf {
        self.base.join(&self.config.plugins.folder)
    }

    /// The peers file.
    pub(crate) fn peers_file(&self) -> PathBuf {
        self.base.join(&self.config.peers_file)
    }

    /// The secrets, for one plugin that is loaded while the node serves. The
    /// key to them is read where that plugin is granted any.
    ///
    /// # Errors
    /// When the key is needed and cannot be read.
    pub(crate) fn granter_for(
        &self,
        plugin: &str,
        handed_over: Option<&HandedOver>,
    ) -> Result<Granter<'_>, Vec<NodeError>> {
        if let Some(handed_over) = handed_over {
            return Ok(Granter {
                document: self.document(),
                source: SecretSource::Memory(handed_over.secrets()),
            });
        }
        let granted = self.config.plugins.secrets.get(plugin);
        let key = match granted {
            Some(names) if !names.is_empty() => Some(self.secrets_key()?),
            _ => None,
        };
        Ok(Granter {
            document: self.document(),
            source: SecretSource::File {
                file: self.secrets_file(),
                key,
            },
        })
    }

    /// The node's own files, which no peer reaches: the directory of the
    /// configuration, and what the configuration names outside of it.
    pub(crate) fn private(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let named = [
            &config.mnemonic_file,
            &config.secrets_file,
            &config.peers_file,
        ]
        .into_iter()
        .chain(&config.passphrase_file)
        .chain(&config.host_key_files)
        .chain([&config.plugins.folder]);
        let root = real(&self.base.0);
        let others = named.map(|path| real(&self.base.join(path)));
        let mut private: Vec<_> = others.filter(|path| !path.starts_with(&root)).collect();
        private.insert(0, root);
        private.dedup();
        private
    }

    /// The paths that no tree of a peer may hold or lie in.
    pub(crate) fn closed(&self) -> Vec<PathBuf> {
        let mut closed = self.private();
        closed.push(self.guest_homes());
        closed.extend(owners_keys());
        closed
    }

    /// The directory in which each guest has its home.
    pub(crate) fn guest_homes(&self) -> PathBuf {
        guest_homes(&real(&self.base.0))
    }

    /// Reads the peers.
    pub(crate) fn read_peers(&self) -> Result<PeersConfig, Vec<NodeError>> {
        self.read_peers_document().map(|(_, config)| config)
    }

    /// Reads the peers into a store.
    pub(crate) fn peer_store(&self) -> Result<PeerStore, Vec<NodeError>> {
        let document = peers_document(self.document(), &self.peers_file())?;
        checked_peers(&document, &self.closed()).map(|(_, store)| store)
    }

    /// Reads the peers, with the text they come from.
    pub(crate) fn read_peers_document(&self) -> Result<(Document, PeersConfig), Vec<NodeError>> {
        let document = peers_document(self.document(), &self.peers_file())?;
        let (config, _) = checked_peers(&document, &self.closed())?;
        Ok((document, config))
    }
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// The directory of a configuration, to which its paths are relative.
struct Base(PathBuf);

impl Base {
    fn of(config: &Path) -> Self {
        match config.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Self(parent.to_owned()),
            _ => Self(".".into()),
        }
    }

    fn join(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }
}

fn read_config(path: &Path) -> Result<(Document, NodeConfig), Vec<Fault>> {
    let document = Document::read(path).map_err(|fault| vec![fault])?;
    let config = check_config(&document)?;
    Ok((document, config))
}

/// The configuration of a document.
pub(crate) fn check_config(document: &Document) -> Result<NodeConfig, Vec<Fault>> {
    document.checked(&config::schema(), |config| {
        beyond_the_schema(document, config)
    })
}

/// Refuses a configuration that exists in JSON and in TOML: one of the two
/// would not count, and nobody would know.
fn outranks_no_other(path: &Path, document: &Document) -> Result<(), Vec<Fault>> {
    let other = match Format::of(path) {
        Some(Format::Json) => path.with_extension("toml"),
        Some(Format::Toml) => path.with_extension("json"),
        None => return Ok(()),
    };
    if !other.exists() {
        return Ok(());
    }
    Err(vec![Fault::at(
        document,
        "",
        format!(
            "{} is there as well, and only one of the two can count; remove or rename the one that is not meant",
            other.display()
        ),
    )])
}

fn beyond_the_schema(document: &Document, config: &NodeConfig) -> Vec<Fault> {
    let mut faults = Vec::new();
    if log_filter::parse_filter(&config.log.filter).is_none() {
        faults.push(Fault::unexpected(
            document,
            "/log/filter",
            log_filter::FILTER_FORM,
        ));
    }
    if let Some(addr) = config.metrics.listen
        && !addr.ip().is_loopback()
    {
        let message = format!(
            "{addr} is not a loopback address, and metrics are for this machine; use 127.0.0.1 or [::1], and `ssh -L` or a proxy to read them from elsewhere"
        );
        faults.push(Fault::at(document, "/metrics/listen", message));
    }
    faults
}

/// Opens the vault; `None` if that is not possible, which is then among the
/// problems.
fn read_vault(
    document: &Document,
    config: &NodeConfig,
    base: &Base,
    problems: &mut Vec<NodeError>,
) -> Option<Vault> {
    let mnemonic = match mnemonic_file::read(&base.join(&config.mnemonic_file)) {
        Ok(mnemonic) => Some(mnemonic),
        Err(error) => {
            problems.push(at(document, "/mnemonic_file", &error));
            None
        }
    };
    let passphrase = match &config.passphrase_file {
        None => Some(Default::default()),
        Some(file) => match keys::read_passphrase(&base.join(file)) {
            Ok(passphrase) => Some(passphrase),
            Err(error) => {
                problems.push(at(document, "/passphrase_file", &error));
                None
            }
        },
    };
    Some(Vault::from_mnemonic(&mnemonic?, &passphrase?))
}

fn read_keys(
    document: &Document,
    config: &NodeConfig,
    base: &Base,
    vault: Option<&Vault>,
    problems: &mut Vec<NodeError>,
) -> Option<NodeKeys> {
    let before = problems.len();
    let mut host_keys: Vec<HostKey> = Vec::new();
    for (index, file) in config.host_key_files.iter().enumerate() {
        match keys::read_host_key(&base.join(file)) {
            Ok(key) => host_keys.push(key),
            Err(error) => {
                problems.push(at(document, &format!("/host_key_files/{index}"), &error));
            }
        }
    }
    let mut derived = match keys::from_vault(vault?) {
        Ok(keys) => keys,
        Err(error) => {
            problems.push(error.into());
            return None;
        }
    };
    if problems.len() > before {
        return None;
    }
    if !host_keys.is_empty() {
        derived.host_keys = host_keys;
    }
    Some(derived)
}

fn at(document: &Document, pointer: &str, error: &dyn fmt::Display) -> NodeError {
    NodeError::Config(Fault::at(document, pointer, error.to_string()))
}

fn peers_document(config: &Document, path: &Path) -> Result<Document, Vec<NodeError>> {
    check_place(path).map_err(|refusal| vec![NodeError::Place(refusal)])?;
    Document::read(path).map_err(|fault| {
        // A file that is not there is a fault of whoever names it.
        config_problems(vec![if path.exists() {
            fault
        } else {
            Fault::at(config, "/peers_file", fault.to_string())
        }])
    })
}

fn checked_peers(
    document: &Document,
    closed: &[PathBuf],
) -> Result<(PeersConfig, PeerStore), Vec<NodeError>> {
    let (peers, store) = check_peers(document).map_err(config_problems)?;
    let faults = check_files(document, &peers, closed);
    match faults.is_empty() {
        true => Ok((peers, store)),
        false => Err(config_problems(faults)),
    }
}

/// The faults of trees that hold the node's own files or lie among them: a
/// confinement is what is allowed, so nothing can be left out of a tree.
fn check_files(document: &Document, peers: &PeersConfig, closed: &[PathBuf]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, peer) in peers.peers.iter().enumerate() {
        for (at, text) in peer.files.iter().enumerate() {
            let Ok(tree) = text.parse::<Tree>() else {
                continue;
            };
            let path = real(&tree.path);
            let found = closed
                .iter()
                .find(|closed| path.starts_with(closed) || closed.starts_with(&path));
            if let Some(found) = found {
                let pointer = format!("/peers/{index}/files/{at}");
                let message = format!(
                    "{} is not for peers, and a tree cannot leave a part of it out; name the directories that the peer needs",
                    found.display()
                );
                faults.push(Fault::at(document, &pointer, message));
            }
        }
    }
    faults
}

/// The peers of a document, and a store of them.
pub(crate) fn check_peers(document: &Document) -> Result<(PeersConfig, PeerStore), Vec<Fault>> {
    let schema = schemars::schema_for!(PeersConfig).to_value();
    let mut store = None;
    let config = document.checked(&schema, |config: &PeersConfig| {
        match PeerStore::new(config.clone()) {
            Ok(new) => {
                store = Some(new);
                Vec::new()
            }
            Err(error) => {
                let faults = error.faults.into_iter();
                faults
                    .map(|fault| Fault::at(document, &fault.pointer, fault.problem.to_string()))
                    .collect()
            }
        }
    })?;
    // Without a fault there is one.
    let store = store.ok_or_else(Vec::new)?;
    Ok((config, store))
}

fn config_problems(faults: Vec<Fault>) -> Vec<NodeError> {
    faults.into_iter().map(NodeError::Config).collect()
}
