//! The decoding of messages from any prefix of their bytes, without I/O.

/// One message of the protocol.
pub trait Message: Sized {
    /// The length of the longest message, in bytes.
    const MAX_LENGTH: usize = 1024;

    /// Decodes the message that starts `bytes`; what follows it is ignored.
    ///
    /// # Errors
    /// When no continuation of `bytes` could be such a message.
    fn decode(bytes: &[u8]) -> Result<Progress<Self>, DecodeError>;

    /// The message as bytes.
    fn encode(&self) -> Vec<u8>;
}

/// How far decoding came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// At least this many more bytes belong to the message; never 0.
    Need(usize),
    /// The message is complete and took this many bytes.
    Done(T, usize),
}

/// Why bytes are not a message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The version byte is not 5.
    #[error("expected SOCKS version 5, found {found}{}", hint(*found))]
    Version {
        /// The byte.
        found: u8,
    },
    /// The first byte begins none of the protocols.
    #[error("expected SOCKS or HTTP CONNECT, found byte {found:#04x}{}", hint(*found))]
    Protocol {
        /// The byte.
        found: u8,
    },
    /// The version byte of the password negotiation is not 1.
    #[error("expected version 1 of the password negotiation, found {found}")]
    AuthVersion {
        /// The byte.
        found: u8,
    },
    /// The byte is not a known command.
    #[error("unknown SOCKS command {found}")]
    Command {
        /// The byte.
        found: u8,
    },
    /// The byte is not a known type of address.
    #[error("unknown SOCKS address type {found}")]
    AddressType {
        /// The byte.
        found: u8,
    },
    /// A host name is empty, not text, or has white space or control characters.
    #[error("the host name is empty or has characters no host name has")]
    Domain,
    /// A string of SOCKS4 is longer than 255 bytes.
    #[error("the SOCKS4 user or host name is longer than 255 bytes")]
    TooLong,
    /// The bytes are not an HTTP/1 message.
    #[error("this is not HTTP/1")]
    NotHttp,
    /// The head of an HTTP message breaks the rules.
    #[error("malformed HTTP head")]
    HttpHead,
    /// The head of an HTTP message is longer than
    /// [`MAX_HEAD`](crate::http::MAX_HEAD) or has more than
    /// [`MAX_FIELDS`](crate::http::MAX_FIELDS) fields.
    #[error("the HTTP head is longer than 16 KiB or has more than 64 fields")]
    HttpHeadTooLong,
    /// The HTTP request is for something other than a tunnel.
    #[error("an HTTP request other than CONNECT")]
    HttpMethod,
    /// CONNECT names no host and port.
    #[error("HTTP CONNECT needs HOST:PORT, IPv6 in brackets, the port not 0")]
    HttpTarget,
    /// The byte is not a known reply.
    #[error("unknown SOCKS reply {found}")]
    Reply {
        /// The byte.
        found: u8,
    },
}

fn hint(found: u8) -> &'static str {
    match found {
        4 => "; set the program to SOCKS5",
        b'A'..=b'Z' => "; this looks like HTTP: set the program to a SOCKS5 proxy",
        0x16 => "; this looks like TLS: the program must speak to this proxy in the clear",
        _ => "",
    }
}

/// Runs `read` over `bytes` and turns its outcome into a [`Progress`].
pub(crate) fn decode<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Stop>,
) -> Result<Progress<T>, DecodeError> {
    let mut reader = Reader { rest: bytes };
    match read(&mut reader) {
        Ok(message) => Ok(Progress::Done(message, bytes.len() - reader.rest.len())),
        Err(Stop::Need(more)) => Ok(Progress::Need(more)),
        Err(Stop::Fault(error)) => Err(error),
    }
}

/// Why reading a message ended early.
pub(crate) enum Stop {
    Need(usize),
    Fault(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Fault(error)
    }
}

/// Takes bytes off the front.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let missing = count.saturating_sub(self.rest.len());
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Stop::Need(missing))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let missing = N.saturating_sub(self.rest.len());
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Stop::Need(missing))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes a length of one byte, then that many bytes.
    pub(crate) fn short_string(&mut self) -> Result<&'a [u8], Stop> {
        let [length] = self.array()?;
        self.take(length.into())
    }

    /// Takes at most 255 bytes up to a 0, and that 0 too.
    pub(crate) fn terminated_string(&mut self) -> Result<&'a [u8], Stop> {
        match self.rest.iter().take(256).position(|byte| *byte == 0) {
            Some(length) => {
                let string = self.take(length)?;
                self.take(1)?;
                Ok(string)
            }
            None if self.rest.len() > 255 => Err(DecodeError::TooLong.into()),
            None => Err(Stop::Need(1)),
        }
    }
}

/// Appends a short string with its length; every caller's type keeps it below
/// 256 bytes.
pub(crate) fn put_short_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let (bytes, _) = bytes.split_at(bytes.len().min(255));
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}
