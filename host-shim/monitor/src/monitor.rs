//! The monitor's loop: one thread, one poll(2), no wait for anybody else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alknet_session::{
    Answer, Control, Event, Job, JobFilter, JobId, Program, Received, Request, Socket, Start,
    UnixTarget,
};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait,
};

use crate::context::Context;
use crate::errand::{Errand, would_block};
use crate::keeper;
use crate::link::Whose;
use crate::node_message::NodeRequest;
use crate::process::{Parent, kill_descendants, parent};
use crate::task::Task;
use crate::{errand, log, sys, unix_socket, validate};

/// The most processes of each kind that there are at a time.
const MAX_JOBS: usize = 4096;
const MAX_ERRANDS: usize = 1024;
const MAX_HANDLERS: usize = 64;
/// The time that jobs have to end when the node ends, and the time after which
/// they are then killed with their keepers.
const END_GRACE: Duration = Duration::from_secs(2);
const END_TIMEOUT: Duration = Duration::from_secs(8);
/// The time for which the list of what confined processes may read of the
/// system is reused.
const TREES_AGE: Duration = Duration::from_secs(10);

/// The monitor at work.
pub(crate) struct Monitor {
    context: Context,
    /// The socket to the node; `None` when the node has ended.
    node: Option<Socket>,
    /// The node's process, where it is a child of the monitor, and its status
    /// when it has ended.
    node_process: Option<Pid>,
    node_status: Option<WaitStatus>,
    handlers: Vec<Socket>,
    jobs: HashMap<JobId, Kept>,
    next: u64,
    /// The processes that do what may take a while; dropping an entry ends its
    /// process.
    errands: HashMap<Pid, Errand>,
    ends: Vec<PendingEnd>,
    signals: SignalFd,
    stop_at: Option<Instant>,
    system: Option<(Instant, Vec<PathBuf>)>,
}

/// A job and its keeper.
struct Kept {
    job: Job,
    confined: bool,
    keeper: Pid,
    /// The socket to the keeper; `None` when the keeper has closed it.
    socket: Option<Socket>,
}

impl Kept {
    fn tell(&self, control: Control) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(&control, &[]);
        }
    }
}

/// A request to end jobs that waits for their end.
struct PendingEnd {
    answer: Socket,
    jobs: HashSet<JobId>,
}

