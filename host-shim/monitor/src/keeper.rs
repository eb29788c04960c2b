//! The keeper: the process beside each job, the reaper of all its descendants
//! (`PR_SET_CHILD_SUBREAPER`). Whatever the peer's processes do (fork twice,
//! take a session of their own), they stay descendants of it, and it lives for
//! as long as one of them does.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use alknet_session::{Control, Event, JobId, Socket};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, setsid,
    wait,
};

use crate::account::Account;
use crate::leader::{Plan, StartError, lead};
use crate::process::{descendants, kill_descendants};
use crate::task::Task;
use crate::{prepare, sys};

/// The time that processes have to end when nobody is left to set one.
const GRACE: Duration = Duration::from_secs(2);
/// The time after which processes that could not be killed are killed again.
const AGAIN: Duration = Duration::from_millis(50);

/// The whole life of a keeper, in the process forked for it.
pub(crate) fn keep(task: Task<'_>) -> u8 {
    let job = task.job;
    let handler = match task.handler.as_fd().try_clone_to_owned() {
        Ok(handler) => Socket::from(handler),
        Err(_) => return 1,
    };
    match Keeper::begin(task) {
        Ok(mut keeper) => match keeper.run(job) {
            Ok(()) => 0,
            Err(error) => {
                crate::log::line(format_args!("a keeper failed: {error}"));
                1
            }
        },
        Err(StartError { status, reason }) => {
            let _ = handler.send(&Event::Refused { reason, status }, &[]);
            0
        }
    }
}

struct Keeper {
    handler: Option<Socket>,
    monitor: Option<Socket>,
    signals: SignalFd,
    leader: Pid,
    /// The pipe on which the leader reports why it could not execute its
    /// program; it is closed when the leader could.
    report: Option<OwnedFd>,
    /// Whether the leader has ended and the handler has been told.
    ended: bool,
    detached: bool,
    kill_at: Option<Instant>,
    /// The PAM session, which is closed when no process is left.
    #[cfg(feature = "pam")]
    _session: Option<crate::pam::Session>,
}

impl Keeper {
    fn begin(task: Task<'_>) -> Result<Self, StartError> {
        let system = |error: io::Error| StartError::at("the keeper", error);
        setsid().map_err(|error| system(error.into()))?;
        set_child_subreaper(Some(getpid())).map_err(|error| system(error.into()))?;
        rustix::io::ioctl_fionbio(&task.handler, true).map_err(|error| system(error.into()))?;
        let mut mask = SigSet::empty();
        mask.add(NixSignal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).map_err(|error| system(error.into()))?;
        let prepared = prepare::prepare(&task)?;
        let (report, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| system(error.into()))?;
        let plan = Plan {
            context: task.context,
            start: &task.start,
            streams: &task.streams,
            library: task.library.as_ref(),
            home: prepared.home.clone(),
            environment: prepared.environment,
            command: prepared.command,
            account: prepared.account.as_ref(),
            confinement: prepared.confinement.as_ref(),
            system: &task.system,
            umask: prepared.umask,
        };
        let mut keep: Vec<_> = task
            .streams
            .iter()
            .chain(&task.library)
            .map(AsRawFd::as_raw_fd)
            .collect();
        keep.extend([task.context.program.as_raw_fd(), write.as_raw_fd()]);
        let leader = sys::fork(&keep, || {
            let error = lead(&plan);
            let mut text = vec![error.status];
            text.extend_from_slice(error.reason.as_bytes());
            let _ = rustix::io::write(&write, &text);
            error.status
        })
        .map_err(system)?;
        log_start(&task, prepared.account.as_ref(), leader);
        // The keeper holds none of the job's own descriptors: who waits for
        // the end of its output waits for the job alone.
        Ok(Self {
            handler: Some(task.handler),
            monitor: Some(task.monitor),
            signals,
            leader,
            report: Some(report),
            ended: false,
            detached: false,
            kill_at: None,
            #[cfg(feature = "pam")]
            _session: prepared.session,
        })
    }

