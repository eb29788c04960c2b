//! The owner's entry in the client's `nodes.toml`, kept by `up`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, TableLike};

use crate::state::lock_dir;
use crate::state::replace_file;

/// How the client `alknet` reaches the node by its name.
pub(crate) struct NodesEntry<'a> {
    pub(crate) name: &'a str,
    /// The node's address, as `HOST:PORT`.
    pub(crate) address: &'a str,
    /// The node's TLS key, as `ed25519:HEX`.
    pub(crate) node_key: &'a str,
    /// The SSH host key: type and base64.
    pub(crate) host_key: &'a str,
    /// Where it listens on TCP: `HOST:PORT`.
    pub(crate) tcp: Option<&'a str>,
    /// The private key to log in with; `None` where the client finds it by
    /// itself, or has it already.
    pub(crate) identity_file: Option<&'a Path>,
    /// The node's state directory: an entry that another `up` on it has made
    /// is its own, even after the node got other keys.
    pub(crate) state: &'a Path,
}

/// Why the entry was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodesEntryError {
    /// The file could not be read or written.
    #[error("cannot write {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML, so nothing can be added to it.
    #[error("{} is not valid TOML, so it stays as it is: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another node has the name.
    #[error(
        "{} has a node called {name:?} already, which is not this one; it stays. Rename or remove that entry and run this again, or reach this node as `{address}`",
        file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
        /// This node with its key, as the client takes it.
        address: String,
    },
    /// A path that TOML text cannot hold.
    #[error("the path {} is not UTF-8, so {} cannot name it", path.display(), file.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
}

impl NodesEntry<'_> {
    /// Writes the entry into `file`, and leaves all else in it as it is. Says
    /// whether that changed anything.
    ///
    /// # Errors
    /// When the file cannot be changed, or the name is another node's; it
    /// stays as it was.
    pub(crate) fn put_into(&self, file: &Path) -> Result<bool, NodesEntryError> {
        let failed = |source| NodesEntryError::Io {
            file: file.to_owned(),
            source,
        };
        let _lock = lock_dir(file.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed)?,
        };
        let next = self.in_text(file, &text)?;
        if next == text {
            return Ok(false);
        }
        replace_file::write(file, &next).map_err(failed)?;
        Ok(true)
    }

    fn in_text(&self, file: &Path, text: &str) -> Result<String, NodesEntryError> {
        let malformed = |why: String| NodesEntryError::Malformed {
            file: file.to_owned(),
            why,
        };
        let mut document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| malformed(error.message().to_owned()))?;
        let identity = match self.identity_file {
            None => None,
            Some(path) => Some(path.to_str().ok_or_else(|| NodesEntryError::NotUtf8 {
                path: path.to_owned(),
                file: file.to_owned(),
            })?),
        };
        let mark = self.mark();
        if let Some(item) = document.get_mut(self.name) {
            let marked = item.as_table().is_some_and(|table| {
                let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str());
                prefix.is_some_and(|prefix| prefix.lines().any(|line| line == mark))
            });
            let entry = item
                .as_table_like_mut()
                .filter(|entry| marked || self.is_of_this_node(*entry))
                .ok_or_else(|| NodesEntryError::Foreign {
                    file: file.to_owned(),
                    name: self.name.to_owned(),
                    address: format!("{}@{}", self.node_key, self.address),
                })?;
            self.fill(entry, identity);
            return Ok(document.to_string());
        }
        // What stands at the end of the file stays before the new entry.
        let end = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing("");
        let gap = if text.is_empty() { "" } else { "\n" };
        let mut table = Table::new();
        table.decor_mut().set_prefix(format!("{end}{gap}{mark}\n"));
        self.fill(&mut table, identity);
        document.insert(self.name, Item::Table(table));
        Ok(document.to_string())
    }

    fn fill(&self, entry: &mut dyn TableLike, identity: Option<&str>) {
        let before = |entry: &dyn TableLike, key: &str| {
            let value = entry.get(key).and_then(Item::as_str);
            value.map(|value| host(value).to_owned())
        };
        let is_ours = before(&*entry, "tcp") == before(&*entry, "address");
        if self.tcp.is_none() && is_ours {
            entry.remove("tcp");
        }
        let mut set = |key: &str, value: &str| {
            if entry.get(key).and_then(Item::as_str) != Some(value) {
                entry.insert(key, toml_edit::value(value));
            }
        };
        set("address", self.address);
        set("node_key", self.node_key);
        set("host_key", self.host_key);
        if let Some(tcp) = self.tcp {
            set("tcp", tcp);
        }
        if let Some(identity) = identity {
            let files = entry.get("identity_files").and_then(Item::as_array);
            let mut files = files.into_iter().flat_map(Array::iter);
            let has = files.any(|file| file.as_str() == Some(identity));
            drop(files);
            if !has {
                let files: Array = [identity].into_iter().collect();
                entry.insert("identity_files", toml_edit::value(files));
            }
        }
    }

    fn is_of_this_node(&self, entry: &dyn TableLike) -> bool {
        let text = |key: &str| entry.get(key).and_then(Item::as_str);
        let in_address = text("address").and_then(|address| address.split_once('@'));
        text("node_key") == Some(self.node_key)
            || in_address.is_some_and(|(key, _)| key == self.node_key)
    }

    /// The comment line that marks the entry as one of this state directory.
    fn mark(&self) -> String {
        let state = self.state.display().to_string().replace('\n', " ");
        format!("# Kept up to date by `alknet-node up`, for the node in {state}")
    }
}

