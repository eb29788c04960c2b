//! The options in front of an authorized key (sshd(8), AUTHORIZED_KEYS FILE
//! FORMAT), as text.

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOption {
    /// The option's name in lower case, as sshd compares it.
    pub name: String,
    /// The text between the quotes, with the escapes of quotes removed.
    pub value: Option<String>,
}

/// Splits the options off a line that begins with some.
///
/// # Errors
/// What is wrong with them as text.
pub fn split_options(line: &str) -> Result<(Vec<KeyOption>, &str), OptionsError> {
    let mut rest = line;
    let mut options = Vec::new();
    loop {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        if name.is_empty() {
            return Err(OptionsError::NoName);
        }
        let name = name.to_ascii_lowercase();
        let value = match after.strip_prefix('=') {
            Some(quoted) => {
                let (value, after) = unquote(&name, quoted)?;
                rest = after;
                Some(value)
            }
            None => {
                rest = after;
                None
            }
        };
        options.push(KeyOption { name, value });
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.starts_with([' ', '\t']) => return Ok((options, rest.trim_start())),
            None if rest.is_empty() => return Err(OptionsError::NoKey),
            None => return Err(OptionsError::NoName),
        }
    }
}

/// The text between double quotes, in which `\"` is a quote, and what follows.
fn unquote<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), OptionsError> {
    let not_quoted = || OptionsError::NotQuoted {
        name: name.to_owned(),
    };
    let mut rest = text.strip_prefix('"').ok_or_else(not_quoted)?;
    let mut value = String::new();
    loop {
        let end = rest.find(['"', '\\']).ok_or_else(not_quoted)?;
        let (plain, special) = rest.split_at(end);
        value.push_str(plain);
        if let Some(after) = special.strip_prefix('"') {
            return Ok((value, after));
        }
        rest = match special.strip_prefix("\\\"") {
            Some(after) => {
                value.push('"');
                after
            }
            None => {
                value.push('\\');
                special.get(1..).unwrap_or_default()
            }
        };
    }
}

/// What can be wrong with options as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An option has no name, or something odd follows it.
    #[error("the options are not separated by single commas, or hold a character none has")]
    NoName,
    /// The line holds options and no key.
    #[error("no key follows the options")]
    NoKey,
    /// A value must be quoted.
    #[error("the value of {name} is not within double quotes")]
    NotQuoted {
        /// The option.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(name: &str, value: Option<&str>) -> KeyOption {
        KeyOption {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn options_are_split_as_sshd_splits_them() {
        let line = r#"Restrict,command="echo \"a, b\" \n c",NO-pty 	ssh-ed25519 AAAA me"#;
        let (options, rest) = split_options(line).unwrap();
        assert_eq!(
            options,
            [
                option("restrict", None),
                option("command", Some(r#"echo "a, b" \n c"#)),
                option("no-pty", None),
            ]
        );
        assert_eq!(rest, "ssh-ed25519 AAAA me");
    }

    #[test]
    fn what_is_not_sound_is_named() {
        for (line, error) in [
            ("restrict,,pty ssh-ed25519", OptionsError::NoName),
            ("restrict, pty ssh-ed25519", OptionsError::NoName),
            (",pty ssh-ed25519", OptionsError::NoName),
            ("pty!x ssh-ed25519", OptionsError::NoName),
            ("restrict", OptionsError::NoKey),
            (
                "command=ls ssh-ed25519",
                OptionsError::NotQuoted {
                    name: "command".to_owned(),
                },
            ),
            (
                "from=\"x ssh-ed25519",
                OptionsError::NotQuoted {
                    name: "from".to_owned(),
                },
            ),
        ] {
            assert_eq!(split_options(line), Err(error), "{line}");
        }
    }
}
