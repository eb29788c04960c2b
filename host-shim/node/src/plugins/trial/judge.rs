//! The node's side of a trial: it decides, by what it sees itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use alknet_loader::{Prepared, Refusal, one_line};
use rustix::process::{Pid, Signal, kill_process_group};

use super::protocol::{Assignment, Description, MAGIC, MAX_REPORT, Report, Said, Settings, Step};

/// The time that a trial may take.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// The time that the process may take to end once it has reported that all went
/// well.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of bytes that the library may write to standard output, and to
/// standard error. More is not a slip of its author.
const MAX_OUTPUT: u64 = 1024 * 1024;
/// The most lines of its output that are logged.
const MAX_LOGGED: usize = 100;

/// Tries a library out in a process of its own, with what the node would give
/// its handler, except for keys and secrets. What kills or holds up its loader
/// shall do that there.
///
/// # Errors
/// When the library cannot be used, or the process did not get to its end.
pub(crate) fn try_out(prepared: &Prepared, settings: &Settings) -> Result<Description, Refusal> {
    let assignment = Assignment {
        copy: prepared.copy().to_owned(),
        source: prepared.source().to_owned(),
        settings: settings.clone(),
    };
    let started = Trial::start(&assignment).map_err(|source| Refusal::Io {
        path: prepared.source().to_owned(),
        action: "start the process that tries it out",
        source,
    });
    let path = prepared.source().to_owned();
    started?.verdict().map_err(|failed| match failed {
        Failed::Refused(reason) => Refusal::TriedOut { path, reason },
        Failed::Fatal(ending) => Refusal::FatalToLoad { path, ending },
    })
}

/// Why a library has not passed.
enum Failed {
    /// The process refused it, for this reason.
    Refused(String),
    /// The process ended or was ended; a clause with its subject says how.
    Fatal(String),
}

/// An event from the process.
enum Event {
    Line(Vec<u8>),
    /// It, or something it started, wrote too much to standard output or
    /// error.
    TooMuchOutput,
    /// It closed the channel, as every process does that ends.
    Closed,
}

/// The process that tries a library out. It and all it started are killed when
/// this is dropped.
struct Trial {
    child: Child,
    channel: UnixStream,
    events: Receiver<Event>,
    deadline: Instant,
    step: Option<Step>,
    token: String,
}

