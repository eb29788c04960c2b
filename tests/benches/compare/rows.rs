//! The rows of the table, with what each is to reach.

use std::time::Duration;

use crate::link::Path;
use crate::measure::{CPU, GIVEN_BACK, OF_FREE, P50, P99, RATE, SERVER, SESSION, SESSIONS, UNFAIR};
use crate::peers::Way;

/// What is measured for a row; rows of the same test share its samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Test {
    Timed(PathName, Direction),
    EchoLoaded,
    Streams,
    ForwardUp,
    ForwardDown,
    ExecDown,
    ExecUp,
    Echo,
    NewForward,
    Unread,
    LogIn,
    Crowd,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// A path that is emulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathName {
    Long,
    LongFast,
    VeryLong,
    VeryLongFast,
    Lossy,
}

const MEGABIT: f64 = 1e6 / 8.0;

impl PathName {
    pub(crate) fn path(self) -> Path {
        let (milliseconds, megabits, lost) = match self {
            Self::Long => (50, 100.0, 0.0),
            Self::LongFast => (50, 1000.0, 0.0),
            Self::VeryLong => (200, 100.0, 0.0),
            Self::VeryLongFast => (200, 1000.0, 0.0),
            Self::Lossy => (50, 100.0, 0.01),
        };
        Path {
            round_trip: Duration::from_millis(milliseconds),
            rate: megabits * MEGABIT,
            lost,
        }
    }

    /// The congestion control of the peers that use TCP.
    pub(crate) fn congestion(self) -> &'static str {
        match self {
            Self::Lossy => "bbr",
            _ => "cubic",
        }
    }

    /// How long a transfer goes on.
    pub(crate) fn long(self) -> Duration {
        Duration::from_secs(match self {
            Self::Long => 6,
            Self::LongFast => 5,
            _ => 10,
        })
    }
}

/// How good a figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// To choose it by.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) test: Test,
    /// Of the test's figures.
    pub(crate) figure: &'static str,
    /// Whether the figure's ratio to sshd's of the same round counts, or the
    /// figure itself.
    pub(crate) beside_sshd: bool,
    /// In the order of [`Way::OURS`]; none where it is not asked for.
    pub(crate) reach: [Option<Reach>; 3],
}

impl Row {
    pub(crate) fn reach(&self, way: Way) -> Option<Reach> {
        let place = Way::OURS.iter().position(|it| *it == way)?;
        self.reach[place]
    }
}

const fn least(native: f64, connect: f64, listener: f64) -> [Option<Reach>; 3] {
    use Reach::AtLeast;
    [
        Some(AtLeast(native)),
        Some(AtLeast(connect)),
        Some(AtLeast(listener)),
    ]
}

const fn most(native: f64, connect: f64, listener: f64) -> [Option<Reach>; 3] {
    use Reach::AtMost;
    [
        Some(AtMost(native)),
        Some(AtMost(connect)),
        Some(AtMost(listener)),
    ]
}

const fn row(
    id: &'static str,
    what: &'static str,
    test: Test,
    figure: &'static str,
    reach: [Option<Reach>; 3],
) -> Row {
    Row {
        id,
        what,
        test,
        figure,
        beside_sshd: true,
        reach,
    }
}

const fn by_itself(row: Row) -> Row {
    Row {
        beside_sshd: false,
        ..row
    }
}

