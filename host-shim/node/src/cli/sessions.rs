//! `alknet-node sessions list|close`: shows the sessions of the running node,
//! or ends one or all of a peer.

use std::str::FromStr;

use clap::Subcommand;

use super::table::{Cell, Look, since, table};
use super::{Failed, StateArg, asked, dir, print_json};
use crate::admin::{Closed, Request, Sessions};

#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// List the sessions that are open, and those that have left jobs in the
    /// background.
    List {
        #[command(flatten)]
        state: StateArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a session, or all sessions of a peer, with the jobs they left in the
    /// background; the peer is told that the operator closed it.
    Close {
        /// The session as `sessions list` shows it, such as 1.7, or a peer
        #[arg(value_name = "SESSION|PEER", add = super::complete::sessions())]
        which: Which,
        #[command(flatten)]
        state: StateArg,
    },
}

/// Which sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Session(SessionId),
    Peer(String),
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(session) => Ok(Self::Session(session)),
            Err(error) if text.is_empty() => Err(error),
            Err(_) => Ok(Self::Peer(text.to_owned())),
        }
    }
}

/// A generation and the number of a session on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId {
    generation: u64,
    id: u64,
}

impl FromStr for SessionId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (generation, id) = text.split_once('.')?;
            Some(Self {
                generation: generation.parse().ok()?,
                id: id.parse().ok()?,
            })
        };
        parse().ok_or("expected a session as `alknet-node sessions list` shows it, such as 1.7")
    }
}

/// Lists sessions, or ends one.
pub(super) fn sessions(command: SessionsCommand) -> Result<(), Failed> {
    match command {
        SessionsCommand::List { state, json } => list(state, json),
        SessionsCommand::Close { which, state } => {
            let (request, name) = match which {
                Which::Session(SessionId { generation, id }) => (
                    Request::SessionsClose { generation, id },
                    format!("{generation}.{id}"),
                ),
                Which::Peer(identity) => {
                    let name = identity.clone();
                    (Request::SessionsCloseOf { identity }, name)
                }
            };
            let closed: Closed = asked(&dir(state)?, &request, "")?;
            say!("closed {name}: {}", summary(closed));
            Ok(())
        }
    }
}

fn summary(closed: Closed) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    };
    format!(
        "{}, {} in the background",
        count(closed.sessions, "session"),
        count(closed.background_jobs, "job")
    )
}

fn list(state: StateArg, json: bool) -> Result<(), Failed> {
    let sessions: Sessions = asked(&dir(state)?, &Request::SessionsList {}, "")?;
    if json {
        return print_json(&sessions.sessions);
    }
    if sessions.sessions.is_empty() {
        say!("no session is open");
        return Ok(());
    }
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let rows = sessions.sessions.iter().map(|session| {
        [
            Cell::from(format!("{}.{}", session.generation, session.id)),
            Cell::from(&session.plugin),
            Cell::from(session.identity.as_deref().unwrap_or("(not logged in)")),
            Cell::from(match session.ended {
                true => "(ended)",
                false => session.remote_addr.as_deref().unwrap_or("-"),
            }),
            Cell::from(session.since_unix_ms.map_or("-".to_owned(), since)),
            match session.away_since_unix_ms {
                Some(away) => Cell::looking(format!("for {}", since(away)), Look::Waning),
                None => Cell::from("-"),
            },
            Cell::from(number(session.channels)),
            Cell::from(number(session.forwards.or(session.listeners))),
            Cell::from(session.background_jobs),
        ]
    });
    let headings = [
        "SESSION",
        "PLUGIN",
        "IDENTITY",
        "FROM",
        "FOR",
        "AWAY",
        "CHANNELS",
        "FORWARDS",
        "BACKGROUND",
    ];
    say!("{}", table(headings, rows.collect()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_two_numbers() {
        let id = SessionId {
            generation: 2,
            id: 17,
        };
        assert_eq!("2.17".parse(), Ok(id));
        for text in ["", "2", "2.", ".1", "a.b", "1.2.3", "-1.2"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
        assert_eq!("2.17".parse(), Ok(Which::Session(id)));
        assert_eq!("bob".parse(), Ok(Which::Peer("bob".to_owned())));
        assert!("".parse::<Which>().is_err());
    }
}