/// Of `[KEY@]HOST:PORT`.
fn host(address: &str) -> &str {
    let address = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(address: &'a str, identity_file: Option<&'a Path>) -> NodesEntry<'a> {
        NodesEntry {
            name: "alknet",
            address,
            node_key: "ed25519:aa",
            host_key: "ssh-ed25519 AAAA",
            tcp: None,
            identity_file,
            state: Path::new("/state"),
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nodes.toml");
        fs::write(&file, text).unwrap();
        (directory, file)
    }

    #[test]
    fn the_rest_of_the_file_stays() {
        let before = "# mine\n[home] # at home\naddress = \"h:1\"\n\n# the end\n";
        let (_directory, file) = file(before);
        let key = Path::new("/state/client_key");
        assert!(entry("127.0.0.1:1", Some(key)).put_into(&file).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(before), "{text}");
        assert!(text.ends_with(
            "[alknet]\naddress = \"127.0.0.1:1\"\nnode_key = \"ed25519:aa\"\n\
             host_key = \"ssh-ed25519 AAAA\"\nidentity_files = [\"/state/client_key\"]\n"
        ));
        // What its owner has added stays too; what has changed follows.
        let text = format!("{text}share = \"10m\" # ours\n");
        fs::write(&file, &text).unwrap();
        assert!(!entry("127.0.0.1:1", Some(key)).put_into(&file).unwrap());
        let mut moved = entry("127.0.0.1:2", None);
        moved.node_key = "ed25519:bb";
        assert!(moved.put_into(&file).unwrap());
        let expected = text
            .replace("127.0.0.1:1", "127.0.0.1:2")
            .replace(":aa", ":bb");
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }

    #[test]
    fn the_tcp_listener_comes_and_goes_with_the_node() {
        let (_directory, file) = file("");
        let with = |tcp| NodesEntry {
            tcp,
            ..entry("127.0.0.1:1", None)
        };
        assert!(with(Some("127.0.0.1:2")).put_into(&file).unwrap());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with("tcp = \"127.0.0.1:2\"\n"), "{text}");
        assert!(with(None).put_into(&file).unwrap());
        let without = fs::read_to_string(&file).unwrap();
        assert!(!without.contains("tcp"), "{without}");
        // One by another way to the node is its owner's.
        fs::write(&file, format!("{without}tcp = \"gate.example:22\"\n")).unwrap();
        assert!(!with(None).put_into(&file).unwrap());
    }

    #[test]
    fn an_entry_of_another_node_stays() {
        for foreign in [
            "[alknet]\naddress = \"h:1\"\nnode_key = \"ed25519:cc\"\n",
            "alknet = 5\n",
        ] {
            let (_directory, file) = file(foreign);
            let error = entry("127.0.0.1:1", None).put_into(&file).unwrap_err();
            assert!(
                error.to_string().contains("ed25519:aa@127.0.0.1:1"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), foreign);
        }
        let (_directory, file) = file("[alknet\n");
        let error = entry("127.0.0.1:1", None).put_into(&file).unwrap_err();
        assert!(error.to_string().contains("not valid TOML"), "{error}");
    }

    #[test]
    fn an_entry_of_this_node_is_its_own_without_a_mark() {
        for own in [
            "[alknet]\naddress = \"h:1\"\nnode_key = \"ed25519:aa\"\n",
            "[alknet]\naddress = \"ed25519:aa@h:1\"\n",
            "alknet = { address = \"h:1\", node_key = \"ed25519:aa\" }\n",
        ] {
            let (_directory, file) = file(own);
            assert!(entry("127.0.0.1:1", None).put_into(&file).unwrap(), "{own}");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains("\"127.0.0.1:1\""), "{text}");
        }
    }
}
