//! The peers file of a node, written and rewritten by a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::{Setup, TestKey};

/// The peers file of a node, to be written, changed and written again.
#[derive(Clone, Default)]
pub struct Peers(Vec<Peer>);

#[derive(Clone)]
struct Peer {
    id: String,
    key: String,
    scopes: Vec<String>,
    confined: bool,
    more: String,
    disabled: bool,
}

impl Peers {
    /// A file without peers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a peer whose processes are not confined: it has
    /// `ssh:unconfined` beside these scopes.
    pub fn add(&mut self, id: &str, key: &TestKey, scopes: &[&str]) -> &mut Self {
        self.0.push(Peer {
            id: id.to_owned(),
            key: key.public_line(),
            scopes: owned(scopes),
            confined: false,
            more: String::new(),
            disabled: false,
        });
        self
    }

    /// Adds a peer with these scopes and no others: a guest.
    pub fn add_guest(&mut self, id: &str, key: &TestKey, scopes: &[&str]) -> &mut Self {
        self.add(id, key, scopes).get(id).confined = true;
        self
    }

    /// Adds lines to a peer's entry, such as `files = ["/srv:ro"]`.
    pub fn more(&mut self, id: &str, lines: &str) -> &mut Self {
        self.get(id).more = format!("{lines}\n");
        self
    }

    /// Gives a peer other scopes.
    pub fn rescope(&mut self, id: &str, scopes: &[&str]) -> &mut Self {
        self.get(id).scopes = owned(scopes);
        self
    }

    /// Keeps a peer's entry, but lets it in no more.
    pub fn disable(&mut self, id: &str) -> &mut Self {
        self.get(id).disabled = true;
        self
    }

    /// Takes a peer out.
    pub fn remove(&mut self, id: &str) -> &mut Self {
        self.0.retain(|peer| peer.id != id);
        self
    }

    /// Writes the file in place of the one that is there, at once.
    pub fn write(&self, setup: &Setup) -> &Self {
        let text: String = self.0.iter().map(Peer::to_toml).collect();
        let fresh = setup.state().join("peers.fresh");
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(fresh, setup.state().join("peers.toml")).unwrap();
        self
    }

    fn get(&mut self, id: &str) -> &mut Peer {
        let found = self.0.iter_mut().find(|peer| peer.id == id);
        found.unwrap_or_else(|| panic!("no peer {id}"))
    }
}

impl Peer {
    fn to_toml(&self) -> String {
        let Self {
            id,
            key,
            scopes,
            confined,
            more,
            disabled,
        } = self;
        let mut scopes = scopes.clone();
        if !confined {
            scopes.push("ssh:unconfined".to_owned());
        }
        // Lists of plain strings are written in TOML as by Debug.
        format!(
            "[[peers]]\nid = {id:?}\nkeys = [{key:?}]\nscopes = {scopes:?}\ndisabled = {disabled}\n{more}\n"
        )
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