impl Monitor {
    /// # Errors
    /// When the system refuses.
    pub(crate) fn new(
        context: Context,
        node: Socket,
        node_process: Option<Pid>,
    ) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        rustix::io::ioctl_fionbio(&node, true)?;
        Ok(Self {
            context,
            node: Some(node),
            node_process,
            node_status: None,
            handlers: Vec::new(),
            jobs: HashMap::new(),
            next: 1,
            errands: HashMap::new(),
            ends: Vec::new(),
            signals: signals()?,
            stop_at: None,
            system: None,
        })
    }

    /// Works until the node has ended and no job is left. Gives the node's
    /// status, where it was a child.
    ///
    /// # Errors
    /// When the system refuses what cannot be done without.
    pub(crate) fn run(mut self) -> io::Result<Option<WaitStatus>> {
        loop {
            let ready = self.wait()?;
            if ready.contains(&Source::Signals) {
                self.hear_signals();
            }
            if ready.contains(&Source::Node) {
                self.hear_node();
            }
            // From the last to the first: one that has ended is taken out.
            for index in (0..self.handlers.len()).rev() {
                if ready.contains(&Source::Handler(index)) && !self.hear_handler(index) {
                    self.handlers.swap_remove(index);
                }
            }
            for source in ready {
                if let Source::Job(id) = source {
                    self.hear_keeper(id);
                }
            }
            self.reap();
            if self.node.is_none() && self.has_stopped() {
                return Ok(self.node_status);
            }
        }
    }

    fn wait(&self) -> io::Result<HashSet<Source>> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd())];
        sources.extend(self.node.iter().map(|node| (Source::Node, node.as_fd())));
        let handlers = self.handlers.iter().enumerate();
        sources.extend(handlers.map(|(index, socket)| (Source::Handler(index), socket.as_fd())));
        let jobs = self.jobs.iter();
        sources.extend(jobs.filter_map(|(id, kept)| {
            let socket = kept.socket.as_ref()?;
            Some((Source::Job(*id), socket.as_fd()))
        }));
        let mut waited: Vec<_> = sources
            .iter()
            .map(|(_, descriptor)| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        let left = self
            .stop_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waited, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = sources.into_iter().zip(waited);
        Ok(ready
            .filter(|(_, waited)| !waited.revents().is_empty())
            .map(|((source, _), _)| source)
            .collect())
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            let Some(signal) = Signal::from_named_raw(number) else {
                continue;
            };
            match self.node_process {
                _ if signal == Signal::CHILD => {}
                Some(node) if self.node_status.is_none() => {
                    let _ = kill_process(node, signal);
                }
                // The child of a node hears of its end by the socket alone: a
                // service manager may send SIGTERM to both, and the node then
                // still has sessions that it lets end.
                _ => {}
            }
        }
    }

    fn hear_node(&mut self) {
        let Some(node) = &self.node else {
            return;
        };
        let received = match node.receive::<NodeRequest>() {
            Ok(Some(received)) => received,
            Err(error) if would_block(&error) => return,
            Ok(None) | Err(_) => return self.stop(),
        };
        let mut descriptors = received.descriptors.into_iter();
        let socket = descriptors.next().and_then(answer_socket);
        let (Some(socket), None) = (socket, descriptors.next()) else {
            return;
        };
        match received.message {
            NodeRequest::Handler if self.handlers.len() < MAX_HANDLERS => {
                self.handlers.push(socket);
            }
            NodeRequest::Handler => log::line("the node has too many handlers"),
            NodeRequest::Whose(pid) => {
                let _ = socket.send(&self.whose(pid), &[]);
            }
        }
    }

    /// Serves what a handler has sent. Returns whether the handler is still
    /// there.
    fn hear_handler(&mut self, index: usize) -> bool {
        let Some(handler) = self.handlers.get(index) else {
            return false;
        };
        let received = match handler.receive::<Request>() {
            Ok(None) => return false,
            Err(error) if would_block(&error) => return true,
            received => received.and_then(|received| received.map(Received::opened).transpose()),
        };
        let received = match received {
            Ok(Some(received)) => received,
            Ok(None) => return false,
            Err(error) => {
                log::line(format_args!("a handler's request: {error}"));
                return false;
            }
        };
        let mut descriptors = received.descriptors.into_iter();
        let Some(answer) = descriptors.next().and_then(answer_socket) else {
            log::line("a handler's request came without a socket for the answer");
            return false;
        };
        self.serve(received.message, answer, descriptors.collect());
        true
    }

    fn serve(&mut self, request: Request, answer: Socket, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Start(start) => {
                let started = answer
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(|_| "no descriptor");
                let started = started
                    .map(Socket::from)
                    .and_then(|handler| self.start(*start, handler, descriptors));
                if let Err(reason) = started {
                    let event = Event::Refused {
                        reason: reason.to_owned(),
                        status: crate::leader::NOT_EXECUTABLE,
                    };
                    let _ = answer.send(&event, &[]);
                }
            }
            Request::OpenUnix(target) => self.run_errand(target, false, answer),
            Request::BindUnix(target) => self.run_errand(target, true, answer),
            Request::Jobs(filter) => match validate::filter(&filter) {
                Ok(()) => self.list(&filter, &answer),
                Err(reason) => refuse(&answer, reason),
            },
            Request::End(filter, grace) => match validate::filter(&filter) {
                Ok(()) => self.end(&filter, grace, answer),
                Err(reason) => refuse(&answer, reason),
            },
            Request::Enclosed => refuse(&answer, "the request is malformed"),
        }
    }

    fn start(
        &mut self,
        start: Start,
        handler: Socket,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), &'static str> {
        validate::start(&start)?;
        self.check_mode(start.account.as_deref())?;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or("descriptors are missing");
        let streams = [next()?, next()?, next()?];
        let library = match start.program {
            Program::Helper { .. } => Some(next()?),
            _ => None,
        };
        if descriptors.next().is_some() {
            return Err("there are too many descriptors");
        }
        if self.stop_at.is_some() {
            return Err("the node is ending");
        }
        if self.jobs.len() >= MAX_JOBS {
            return Err("there are too many processes; try again later");
        }
        let id = JobId(self.next);
        self.next += 1;
        let confined = start.confinement.is_some() || self.context.config.accounts.is_some();
        let job = Job {
            id,
            identity: start.identity.clone(),
            account: start.account.clone(),
            session: (start.generation, start.session),
            detached: false,
            note: start.note.clone(),
        };
        let system = match confined {
            true => self.system_trees(),
            false => Vec::new(),
        };
        let (socket, monitor) = pair().map_err(|_| "no socket for the keeper")?;
        let task = Task {
            context: &self.context,
            job: id,
            start,
            handler,
            monitor,
            streams,
            library,
            system,
        };
        let keeper = sys::fork(&task.descriptors(), || keeper::keep(task))
            .map_err(|_| "no process for the keeper")?;
        let kept = Kept {
            job,
            confined,
            keeper,
            socket: Some(socket),
        };
        self.jobs.insert(id, kept);
        Ok(())
    }

    /// Checks that an account is named in accounts mode, and only there.
    fn check_mode(&self, account: Option<&str>) -> Result<(), &'static str> {
        match (&self.context.config.accounts, account) {
            (None, None) | (Some(_), Some(_)) => Ok(()),
            (None, Some(_)) => Err("this node has no accounts"),
            (Some(_), None) => Err("no account was named"),
        }
    }

    fn system_trees(&mut self) -> Vec<PathBuf> {
        match &self.system {
            Some((known, trees)) if known.elapsed() < TREES_AGE => trees.clone(),
            _ => {
                let trees = self.context.system_trees();
                self.system = Some((Instant::now(), trees.clone()));
                trees
            }
        }
    }

    fn run_errand(&mut self, target: UnixTarget, bind: bool, answer: Socket) {
        let checked = validate::unix_target(&target)
            .and_then(|()| self.check_mode(target.account.as_deref()));
        if let Err(reason) = checked {
            return refuse(&answer, reason);
        }
        if self.errands.len() >= MAX_ERRANDS || self.stop_at.is_some() {
            return refuse(&answer, "there are too many processes; try again later");
        }
        match unix_socket::start(&self.context, target, bind, &answer) {
            Ok((pid, errand)) => {
                self.errands.insert(pid, errand);
            }
            Err(_) => refuse(&answer, "no process for the socket"),
        }
    }

    fn list(&mut self, filter: &JobFilter, answer: &Socket) {
        let mut jobs: Vec<_> = self.matching(filter).cloned().collect();
        jobs.sort_by_key(|job| job.id.0);
        let mut answers: VecDeque<_> = jobs.into_iter().map(Answer::Job).collect();
        answers.push_back(Answer::Done);
        while let Some(next) = answers.front() {
            match answer.send(next, &[]) {
                Ok(()) => drop(answers.pop_front()),
                Err(error) if would_block(&error) => return self.send_rest(&answers, answer),
                Err(_) => return,
            }
        }
    }

    /// Has a process send the remaining answers to a handler that reads slowly.
    /// If that process cannot be made, the handler sees that the last answer is
    /// missing.
    fn send_rest(&mut self, answers: &VecDeque<Answer>, answer: &Socket) {
        if self.errands.len() >= MAX_ERRANDS || self.stop_at.is_some() {
            return;
        }
        if let Ok((pid, errand)) = errand::send_all(answers, answer) {
            self.errands.insert(pid, errand);
        }
    }

    fn end(&mut self, filter: &JobFilter, grace: u32, answer: Socket) {
        let jobs: HashSet<_> = self.matching(filter).map(|job| job.id).collect();
        for kept in jobs.iter().filter_map(|id| self.jobs.get(id)) {
            kept.tell(Control::End(grace));
        }
        self.ends.push(PendingEnd { answer, jobs });
        self.answer_ends();
    }

    fn matching<'a>(&'a self, filter: &'a JobFilter) -> impl Iterator<Item = &'a Job> {
        let jobs = self.jobs.values().map(|kept| &kept.job);
        jobs.filter(|job| filter.matches(job))
    }

    fn answer_ends(&mut self) {
        self.ends.retain(|end| {
            let waits = end.jobs.iter().any(|id| self.jobs.contains_key(id));
            if !waits {
                let _ = end.answer.send(&Answer::Done, &[]);
            }
            waits
        });
    }

    /// Reads what a keeper sends: that the channel of its job has ended. That
    /// the keeper itself has ended is seen when it is reaped.
    fn hear_keeper(&mut self, id: JobId) {
        let Some(kept) = self.jobs.get_mut(&id) else {
            return;
        };
        let Some(socket) = &kept.socket else {
            return;
        };
        match socket.receive::<Control>() {
            Ok(Some(received)) => kept.job.detached |= received.message == Control::Detach,
            Err(error) if would_block(&error) => {}
            Ok(None) | Err(_) => kept.socket = None,
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(reaped)) => reaped,
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => break,
            };
            if Some(pid) == self.node_process {
                self.node_status = Some(status);
                self.stop();
            } else if self.errands.remove(&pid).is_none() {
                self.keeper_ended(pid, status);
            }
        }
        self.answer_ends();
    }

    fn keeper_ended(&mut self, pid: Pid, status: WaitStatus) {
        let id = self.jobs.iter().find(|(_, kept)| kept.keeper == pid);
        if let Some(id) = id.map(|(id, _)| *id) {
            self.jobs.remove(&id);
            if status.exit_status() == Some(0) {
                return;
            }
            log::line(format_args!("the keeper of job {} was ended", id.0));
        }
        // What descended from a keeper that was killed descends from us now,
        // and from no job: it ends.
        kill_descendants(getpid(), &self.own_processes());
    }

    fn own_processes(&self) -> HashSet<Pid> {
        let keepers = self.jobs.values().map(|kept| kept.keeper);
        let errands = self.errands.keys().copied();
        keepers.chain(errands).chain(self.node_process).collect()
    }

    /// Begins to end: nothing is started any more, and all jobs end.
    fn stop(&mut self) {
        self.node = None;
        self.handlers.clear();
        self.errands.clear();
        if self.stop_at.is_some() {
            return;
        }
        self.stop_at = Some(Instant::now() + END_TIMEOUT);
        let grace = u32::try_from(END_GRACE.as_millis()).unwrap_or_default();
        for kept in self.jobs.values() {
            kept.tell(Control::End(grace));
        }
    }

    fn has_stopped(&mut self) -> bool {
        let node_lives = self.node_process.is_some() && self.node_status.is_none();
        if self.stop_at.is_none_or(|at| at > Instant::now()) {
            return self.jobs.is_empty() && !node_lives;
        }
        // Keepers are ours, and so is what they leave behind.
        kill_descendants(getpid(), &HashSet::new());
        self.stop_at = Some(Instant::now() + END_GRACE);
        !node_lives
    }

    fn whose(&self, pid: i32) -> Whose {
        // A process whose parents cannot be followed is taken for a stranger's.
        const DEPTH: usize = 1024;
        let unknown = Whose::Peer {
            identity: String::new(),
            confined: true,
        };
        let Some(mut pid) = Pid::from_raw(pid) else {
            return Whose::Other;
        };
        let mut is_first = true;
        for _ in 0..DEPTH {
            if let Some(kept) = self.jobs.values().find(|kept| kept.keeper == pid) {
                return Whose::Peer {
                    identity: kept.job.identity.clone(),
                    confined: kept.confined,
                };
            }
            if Some(pid) == self.node_process || (is_first && pid == getpid()) {
                return Whose::Other;
            }
            if pid == getpid() || self.errands.contains_key(&pid) {
                return unknown;
            }
            match parent(pid) {
                Parent::Process(parent) => pid = parent,
                // What is past our own processes is not ours.
                Parent::None | Parent::Hidden => return Whose::Other,
                Parent::Ended => return unknown,
            }
            is_first = false;
        }
        unknown
    }
}

