//! Whether and how a connection is kept for later commands, as it is asked for.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// Whether a process that keeps the connection is used or started
/// (ssh_config(5), ControlMaster).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masters {
    /// Use one that runs, where a socket was named.
    No,
    /// Start one; do without if there is one already.
    Yes,
    /// Use one, and start one if none runs.
    Auto,
}

/// The time it stays after its last use (ssh_config(5), ControlPersist).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    For(Duration),
    Forever,
}

/// The value of `share` in `nodes.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    No,
    Yes(Persist),
}

/// What such a process is told (ssh(1), `-O`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// Say whether it runs
    Check,
    /// End, and all commands with it
    Exit,
    /// Let no further commands in, and end after the last
    Stop,
}

/// The text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoTime;

impl FromStr for Persist {
    type Err = NoTime;

    /// Reads yes, no, or a time as in ssh (sshd_config(5), TIME FORMATS). 0 is
    /// for ever, as in ssh.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        match text {
            "yes" | "true" => return Ok(Self::Forever),
            "no" | "false" => return Ok(Self::For(Duration::ZERO)),
            "" => return Err(NoTime),
            _ => {}
        }
        let mut rest = text;
        let mut seconds: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
            let number: u64 = number.parse().map_err(|_| NoTime)?;
            let mut unit = unit.chars();
            let factor = match unit.next() {
                None | Some('s' | 'S') => 1,
                Some('m' | 'M') => 60,
                Some('h' | 'H') => 3600,
                Some('d' | 'D') => 86_400,
                Some('w' | 'W') => 604_800,
                Some(_) => return Err(NoTime),
            };
            let part = number.checked_mul(factor).ok_or(NoTime)?;
            seconds = seconds.checked_add(part).ok_or(NoTime)?;
            rest = unit.as_str();
        }
        match seconds {
            0 => Ok(Self::Forever),
            1..=LONGEST => Ok(Self::For(Duration::from_secs(seconds))),
            _ => Err(NoTime),
        }
    }
}

/// The longest time in seconds, a hundred years: a longer one is a mistake, and
/// a clock might not hold it.
const LONGEST: u64 = 100 * 365 * 86_400;
/// The time that `share = true` stands for.
const USUAL: Duration = Duration::from_secs(600);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match YesOrTime::deserialize(input)? {
            YesOrTime::Yes(true) => Ok(Self::Yes(Persist::For(USUAL))),
            YesOrTime::Yes(false) => Ok(Self::No),
            YesOrTime::Time(text) => match text.parse() {
                Ok(persist) => Ok(Self::Yes(persist)),
                Err(NoTime) => Err(de::Error::custom(EXPECTED)),
            },
        }
    }
}

const EXPECTED: &str = "expected true, false or a time such as \"10m\"";

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false or a time such as \"10m\"")]
enum YesOrTime {
    Yes(bool),
    Time(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_ssh() {
        let seconds = |seconds| Ok(Persist::For(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("no", seconds(0)),
            ("yes", Ok(Persist::Forever)),
            ("0", Ok(Persist::Forever)),
            ("30", seconds(30)),
            ("10m", seconds(600)),
            ("1h30m", seconds(5400)),
            ("1w2D", seconds(9 * 86_400)),
            ("", Err(NoTime)),
            ("m", Err(NoTime)),
            ("-1", Err(NoTime)),
            ("10x", Err(NoTime)),
            ("99999999999999999999", Err(NoTime)),
            ("9999999999w", Err(NoTime)),
        ] {
            assert_eq!(text.parse::<Persist>(), expected, "{text:?}");
        }
    }
}
