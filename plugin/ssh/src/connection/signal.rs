//! Signals by their SSH names (RFC 4254 section 6.10).

use russh::Sig;
use rustix::process::Signal as Unix;
use serde::{Deserialize, Serialize};

/// A signal as SSH names it (RFC 4254 section 6.10), without `SIG`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal(String);

/// The names of RFC 4254, and their numbers here.
const NAMES: &[(&str, Unix)] = &[
    ("ABRT", Unix::ABORT),
    ("ALRM", Unix::ALARM),
    ("FPE", Unix::FPE),
    ("HUP", Unix::HUP),
    ("ILL", Unix::ILL),
    ("INT", Unix::INT),
    ("KILL", Unix::KILL),
    ("PIPE", Unix::PIPE),
    ("QUIT", Unix::QUIT),
    ("SEGV", Unix::SEGV),
    ("TERM", Unix::TERM),
    ("USR1", Unix::USR1),
    ("USR2", Unix::USR2),
];

impl Signal {
    /// A signal by its SSH name, such as `TERM` or `USR1`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The SSH name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The signal that a process died of, by its number. Signals that RFC 4254
    /// does not name get a private name, as its section 6.10 provides for.
    pub(crate) fn from_number(number: i32) -> Self {
        match NAMES.iter().find(|(_, signal)| signal.as_raw() == number) {
            Some((name, _)) => Self::new(name),
            None => Self(format!("{number}@alknet")),
        }
    }

    /// The signal to deliver, if it is one a peer may send.
    pub(crate) fn to_unix(&self) -> Option<Unix> {
        NAMES
            .iter()
            .find(|(name, _)| *name == self.0)
            .map(|(_, signal)| *signal)
    }
}

impl From<Sig> for Signal {
    fn from(signal: Sig) -> Self {
        Self::new(match &signal {
            Sig::ABRT => "ABRT",
            Sig::ALRM => "ALRM",
            Sig::FPE => "FPE",
            Sig::HUP => "HUP",
            Sig::ILL => "ILL",
            Sig::INT => "INT",
            Sig::KILL => "KILL",
            Sig::PIPE => "PIPE",
            Sig::QUIT => "QUIT",
            Sig::SEGV => "SEGV",
            Sig::TERM => "TERM",
            Sig::USR1 => "USR1",
            Sig::Custom(name) => name,
        })
    }
}

impl From<Signal> for Sig {
    /// Converts to russh's type, which writes any name as it is given; its own
    /// constants are only shorthands.
    fn from(signal: Signal) -> Self {
        Sig::Custom(signal.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(Signal::from_number(15), Signal::new("TERM"));
        assert_eq!(Signal::new("KILL").to_unix(), Some(Unix::KILL));
        assert_eq!(Signal::from_number(7).name(), "7@alknet");
        assert_eq!(Signal::new("STOP").to_unix(), None);
        assert_eq!(Signal::from(Sig::HUP), Signal::new("HUP"));
    }
}
