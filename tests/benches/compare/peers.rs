//! The servers, and the ways to them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use integration_tests::target::free_port;
use integration_tests::{Alknet, NODE, Run, Setup, Ssh, Sshd, TestKey, TestNode};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::accounting::{Clock, Group};
use crate::link::Link;

/// A client, and what it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Stock ssh to stock sshd, over TCP.
    Sshd,
    /// `alknet` to the node, over QUIC.
    Native,
    /// Stock ssh through `alknet connect` to the node, over QUIC.
    Connect,
    /// Stock ssh to the node's TCP listener.
    Listener,
}

impl Way {
    /// All, what the others are compared with first.
    pub(crate) const ALL: [Self; 4] = [Self::Sshd, Self::Native, Self::Connect, Self::Listener];
    /// What is compared.
    pub(crate) const OURS: [Self; 3] = [Self::Native, Self::Connect, Self::Listener];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sshd => "sshd",
            Self::Native => "alknet, QUIC",
            Self::Connect => "ssh + connect, QUIC",
            Self::Listener => "ssh, TCP listener",
        }
    }
}

/// A node and an sshd that run side by side, and clients of theirs.
pub(crate) struct Peers {
    node: TestNode,
    _sshd: Sshd,
    user: Alknet,
    quic: Ssh,
    tcp: Ssh,
    stock: Ssh,
    node_group: Group,
    sshd_group: Group,
    clients: Group,
    namespace: Option<String>,
    errors: PathBuf,
    _directory: TempDir,
}

/// Both let in more at once than they do by default.
const NODE_LIMITS: &str = "limits.max_startups = { start = 1000, rate = 30, full = 2000, per_source = 2000 }\nlimits.max_channels = 256\n\n[connections]\nmax_per_address = 4000\n";
const SSHD_LIMITS: &str = "PasswordAuthentication no\nMaxStartups 1000:30:2000\nMaxSessions 1000\nPrintMotd no\nLogLevel INFO\nSubsystem sftp internal-sftp";

impl Peers {
    /// On this machine's loopback network, or at the two ends of a link.
    pub(crate) fn start(link: Option<&Link>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = link.map_or("127.0.0.1", Link::address);
        let setup = Setup::new();
        setup.listen_on_tcp();
        setup.replace("\"127.0.0.1:0\"", &format!("\"{address}:0\""));
        // The account's login shell, as under sshd.
        setup.replace("services.exec.shell = \"/bin/sh\"\n", "");
        setup.ssh_config("services.sftp.enabled = true");
        setup.ssh_config(NODE_LIMITS);
        setup.grant(&["ssh:forward:*:*", "ssh:listen:*:*", "ssh:sftp"]);
        let (node_group, sshd_group) = (Group::new("node"), Group::new("sshd"));
        let wrapper = |group: &Group| {
            let quiet = [group.wrapper(), without_startup_file()].concat();
            wrapper(quiet, link.map(Link::servers))
        };
        let key = TestKey::make(directory.path(), "user");
        let under = wrapper(&sshd_group);
        let under: Vec<_> = under.iter().map(String::as_str).collect();
        let address: IpAddr = address.parse().unwrap();
        let authorized = format!("{}\n", key.public_line());
        let sshd = Sshd::start_under(&under, address, directory.path(), &authorized, SSHD_LIMITS);
        sshd_group.started(sshd.pid());
        let under = wrapper(&node_group);
        let under: Vec<_> = under.iter().map(String::as_str).collect();
        let node = TestNode::start_under(&under, setup);
        node_group.started(node.pid());
        Self {
            user: Alknet::to(&node),
            quic: Ssh::to(&node),
            tcp: Ssh::over_tcp(&node),
            stock: Ssh::to_sshd(&sshd, &key, directory.path()),
            node,
            _sshd: sshd,
            node_group,
            sshd_group,
            clients: Group::new("clients"),
            namespace: link.map(|link| link.clients().to_owned()),
            errors: directory.path().join("errors"),
            _directory: directory,
        }
    }

