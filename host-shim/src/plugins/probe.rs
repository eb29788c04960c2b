use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use alknet_loader::{Prepared, Refusal};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a library may take to load.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the trial may say before its verdict, in bytes.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// The trial's verdict, at the start of a line: loaded, fits.
pub(crate) const ACCEPTED: &str = "alknet-probe accepted";
/// The trial's verdict, at the start of a line: refused, and why.
pub(crate) const REFUSED: &str = "alknet-probe refused: ";

/// Loads a library in a process of its own first: what kills or holds up its
/// loader shall do that there.
pub(crate) fn probe(prepared: &Prepared) -> Result<(), Refusal> {
    // This very program, even where its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("probe")
        .arg(prepared.copy())
        .arg(prepared.source())
        // It shall not speak to systemd in the node's name.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|source| Refusal::Io {
        path: prepared.source().to_owned(),
        action: "start the process that tries it out",
        source,
    })?;
    let mut trial = Trial(child);
    let verdict = trial.verdict();
    if let Some(Verdict::Accepted) = verdict {
        return Ok(());
    }
    let path = prepared.source().to_owned();
    match verdict {
        Some(Verdict::Refused(reason)) => Err(Refusal::TriedOut { path, reason }),
        _ => {
            let ending = trial.ending();
            Err(Refusal::FatalToLoad { path, ending })
        }
    }
}

enum Verdict {
    Accepted,
    Refused(String),
    /// None in time.
    Late,
}

/// The process that tries a library out. It and all it started are killed when
/// this is dropped.
struct Trial(Child);

impl Trial {
    /// What it says; `None` when it ended without a word.
    fn verdict(&mut self) -> Option<Verdict> {
        let (say, said) = channel();
        if let Some(stdout) = self.0.stdout.take() {
            thread::spawn(move || {
                let verdict = lines(stdout).find_map(|line| {
                    if line.starts_with(ACCEPTED) {
                        return Some(Verdict::Accepted);
                    }
                    let reason = line.strip_prefix(REFUSED)?;
                    Some(Verdict::Refused(reason.to_owned()))
                });
                let _ = say.send(verdict);
            });
        }
        if let Some(stderr) = self.0.stderr.take() {
            thread::spawn(move || {
                for line in lines(stderr) {
                    tracing::debug!(line, "from the process that tries a library out");
                }
            });
        }
        said_in_time(&said)
    }

    /// How it ended, after what loading the library did to it.
    fn ending(&mut self) -> String {
        for _ in 0..100 {
            match self.0.try_wait() {
                Ok(Some(status)) => return describe(status),
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => return format!("went wrong: {error}"),
            }
        }
        format!("took more than {} s", PATIENCE.as_secs())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn said_in_time(said: &Receiver<Option<Verdict>>) -> Option<Verdict> {
    match said.recv_timeout(PATIENCE) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => Some(Verdict::Late),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn lines(pipe: impl Read) -> impl Iterator<Item = String> {
    let mut pipe = BufReader::new(pipe.take(MAX_OUTPUT));
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match pipe.read_until(b'\n', &mut line) {
            Ok(1..) => Some(String::from_utf8_lossy(&line).trim_end().to_owned()),
            _ => None,
        }
    })
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
