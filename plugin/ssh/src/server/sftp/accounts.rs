//! The accounts and groups of the machine by name and number (passwd(5),
//! group(5)), as clients show and ask for them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;

/// Reads the two files once, when somebody asks.
#[derive(Debug)]
pub(super) struct Accounts {
    passwd: &'static str,
    group: &'static str,
    users: OnceCell<Users>,
    groups: OnceCell<BTreeMap<u32, Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Users {
    names: BTreeMap<u32, Vec<u8>>,
    homes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Accounts {
    /// The accounts of this machine.
    pub(super) fn of_this_machine() -> Self {
        Self::of("/etc/passwd", "/etc/group")
    }

    fn of(passwd: &'static str, group: &'static str) -> Self {
        Self {
            passwd,
            group,
            users: OnceCell::new(),
            groups: OnceCell::new(),
        }
    }

    /// The name of a user.
    pub(super) fn user(&self, id: u32) -> Option<&[u8]> {
        self.users().names.get(&id).map(Vec::as_slice)
    }

    /// The name of a group.
    pub(super) fn group(&self, id: u32) -> Option<&[u8]> {
        let groups = self.groups.get_or_init(|| {
            let mut names = BTreeMap::new();
            for line in lines(&fs::read(self.group).unwrap_or_default()) {
                if let [name, _, id, ..] = line.as_slice()
                    && let Some(id) = number(id)
                {
                    names.entry(id).or_insert_with(|| name.to_vec());
                }
            }
            names
        });
        groups.get(&id).map(Vec::as_slice)
    }

    /// The home directory of a user.
    pub(super) fn home(&self, name: &[u8]) -> Option<&[u8]> {
        self.users().homes.get(name).map(Vec::as_slice)
    }

    fn users(&self) -> &Users {
        self.users.get_or_init(|| {
            let mut users = Users::default();
            for line in lines(&fs::read(self.passwd).unwrap_or_default()) {
                let [name, _, id, _, _, home, ..] = line.as_slice() else {
                    continue;
                };
                if let Some(id) = number(id) {
                    users.names.entry(id).or_insert_with(|| name.to_vec());
                }
                if home.starts_with(b"/") {
                    let homes = users.homes.entry(name.to_vec());
                    homes.or_insert_with(|| home.to_vec());
                }
            }
            users
        })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.map(|line| line.split(|byte| *byte == b':').collect())
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_the_unknown_has_no_name() {
        let accounts = Accounts::of_this_machine();
        assert_eq!(accounts.user(0), Some(&b"root"[..]));
        assert_eq!(accounts.group(0), Some(&b"root"[..]));
        assert!(accounts.home(b"root").is_some());
        assert_eq!(accounts.home(b"no such user"), None);
        let none = Accounts::of("/no/such/file", "/no/such/file");
        assert_eq!((none.user(0), none.group(0)), (None, None));
    }
}
