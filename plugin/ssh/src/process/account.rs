use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The account the node runs as, which is the account commands run as.
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

    /// The home folder if it can be entered, else the root.
    pub(crate) fn working_directory(&self) -> &Path {
        if self.home.is_dir() {
            &self.home
        } else {
            Path::new(OsStr::new("/"))
        }
    }
}

/// What passwd(5) says about a user.
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
