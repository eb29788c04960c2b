//! The SSH clients of others (Paramiko, asyncssh, ssh2 for Node.js, Go's, PuTTY,
//! Dropbear), each behind the same methods.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use integration_tests::target::{Target, free_port};
use integration_tests::{
    Background, Run, TestKey, TestNode, Transport, artifacts, eventually, requires, requires_that,
    workspace,
};

/// Somebody else's SSH client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Paramiko,
    Asyncssh,
    Ssh2,
    Go,
    Plink,
    Dropbear,
}

/// What each client needs to reach one node.
pub(crate) struct Way<'a> {
    client: Client,
    node: &'a TestNode,
    keys: &'a [&'a TestKey],
    transport: Transport,
}

impl Client {
    /// Whether it is installed; see [`requires`].
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::Paramiko => python("paramiko").is_some(),
            Self::Asyncssh => python("asyncssh").is_some(),
            Self::Ssh2 => {
                requires(&["node"])
                    && requires_that(
                        "ssh2 (npm ci in tests/interop/node)",
                        folder("node").join("node_modules/ssh2").is_dir(),
                    )
            }
            Self::Go => requires(&["go"]) && go().is_some(),
            Self::Plink => requires(&["plink", "psftp", "puttygen"]),
            Self::Dropbear => requires(&["dbclient", "dropbearconvert"]),
        }
    }

    /// Whether it can be told to use a command instead of a TCP connection.
    pub(crate) fn takes_a_proxy_command(self) -> bool {
        self != Self::Go
    }

    /// Whether it has a client for SFTP of its own.
    pub(crate) fn has_sftp(self) -> bool {
        self != Self::Dropbear
    }

    /// Whether it is a program of ours on somebody's library.
    pub(crate) fn is_a_library(self) -> bool {
        !matches!(self, Self::Plink | Self::Dropbear)
    }

    /// Whether it goes on to the next key when one is refused.
    pub(crate) fn offers_several_keys(self) -> bool {
        // plink takes one; for Paramiko see known-limits.md.
        !matches!(self, Self::Plink | Self::Paramiko)
    }

    /// Whether it can be told how often to renew keys, and keeps silent while
    /// it does.
    pub(crate) fn renews_keys(self) -> bool {
        match self {
            Self::Paramiko | Self::Go => true,
            Self::Asyncssh => python("asyncssh").is_some_and(|python| {
                let version = "import asyncssh; print(asyncssh.__version__)";
                let run = Run::new(python).args(["-W", "ignore", "-c", version]);
                let text = run.output();
                let mut numbers = text.trim().split('.').map(|number| number.parse().unwrap());
                (numbers.next(), numbers.next()) >= (Some(2), Some(18))
            }),
            _ => false,
        }
    }

    /// How it ends when a signal ended the command.
    pub(crate) fn status_of_a_signal(self) -> i32 {
        match self {
            Self::Plink => 128,
            // It ignores the message, towards sshd too.
            Self::Dropbear => 0,
            _ => 255,
        }
    }

    /// With some keys over a transport.
    pub(crate) fn to<'a>(
        self,
        node: &'a TestNode,
        keys: &'a [&'a TestKey],
        transport: Transport,
    ) -> Way<'a> {
        Way {
            client: self,
            node,
            keys,
            transport,
        }
    }
}