impl Trial {
    fn start(assignment: &Assignment) -> io::Result<Self> {
        let (channel, theirs) = UnixStream::pair()?;
        channel.set_write_timeout(Some(TRIAL_TIMEOUT))?;
        // It waits there before the process looks for it.
        (&channel).write_all(MAGIC)?;
        let mut args = std::env::args_os();
        // This very program, even where its file was replaced meanwhile, with
        // the very arguments: a library shall not meet another world here than
        // in the node.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        let mut child = command
            .args(args)
            // It shall not speak to systemd in the node's name.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (send, events) = sync_channel(16);
        if let Some(stdout) = child.stdout.take() {
            watch_output(stdout, send.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            watch_output(stderr, send.clone());
        }
        let trial = Self {
            child,
            channel: channel.try_clone()?,
            events,
            deadline: Instant::now() + TRIAL_TIMEOUT,
            step: None,
            token: String::new(),
        };
        read_reports(trial.channel.try_clone()?, send);
        let line = serde_json::to_string(assignment)?;
        (&trial.channel).write_all(format!("{line}\n").as_bytes())?;
        Ok(trial)
    }

    fn verdict(mut self) -> Result<Description, Failed> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(line)) => match self.report(&line)? {
                    Said::Begins(step) => self.goes_on(step)?,
                    Said::Refused(reason) => return Err(Failed::Refused(reason)),
                    Said::Passed(description) if self.step == Some(Step::End) => {
                        self.ends_well()?;
                        return Ok(description);
                    }
                    Said::Passed(_) => return Err(forged()),
                },
                Ok(Event::TooMuchOutput) => return Err(too_much_output()),
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failed::Fatal(self.ending()));
                }
                Err(RecvTimeoutError::Timeout) => return Err(Failed::Fatal(self.lateness())),
            }
        }
    }

    /// Reads a report, which must carry the token that was sent last: a library
    /// that merely writes to every descriptor cannot make one.
    fn report(&self, line: &[u8]) -> Result<Said, Failed> {
        let report: Report = serde_json::from_slice(line).map_err(|_| forged())?;
        match report.token == self.token {
            true => Ok(report.said),
            false => Err(forged()),
        }
    }

    /// Takes note that a step begins and sends a new token. Steps come in their
    /// order, each once, and each token was nowhere in that process before.
    fn goes_on(&mut self, step: Step) -> Result<(), Failed> {
        let next = match self.step {
            None => Step::Load,
            Some(Step::Load) => Step::Factory,
            Some(Step::Factory) => Step::Handler,
            Some(Step::Handler | Step::End) => Step::End,
        };
        if step != next || self.step == Some(Step::End) {
            return Err(forged());
        }
        let mut token = [0; 32];
        let made = getrandom::fill(&mut token);
        made.map_err(|error| Failed::Fatal(format!("cannot be judged: {error}")))?;
        self.step = Some(step);
        self.token = hex::encode(token);
        // A process that is gone is noticed soon enough.
        let _ = (&self.channel).write_all(format!("{}\n", self.token).as_bytes());
        Ok(())
    }

    /// After the last word: nothing more comes, and the process ends by
    /// itself, destructors of the library included.
    fn ends_well(&mut self) -> Result<(), Failed> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            match self.events.try_recv() {
                Ok(Event::Line(_)) => return Err(forged()),
                Ok(Event::TooMuchOutput) => return Err(too_much_output()),
                Ok(Event::Closed) | Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(Failed::Fatal(describe(status))),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                Ok(None) => {
                    return Err(Failed::Fatal(format!(
                        "kept that process from ending for {} s",
                        END_TIMEOUT.as_secs()
                    )));
                }
                Err(error) => return Err(Failed::Fatal(format!("went wrong: {error}"))),
            }
        }
    }

    /// A clause that says how the process ended.
    fn ending(&mut self) -> String {
        for _ in 0..500 {
            match self.child.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(error) => return format!("went wrong: {error}"),
            }
        }
        "ended the trial, and that process lives on".to_owned()
    }

    fn lateness(&self) -> String {
        let seconds = TRIAL_TIMEOUT.as_secs();
        match self.step {
            None | Some(Step::Load) => format!("took more than {seconds} s"),
            Some(Step::Factory) => format!("its factory did not return within {seconds} s"),
            Some(Step::Handler | Step::End) => {
                format!("its handler did not come to an end within {seconds} s")
            }
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        // Whoever else has the other end: nobody listens any more.
        let _ = self.channel.shutdown(Shutdown::Both);
    }
}

fn forged() -> Failed {
    Failed::Fatal("spoke in the name of that process".to_owned())
}

fn too_much_output() -> Failed {
    Failed::Fatal(format!("wrote more than {} MiB", MAX_OUTPUT >> 20))
}

fn read_reports(channel: UnixStream, send: SyncSender<Event>) {
    thread::spawn(move || {
        let mut channel = BufReader::new(channel);
        loop {
            let mut line = Vec::new();
            let read = (&mut channel).take(MAX_REPORT).read_until(b'\n', &mut line);
            let event = match read {
                Ok(1..) => Event::Line(line),
                _ => Event::Closed,
            };
            let closed = matches!(event, Event::Closed);
            if send.send(event).is_err() || closed {
                return;
            }
        }
    });
}

/// Reads what a library writes, and logs the first of it, in case somebody
/// wants to know.
fn watch_output(pipe: impl Read + Send + 'static, send: SyncSender<Event>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe.take(MAX_OUTPUT + 1));
        let mut total = 0;
        let mut lines = 0;
        loop {
            let mut line = Vec::new();
            let Ok(length @ 1..) = (&mut pipe).take(64 * 1024).read_until(b'\n', &mut line) else {
                return;
            };
            total += length as u64;
            if total > MAX_OUTPUT {
                let _ = send.send(Event::TooMuchOutput);
                return;
            }
            lines += 1;
            if lines <= MAX_LOGGED {
                let line = one_line(&String::from_utf8_lossy(&line));
                tracing::debug!(line, "from the process that tries a library out");
            }
        }
    });
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!(
            "killed that process with signal {signal}{}",
            signal_name(signal)
        ),
        None => format!(
            "ended that process with status {}",
            status.code().unwrap_or_default()
        ),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        5 => " (SIGTRAP)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        24 => " (SIGXCPU, it used too much CPU time)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_in_words() {
        let ended = |script: &str| {
            let status = Command::new("sh").args(["-c", script]).status().unwrap();
            describe(status)
        };
        assert_eq!(ended("exit 3"), "ended that process with status 3");
        assert_eq!(
            ended("kill -SEGV $$"),
            "killed that process with signal 11 (SIGSEGV)"
        );
    }
}
