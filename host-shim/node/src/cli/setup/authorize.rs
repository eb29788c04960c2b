//! Whose keys `up` lets in: the caller's own.

use std::fs;
use std::path::{Path, PathBuf};

use alknet_identity::PeersConfig;
use alknet_openssh::{AuthorizedKey, agent_keys, read_public_key_file};

use crate::cli::setup::private_half::{PrivateHalf, private_half};
use crate::state::home;

/// The private keys stock ssh tries unasked (`ssh_config(5)`, IdentityFile),
/// as far as this node takes them.
const TRIED_UNASKED: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// Public keys of the caller.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys {
    /// The keys, each once.
    pub(crate) keys: Vec<AuthorizedKey>,
    /// A private key to name to ssh, where it would find none by itself.
    pub(crate) identity_file: Option<PathBuf>,
    /// Keys that were found and cannot be used, one line each.
    pub(crate) left_out: Vec<String>,
}

/// Gathers the caller's public keys from the agent, and from `~/.ssh/*.pub`
/// those whose private half is beside them or in the agent.
pub(crate) fn own_keys() -> OwnKeys {
    let mut own = OwnKeys::default();
    let mut found_unasked = false;
    let mut named: Option<PathBuf> = None;
    let agent = std::env::var_os("SSH_AUTH_SOCK");
    let in_agent = agent.map(|socket| agent_keys(Path::new(&socket)));
    for line in in_agent.unwrap_or_default() {
        match line.parse::<AuthorizedKey>() {
            Ok(key) => {
                found_unasked = true;
                own.add(key);
            }
            Err(error) => own
                .left_out
                .push(format!("a key in the ssh-agent: {error}")),
        }
    }
    for path in home()
        .map(|home| public_key_files(&home.join(".ssh")))
        .unwrap_or_default()
    {
        match read_public_key_file(&path) {
            Ok(keys) => {
                let private = path.with_extension("");
                let unasked = TRIED_UNASKED.iter().any(|&name| private.ends_with(name));
                for key in keys {
                    match private_half(&private, &key.line) {
                        PrivateHalf::Here => {
                            found_unasked |= unasked;
                            named.get_or_insert_with(|| private.clone());
                            own.add(key);
                        }
                        _ if own.has(&key) => {}
                        PrivateHalf::Missing => own.left_out.push(format!(
                            "{}: the private half of {} is neither beside it nor in the ssh-agent; if it is to be let in, run: alknet-node peers add ID {} --scope ssh:exec",
                            path.display(), key.fingerprint, path.display()
                        )),
                        PrivateHalf::OfAnotherKey => own.left_out.push(format!(
                            "{}: {} is the private half of another key than {}",
                            path.display(), private.display(), key.fingerprint
                        )),
                    }
                }
            }
            Err(error) => own.left_out.push(error.to_string()),
        }
    }
    if !found_unasked {
        own.identity_file = named;
    }
    own
}

/// The private key to name to ssh, of a caller who was let in before. `None`
/// where ssh finds one by itself, or where the one to name is not let in.
pub(crate) fn usable_identity_file(peers: &PeersConfig) -> Option<PathBuf> {
    let file = own_keys().identity_file?;
    let public = read_public_key_file(&file.with_extension("pub")).ok()?;
    let blob = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let mut let_in = peers.peers.iter().flat_map(|peer| &peer.keys);
    let is_let_in = let_in.any(|line| public.iter().any(|key| blob(&key.line) == blob(line)));
    is_let_in.then_some(file)
}

impl OwnKeys {
    fn has(&self, key: &AuthorizedKey) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|known| known.fingerprint == key.fingerprint)
    }

    fn add(&mut self, key: AuthorizedKey) {
        if !self.has(&key) {
            self.keys.push(key);
        }
    }
}

fn public_key_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.ends_with(".pub") && !name.ends_with("-cert.pub"))
        })
        .collect();
    files.sort();
    files
}