    /// Starts to measure on a way.
    pub(crate) fn clock(&self, way: Way) -> Clock<'_> {
        Clock::start(self.server(way), &self.clients)
    }

    /// The server at its end.
    pub(crate) fn server(&self, way: Way) -> &Group {
        match way {
            Way::Sshd => &self.sshd_group,
            _ => &self.node_group,
        }
    }

    /// Whether processor time is exact.
    pub(crate) fn is_exact(&self) -> bool {
        self.node_group.is_exact()
    }

    /// A command at the far end, counted or not.
    pub(crate) fn exec(&self, way: Way, command: &str, counted: bool) -> Command {
        let run = match self.ssh(way) {
            Some(ssh) => ssh.command(command),
            None => self.user.exec(command),
        };
        self.client(run, counted)
    }

    /// A program of OpenSSH's towards a server; none for our own client.
    pub(crate) fn openssh(&self, way: Way, program: &str) -> Option<Run> {
        Some(self.ssh(way)?.program(program))
    }

    /// `alknet` and some arguments.
    pub(crate) fn alknet(&self, args: &[&str]) -> Run {
        self.user.run(args)
    }

    /// A user of `alknet` whose commands share a connection.
    pub(crate) fn sharing(&self) -> Alknet {
        Alknet::sharing(&self.node)
    }

    /// A client that forwards a local port to `target` on the server's side,
    /// and runs a command in the same connection if it can.
    ///
    /// # Errors
    /// When the forward does not come up.
    pub(crate) fn forward(
        &self,
        way: Way,
        target: u16,
        command: Option<&str>,
    ) -> Result<Forward, String> {
        let port = free_port();
        let spec = format!("127.0.0.1:{port}:127.0.0.1:{target}");
        let run = match (self.ssh(way), command) {
            (Some(ssh), Some(command)) => ssh.program("ssh").args(["-L", &spec, "node", command]),
            (Some(ssh), None) => ssh.program("ssh").args(["-N", "-L", &spec, "node"]),
            (None, _) => self.user.run(&["forward", NODE, "-L", &spec]),
        };
        let client = Client::start(self, self.client(run, true))?;
        crate::load::wait_for(port)?;
        Ok(Forward { client, port })
    }

    /// The command of a client's program.
    pub(crate) fn client(&self, run: Run, counted: bool) -> Command {
        let group = match counted {
            true => self.clients.wrapper(),
            false => Vec::new(),
        };
        let wrapper = wrapper(group, self.namespace.as_deref());
        let under: Vec<_> = wrapper.iter().map(String::as_str).collect();
        run.under(&under).into_command()
    }

    /// Ends clients that are left.
    pub(crate) fn clear(&self) {
        self.clients.clear();
    }

    /// What clients said last.
    pub(crate) fn errors(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        text.lines().last().unwrap_or_default().to_owned()
    }

    fn ssh(&self, way: Way) -> Option<&Ssh> {
        match way {
            Way::Sshd => Some(&self.stock),
            Way::Native => None,
            Way::Connect => Some(&self.quic),
            Way::Listener => Some(&self.tcp),
        }
    }
}

/// Hides `.bashrc`, which bash reads where it thinks that sshd started it: what
/// is in it is not a server's cost. As root only.
fn without_startup_file() -> Vec<String> {
    let uid = rustix::process::geteuid();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let home = account
        .filter(|fields| {
            fields
                .get(2)
                .is_some_and(|it| **it == uid.as_raw().to_string())
        })
        .find_map(|fields| fields.get(5).map(|home| format!("{home}/.bashrc")));
    match home.filter(|file| uid.is_root() && Path::new(file).exists()) {
        Some(file) => {
            let hide = "mount --bind /dev/null \"$0\" && exec \"$@\"";
            ["unshare", "--mount", "sh", "-c", hide, &file]
                .map(str::to_owned)
                .to_vec()
        }
        None => Vec::new(),
    }
}

fn wrapper(mut group: Vec<String>, namespace: Option<&str>) -> Vec<String> {
    if let Some(name) = namespace {
        group.extend(["ip", "netns", "exec", name].map(str::to_owned));
    }
    group
}

/// A client that forwards.
pub(crate) struct Forward {
    /// It, with its command's streams.
    pub(crate) client: Client,
    /// The local port.
    pub(crate) port: u16,
}

/// A client that runs; asked to end, and then killed, when dropped.
pub(crate) struct Client {
    child: Child,
    /// Dropped with it: whoever waits for that kills what hangs.
    _ended: Sender<()>,
}

/// Longer than any client takes by itself.
const HANG: Duration = Duration::from_secs(180);

impl Client {
    /// With pipes for input and output.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(peers: &Peers, mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::spawn(peers, command)
    }

    /// With streams as they are set.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn spawn(peers: &Peers, mut command: Command) -> Result<Self, String> {
        let errors = File::options()
            .create(true)
            .append(true)
            .open(&peers.errors);
        command.stderr(errors.map_err(|error| error.to_string())?);
        let child = command
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        peers.clients.started(child.id());
        let pid = Pid::from_child(&child);
        let (ended, has_ended) = channel();
        std::thread::spawn(move || {
            if has_ended.recv_timeout(HANG) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Ok(Self {
            child,
            _ended: ended,
        })
    }

    /// Its standard output, where it is a pipe.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard input and output.
    ///
    /// # Errors
    /// When somebody has them already.
    pub(crate) fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout), String> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.ok_or_else(|| "no pipes".to_owned())
    }

    /// Waits for its end, which must be success.
    ///
    /// # Errors
    /// When it fails or hangs.
    pub(crate) fn succeeds(mut self) -> Result<(), String> {
        let deadline = Instant::now() + HANG;
        drop(self.child.stdin.take());
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_micros(500)),
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the client ended with {status}")),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the client hangs".to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a byte and waits until it is back, so many times; how long each took,
/// in seconds.
///
/// # Errors
/// When none comes back.
pub(crate) fn ping(
    pipes: &mut (ChildStdin, ChildStdout),
    times: usize,
) -> Result<Vec<f64>, String> {
    let once = |_| {
        let started = Instant::now();
        let mut byte = [b'x'];
        let sent = pipes.0.write_all(&byte).and_then(|()| pipes.0.flush());
        let echoed = sent.and_then(|()| pipes.1.read_exact(&mut byte));
        echoed.map_err(|error| format!("echo: {error}"))?;
        Ok(started.elapsed().as_secs_f64())
    };
    (0..times).map(once).collect()
}