/// The descriptor that poll(2) found ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Signals,
    Node,
    Handler(usize),
    Job(JobId),
}

/// A descriptor for the signals that the monitor handles, which are blocked
/// otherwise (signalfd(2)).
fn signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [
        NixSignal::SIGCHLD,
        NixSignal::SIGTERM,
        NixSignal::SIGINT,
        NixSignal::SIGHUP,
        NixSignal::SIGQUIT,
        NixSignal::SIGUSR1,
        NixSignal::SIGUSR2,
    ] {
        mask.add(signal);
    }
    mask.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&mask, flags)?)
}

/// Makes a pair of connected, non-blocking sockets.
fn pair() -> io::Result<(Socket, Socket)> {
    let (near, far) = Socket::pair()?;
    rustix::io::ioctl_fionbio(&near, true)?;
    rustix::io::ioctl_fionbio(&far, true)?;
    Ok((near, far))
}

/// A descriptor that was sent, if it is a socket of the protocol's kind.
fn answer_socket(descriptor: OwnedFd) -> Option<Socket> {
    let kind = socket_type(&descriptor).ok()?;
    let is_unix = socket_domain(&descriptor).ok()? == AddressFamily::UNIX;
    (kind == SocketType::SEQPACKET && is_unix).then(|| {
        // Nobody waits for one who does not read.
        let _ = rustix::io::ioctl_fionbio(&descriptor, true);
        Socket::from(descriptor)
    })
}

fn refuse(answer: &Socket, reason: &str) {
    let answer_is = Answer::Refused {
        reason: reason.to_owned(),
        errno: None,
    };
    let _ = answer.send(&answer_is, &[]);
}
