//! The messages between a handler, the monitor and a job's keeper.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Tree, path};

/// The longest argument, or variable with its name, that a process can be given,
/// in bytes: Linux's `MAX_ARG_STRLEN` (execve(2)) without the NUL.
pub const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// What a handler asks the monitor for. The first descriptor of each is the
/// socket that the answers go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Starts a process. Four more descriptors: its standard input, output and
    /// error, and, for [`Program::Helper`] alone, the library. [`Event`]s are
    /// the answers.
    Start(Box<Start>),
    /// Connects to a Unix socket with the rights of a peer. The first answer is
    /// [`Answer::Found`], with nothing connected to yet. Once the handler has
    /// sent [`UnixVerdict::Granted`], the second is [`Answer::Socket`] with the
    /// connected descriptor.
    OpenUnix(UnixTarget),
    /// Listens at the path of a Unix socket with the rights of a peer. The
    /// answers are those to `OpenUnix`, with the listening descriptor; the
    /// monitor removes the path when the socket of this request is closed.
    BindUnix(UnixTarget),
    /// Lists jobs. The answers are any number of [`Answer::Job`],
    /// then [`Answer::Done`].
    Jobs(JobFilter),
    /// Ends jobs with all their processes: SIGHUP and SIGTERM, then, after
    /// this many milliseconds, SIGKILL. The answer is [`Answer::Done`] when
    /// none of the processes is left.
    End(JobFilter, u32),
    /// Stands for a request that is in the last descriptor
    /// ([`Socket::send_request`](crate::Socket::send_request)).
    Enclosed,
}

/// A process to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The id of the identity that the process is for.
    pub identity: String,
    /// The generation of the handler that asks.
    pub generation: u64,
    /// The number of the SSH session within its generation.
    pub session: u64,
    /// The account whose rights it gets; `None` in [`Mode::Owner`](crate::Mode::Owner).
    pub account: Option<String>,
    /// The program to run.
    pub program: Program,
    /// Standard input is a terminal, which becomes the controlling one.
    pub terminal: bool,
    /// Variables added to those that the account gives (`HOME`, `USER`,
    /// `LOGNAME`, `SHELL`, `PATH`), in this order; later ones win.
    pub environment: Vec<(OsString, OsString)>,
    /// The file mode creation mask (umask(2)); the account's own where absent.
    pub umask: Option<u32>,
    /// How the process is confined. In
    /// [`Mode::Accounts`](crate::Mode::Accounts) the monitor decides that by
    /// itself and ignores this field.
    pub confinement: Option<Confinement>,
    /// The address that the peer comes from, for PAM and the log.
    pub remote: Option<String>,
    /// Kept with the job for the handler, see [`Job::note`]. At most 16 KiB.
    pub note: String,
}

/// What a process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A login shell: the given one, or that of the account (passwd(5)).
    Shell(#[serde(with = "path::option")] Option<PathBuf>),
    /// A command line, run by a shell with `-c`: the given one, or that of the
    /// account.
    CommandLine {
        /// The shell.
        #[serde(with = "path::option")]
        shell: Option<PathBuf>,
        /// The line.
        line: OsString,
    },
    /// A program without a shell, searched for in `PATH`.
    Direct {
        /// The program.
        program: OsString,
        /// Its arguments, without its own name.
        arguments: Vec<OsString>,
    },
    /// Code of the plugin itself, entered through its extension `HELPER` with
    /// this JSON text, after all rights were dropped.
    Helper {
        /// What the helper is to do, as JSON text.
        request: String,
    },
}

/// What a confined process may reach beside what programs need to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Its home directory, made with mode 0700 if it is not there.
    #[serde(with = "path")]
    pub home: PathBuf,
    /// Directories or files it may reach.
    pub trees: Vec<Tree>,
    /// Whether it may use TCP.
    pub network: bool,
}

/// A Unix socket to open or bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixTarget {
    /// The id of the identity that the socket is for.
    pub identity: String,
    /// As for [`Start::account`].
    pub account: Option<String>,
    /// As for [`Start::confinement`].
    pub confinement: Option<Confinement>,
    /// The path asked for.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// The directory that was granted, which no link may lead out of; `None`
    /// where exactly `path` was granted.
    #[serde(with = "path::option")]
    pub beneath: Option<PathBuf>,
}

