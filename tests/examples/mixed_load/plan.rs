//! The sequence of events of a run, drawn from its seed.

use std::time::Duration;

use integration_tests::Random;

/// The node is not killed after this part of the time, in per cent: what it
/// has in the end is compared with what it had when it was started last.
const KILLS_UNTIL_PERCENT: u32 = 60;
/// Between two events, in seconds.
const SHORTEST_PAUSE: u64 = 3;
const LONGEST_PAUSE: u64 = 12;
/// Versions of the SSH plugin that take turns.
pub(crate) const VERSIONS: u64 = 4;

/// What happens, and when.
pub(crate) struct Event {
    /// Since the begin; later if what came before took longer.
    pub(crate) at: Duration,
    pub(crate) what: Action,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Another version of the SSH plugin is installed.
    Swap { version: u64 },
    /// A file that is not a plugin is.
    BadPlugin { kind: u64 },
    /// The version before the last swap serves again.
    Rollback,
    /// Other peers are let in.
    Reload,
    /// `node.toml` or `peers.toml` is empty, cut off or wrong.
    BadReload { kind: u64 },
    /// kill -9, and a start after so long.
    Kill { down_ms: u64 },
    /// There is no room for private copies and audit records for so long.
    FullDisk { ms: u64 },
    /// Nobody reads the log for so long.
    StalledLog { ms: u64 },
    /// Somebody removes the admin socket.
    RemovedSocket,
    /// SIGHUP.
    HangUp,
}

impl Action {
    /// The kind alone.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Swap { .. } => "swap",
            Self::BadPlugin { .. } => "bad plugin",
            Self::Rollback => "rollback",
            Self::Reload => "reload",
            Self::BadReload { .. } => "bad reload",
            Self::Kill { .. } => "kill -9",
            Self::FullDisk { .. } => "full disk",
            Self::StalledLog { .. } => "stalled log",
            Self::RemovedSocket => "removed socket",
            Self::HangUp => "SIGHUP",
        }
    }

    fn draw(random: &mut Random, may_kill: bool) -> Self {
        match random.number() % if may_kill { 20 } else { 18 } {
            0..5 => Self::Swap {
                version: random.number() % VERSIONS,
            },
            5..7 => Self::BadPlugin {
                kind: random.number(),
            },
            7 => Self::Rollback,
            8..10 => Self::Reload,
            10..12 => Self::BadReload {
                kind: random.number(),
            },
            12..14 => Self::FullDisk {
                ms: 500 + random.number() % 3000,
            },
            14..16 => Self::StalledLog {
                ms: 1000 + random.number() % 5000,
            },
            16 => Self::RemovedSocket,
            17 => Self::HangUp,
            _ => Self::Kill {
                down_ms: 200 + random.number() % 3000,
            },
        }
    }
}

/// All that happens in this time, the same for the same seed and time: first
/// one of each kind, then at random.
pub(crate) fn plan(seed: u64, length: Duration) -> Vec<Event> {
    let mut random = Random::new(seed);
    let mut first = [
        Action::Swap { version: 1 },
        Action::Kill { down_ms: 1000 },
        Action::FullDisk { ms: 2000 },
        Action::StalledLog { ms: 3000 },
        Action::BadPlugin { kind: 3 },
        Action::BadReload { kind: 0 },
        Action::Reload,
        Action::RemovedSocket,
    ];
    for index in (1..first.len()).rev() {
        first.swap(index, random.number() as usize % (index + 1));
    }
    let mut first = first.into_iter();
    let mut events = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        let pause =
            1000 * SHORTEST_PAUSE + random.number() % (1000 * (LONGEST_PAUSE - SHORTEST_PAUSE));
        at += Duration::from_millis(pause);
        if at >= length {
            return events;
        }
        let may_kill = at < length * KILLS_UNTIL_PERCENT / 100;
        let what = first.next();
        let what = what.unwrap_or_else(|| Action::draw(&mut random, may_kill));
        events.push(Event { at, what });
    }
}
