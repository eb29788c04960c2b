//! The signals that ask the client to end (signal(7)).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask this process to end.
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
}

/// One of these signals, by its SSH name (RFC 4254 section 6.10) and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
}

impl Signals {
    /// Watches for the signals, which from now on no longer end the process by
    /// themselves.
    pub(crate) fn watch() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of the signals.
    pub(crate) async fn next(&mut self) -> Ending {
        let (name, number) = tokio::select! {
            _ = self.hangup.recv() => ("HUP", 1),
            _ = self.interrupt.recv() => ("INT", 2),
            _ = self.quit.recv() => ("QUIT", 3),
            _ = self.terminate.recv() => ("TERM", 15),
        };
        Ending { name, number }
    }
}

/// The number of a signal on this system, by its SSH name.
pub(crate) fn number(name: &str) -> Option<u8> {
    let number = match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "SEGV" => 11,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        "USR1" => rustix::process::Signal::USR1.as_raw().try_into().ok()?,
        "USR2" => rustix::process::Signal::USR2.as_raw().try_into().ok()?,
        // Our server's own names for the others.
        other => other.strip_suffix("@alknet")?.parse().ok()?,
    };
    (number < 128).then_some(number)
}