/// All of them, in the order in which they are measured.
pub(crate) fn all() -> Vec<Row> {
    use Direction::{Down, Up};
    use PathName::{Long, LongFast, Lossy, VeryLong, VeryLongFast};
    let timed = |id, what, path, direction, reach| {
        row(
            id,
            what,
            Test::Timed(path, direction),
            RATE,
            least(reach, reach, reach),
        )
    };
    vec![
        row(
            "exec-down",
            "exec down, CPU",
            Test::ExecDown,
            CPU,
            most(0.8, 1.0, 0.4),
        ),
        row(
            "exec-up",
            "exec up, CPU",
            Test::ExecUp,
            CPU,
            most(0.8, 1.1, 0.5),
        ),
        row(
            "forward-down",
            "forward down, CPU",
            Test::ForwardDown,
            CPU,
            most(0.9, 1.1, 0.45),
        ),
        row(
            "forward-up",
            "forward up, CPU",
            Test::ForwardUp,
            CPU,
            most(0.9, 1.2, 0.55),
        ),
        row(
            "echo",
            "echo p50, idle",
            Test::Echo,
            P50,
            most(1.4, 1.3, 1.0),
        ),
        row(
            "echo-loaded-p50",
            "echo p50 beside a download",
            Test::EchoLoaded,
            P50,
            most(2.0, 2.0, 2.0),
        ),
        row(
            "echo-loaded-p99",
            "echo p99 beside a download",
            Test::EchoLoaded,
            P99,
            most(2.0, 2.0, 2.0),
        ),
        row(
            "new-forward",
            "new forwarded connection p50",
            Test::NewForward,
            P50,
            most(1.1, 1.3, 1.0),
        ),
        by_itself(row(
            "streams",
            "50 streams: slowest / fastest",
            Test::Streams,
            UNFAIR,
            most(2.0, 2.0, 2.0),
        )),
        by_itself(row(
            "unread",
            "one unread stream: rate of another, of free",
            Test::Unread,
            OF_FREE,
            least(0.95, 0.95, 0.95),
        )),
        row(
            "log-in",
            "log-in p50",
            Test::LogIn,
            P50,
            most(0.13, 0.21, 0.28),
        ),
        row(
            "log-in-cpu",
            "log-in, server CPU",
            Test::LogIn,
            SERVER,
            most(0.15, 0.14, 0.10),
        ),
        row(
            "sessions",
            "sessions a second, ten at a time",
            Test::Crowd,
            SESSIONS,
            least(7.4, 4.1, 5.6),
        ),
        by_itself(row(
            "memory",
            "memory of an idle session, KiB",
            Test::Memory,
            SESSION,
            for_stock_ssh(Reach::AtMost(56.0), Reach::AtMost(44.0)),
        )),
        by_itself(row(
            "given-back",
            "memory given back 5 s after",
            Test::Memory,
            GIVEN_BACK,
            for_stock_ssh(Reach::AtLeast(0.8), Reach::AtLeast(0.8)),
        )),
        timed("up-50", "upload, 50 ms, 100 Mbit/s", Long, Up, 0.98),
        timed("down-50", "download, 50 ms, 100 Mbit/s", Long, Down, 1.0),
        timed("up-200", "upload, 200 ms, 100 Mbit/s", VeryLong, Up, 1.0),
        timed(
            "down-200",
            "download, 200 ms, 100 Mbit/s",
            VeryLong,
            Down,
            1.0,
        ),
        timed("up-50-fast", "upload, 50 ms, 1 Gbit/s", LongFast, Up, 1.0),
        timed(
            "down-50-fast",
            "download, 50 ms, 1 Gbit/s",
            LongFast,
            Down,
            1.0,
        ),
        timed(
            "up-200-fast",
            "upload, 200 ms, 1 Gbit/s",
            VeryLongFast,
            Up,
            1.0,
        ),
        timed(
            "down-200-fast",
            "download, 200 ms, 1 Gbit/s",
            VeryLongFast,
            Down,
            1.0,
        ),
        timed(
            "up-lossy",
            "upload, 50 ms, 1 % loss, TCP BBR",
            Lossy,
            Up,
            0.9,
        ),
        timed(
            "down-lossy",
            "download, 50 ms, 1 % loss, TCP BBR",
            Lossy,
            Down,
            0.9,
        ),
    ]
}

/// No row for our own client.
const fn for_stock_ssh(connect: Reach, listener: Reach) -> [Option<Reach>; 3] {
    [None, Some(connect), Some(listener)]
}
