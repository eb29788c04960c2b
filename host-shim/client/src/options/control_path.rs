//! The path of the control socket, with the tokens of ssh (ssh_config(5),
//! ControlPath).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::option_error::OptionError;
use super::places;
use super::target::Target;

/// The path of the control socket (ssh_config(5), ControlPath).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlPath {
    /// No socket: nothing is shared.
    None,
    At(Pattern),
}

/// A path with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `%C`: the hash of the connection.
    Connection,
    /// `%d`: the home directory.
    Home,
    /// `%h`: the host name.
    Host,
    /// `%i`: the user id on this machine.
    UserId,
    /// `%n`: the node's name as given.
    Node,
    /// `%p`: the port.
    Port,
    /// `%r`: the user to log in as.
    User,
    /// `%u`: the user name on this machine.
    LocalUser,
}

/// The values that the tokens stand for.
pub(crate) struct Tokens<'a> {
    /// The hash of all that decides which connection it is.
    pub(crate) connection: [u8; 32],
    /// The node's name as it was given.
    pub(crate) node: &'a str,
    pub(crate) target: &'a Target,
    /// The user who logs in.
    pub(crate) user: &'a str,
}

impl ControlPath {
    /// The path of a connection's socket if no other is named.
    pub(crate) fn usual(tokens: &Tokens<'_>) -> Option<PathBuf> {
        Some(places::runtime_directory()?.join(tokens.connection()))
    }
}

impl Pattern {
    /// The path that the pattern makes; `None` if there is no working directory
    /// to begin at.
    pub(crate) fn path(&self, tokens: &Tokens<'_>) -> Option<PathBuf> {
        let path: String = self.0.iter().map(|piece| piece.shown(tokens)).collect();
        std::path::absolute(places::expanded(Path::new(&path))).ok()
    }
}

impl FromStr for ControlPath {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::None);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            pieces.push(Piece::Text(before.to_owned()));
            let mut after = after.chars();
            let token = after.next();
            pieces.push(match token {
                Some('%') => Piece::Text("%".to_owned()),
                Some('C') => Piece::Connection,
                Some('d') => Piece::Home,
                Some('h') => Piece::Host,
                Some('i') => Piece::UserId,
                Some('n') => Piece::Node,
                Some('p') => Piece::Port,
                Some('r') => Piece::User,
                Some('u') => Piece::LocalUser,
                other => {
                    return Err(OptionError::Token {
                        token: std::iter::once('%').chain(other).collect(),
                    });
                }
            });
            rest = after.as_str();
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self::At(Pattern(pieces)))
    }
}

impl Piece {
    fn shown(&self, tokens: &Tokens<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Connection => tokens.connection(),
            Self::Home => places::home()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            Self::Host => tokens.target.host.clone(),
            Self::UserId => rustix::process::getuid().as_raw().to_string(),
            Self::Node => tokens.node.to_owned(),
            Self::Port => tokens.target.port.to_string(),
            Self::User => tokens.user.to_owned(),
            Self::LocalUser => places::user_name().unwrap_or_default(),
        }
    }
}

impl Tokens<'_> {
    /// The hash in as many digits as ssh's `%C` has.
    fn connection(&self) -> String {
        let bytes = self.connection.iter().take(20);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_what_they_do_in_ssh() {
        let target: Target = "node.example:5".parse().unwrap();
        let tokens = Tokens {
            connection: [0xab; 32],
            node: "home",
            target: &target,
            user: "me",
        };
        for (text, expected) in [
            ("/a/b", "/a/b".to_owned()),
            ("/s/%r@%h:%p", "/s/me@node.example:5".to_owned()),
            ("/s/%n-%%-%C", format!("/s/home-%-{}", "ab".repeat(20))),
        ] {
            let ControlPath::At(pattern) = text.parse().unwrap() else {
                panic!("{text}");
            };
            assert_eq!(pattern.path(&tokens).unwrap(), PathBuf::from(expected));
        }
        assert_eq!("none".parse(), Ok(ControlPath::None));
        for (text, token) in [("/%", "%"), ("/%x", "%x")] {
            let token = token.to_owned();
            assert_eq!(
                text.parse::<ControlPath>(),
                Err(OptionError::Token { token })
            );
        }
    }
}
