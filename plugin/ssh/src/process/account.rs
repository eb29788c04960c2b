use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The account the node runs as, which is the account commands run as.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: OsString,
    pub(crate) home: PathBuf,
}

impl Account {
    /// Looks the account up by the process's user id in `/etc/passwd`, then in
    /// `USER` and `HOME`.
    pub(crate) fn current() -> Self {
        let uid = rustix::process::getuid().as_raw().to_string();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let entry = entry_of(&passwd, &uid);
        let name = entry
            .map(|(name, _)| OsString::from(name))
            .or_else(|| std::env::var_os("USER"))
            .unwrap_or_else(|| OsString::from(uid));
        let home = entry
            .map(|(_, home)| PathBuf::from(home))
            .or_else(std::env::home_dir)
            .filter(|home| home.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/"));
        Self { name, home }
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

/// Name and home folder of a user id (passwd(5)).
fn entry_of<'a>(passwd: &'a str, uid: &str) -> Option<(&'a str, &'a str)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        if fields.nth(1)? != uid {
            return None;
        }
        Some((name, fields.nth(2)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_found_by_user_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nal:x:1000:1000::/home/al:/bin/sh\n";
        assert_eq!(entry_of(passwd, "1000"), Some(("al", "/home/al")));
        assert_eq!(entry_of(passwd, "10"), None);
        assert_eq!(entry_of("broken\n:::", "0"), None);
    }
}
