//! The outcome of a connect that failed, as our server tells it and our client
//! understands it (RFC 4254 section 5.1).

use std::io;

use russh::ChannelOpenFailure;

/// Why a target could not be connected to, as far as the user is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    /// The target refused.
    Refused,
    /// The server has no route to the target.
    Unreachable,
    /// Its name leads to no address.
    NoAddress,
    /// It did not answer in time.
    TimedOut,
}

/// RFC 4254 section 5.1 leaves the reason codes from here on to private use.
/// Only our own client is sent these codes: what others make of them is
/// unknown.
const PRIVATE: u32 = 0xFE00_0000;

const CONNECT_FAILED: u32 = 2;

impl OpenFailure {
    const ALL: [Self; 4] = [
        Self::Refused,
        Self::Unreachable,
        Self::NoAddress,
        Self::TimedOut,
    ];

    /// The reason that an error of the system stands for, if it is one of
    /// these.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Some(Self::Unreachable),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            _ => None,
        }
    }

    /// The server's answer: in words that any client shows, and for our own
    /// client by number as well.
    pub(crate) fn answer(self, to_our_client: bool) -> ChannelOpenFailure {
        let code = if to_our_client {
            self.code()
        } else {
            CONNECT_FAILED
        };
        ChannelOpenFailure::Other {
            code,
            reason: self.text().to_owned(),
        }
    }

    /// The reason that a server of ours means by a number.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    fn code(self) -> u32 {
        PRIVATE + self as u32
    }

    fn text(self) -> &'static str {
        match self {
            Self::Refused => "Connection refused",
            Self::Unreachable => "No route to host",
            Self::NoAddress => "Name or service not known",
            Self::TimedOut => "Connection timed out",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_client_is_told_by_number_and_others_in_words() {
        for reason in OpenFailure::ALL {
            let ours = reason.answer(true);
            assert_eq!(OpenFailure::from_code(ours.code()), Some(reason));
            let others = reason.answer(false);
            assert_eq!(others.code(), ChannelOpenFailure::ConnectFailed.code());
            assert_eq!(others.description(), ours.description());
        }
        assert_eq!(OpenFailure::from_code(2), None);
    }
}
