//! What login.defs(5) says for processes of accounts.

use std::fs;

/// The default search paths for programs: `SUPATH` for root, `PATH` for others.
const SUPATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The default file mode creation mask.
const UMASK: u32 = 0o022;

/// The settings of interest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoginDefs {
    pub(crate) path: String,
    pub(crate) umask: u32,
}

impl LoginDefs {
    /// Reads the settings for root, or for any other account.
    pub(crate) fn read(root: bool) -> Self {
        Self::of(
            &fs::read_to_string("/etc/login.defs").unwrap_or_default(),
            root,
        )
    }

    fn of(text: &str, root: bool) -> Self {
        let value = |name: &str| {
            let mut lines = text.lines().map(str::split_ascii_whitespace);
            lines.find_map(|mut words| (words.next()? == name).then(|| words.next())?)
        };
        let (name, default) = if root {
            ("ENV_SUPATH", SUPATH)
        } else {
            ("ENV_PATH", PATH)
        };
        let path = value(name).unwrap_or(default);
        let mask = value("UMASK").and_then(|mask| u32::from_str_radix(mask, 8).ok());
        Self {
            path: path.strip_prefix("PATH=").unwrap_or(path).to_owned(),
            umask: mask.filter(|mask| *mask <= 0o777).unwrap_or(UMASK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_path_and_umask_count() {
        let text = "# UMASK 077\nENV_PATH PATH=/a:/b\nUMASK\t\t027\n";
        let expected = LoginDefs {
            path: "/a:/b".into(),
            umask: 0o27,
        };
        assert_eq!(LoginDefs::of(text, false), expected);
        assert_eq!(LoginDefs::of(text, true).path, SUPATH);
        assert_eq!(LoginDefs::of("UMASK 9999", false).umask, UMASK);
    }
}