    fn run(&mut self, job: JobId) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.report {
                if let Some(refusal) = self.read_report()? {
                    self.tell(&refusal);
                    self.handler = None;
                    self.ended = true;
                } else {
                    let pid = self.leader.as_raw_nonzero().get();
                    self.tell(&Event::Started { job, pid });
                }
            }
            if ready.handler {
                self.hear_handler();
            }
            if ready.monitor {
                self.hear_monitor();
            }
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                kill_descendants(getpid(), &HashSet::new());
                self.kill_at = Some(Instant::now() + AGAIN);
            }
            while let Ok(Some(_)) = self.signals.read_signal() {}
            // A leader is reaped after its report was read.
            if self.report.is_none() && self.reap()? {
                self.tell(&Event::Empty);
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let sources = [
            Some(self.signals.as_fd()),
            self.report.as_ref().map(AsFd::as_fd),
            self.handler.as_ref().map(AsFd::as_fd),
            self.monitor.as_ref().map(AsFd::as_fd),
        ];
        let mut waited: Vec<_> = sources
            .iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        let left = self
            .kill_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waited, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut waited = waited.iter().map(|waited| !waited.revents().is_empty());
        let [_, report, handler, monitor] =
            sources.map(|source| source.is_some() && waited.next().unwrap_or_default());
        Ok(Ready {
            report,
            handler,
            monitor,
        })
    }

    fn read_report(&mut self) -> io::Result<Option<Event>> {
        let Some(report) = self.report.take() else {
            return Ok(None);
        };
        let mut text = Vec::new();
        // The leader writes it at once and whole, or executes a program.
        std::fs::File::from(report)
            .take(4096)
            .read_to_end(&mut text)?;
        Ok(text.split_first().map(|(status, reason)| Event::Refused {
            status: *status,
            reason: String::from_utf8_lossy(reason).into_owned(),
        }))
    }

    fn hear_handler(&mut self) {
        let Some(handler) = &self.handler else {
            return;
        };
        match handler.receive::<Control>() {
            Ok(Some(received)) => match received.message {
                Control::Signal(number) => self.signal(number),
                Control::Detach => self.detach(),
                Control::End(grace) => self.end(Duration::from_millis(grace.into())),
            },
            Err(error) if would_block(&error) => {}
            Ok(None) | Err(_) => {
                self.handler = None;
                if !self.detached {
                    self.end(GRACE);
                }
            }
        }
    }

    fn hear_monitor(&mut self) {
        let Some(monitor) = &self.monitor else {
            return;
        };
        match monitor.receive::<Control>() {
            Ok(Some(received)) => {
                if let Control::End(grace) = received.message {
                    self.end(Duration::from_millis(grace.into()));
                }
            }
            Err(error) if would_block(&error) => {}
            Ok(None) | Err(_) => {
                self.monitor = None;
                self.end(GRACE);
            }
        }
    }

    fn detach(&mut self) {
        self.detached = true;
        if let Some(monitor) = &self.monitor {
            let _ = monitor.send(&Control::Detach, &[]);
        }
    }

    /// Sends a signal to the group of the process that was started, for as long
    /// as it has not been reaped: until then no other process can have its
    /// number.
    fn signal(&self, number: i32) {
        if self.ended || self.report.is_some() {
            return;
        }
        if let Some(signal) = Signal::from_named_raw(number) {
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// Asks all processes to end, and has them killed later. A second call can
    /// only make that sooner.
    fn end(&mut self, grace: Duration) {
        let kill_at = Instant::now() + grace;
        if self.kill_at.is_none() && !grace.is_zero() {
            for process in descendants(getpid(), &HashSet::new()) {
                for signal in [Signal::HUP, Signal::TERM, Signal::CONT] {
                    let _ = process.signal(signal);
                }
            }
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |at| at.min(kill_at)));
    }

    /// Reaps what has ended. Says whether no process is left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader && !self.ended => {
                    self.ended = true;
                    self.tell(&end_of(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Ok(false),
                Err(Errno::CHILD) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends an event to the handler, unless it does not read or is gone.
    fn tell(&self, event: &Event) {
        if let Some(handler) = &self.handler {
            let _ = handler.send(event, &[]);
        }
    }
}

/// Logs a job's start in accounts mode, where the node's own log of it need not
/// be true.
fn log_start(task: &Task<'_>, account: Option<&Account>, leader: Pid) {
    let Some(account) = account else {
        return;
    };
    let start = &task.start;
    crate::log::line(format_args!(
        "started a process: identity={} account={} pid={} job={} remote={}",
        start.identity,
        account.name,
        leader.as_raw_nonzero(),
        task.job.0,
        start.remote.as_deref().unwrap_or("unknown"),
    ));
}

/// The sockets that poll(2) found ready.
struct Ready {
    report: bool,
    handler: bool,
    monitor: bool,
}

fn end_of(status: WaitStatus) -> Event {
    const CORE_DUMPED: i32 = 0x80;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Event::Exited(u8::try_from(status).unwrap_or(u8::MAX)),
        (None, signal) => Event::Signaled {
            signal: signal.unwrap_or_default(),
            core_dumped: status.as_raw() & CORE_DUMPED != 0,
        },
    }
}

fn would_block(error: &alknet_session::SocketError) -> bool {
    matches!(error, alknet_session::SocketError::Io(error)
        if error.kind() == io::ErrorKind::WouldBlock)
}
