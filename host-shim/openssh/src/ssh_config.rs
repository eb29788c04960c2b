//! The part of an `ssh_config` that makes plain `ssh NAME` reach a node.
//!
//! Everything the stanza needs is inside it: the transport (`ProxyCommand`),
//! the node's key and the SSH host key (`KnownHostsCommand`, OpenSSH 8.5 or
//! newer). Quoting follows `ssh_config(5)`: `ProxyCommand` is the rest of the
//! line, with `%` tokens, run by the user's shell; `KnownHostsCommand` is split
//! by ssh itself; other arguments stand in double quotes.

use std::fmt::Write as _;
use std::path::Path;

/// What goes into the stanza.
#[derive(Debug, Clone, Copy)]
pub struct Stanza<'a> {
    /// The name to type after `ssh`.
    pub alias: &'a str,
    /// The address the node listens on, as `alknet connect` takes it.
    pub target: &'a str,
    /// The key the node proves itself with in TLS, as `alknet connect` takes it.
    pub node_key: &'a str,
    /// The SSH host key, such as `ssh-ed25519 AAAA…`; a comment after it is
    /// left out.
    pub host_key: &'a str,
    /// The `alknet` program.
    pub program: &'a Path,
    /// The key for `alknet connect` to show before SSH begins.
    pub identity_key: Option<&'a Path>,
    /// The address the node listens on over TCP, for when UDP is blocked.
    pub tcp: Option<&'a str>,
    /// The private key to log in with, if it is not one of ssh's own choice.
    pub identity_file: Option<&'a Path>,
    /// The user to log in as, if it is not the caller's own name.
    pub user: Option<&'a str>,
}

impl Stanza<'_> {
    /// The text, ending in a line feed.
    ///
    /// # Errors
    /// When a part cannot be written in an `ssh_config` so that ssh reads it
    /// back unchanged.
    pub fn render(&self) -> Result<String, StanzaError> {
        let alias = checked_alias(self.alias)?;
        let host_key = checked_host_key(self.host_key)?;
        let program = for_shell(path_text("program", self.program)?);
        let target = for_shell(plain("address", self.target)?);
        let node_key = for_shell(plain("node key", self.node_key)?);

        let identity_key = match self.identity_key {
            Some(file) => format!(
                " --identity-key {}",
                for_shell(path_text("identity key", file)?)
            ),
            None => String::new(),
        };
        let tcp = match self.tcp {
            Some(tcp) => format!(" --tcp {}", for_shell(plain("TCP address", tcp)?)),
            None => String::new(),
        };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\
# OpenSSH before 8.5 takes the host key from ~/.ssh/known_hosts instead:
#   {alias} {host_key}
Host {alias}
    ProxyCommand {program} connect {target} --node-key {node_key}{identity_key}{tcp}
    HostKeyAlias {alias}
    StrictHostKeyChecking yes
    IgnoreUnknown KnownHostsCommand
    KnownHostsCommand /bin/sh -c \"echo {alias} {host_key}\"
    Compression no
    Ciphers ^aes128-gcm@openssh.com,aes256-gcm@openssh.com
",
        );
        if let Some((host, port)) = self.tcp.and_then(|tcp| tcp.rsplit_once(':')) {
            // For programs that have a way to the node of their own, such as mosh.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let _ = writeln!(text, "    HostName {}", host.replace('%', "%%"));
            let _ = writeln!(text, "    Port {port}");
        }
        if let Some(user) = self.user {
            let _ = writeln!(text, "    User {}", checked_user(user)?);
        }
        if let Some(file) = self.identity_file {
            let file = path_text("identity file", file)?;
            if file.contains("${") {
                return Err(StanzaError::Variable {
                    value: file.to_owned(),
                });
            }
            let _ = writeln!(text, "    IdentityFile {}", for_ssh(file));
            let _ = writeln!(text, "    IdentitiesOnly yes");
        }
        Ok(text)
    }
}

/// Why a stanza cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StanzaError {
    /// The alias would not name exactly one host.
    #[error(
        "{alias:?} cannot be a host alias: use letters, digits, '.', '_' and '-', beginning with a letter or digit"
    )]
    Alias {
        /// The alias.
        alias: String,
    },
    /// The user name has characters ssh or a shell would take apart.
    #[error(
        "{user:?} cannot be the user: use letters, digits, '.', '_', '-', '@' and '+', beginning with none of '-', '+' and '@'"
    )]
    User {
        /// The user.
        user: String,
    },
    /// The host key is not what `ssh-keygen` writes.
    #[error(
        "{host_key:?} is not an SSH public key: expected a type and base64, as in \"ssh-ed25519 AAAA…\""
    )]
    HostKey {
        /// The host key.
        host_key: String,
    },
    /// A value holds a line break or another control character.
    #[error("the {what} {value:?} holds a control character, which ssh_config cannot express")]
    ControlCharacter {
        /// What the value is for.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// A path is not UTF-8.
    #[error("the path of the {what} is not UTF-8: {lossy}")]
    NotUtf8 {
        /// What the path is for.
        what: &'static str,
        /// The path, with replacement characters.
        lossy: String,
    },
    /// ssh would expand an environment variable in the path.
    #[error("the path {value:?} holds \"${{\", which ssh takes for a variable; use another path")]
    Variable {
        /// The path.
        value: String,
    },
}

