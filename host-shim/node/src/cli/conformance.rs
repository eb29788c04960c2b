//! `plugins check --deep`: whether a plugin keeps to the interface, found out
//! by using it, in a process of its own.

mod steps;

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use alknet_loader::one_line;
use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::{Failed, fail};
use crate::config::LogConfig;
use crate::logs;

/// The time that all steps together may take.
const CONFORMANCE_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of bytes that are kept of the process's standard error.
const MAX_STDERR: u64 = 64 * 1024;
/// Begins each line of ours on the process's standard output, which the
/// plugin may write to as well.
const MARK: &str = "\u{1}alknet-conformance ";

/// A report of the process that uses the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// A step begins.
    Begin(String),
    /// The step ended.
    End(Verdict),
    /// All steps are over.
    Over,
}

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    step: String,
    fine: bool,
    /// What the step saw, in one line.
    seen: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.fine { "ok  " } else { "FAIL" };
        write!(f, "{verdict}  {:<20} {}", self.step, self.seen)
    }
}

/// Uses the plugin in a process of its own and prints a verdict a step.
/// `config` is a file with the configuration to use; without one it is empty.
pub(super) fn check_deep(file: &Path, config: Option<&Path>) -> Result<(), Failed> {
    let mut child = Process::start(file, config).map_err(|error| {
        fail(format_args!(
            "cannot start a process for the check: {error}"
        ))
    })?;
    let mut failed = 0;
    while let Some(verdict) = child.next() {
        failed += usize::from(!verdict.fine);
        say!("{verdict}");
    }
    if failed == 0 {
        say!("{}: keeps to the interface", file.display());
        return Ok(());
    }
    let steps = if failed == 1 { "step" } else { "steps" };
    Err(fail(format_args!(
        "{}: does not keep to the interface: {failed} {steps} failed",
        file.display()
    )))
}

/// The process that uses the plugin, and what it says.
struct Process {
    child: Child,
    reports: mpsc::Receiver<Report>,
    stderr: Option<thread::JoinHandle<String>>,
    deadline: Instant,
    /// The step that has begun and has not ended.
    step: Option<String>,
    stage: Stage,
}

/// How far the reports have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Steps,
    Panics,
    Over,
}

impl Process {
    fn start(file: &Path, config: Option<&Path>) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("conformance").arg(file);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, reports) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    let report = line.split_once(MARK).map(|(_, report)| report);
                    let report = report.and_then(|report| serde_json::from_str(report).ok());
                    if report.is_some_and(|report| sender.send(report).is_err()) {
                        return;
                    }
                }
            });
        }
        let stderr = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(move || keep(stderr)));
        Ok(Self {
            child,
            reports,
            stderr,
            deadline: Instant::now() + CONFORMANCE_TIMEOUT,
            step: Some("start".to_owned()),
            stage: Stage::Steps,
        })
    }

    /// The next verdict; the end of the process, if it came too soon, is one.
    fn next(&mut self) -> Option<Verdict> {
        while self.stage == Stage::Steps {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok(Report::Begin(step)) => self.step = Some(step),
                Ok(Report::End(verdict)) => {
                    self.step = None;
                    return Some(verdict);
                }
                Ok(Report::Over) => self.stage = Stage::Panics,
                Err(error) => {
                    self.stage = Stage::Over;
                    return Some(self.ended_early(error));
                }
            }
        }
        (self.stage == Stage::Panics).then(|| {
            self.stage = Stage::Over;
            self.panics()
        })
    }

    /// The verdict on panics: they are contained, but each is a fault, since no
    /// step asks for one.
    fn panics(&mut self) -> Verdict {
        let _ = self.child.wait();
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok());
        let panics = panics(&stderr.unwrap_or_default());
        Verdict {
            step: "panics".to_owned(),
            fine: panics.is_empty(),
            seen: match (panics.len(), panics.first()) {
                (1, Some(panic)) => format!("one was contained: {panic}"),
                (more, Some(panic)) => format!("{more} were contained; the first: {panic}"),
                (_, None) => "none was seen".to_owned(),
            },
        }
    }

    fn ended_early(&mut self, error: mpsc::RecvTimeoutError) -> Verdict {
        let seen = match error {
            mpsc::RecvTimeoutError::Timeout => {
                format!(
                    "hangs; the check was ended after {} s",
                    CONFORMANCE_TIMEOUT.as_secs()
                )
            }
            mpsc::RecvTimeoutError::Disconnected => {
                let how = match self.child.wait() {
                    Ok(status) => ending(status),
                    Err(error) => error.to_string(),
                };
                let said = self.stderr.take().and_then(|thread| thread.join().ok());
                match said.as_deref().and_then(last_words) {
                    Some(words) => format!("ends the process that loaded it ({how}): {words}"),
                    None => format!("ends the process that loaded it ({how})"),
                }
            }
        };
        Verdict {
            step: self
                .step
                .take()
                .unwrap_or_else(|| "between steps".to_owned()),
            fine: false,
            seen,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep(stderr: impl Read) -> String {
    let mut stderr = stderr;
    let mut kept = Vec::new();
    let _ = stderr.by_ref().take(MAX_STDERR).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// The last words of a process on standard error: its panic message if there
/// was one, else its last line.
fn last_words(stderr: &str) -> Option<String> {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty());
    panics(stderr).pop().or_else(|| last.map(one_line))
}

/// The messages of panics, as std's hook and the node's log write them.
fn panics(stderr: &str) -> Vec<String> {
    let mut lines = stderr.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains(" panicked at ") {
            found.extend(lines.next().map(one_line));
        } else if let Some((_, message)) = line.split_once("panic: panic: ") {
            found.push(one_line(message));
        }
    }
    found
}

fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "in an unknown way".to_owned(),
    }
}

#[derive(Args)]
pub(super) struct ConformanceArgs {
    file: PathBuf,
    #[arg(long)]
    config: Option<PathBuf>,
}

/// The process of [`check_deep`].
pub(super) fn conformance(args: &ConformanceArgs) -> ExitCode {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    logs::install(&LogConfig {
        filter: "error".to_owned(),
        ..LogConfig::default()
    });
    steps::run(&args.file, args.config.as_deref());
    logs::flush();
    report(&Report::Over);
    // Whatever the plugin left running, it shall not keep this process.
    std::process::exit(0)
}

fn report(report: &Report) {
    if let Ok(text) = serde_json::to_string(report) {
        let mut stdout = std::io::stdout().lock();
        // The plugin may have left an unfinished line.
        let _ = writeln!(stdout, "\n{MARK}{text}");
        let _ = stdout.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_in_what_a_process_wrote() {
        let stderr = "noise\n\nthread '<unnamed>' (7) panicked at src/lib.rs:3:9:\nno luck\nnote: run\n\
                      2026-01-01T00:00:00Z ERROR plugin::ssh::panic: panic: a b location=\"x.rs\"\n";
        assert_eq!(panics(stderr), ["no luck", "a b location=\"x.rs\""]);
        assert_eq!(last_words("one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(last_words(""), None);
    }
}