impl Way<'_> {
    /// Runs a command.
    pub(crate) fn exec(&self, command: &str) -> Run {
        match self.client {
            Client::Plink | Client::Dropbear => self.program(&[]).arg(command),
            _ => self.library(&["exec", command]),
        }
    }

    /// A connection through the node on standard input and output.
    pub(crate) fn reach(&self, host: &str, port: u16) -> Run {
        let target = format!("{host}:{port}");
        match self.client {
            Client::Plink => self.program(&["-nc", &target]),
            Client::Dropbear => self.program(&["-B", &target]),
            _ => self.library(&["reach", host, &port.to_string()]),
        }
    }

    /// Has the node listen on a port of its choice; gives that port. What comes
    /// in is given back, by `echo` where the client cannot.
    pub(crate) fn listen(&self, echo: &Target) -> (Background, u16) {
        match self.client {
            Client::Plink => {
                // It does not take 0.
                let port = free_port();
                let forward = format!("127.0.0.1:{port}:{}", echo.addr);
                (
                    Background::spawn(self.program(&["-N", "-R", &forward])),
                    port,
                )
            }
            Client::Dropbear => {
                let forward = format!("127.0.0.1:0:{}", echo.addr);
                let mut client = Background::spawn(self.program(&["-N", "-R", &forward]));
                let line = client.says(&["Allocated port"]).unwrap();
                let port = line.split_whitespace().find_map(|word| word.parse().ok());
                (client, port.unwrap())
            }
            _ => {
                let mut client = Background::spawn(self.library(&["listen", "0"]));
                let port = eventually("the node listens", || {
                    assert_eq!(client.status(), None, "{}", client.err());
                    let line = client.out();
                    line.strip_prefix("listening ")?
                        .split_whitespace()
                        .next()?
                        .parse()
                        .ok()
                });
                (client, port)
            }
        }
    }

    /// Has the client listen, and lead to `target` through the node.
    pub(crate) fn local_forward(&self, target: &Target) -> (Background, u16) {
        let port = free_port();
        let forward = format!("127.0.0.1:{port}:{}", target.addr);
        let run = self.program(&["-N", "-L", &forward]);
        (Background::spawn(run), port)
    }

    /// Copies a file to the node by SFTP.
    pub(crate) fn put(&self, local: &Path, remote: &str) -> Run {
        match self.client {
            Client::Plink => self.psftp(&format!("put {} {remote}", local.display())),
            _ => self.library(&["put", local.to_str().unwrap(), remote]),
        }
    }

    /// Copies a file from the node by SFTP.
    pub(crate) fn get(&self, remote: &str, local: &Path) -> Run {
        match self.client {
            Client::Plink => self.psftp(&format!("get {remote} {}", local.display())),
            _ => self.library(&["get", remote, local.to_str().unwrap()]),
        }
    }

    /// Prints what a directory of the node holds, by SFTP.
    pub(crate) fn list(&self, path: &str) -> Run {
        match self.client {
            Client::Plink => self.psftp(&format!("ls {path}")),
            _ => self.library(&["list", path]),
        }
    }

    /// PuTTY's own program for SFTP.
    fn psftp(&self, line: &str) -> Run {
        let batch = self.node.setup.folder().join("batch");
        fs::write(&batch, format!("{line}\n")).unwrap();
        self.putty("psftp").arg("-b").arg(batch).arg(self.host())
    }

    /// A command of our programs on the libraries, see `tests/interop/README.md`.
    pub(crate) fn library(&self, args: &[&str]) -> Run {
        let program = match self.client {
            Client::Paramiko => python("paramiko")
                .map(|python| Run::new(python).arg(folder("python").join("paramiko_client.py"))),
            Client::Asyncssh => python("asyncssh")
                .map(|python| Run::new(python).arg(folder("python").join("asyncssh_client.py"))),
            Client::Ssh2 => Some(Run::new("node").arg(folder("node").join("client.js"))),
            Client::Go => go().map(Run::new),
            Client::Plink | Client::Dropbear => None,
        };
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| key.file.to_str().unwrap())
            .collect();
        let run = program.unwrap().arg(self.node.tcp.unwrap().to_string());
        let run = run.arg(keys.join(",")).arg(&self.node.host_key).args(args);
        match self.via() {
            Some(command) => run.env("VIA", command),
            None => run,
        }
    }

    /// PuTTY or Dropbear, with `args` before the host.
    fn program(&self, args: &[&str]) -> Run {
        let run = match self.client {
            Client::Plink => self.putty("plink").arg("-ssh"),
            _ => self.dbclient(),
        };
        run.args(args).arg(self.host())
    }

    fn putty(&self, program: &str) -> Run {
        let run = Run::new(program).args(["-batch", "-hostkey"]);
        let run = run.arg(self.fingerprint());
        self.common(run, "-P", "-proxycmd")
    }

    fn dbclient(&self) -> Run {
        let hosts = self.node.setup.folder().join(".ssh");
        fs::create_dir_all(&hosts).unwrap();
        let addr = self.node.tcp.unwrap();
        let line = format!("{} {}\n", addr.ip(), self.node.host_key);
        fs::write(hosts.join("known_hosts"), line).unwrap();
        self.common(Run::new("dbclient").arg("-T"), "-p", "-J")
    }

    fn common(&self, run: Run, port: &str, proxy: &str) -> Run {
        let addr = self.node.tcp.unwrap();
        let run = run.env("HOME", self.node.setup.folder());
        let run = run.arg(port).arg(addr.port().to_string());
        let run = match self.via() {
            Some(command) => run.args([proxy, &command]),
            None => run,
        };
        self.keys
            .iter()
            .fold(run, |run, key| run.arg("-i").arg(self.converted(key)))
    }

    fn host(&self) -> String {
        format!("someone@{}", self.node.tcp.unwrap().ip())
    }

    /// The key in the client's own format.
    fn converted(&self, key: &TestKey) -> PathBuf {
        let (file, convert) = match self.client {
            Client::Plink => {
                let file = key.file.with_extension("ppk");
                let convert = Run::new("puttygen").arg(&key.file).arg("-o").arg(&file);
                (file, convert)
            }
            _ => {
                let file = key.file.with_extension("dropbear");
                let convert = Run::new("dropbearconvert").args(["openssh", "dropbear"]);
                (file.clone(), convert.arg(&key.file).arg(&file))
            }
        };
        if !file.exists() {
            convert.output();
        }
        file
    }

    fn fingerprint(&self) -> String {
        let text = self.node.stdout();
        let word = text
            .split_whitespace()
            .find(|word| word.starts_with("SHA256:"));
        word.unwrap().to_owned()
    }

    fn via(&self) -> Option<String> {
        (self.transport == Transport::Quic).then(|| {
            format!(
                "{} connect {} --node-key {}",
                artifacts().client.display(),
                self.node.addr,
                self.node.node_key
            )
        })
    }
}