fn checked_alias(alias: &str) -> Result<&str, StanzaError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if alias.starts_with(|c: char| c.is_ascii_alphanumeric()) && alias.chars().all(fine) {
        Ok(alias)
    } else {
        Err(StanzaError::Alias {
            alias: alias.to_owned(),
        })
    }
}

fn checked_user(user: &str) -> Result<&str, StanzaError> {
    let fine = |c: char| c.is_alphanumeric() || "._-@+".contains(c);
    if user.starts_with(|c: char| fine(c) && !"-+@".contains(c)) && user.chars().all(fine) {
        Ok(user)
    } else {
        Err(StanzaError::User {
            user: user.to_owned(),
        })
    }
}

/// The type and the base64 of the key, without a comment.
fn checked_host_key(host_key: &str) -> Result<String, StanzaError> {
    let fault = || StanzaError::HostKey {
        host_key: host_key.to_owned(),
    };
    if host_key.chars().any(|c| c.is_control() && c != '\t') {
        return Err(fault());
    }
    let mut words = host_key.split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Err(fault());
    };
    let kind_fine = |c: char| c.is_ascii_alphanumeric() || "-@.".contains(c);
    let key_fine = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if kind.chars().all(kind_fine) && kind.contains('-') && key.chars().all(key_fine) {
        Ok(format!("{kind} {key}"))
    } else {
        Err(fault())
    }
}

fn path_text<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, StanzaError> {
    let text = path.to_str().ok_or_else(|| StanzaError::NotUtf8 {
        what,
        lossy: path.to_string_lossy().into_owned(),
    })?;
    plain(what, text)
}

fn plain<'a>(what: &'static str, text: &'a str) -> Result<&'a str, StanzaError> {
    if text.chars().any(char::is_control) {
        return Err(StanzaError::ControlCharacter {
            what,
            value: text.to_owned(),
        });
    }
    Ok(text)
}

/// One word of a command that ssh expands `%` tokens in and the shell runs.
fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%"))
}

