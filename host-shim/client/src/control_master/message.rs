//! What a master and those who use it say to each other, as bytes.
//!
//! A frame is its length (4 bytes, big endian) and a [`Message`] as postcard
//! writes it. [`VERSION`] changes whenever something else is said. A greeting is
//! apart: it begins with the kind 0 and the version, in every version.

use alknet_ssh::client::{SessionRequest, TerminalSize};
use serde::{Deserialize, Serialize};

use super::ended::Ended;

/// The version of this protocol.
pub(crate) const VERSION: u32 = 2;
/// The longest frame in bytes, without its length: more than SSH carries in one
/// message.
pub(crate) const LONGEST: usize = 1 << 20;
/// The kind of a greeting, and so the place of [`Message::Hello`].
const GREETING: u8 = 0;

/// What is said. The order is that of the kinds in a frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The master's first, whatever the client wants.
    Hello(Hello),
    /// The client's first: run this. The ends of three pipes come with it, for
    /// standard input, output and error.
    Run(SessionRequest),
    /// The client's first: end, and all commands with you.
    Exit,
    /// The client's first: let no others in.
    Stop,
    /// The request was carried out.
    Done,
    /// The node has not been told of the command.
    NotOpened(String),
    /// The node does not run the command.
    Refused(String),
    /// The command runs.
    Started { has_terminal: bool },
    /// The command is to get this signal, by its SSH name.
    Signal(String),
    /// The terminal has this size now.
    Resize(TerminalSize),
    /// The command has ended.
    Ended(Ended),
    /// The master's first instead, from one of another version.
    #[serde(skip)]
    OtherVersion(u32),
}

/// The process and the connection of a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) pid: u32,
    /// The hash of the node, key and user of its connection.
    pub(crate) peer: [u8; 32],
}

/// A frame cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the other process said cannot be understood")]
pub(crate) struct FrameError;

impl Message {
    /// The message as a frame.
    ///
    /// # Errors
    /// None in practice: every message has a form as bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut frame = vec![0; 4];
        match self {
            Self::Hello(hello) => {
                frame.extend(greeting(VERSION));
                frame.extend(postcard::to_stdvec(hello).map_err(|_| FrameError)?);
            }
            Self::OtherVersion(version) => frame.extend(greeting(*version)),
            message => frame.extend(postcard::to_stdvec(message).map_err(|_| FrameError)?),
        }
        // One beyond 4 GiB becomes the largest number, which is beyond LONGEST
        // all the same.
        let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
        for (byte, value) in frame.iter_mut().zip(length.to_be_bytes()) {
            *byte = value;
        }
        Ok(frame)
    }

    /// Reads the message of a frame, from its kind on.
    pub(crate) fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let Some((&GREETING, rest)) = frame.split_first() else {
            return whole(frame);
        };
        let (version, rest) = rest.split_first_chunk().ok_or(FrameError)?;
        match u32::from_be_bytes(*version) {
            VERSION => whole(rest).map(Self::Hello),
            version => Ok(Self::OtherVersion(version)),
        }
    }
}

/// What a greeting begins with: the kind 0 and the version, big endian, in
/// whatever version.
fn greeting(version: u32) -> impl Iterator<Item = u8> {
    std::iter::once(GREETING).chain(version.to_be_bytes())
}

/// Reads a value that takes all the bytes.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(FrameError),
    }
}

#[cfg(test)]
mod tests {
    use alknet_ssh::client::{Program, Terminal};
    use alknet_ssh::{Exit, Signal};

    use super::*;

    fn all() -> Vec<Message> {
        let terminal = Terminal {
            kind: "xterm".to_owned(),
            size: TerminalSize {
                columns: 80,
                rows: 24,
                width: 0,
                height: 7,
            },
            modes: vec![(1, 3), (53, 1)],
        };
        let request = |program, terminal| {
            Message::Run(SessionRequest {
                program,
                environment: Vec::new(),
                terminal,
            })
        };
        let ended = |exit, connection| Message::Ended(Ended { exit, connection });
        vec![
            Message::Hello(Hello {
                pid: 7,
                peer: [9; 32],
            }),
            Message::OtherVersion(VERSION + 1),
            request(Program::Command(vec![0, 255]), Some(terminal)),
            request(Program::Shell, None),
            request(Program::Subsystem("sftp".to_owned()), None),
            Message::Exit,
            Message::Stop,
            Message::Done,
            Message::NotOpened("a".to_owned()),
            Message::Refused(String::new()),
            Message::Started { has_terminal: true },
            Message::Signal("TERM".to_owned()),
            Message::Resize(TerminalSize::default()),
            ended(Exit::Status(3), None),
            ended(
                Exit::Signal {
                    signal: Signal::new("KILL"),
                    core_dumped: false,
                },
                None,
            ),
            ended(Exit::Unknown, Some("silence".to_owned())),
        ]
    }

    #[test]
    fn what_is_said_is_understood_and_nothing_else_is() {
        for message in all() {
            let frame = message.encode().unwrap();
            let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
            assert_eq!(length as usize, frame.len() - 4);
            let read = Message::decode(&frame[4..]).unwrap();
            assert_eq!(format!("{read:?}"), format!("{message:?}"));
            for end in 4..frame.len() {
                // Of another version nothing is known but its number.
                if !matches!(message, Message::OtherVersion(_)) {
                    assert!(Message::decode(&frame[4..end]).is_err(), "{message:?}");
                }
            }
        }
        assert!(Message::decode(&[200]).is_err());
        // A number of modes that no frame can hold ends with the frame.
        // A request for a shell: no variables, a terminal without a name or a size.
        let mut frame = vec![1, 1, 0, 1, 0, 0, 0, 0, 0];
        frame.extend([255, 255, 255, 255, 15]);
        assert!(Message::decode(&frame).is_err());
    }

    #[test]
    fn a_later_version_is_told_by_its_greeting() {
        let mut frame = Message::OtherVersion(VERSION + 1).encode().unwrap();
        frame.extend(b"whatever it says");
        let read = Message::decode(&frame[4..]).unwrap();
        assert!(matches!(read, Message::OtherVersion(version) if version == VERSION + 1));
    }
}