/// A number that the monitor gives to each job; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// What a request is about. All that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// The job with this number.
    pub job: Option<JobId>,
    /// The jobs of this identity.
    pub identity: Option<String>,
    /// The jobs of one session, as `(generation, session)`.
    pub session: Option<(u64, u64)>,
    /// Whether to match only jobs whose channel has ended
    /// ([`Control::Detach`]).
    pub detached: bool,
}

impl JobFilter {
    /// Whether the filter matches a job.
    pub fn matches(&self, job: &Job) -> bool {
        let identity = self.identity.as_ref();
        self.job.is_none_or(|id| id == job.id)
            && identity.is_none_or(|identity| *identity == job.identity)
            && self.session.is_none_or(|session| session == job.session)
            && (!self.detached || job.detached)
    }
}

/// A process that was started, with all its descendants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// As for [`Start::identity`].
    pub identity: String,
    /// As for [`Start::account`].
    pub account: Option<String>,
    /// The session it was started in, as `(generation, session)`.
    pub session: (u64, u64),
    /// Whether its channel has ended.
    pub detached: bool,
    /// As for [`Start::note`].
    pub note: String,
}

/// What the monitor answers to all requests but [`Request::Start`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What the path of a Unix socket leads to.
    Found {
        /// The real path of what would be opened or bound.
        #[serde(with = "path")]
        path: PathBuf,
    },
    /// The socket that was asked for, connected or listening, in the message's
    /// descriptor.
    Socket,
    /// One of the jobs asked for.
    Job(Job),
    /// The request is done, or no more answers follow.
    Done,
    /// The request was refused.
    Refused {
        /// Why, in one line for people.
        reason: String,
        /// The system's error, if it was one (errno(3)).
        errno: Option<i32>,
    },
}

/// What a handler says to [`Answer::Found`]. Where it does not grant that, it
/// closes the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnixVerdict {
    /// Grants what was found: the monitor opens or binds it.
    Granted,
}

/// What a handler tells a job's keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Sends this signal to the process group of the process that was started.
    Signal(i32),
    /// The channel has ended. The processes stay; the socket may be closed.
    Detach,
    /// Ends all processes: SIGHUP, SIGTERM and SIGCONT, then, after this many
    /// milliseconds, SIGKILL. [`Event::Empty`] says that none is left.
    End(u32),
}

/// What a job's keeper tells the handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The process was started.
    Started {
        /// The job's number.
        job: JobId,
        /// The process.
        pid: i32,
    },
    /// The process was not started. No other event follows.
    Refused {
        /// Why, in one line for the peer.
        reason: String,
        /// The status a shell would exit with: 126 or 127.
        status: u8,
    },
    /// The process exited with this status. Descendants may live.
    Exited(u8),
    /// A signal ended the process. Descendants may live.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// No process of the job is left. No other event follows.
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_arrive_as_they_were() {
        use std::os::unix::ffi::OsStringExt;
        let line = OsString::from_vec(vec![b'a', 0xff, b'\n']);
        let program = Program::CommandLine { shell: None, line };
        let bytes = postcard::to_stdvec(&program).unwrap();
        assert_eq!(postcard::from_bytes::<Program>(&bytes).unwrap(), program);
    }

    #[test]
    fn all_that_a_filter_gives_must_match() {
        let job = Job {
            id: JobId(7),
            identity: "alice".into(),
            account: None,
            session: (1, 2),
            detached: false,
            note: String::new(),
        };
        let fits = |set: fn(&mut JobFilter)| {
            let mut filter = JobFilter::default();
            set(&mut filter);
            filter.matches(&job)
        };
        assert!(fits(|_| {}));
        assert!(fits(|filter| filter.job = Some(JobId(7))));
        assert!(fits(|filter| filter.session = Some((1, 2))));
        assert!(fits(|filter| filter.identity = Some("alice".into())));
        assert!(!fits(|filter| filter.job = Some(JobId(8))));
        assert!(!fits(|filter| filter.session = Some((2, 2))));
        assert!(!fits(|filter| filter.detached = true));
        assert!(!fits(|filter| {
            filter.session = Some((1, 2));
            filter.identity = Some("bob".into());
        }));
    }
}
