//! A running node: started, watched by its log, signalled and stopped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use alknet_quic::NodeKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::line_with;
use crate::{Run, Setup, eventually};

/// A node that serves. Killed when dropped.
pub struct TestNode {
    /// Its state directory.
    pub setup: Setup,
    /// The address it serves QUIC on.
    pub addr: SocketAddr,
    /// The address it serves TCP on, if it does.
    pub tcp: Option<SocketAddr>,
    /// The key it proves itself with in TLS.
    pub node_key: NodeKey,
    /// Its SSH host key: type and base64.
    pub host_key: String,
    daemon: Daemon,
}

/// A node that was stopped.
pub struct Stopped {
    /// Its state directory, to start it again.
    pub setup: Setup,
    /// How it ended.
    pub status: ExitStatus,
    /// All that it logged.
    pub log: String,
}

impl TestNode {
    /// Starts `alknet-node run` and waits until it is ready.
    pub fn start(setup: Setup) -> Self {
        let run = setup.on_state("run");
        Self::started(setup, run)
    }

    /// Starts `alknet-node run` by another program that becomes it, and waits
    /// until it is ready.
    pub fn start_under(wrapper: &[&str], setup: Setup) -> Self {
        let run = setup.on_state("run").under(wrapper);
        Self::started(setup, run)
    }

    /// Starts `alknet-node up` and waits until it is ready.
    pub fn up(setup: Setup) -> Self {
        let run = setup.on_state("up").args(["--listen", "127.0.0.1:0"]);
        Self::started(setup, run)
    }

    /// Starts a command that serves, and waits until it is ready.
    pub fn starting(setup: Setup, run: Run) -> Self {
        Self::started(setup, run)
    }

    fn started(setup: Setup, run: Run) -> Self {
        let mut daemon = Daemon::spawn(run.into_command());
        let ready = daemon.ready();
        let text = daemon.stdout.text();
        Self {
            addr: after(&ready, "on UDP ")
                .trim_end_matches(',')
                .parse()
                .unwrap(),
            tcp: text
                .contains("tcp listen ")
                .then(|| after(&text, "tcp listen ").parse().unwrap()),
            node_key: after(&text, "node key").parse().unwrap(),
            host_key: line_with(&text, &["host key"])
                .trim_start_matches("host key")
                .trim()
                .to_owned(),
            setup,
            daemon,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.child.id()
    }

    /// What it has printed.
    pub fn stdout(&self) -> String {
        self.daemon.stdout.text()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.daemon.stderr.text()
    }

    /// Waits until a log line has all of `words` in it, and gives that line.
    pub fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("the log has a line with {words:?}"), || {
            let log = self.log();
            log.lines()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        })
    }

    /// Whether its process still runs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.child.try_wait().unwrap().is_none()
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.daemon.child);
        kill_process(pid, signal).unwrap();
    }

    /// Sends it SIGTERM and waits for its end.
    pub fn stop(self) -> Stopped {
        self.terminate();
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(self) -> Stopped {
        let Self {
            setup, mut daemon, ..
        } = self;
        let status = eventually("the node ends", || daemon.child.try_wait().unwrap());
        Stopped {
            setup,
            status,
            log: daemon.stderr.end(),
        }
    }
}

struct Daemon {
    child: Child,
    stdout: Tail,
    stderr: Tail,
}

impl Daemon {
    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: Tail::follow(child.stdout.take().unwrap()),
            stderr: Tail::follow(child.stderr.take().unwrap()),
            child,
        }
    }

    fn ready(&mut self) -> String {
        eventually("the node says that it is ready", || {
            let text = self.stdout.text();
            let ready = text.lines().find(|line| line.starts_with("ready"));
            if ready.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                let log = self.stderr.end();
                panic!("the node did not start: {status}\n{text}\n{log}");
            }
            ready.map(str::to_owned)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, line by line.
pub(crate) struct Tail {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    pub(crate) fn follow(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let line = std::mem::take(&mut line);
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
            }
        });
        Self {
            text,
            thread: Some(thread),
        }
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// The whole text, once nobody writes any more.
    pub(crate) fn end(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.text()
    }
}

/// The word that follows `label`.
fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let (_, rest) = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in:\n{text}"));
    rest.split_whitespace().next().unwrap()
}
