//! What a master and those who use it say to each other, as bytes.
//!
//! A frame is its length (4 bytes, big endian), a kind (1 byte) and fields:
//! numbers big endian, texts as their length (4 bytes) and bytes. [`VERSION`]
//! changes whenever something else is said; a greeting begins with it for good.

use alknet_ssh::client::{Program, SessionRequest, Terminal, TerminalSize};
use alknet_ssh::{Exit, Signal};

use super::ended::Ended;

/// The version of this protocol.
pub(crate) const VERSION: u32 = 1;
/// The longest frame in bytes, without its length: more than SSH carries in one
/// message.
pub(crate) const LONGEST: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// The master's first, whatever the client wants.
    Hello(Hello),
    /// The master's first instead, from one of another version.
    OtherVersion(u32),
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
}

/// The process and the connection of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut frame = Writer(vec![0; 4]);
        match self {
            Self::Hello(hello) => {
                frame.byte(0);
                frame.number(VERSION);
                frame.number(hello.pid);
                frame.0.extend_from_slice(&hello.peer);
            }
            Self::OtherVersion(version) => {
                frame.byte(0);
                frame.number(*version);
            }
            Self::Run(request) => {
                frame.byte(1);
                frame.request(request);
            }
            Self::Exit => frame.byte(2),
            Self::Stop => frame.byte(3),
            Self::Done => frame.byte(4),
            Self::NotOpened(why) => {
                frame.byte(5);
                frame.text(why.as_bytes());
            }
            Self::Refused(why) => {
                frame.byte(6);
                frame.text(why.as_bytes());
            }
            Self::Started { has_terminal } => {
                frame.byte(7);
                frame.byte((*has_terminal).into());
            }
            Self::Signal(name) => {
                frame.byte(8);
                frame.text(name.as_bytes());
            }
            Self::Resize(size) => {
                frame.byte(9);
                frame.size(*size);
            }
            Self::Ended(ended) => {
                frame.byte(10);
                frame.ended(ended);
            }
        }
        frame.finished()
    }

    /// Reads the message of a frame, from its kind on.
    pub(crate) fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let mut frame = Reader(frame);
        let message = match frame.byte()? {
            0 => match frame.number()? {
                VERSION => Self::Hello(Hello {
                    pid: frame.number()?,
                    peer: frame.taken(32)?.try_into().map_err(|_| FrameError)?,
                }),
                version => return Ok(Self::OtherVersion(version)),
            },
            1 => Self::Run(frame.request()?),
            2 => Self::Exit,
            3 => Self::Stop,
            4 => Self::Done,
            5 => Self::NotOpened(frame.string()?),
            6 => Self::Refused(frame.string()?),
            7 => Self::Started {
                has_terminal: frame.flag()?,
            },
            8 => Self::Signal(frame.string()?),
            9 => Self::Resize(frame.size()?),
            10 => Self::Ended(frame.ended()?),
            _ => return Err(FrameError),
        };
        if frame.0.is_empty() {
            Ok(message)
        } else {
            Err(FrameError)
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(length(text.len()));
        self.0.extend_from_slice(text);
    }

    fn size(&mut self, size: TerminalSize) {
        for number in [size.columns, size.rows, size.width, size.height] {
            self.number(number);
        }
    }

    /// Writes a request, without variables: none are asked for over a shared
    /// connection.
    fn request(&mut self, request: &SessionRequest) {
        match &request.program {
            Program::Command(command) => {
                self.byte(0);
                self.text(command);
            }
            Program::Shell => self.byte(1),
            Program::Subsystem(name) => {
                self.byte(2);
                self.text(name.as_bytes());
            }
        }
        self.byte(request.terminal.is_some().into());
        if let Some(terminal) = &request.terminal {
            self.text(terminal.kind.as_bytes());
            self.size(terminal.size);
            self.number(length(terminal.modes.len()));
            for (code, value) in &terminal.modes {
                self.byte(*code);
                self.number(*value);
            }
        }
    }

    fn ended(&mut self, ended: &Ended) {
        match &ended.exit {
            Exit::Status(status) => {
                self.byte(0);
                self.number(*status);
            }
            Exit::Signal {
                signal,
                core_dumped,
            } => {
                self.byte(1);
                self.text(signal.name().as_bytes());
                self.byte((*core_dumped).into());
            }
            Exit::Unknown => self.byte(2),
        }
        self.byte(ended.connection.is_some().into());
        if let Some(connection) = &ended.connection {
            self.text(connection.as_bytes());
        }
    }

    fn finished(mut self) -> Vec<u8> {
        let length = length(self.0.len() - 4).to_be_bytes();
        for (byte, value) in self.0.iter_mut().zip(length) {
            *byte = value;
        }
        self.0
    }
}

/// A length as four bytes. One beyond 4 GiB becomes the largest number, which
/// is beyond [`LONGEST`] all the same.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn taken(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FrameError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let (byte, rest) = self.0.split_first().ok_or(FrameError)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError),
        }
    }

    fn number(&mut self) -> Result<u32, FrameError> {
        let bytes = self.taken(4)?.try_into().map_err(|_| FrameError)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn text(&mut self) -> Result<&'a [u8], FrameError> {
        let length = usize::try_from(self.number()?).map_err(|_| FrameError)?;
        self.taken(length)
    }

    fn string(&mut self) -> Result<String, FrameError> {
        String::from_utf8(self.text()?.to_vec()).map_err(|_| FrameError)
    }

    fn size(&mut self) -> Result<TerminalSize, FrameError> {
        Ok(TerminalSize {
            columns: self.number()?,
            rows: self.number()?,
            width: self.number()?,
            height: self.number()?,
        })
    }

    fn request(&mut self) -> Result<SessionRequest, FrameError> {
        let program = match self.byte()? {
            0 => Program::Command(self.text()?.to_vec()),
            1 => Program::Shell,
            2 => Program::Subsystem(self.string()?),
            _ => return Err(FrameError),
        };
        let terminal = if self.flag()? {
            let (kind, size) = (self.string()?, self.size()?);
            let modes = (0..self.number()?)
                .map(|_| Ok((self.byte()?, self.number()?)))
                .collect::<Result<_, FrameError>>()?;
            Some(Terminal { kind, size, modes })
        } else {
            None
        };
        Ok(SessionRequest {
            program,
            environment: Vec::new(),
            terminal,
        })
    }

    fn ended(&mut self) -> Result<Ended, FrameError> {
        let exit = match self.byte()? {
            0 => Exit::Status(self.number()?),
            1 => Exit::Signal {
                signal: Signal::new(&self.string()?),
                core_dumped: self.flag()?,
            },
            2 => Exit::Unknown,
            _ => return Err(FrameError),
        };
        let connection = match self.flag()? {
            true => Some(self.string()?),
            false => None,
        };
        Ok(Ended { exit, connection })
    }
}

#[cfg(test)]
mod tests {
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
            Message::OtherVersion(2),
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
            let frame = message.encode();
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
        let mut frame = vec![1, 1, 1];
        frame.extend([0; 4 + 16]);
        frame.extend([255; 4]);
        assert!(Message::decode(&frame).is_err());
    }

    #[test]
    fn a_later_version_is_told_by_its_greeting() {
        let mut frame = Message::OtherVersion(VERSION + 1).encode();
        frame.extend(b"whatever it says");
        let read = Message::decode(&frame[4..]).unwrap();
        assert!(matches!(read, Message::OtherVersion(version) if version == VERSION + 1));
    }
}
