//! Files of known SSH hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::hmac;
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::HostPatterns;
use rustix::fs::{FlockOperation, flock};
use wildmatch::WildMatch;

/// A host as such files name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    host: String,
    port: u16,
}

/// The entries of some files, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
    passed_over: Vec<FileLine>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// The file.
    pub path: Arc<Path>,
    /// The line, counted from 1.
    pub line: usize,
}

/// A key that a file gives for a host.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) marker: Marker,
    hosts: HostPatterns,
    pub(super) key: PublicKey,
    pub(super) place: FileLine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    None,
    CertAuthority,
    Revoked,
}

/// Why a file of known hosts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    /// It cannot be read.
    #[error("cannot read the known hosts in {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot add the host to {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HostName {
    /// A host by name or address, and its port. Case does not matter.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_lowercase(),
            port,
        }
    }

    /// The name or address alone, which is what a certificate names.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Writes `host`, or `[host]:port` for any port but SSH's own.
impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            22 => f.write_str(&self.host),
            port => write!(f, "[{}]:{port}", self.host),
        }
    }
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

impl KnownHosts {
    /// Adds what `path` says; a file that does not exist says nothing. Lines
    /// that cannot be understood are passed over, as OpenSSH does.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), KnownHostsError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(source) => {
                return Err(KnownHostsError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let path: Arc<Path> = Arc::from(path);
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let place = FileLine {
                path: Arc::clone(&path),
                line: index + 1,
            };
            match parse(line) {
                Ok(Some((marker, hosts, key))) => self.entries.push(Entry {
                    marker,
                    hosts,
                    key,
                    place,
                }),
                Ok(None) => {}
                Err(NotUnderstood) => self.passed_over.push(place),
            }
        }
        Ok(())
    }

    /// The lines that were passed over.
    pub(super) fn passed_over(&self) -> &[FileLine] {
        &self.passed_over
    }

    /// The entries about a host. An authority for the host's name is one for all
    /// its ports, as in OpenSSH.
    pub(super) fn of(&self, name: &HostName) -> impl Iterator<Item = &Entry> {
        let (host, name) = (name.host().to_owned(), name.to_string());
        self.entries.iter().filter(move |entry| {
            let is_authority = entry.marker == Marker::CertAuthority;
            entry.is_about(&name) || (is_authority && entry.is_about(&host))
        })
    }
}

/// Adds a host's key to a file, which is made if need be, readable by its
/// owner alone.
///
/// # Errors
/// When the file cannot be written.
pub fn record_host(path: &Path, name: &HostName, key: &PublicKey) -> Result<(), KnownHostsError> {
    append(path, name, key).map_err(|source| KnownHostsError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

/// Adds an authority that is believed about these hosts, unless that line is there.
/// Gives whether it was added.
///
/// # Errors
/// When the file cannot be written.
pub fn record_authority(
    path: &Path,
    hosts: &[String],
    key: &PublicKey,
    comment: &str,
) -> Result<bool, KnownHostsError> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    let key = bare.to_openssh().map_err(io::Error::other);
    key.and_then(|key| {
        let line = format!("@cert-authority {} {}", hosts.join(","), key.trim_end());
        append_line(path, &line, comment)
    })
    .map_err(|source| KnownHostsError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

fn append(path: &Path, name: &HostName, key: &PublicKey) -> io::Result<()> {
    let bare = PublicKey::new(key.key_data().clone(), "");
    let key = bare.to_openssh().map_err(io::Error::other)?;
    append_line(path, &format!("{name} {}", key.trim_end()), "").map(drop)
}

/// Adds a line with a comment, unless the line is there with any comment.
fn append_line(path: &Path, line: &str, comment: &str) -> io::Result<bool> {
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
    }
    let mut file: File = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let present = String::from_utf8_lossy(&text);
    let mut lines = present.lines().map(str::trim);
    if lines.any(|there| {
        let rest = there.strip_prefix(line);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }) {
        return Ok(false);
    }
    let line_break = match text.last() {
        None | Some(b'\n') => "",
        Some(_) => "\n",
    };
    let gap = if comment.is_empty() { "" } else { " " };
    // One write, so that a reader without the lock sees all or nothing.
    file.write_all(format!("{line_break}{line}{gap}{comment}\n").as_bytes())?;
    Ok(true)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

struct NotUnderstood;

type Line = (Marker, HostPatterns, PublicKey);

fn parse(line: &str) -> Result<Option<Line>, NotUnderstood> {
    let mut words = line.split_ascii_whitespace().peekable();
    let marker = match words.peek().copied() {
        None => return Ok(None),
        Some(word) if word.starts_with('#') => return Ok(None),
        Some("@cert-authority") => Marker::CertAuthority,
        Some("@revoked") => Marker::Revoked,
        Some(word) if word.starts_with('@') => return Err(NotUnderstood),
        Some(_) => Marker::None,
    };
    if marker != Marker::None {
        words.next();
    }
    let (Some(hosts), Some(kind), Some(key)) = (words.next(), words.next(), words.next()) else {
        return Err(NotUnderstood);
    };
    let hosts = hosts.parse().map_err(|_| NotUnderstood)?;
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).map_err(|_| NotUnderstood)?;
    Ok(Some((marker, hosts, key)))
}

impl Entry {
    fn is_about(&self, name: &str) -> bool {
        match &self.hosts {
            HostPatterns::HashedName { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, name.as_bytes(), hash).is_ok()
            }
            HostPatterns::Patterns(patterns) => {
                let mut found = false;
                for pattern in patterns {
                    match pattern.strip_prefix('!') {
                        Some(pattern) if matches(pattern, name) => return false,
                        Some(_) => {}
                        None => found |= matches(pattern, name),
                    }
                }
                found
            }
        }
    }
}

/// Whether `text` has the form of `pattern`, in which `*` stands for any
/// characters and `?` for one; case does not matter.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    WildMatch::new(&pattern.to_lowercase()).matches(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_ssh() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("A", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?", "", false),
            ("h?st", "host", true),
            ("[*.example]:22??", "[a.example]:2222", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