/// One argument of a keyword that ssh splits, unquotes and expands itself.
fn for_ssh(argument: &str) -> String {
    let escaped = argument
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const HOST_KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0HvkHw9LcbHsCXpRjPdvTyOHl1fXW5M+Jkq8wdu3v/";

    fn stanza() -> Stanza<'static> {
        Stanza {
            alias: "alknet",
            target: "node.example:4433",
            node_key: "ed25519:abab",
            host_key: HOST_KEY,
            program: Path::new("/usr/bin/alknet"),
            identity_key: None,
            tcp: None,
            identity_file: None,
            user: None,
        }
    }

    #[test]
    fn the_plain_case_reads_plainly() {
        let text = stanza().render().unwrap();
        let node_key = stanza().node_key;
        for line in [
            "Host alknet".to_owned(),
            format!(
                "    ProxyCommand /usr/bin/alknet connect node.example:4433 --node-key {node_key}"
            ),
            format!("    KnownHostsCommand /bin/sh -c \"echo alknet {HOST_KEY}\""),
            format!("#   alknet {HOST_KEY}"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} not in\n{text}");
        }
        assert!(!text.contains("User ") && !text.contains("IdentityFile"));
    }

    #[test]
    fn a_tcp_address_is_named_for_who_takes_no_proxy_command() {
        let at = |tcp| Stanza {
            tcp: Some(tcp),
            ..stanza()
        };
        for (tcp, host, port) in [
            ("node.example:2222", "node.example", "2222"),
            ("[2001:db8::1]:22", "2001:db8::1", "22"),
        ] {
            let Some(read) = read_by_ssh(&at(tcp)) else {
                return;
            };
            let value = |keyword: &str| {
                let found = read.iter().find(|(name, _)| name == keyword);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!((value("hostname"), value("port")), (Some(host), Some(port)));
            assert_eq!(value("hostkeyalias"), Some("alknet"));
            assert!(value("proxycommand").is_some_and(|text| text.contains(tcp)));
        }
    }

    #[test]
    fn what_ssh_would_misread_is_refused() {
        let alias = |alias| Stanza { alias, ..stanza() }.render().unwrap_err();
        for bad in ["", "a b", "*", "!x", "-x", "a\nb", "a#b", "a%h", "é"] {
            assert!(matches!(alias(bad), StanzaError::Alias { .. }), "{bad:?}");
        }
        let host_key = |host_key| {
            Stanza {
                host_key,
                ..stanza()
            }
            .render()
        };
        for bad in [
            "",
            "ssh-ed25519",
            "AAAA ssh-ed25519;x",
            "a-b AA$(x)",
            "ssh-rsa A\nB",
        ] {
            assert!(host_key(bad).is_err(), "{bad:?}");
        }
        assert!(
            host_key("ssh-ed25519 AAAA a comment")
                .unwrap()
                .contains(" AAAA\"")
        );
        let user = |user| {
            Stanza {
                user: Some(user),
                ..stanza()
            }
            .render()
        };
        for bad in ["", "-l", "a b", "$(x)", "a;b", "a%u"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        let program = |p: &'static str| {
            Stanza {
                program: Path::new(p),
                ..stanza()
            }
            .render()
        };
        assert!(program("/a\nb").is_err());
        let identity = |p: &'static str| {
            Stanza {
                identity_key: None,
                identity_file: Some(Path::new(p)),
                ..stanza()
            }
            .render()
        };
        assert!(matches!(
            identity("/a${b}").unwrap_err(),
            StanzaError::Variable { .. }
        ));
    }

    /// What stock ssh makes of the stanza, by keyword.
    fn read_by_ssh(stanza: &Stanza<'_>) -> Option<Vec<(String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        std::fs::write(&config, stanza.render().unwrap()).unwrap();
        let output = Command::new("ssh")
            .args(["-T", "-G"])
            .arg("-F")
            .arg(&config)
            .arg(stanza.alias)
            .output();
        let output = match output {
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("SKIPPED: no stock ssh to compare with: {error}");
                return None;
            }
            output => output.unwrap(),
        };
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        Some(
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn value<'a>(options: &'a [(String, String)], keyword: &str) -> &'a str {
        let found = options.iter().find(|(k, _)| k == keyword);
        found.map_or("(absent)", |(_, value)| value)
    }

    #[test]
    fn stock_ssh_reads_it_as_meant() {
        let stanza = Stanza {
            user: Some("git"),
            identity_key: None,
            identity_file: Some(Path::new("/home/a b/id \"x\"")),
            ..stanza()
        };
        let Some(options) = read_by_ssh(&stanza) else {
            return;
        };
        assert_eq!(value(&options, "user"), "git");
        assert_eq!(value(&options, "hostkeyalias"), "alknet");
        assert_eq!(value(&options, "stricthostkeychecking"), "true");
        assert_eq!(value(&options, "compression"), "no");
        assert_eq!(value(&options, "identitiesonly"), "yes");
        assert_eq!(value(&options, "identityfile"), "/home/a b/id \"x\"");
        assert!(
            value(&options, "ciphers")
                .starts_with("aes128-gcm@openssh.com,aes256-gcm@openssh.com,")
        );
        assert!(
            value(&options, "proxycommand")
                .starts_with("/usr/bin/alknet connect node.example:4433 ")
        );
        assert!(value(&options, "knownhostscommand").contains(HOST_KEY));
    }

    /// The path goes through ssh's token expansion and a shell; a program of
    /// that name must be what runs.
    #[test]
    fn odd_program_paths_reach_the_program() {
        for name in [
            "plain",
            "with space",
            "100%h",
            "it's",
            "a\"b",
            "$HOME",
            "back\\slash",
            "#hash",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join(name);
            let witness = folder.path().join("ran");
            let script = format!("#!/bin/sh\necho \"$@\" > '{}'\n", witness.display());
            std::fs::write(&program, script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&program, mode).unwrap();
            let stanza = Stanza {
                program: &program,
                target: "[fe80::1%eth0]:4433",
                ..stanza()
            };
            if read_by_ssh(&stanza).is_none() {
                return;
            }
            let config = folder.path().join("config");
            std::fs::write(&config, stanza.render().unwrap()).unwrap();
            let _ = Command::new("ssh")
                .env("SHELL", "/bin/sh")
                .arg("-F")
                .arg(&config)
                .args(["alknet", "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let arguments = std::fs::read_to_string(&witness)
                .unwrap_or_else(|_| panic!("{name:?} did not run:\n{}", stanza.render().unwrap()));
            let node_key = stanza.node_key;
            assert_eq!(
                arguments.trim_end(),
                format!("connect [fe80::1%eth0]:4433 --node-key {node_key}")
            );
        }
    }
}
