//! The user's directories and name (XDG Base Directory Specification).

use std::path::{Path, PathBuf};

/// The client's configuration directory (XDG Base Directory Specification: a
/// relative path in the variable is ignored).
pub(crate) fn config_directory() -> Option<PathBuf> {
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?;
    Some(config.join("alknet"))
}

/// The directory for files that live as long as their process: the session's
/// runtime directory, or else one in the user's state directory.
pub(crate) fn runtime_directory() -> Option<PathBuf> {
    let of_session = absolute("XDG_RUNTIME_DIR");
    let folder = of_session
        .or_else(|| absolute("XDG_STATE_HOME"))
        .or_else(|| Some(home()?.join(".local/state")))?;
    Some(folder.join("alknet"))
}

/// The user's home.
pub(crate) fn home() -> Option<PathBuf> {
    absolute("HOME")
}

/// A path as people write it, with `~/` for their home.
pub(crate) fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// The user's name on this machine, by the environment or else the password
/// file.
pub(crate) fn user_name() -> Option<String> {
    let set = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    set("USER").or_else(|| set("LOGNAME")).or_else(|| {
        let own = rustix::process::getuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            (id == own).then(|| name.to_owned())
        })
    })
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
