//! The owner's `~/.ssh/config`, which `up` has include the node's stanza.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::state::replace_file;

/// The outcome of adding the `Include` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Included {
    /// The line was there already.
    Before,
    /// One line was added.
    Now,
}

/// Why the `Include` line was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncludeError {
    /// A file could not be read or written.
    #[error("cannot write {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration has a host of that name.
    #[error(
        "{} has a `Host {alias}` of its own, which stays; remove it and run this again, or write `Include {}` before it",
        config.display(), stanza.display()
    )]
    Foreign {
        /// The configuration of ssh.
        config: PathBuf,
        /// The name.
        alias: String,
        /// The file to include.
        stanza: PathBuf,
    },
    /// ssh would take the path for another one.
    #[error("{} has characters that ssh_config cannot express in Include", stanza.display())]
    Path {
        /// The file to include.
        stanza: PathBuf,
    },
}

/// Writes the stanza into a file of its own, and has `config` include it: a
/// line before all others, unless one is there.
///
/// # Errors
/// When that is not possible, or `config` has such a host; it stays as it was.
pub(crate) fn include(
    config: &Path,
    stanza_file: &Path,
    alias: &str,
    stanza: &str,
) -> Result<Included, IncludeError> {
    let path = stanza_file
        .to_str()
        .filter(|path| {
            path.chars()
                .all(|c| !c.is_control() && !r#"*?[]%$"\"#.contains(c))
        })
        .ok_or_else(|| IncludeError::Path {
            stanza: stanza_file.to_owned(),
        })?;
    let io = |file: &Path| {
        let file = file.to_owned();
        move |source| IncludeError::Io { file, source }
    };
    let text = match fs::read(config) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text.map_err(io(config))?,
    };
    let seen = String::from_utf8_lossy(&text);
    let is_included = words(&seen, "include").any(|word| word == path);
    if !is_included && words(&seen, "host").any(|word| word == alias) {
        return Err(IncludeError::Foreign {
            config: config.to_owned(),
            alias: alias.to_owned(),
            stanza: stanza_file.to_owned(),
        });
    }
    let own = format!("# Written by `alknet-node up`, again at each start.\n{stanza}");
    replace_file::write(stanza_file, &own).map_err(io(stanza_file))?;
    if is_included {
        return Ok(Included::Before);
    }
    let mut next = format!("# `ssh {alias}`, by `alknet-node up`\nInclude \"{path}\"\n");
    if !text.is_empty() {
        // A text that is not UTF-8 cannot be carried over as it is.
        let text = String::from_utf8(text).map_err(|error| {
            io(config)(io::Error::new(
                io::ErrorKind::InvalidData,
                error.utf8_error(),
            ))
        })?;
        next.push('\n');
        next.push_str(&text);
    }
    replace_file::write(config, &next).map_err(io(config))?;
    Ok(Included::Now)
}

/// The arguments of all lines with that keyword (`ssh_config(5)`: case does
/// not matter, `=` may follow, quotes are taken off).
fn words<'a>(text: &'a str, keyword: &'static str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| {
            let line = line.trim();
            let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
            let (first, rest) = line.split_at(end);
            first.eq_ignore_ascii_case(keyword).then_some(rest)
        })
        .flat_map(|rest| {
            let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
            let quoted = rest.split('"').skip(1).step_by(2);
            let plain = rest.split('"').step_by(2).flat_map(str::split_whitespace);
            quoted.chain(plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_added_once_and_the_rest_stays() {
        let home = tempfile::tempdir().unwrap();
        let (config, stanza) = (home.path().join("config"), home.path().join("own"));
        let put = |text| include(&config, &stanza, "alknet", text);
        assert_eq!(put("Host alknet\n").unwrap(), Included::Now);
        let fresh = fs::read_to_string(&config).unwrap();
        assert!(fresh.contains(&format!("Include \"{}\"", stanza.display())));
        fs::write(&config, "Host other\n").unwrap();
        assert_eq!(put("Host alknet\n").unwrap(), Included::Now);
        assert_eq!(put("Host alknet\n  User x\n").unwrap(), Included::Before);
        let text = fs::read_to_string(&config).unwrap();
        assert_eq!(text, format!("{fresh}\nHost other\n"));
        assert!(fs::read_to_string(&stanza).unwrap().contains("User x"));
    }

    #[test]
    fn a_host_of_that_name_stays() {
        let home = tempfile::tempdir().unwrap();
        let (config, stanza) = (home.path().join("config"), home.path().join("own"));
        for foreign in ["Host a alknet\n", "host=\"alknet\"\n", "  HOST\talknet\n"] {
            fs::write(&config, foreign).unwrap();
            let error = include(&config, &stanza, "alknet", "").unwrap_err();
            assert!(error.to_string().contains("Host alknet"), "{error}");
            assert_eq!(fs::read_to_string(&config).unwrap(), foreign);
            assert!(!stanza.exists());
        }
        fs::write(&config, "Host alknet2\nHostName alknet\n").unwrap();
        assert_eq!(
            include(&config, &stanza, "alknet", "").unwrap(),
            Included::Now
        );
    }
}