fn folder(name: &str) -> PathBuf {
    workspace().join("tests/interop").join(name)
}

/// The interpreter that has this module: the caller's, or else the system's.
fn python(module: &str) -> Option<&'static str> {
    let import = format!("import {module}");
    let found = ["python3", "/usr/bin/python3"]
        .into_iter()
        .filter(|python| {
            std::process::Command::new(python)
                .arg("-V")
                .output()
                .is_ok()
        })
        .find(|python| {
            let run = Run::new(python).args(["-W", "ignore", "-c", &import]);
            run.ended().status.success()
        });
    requires_that(&format!("Python's {module}"), found.is_some());
    found
}

/// The client in Go, built once.
fn go() -> Option<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let libraries = std::env::var_os("ALKNET_TEST_GOCODE");
    let libraries = PathBuf::from(libraries.unwrap_or_else(|| "/usr/share/gocode".into()));
    let built = BUILT.get_or_init(|| {
        let needs = ["golang.org/x/crypto/ssh", "github.com/pkg/sftp"];
        let there = needs.map(|library| libraries.join("src").join(library).is_dir());
        there.iter().all(|there| *there).then(|| {
            let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
            let program = target.join("go-ssh-client");
            let run = Run::new("go")
                .args(["build", "-o"])
                .arg(&program)
                .arg("client.go")
                .dir(&folder("go"))
                .env("GO111MODULE", "off")
                .env("GOPATH", &libraries)
                .env("GOCACHE", target.join("go-cache"));
            run.output();
            program
        })
    });
    requires_that(
        "Go's x/crypto and pkg/sftp, as Debian has them",
        built.is_some(),
    );
    built.clone()
}
