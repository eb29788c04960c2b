//! Which identity may have which account. The monitor reads that by itself
//! from a file that the network-facing process cannot write; it takes that
//! process's word for who a peer is, and for nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use alknet_session::{Confinement, Tree};
use serde::Deserialize;

use crate::AccountsConfig;
use crate::account::Account;
use crate::leader::StartError;

/// The longest peers configuration that is read, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;
/// Mode bits of those who are not the owner.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The account and the confinement that a peer is granted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) account: Account,
    /// The confinement, where the peer's entry lists files.
    pub(crate) confinement: Option<Confinement>,
}

/// The part of the peers configuration that is of interest here. Whatever else
/// it says is checked by the node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Peers {
    peers: Vec<Peer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Peer {
    id: String,
    accounts: Vec<String>,
    files: Vec<String>,
    network: bool,
    disabled: bool,
}

/// The account that this peer asks for, if it may have it and it may log in.
///
/// # Errors
/// When the peer may not have it. The message is the same for an account that
/// does not exist and one that the peer may not have.
pub(crate) fn grant(
    config: &AccountsConfig,
    identity: &str,
    wanted: &str,
) -> Result<Grant, StartError> {
    let refused = || StartError::new(format!("{identity} may not have the account {wanted}"));
    let peers = read(&config.peers).map_err(|error| {
        crate::log::line(format_args!("{}: {error}", config.peers.display()));
        StartError::new("the node's peers configuration cannot be used; its log says why")
    })?;
    let peer = peers.peers.into_iter().find(|peer| peer.id == identity);
    let peer = peer.filter(|peer| !peer.disabled).ok_or_else(refused)?;
    let is_default = config.default_account.as_deref() == Some(wanted);
    if !is_default && !peer.accounts.iter().any(|account| account == wanted) {
        return Err(refused());
    }
    let account = Account::named(wanted)
        .map_err(|error| StartError::at("the account", error))?
        .ok_or_else(refused)?;
    if account.uid.is_root() && !config.allow_root {
        return Err(refused());
    }
    // Who is that account holds the node.
    if Account::named(&config.network_user)
        .ok()
        .flatten()
        .is_none_or(|network| network.uid == account.uid)
    {
        return Err(refused());
    }
    may_log_in(&account)?;
    let confinement = (!peer.files.is_empty()).then(|| Confinement {
        home: account.home.clone(),
        trees: peer.files.iter().filter_map(|text| tree(text)).collect(),
        network: peer.network,
    });
    Ok(Grant {
        account,
        confinement,
    })
}

/// Reads a tree such as `/srv/git:rw` or `/srv/www:ro`. A text that is neither
/// grants nothing.
fn tree(text: &str) -> Option<Tree> {
    let (path, mode) = text.rsplit_once(':')?;
    let write = match mode {
        "rw" => true,
        "ro" => false,
        _ => return None,
    };
    let path = PathBuf::from(path);
    path.is_absolute().then_some(Tree { path, write })
}

fn read(path: &Path) -> io::Result<Peers> {
    trust(path)?;
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("the file is too large"));
    }
    let text = fs::read_to_string(path)?;
    parse(path, &text)
}

/// Reads the peers in JSON or TOML, as the file's name says and as the node
/// does.
fn parse(path: &Path, text: &str) -> io::Result<Peers> {
    let extension = path.extension().unwrap_or_default();
    match extension.eq_ignore_ascii_case("json") {
        true => serde_json::from_str(text).map_err(io::Error::other),
        false => toml::from_str(text).map_err(io::Error::other),
    }
}

/// Checks that the file and every directory above it are root's, and that
/// nobody else can write to them. In a directory with the sticky bit, nobody
/// else can replace the file.
fn trust(path: &Path) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    for part in real.ancestors() {
        let metadata = fs::metadata(part)?;
        let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
        let others_write = metadata.mode() & OTHERS_WRITE != 0 && !sticky;
        if metadata.uid() != 0 || others_write {
            return Err(io::Error::other(format!(
                "{} must belong to root and be writable by nobody else",
                part.display()
            )));
        }
    }
    Ok(())
}

/// Checks what sshd checks where it does not ask PAM: nologin(5) and the day on
/// which an account expires (shadow(5)).
fn may_log_in(account: &Account) -> Result<(), StartError> {
    let nologin = fs::read_to_string("/etc/nologin");
    if let (false, Ok(text)) = (account.uid.is_root(), nologin) {
        let reason = text.lines().next().unwrap_or_default().to_owned();
        return Err(StartError::new(format!("no log-ins now: {reason}")));
    }
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let today = SystemTime::now().duration_since(UNIX_EPOCH);
    let today = today.unwrap_or_default().as_secs() / (24 * 60 * 60);
    if has_expired(&shadow, &account.name, today) {
        let reason = format!("the account {} has expired", account.name);
        return Err(StartError::new(reason));
    }
    Ok(())
}

fn has_expired(shadow: &str, name: &str, today: u64) -> bool {
    let line = shadow
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let day = line.and_then(|line| line.split(':').nth(7)?.parse::<u64>().ok());
    day.is_some_and(|day| day <= today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_expires_on_its_day() {
        let shadow = "root:*:1:0:9:7:::\ndeploy:*:1:0:9:7::20000:\n";
        assert!(has_expired(shadow, "deploy", 20000));
        assert!(!has_expired(shadow, "deploy", 19999));
        assert!(!has_expired(shadow, "root", 20000));
        assert!(!has_expired(shadow, "absent", 20000));
    }

    #[test]
    fn a_tree_is_a_path_and_a_mode() {
        let found = tree("/srv/a:b:rw").unwrap();
        assert_eq!((found.path, found.write), ("/srv/a:b".into(), true));
        assert!(!tree("/srv:ro").unwrap().write);
        assert!(tree("/srv").is_none() && tree("srv:rw").is_none() && tree("/srv:x").is_none());
    }

    #[test]
    fn peers_are_read_in_both_languages() {
        let json = r#"{"$schema": "x", "peers": [{"id": "a", "accounts": ["www"], "more": 1}]}"#;
        let toml = "[[peers]]\nid = \"a\"\naccounts = [\"www\"]\nmore = 1\n";
        for (name, text) in [("peers.json", json), ("p.JSON", json), ("peers.toml", toml)] {
            let peers = parse(Path::new(name), text).unwrap().peers;
            assert_eq!(peers[0].accounts, ["www"], "{name}");
        }
        assert!(parse(Path::new("peers.toml"), json).is_err());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("peers.toml");
        fs::write(&path, "[[peers]]\nid = \"a\"\nscopes = []\n").unwrap();
        assert_eq!(read(&path).unwrap().peers.len(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(&path).is_err());
    }
}
