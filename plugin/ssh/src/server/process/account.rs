//! The account that this process runs as (passwd(5)).

use std::ffi::OsString;
use std::path::PathBuf;

/// The account this process runs as.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: OsString,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

impl Account {
    /// Looks the account up by the process's user id in `/etc/passwd`, then in
    /// `USER` and `HOME`; the shell is `/bin/sh` where that says none.
    pub(crate) fn current() -> Self {
        let uid = rustix::process::getuid().as_raw().to_string();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = entry_of(&passwd, &uid);
        let name = entry
            .as_ref()
            .map(|entry| OsString::from(entry.name))
            .or_else(|| std::env::var_os("USER"))
            .unwrap_or_else(|| OsString::from(uid));
        let home = entry
            .as_ref()
            .map(|entry| PathBuf::from(entry.home))
            .or_else(std::env::home_dir)
            .filter(|home| home.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/"));
        let shell = entry
            .map(|entry| PathBuf::from(entry.shell))
            .filter(|shell| shell.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/bin/sh"));
        Self { name, home, shell }
    }

    /// The account that the environment describes, as a shell would take it.
    pub(crate) fn of_environment() -> Self {
        let account = Self::current();
        Self {
            name: std::env::var_os("USER").unwrap_or(account.name),
            home: std::env::var_os("HOME").map_or(account.home, PathBuf::from),
            shell: account.shell,
        }
    }
}

/// The entry of a user in passwd(5).
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    home: &'a str,
    shell: &'a str,
}

fn entry_of<'a>(passwd: &'a str, uid: &str) -> Option<Entry<'a>> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        if fields.nth(1)? != uid {
            return None;
        }
        Some(Entry {
            name,
            home: fields.nth(2)?,
            shell: fields.next().unwrap_or(""),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_found_by_user_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nal:x:1000:1000::/home/al:/bin/sh\n";
        let al = Entry {
            name: "al",
            home: "/home/al",
            shell: "/bin/sh",
        };
        assert_eq!(entry_of(passwd, "1000"), Some(al));
        assert_eq!(entry_of(passwd, "10"), None);
        assert_eq!(entry_of("broken\n:::", "0"), None);
    }
}
