//! What a newcomer does after `alknet-node up` in an empty home, with nothing
//! edited.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use integration_tests::target::{connect, exchange, free_port};
use integration_tests::{
    Background, Ended, Random, Run, Setup, Target, TestNode, artifacts, eventually, requires,
    sha256_of_file,
};

/// The owner at home, where `up` was run.
struct Owner {
    home: PathBuf,
}

impl Owner {
    fn of(node: &TestNode) -> Self {
        Self {
            home: node.setup.folder().to_owned(),
        }
    }

    fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Run {
        Run::new(program)
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", "")
            .env("XDG_RUNTIME_DIR", "")
            .env("XDG_STATE_HOME", "")
            .env("SSH_AUTH_SOCK", "")
            .dir(&self.home)
    }

    /// One of OpenSSH's. It goes by passwd(5), not by HOME, so it is told where
    /// the configuration of this home is.
    fn ssh(&self, program: &str) -> Run {
        let config = self.home.join(".ssh/config");
        let run = self.program(program).arg("-F").arg(config);
        run.args(["-o", "BatchMode=yes"])
    }

    fn as_command(&self) -> String {
        let config = self.home.join(".ssh/config");
        format!("ssh -F {} -o BatchMode=yes", config.display())
    }

    fn alknet(&self, args: &[&str]) -> Run {
        self.program(&artifacts().client).args(args)
    }

    fn nodes_file(&self) -> PathBuf {
        self.home.join(".config/alknet/nodes.toml")
    }
}

fn fine(run: Run) -> Ended {
    let ended = run.ended();
    assert_eq!(ended.code(), 0, "{ended}");
    ended
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Reaches a target through a SOCKS5 proxy (RFC 1928).
fn by_socks(proxy: u16, target: &Target) {
    let mut socket = TcpStream::connect(v4(proxy)).unwrap();
    let mut answer = [0; 10];
    socket.write_all(&[5, 1, 0]).unwrap();
    socket.read_exact(&mut answer[..2]).unwrap();
    assert_eq!(answer[..2], [5, 0]);
    let [high, low] = target.port().to_be_bytes();
    let request = [5, 1, 0, 1, 127, 0, 0, 1, high, low];
    socket.write_all(&request).unwrap();
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [5, 0]);
    socket.write_all(b"by socks").unwrap();
    let mut back = [0; 8];
    socket.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"by socks");
}

/// As editors do it: their server is uploaded over standard input, left behind,
/// found again by another connection, and reached through a forward.
fn edit_remotely(owner: &Owner, target: &Target) {
    let folder = owner.home.join(".editor-server");
    let there = folder.display();
    let script = "#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 600\n";
    let upload = format!("mkdir -p {there} && cat > {there}/server && chmod +x {there}/server");
    fine(owner.ssh("ssh").args(["alknet", &upload]).stdin(script));
    let start =
        format!("nohup setsid {there}/server > {there}/log 2>&1 < /dev/null & echo started");
    let started = fine(owner.ssh("ssh").args(["-T", "alknet", &start]));
    assert_eq!(started.out(), "started\n");
    let pid = eventually("the server has said its id", || {
        let pid = fs::read_to_string(folder.join("server.pid")).ok()?;
        pid.trim().parse::<u32>().ok()
    });
    let again = format!("kill -0 {pid} && echo lives");
    assert_eq!(
        fine(owner.ssh("ssh").args(["alknet", &again])).out(),
        "lives\n"
    );
    let to = format!("127.0.0.1:{}", target.port());
    let forwarded = owner
        .ssh("ssh")
        .args(["-W", &to, "alknet"])
        .stdin("edited\n");
    assert_eq!(fine(forwarded).out(), "edited\n");
    fine(owner.ssh("ssh").args(["alknet", &format!("kill {pid}")]));
}

/// The nine programs of the first hour.
#[test]
fn all_that_works_with_sshd_works_after_up() {
    if !requires(&["ssh", "scp", "sftp", "rsync", "git"]) {
        return;
    }
    let node = TestNode::up(Setup::empty());
    let owner = Owner::of(&node);
    let target = Target::echo();
    let file = owner.home.join("file");
    let digest = Random::new(1).file(&file, 300_000);
    let path = |name: &str| owner.home.join(name).display().to_string();
    let whole = |name: &str| assert_eq!(sha256_of_file(Path::new(&path(name))), digest, "{name}");

    let ended = owner.ssh("ssh").args(["alknet", "echo in; exit 7"]).ended();
    assert_eq!((ended.code(), ended.out().as_str()), (7, "in\n"), "{ended}");
    let shell = owner
        .ssh("ssh")
        .args(["-T", "alknet"])
        .stdin("echo a shell\n");
    assert!(fine(shell).out().contains("a shell\n"));

    fine(
        owner
            .ssh("scp")
            .args([&path("file"), &format!("alknet:{}", path("by-scp"))]),
    );
    whole("by-scp");
    let batch = format!("put {} {}\n", path("file"), path("by-sftp"));
    fine(owner.ssh("sftp").args(["-b", "-", "alknet"]).stdin(batch));
    whole("by-sftp");

    let to = format!("alknet:{}", path("by-rsync"));
    fine(
        owner
            .program("rsync")
            .args(["-a", "-e", &owner.as_command(), &path("file"), &to]),
    );
    whole("by-rsync");

    let git = |args: &[&str]| {
        let git = owner
            .program("git")
            .env("GIT_SSH_COMMAND", owner.as_command());
        let git = git.args(["-c", "user.name=T", "-c", "user.email=t@example.org"]);
        fine(
            git.args(["-c", "safe.directory=*"])
                .args(args.iter().copied()),
        )
    };
    git(&["init", "-q", "repository"]);
    git(&[
        "-C",
        "repository",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "One",
    ]);
    git(&[
        "clone",
        "-q",
        &format!("alknet:{}", path("repository")),
        "clone",
    ]);
    assert!(owner.home.join("clone/.git").is_dir());

    let (dynamic, local) = (free_port(), free_port());
    let forward = format!("{local}:127.0.0.1:{}", target.port());
    let dynamic_port = dynamic.to_string();
    let tunnel = owner
        .ssh("ssh")
        .args(["-v", "-N", "-o", "ExitOnForwardFailure=yes"]);
    let tunnel = tunnel.args(["-D", &dynamic_port, "-L", &forward, "alknet"]);
    let mut tunnel = Background::spawn(tunnel);
    assert!(
        tunnel.says(&["Entering interactive session"]).is_some(),
        "{}",
        tunnel.ended()
    );
    exchange(connect(v4(local)).unwrap(), 1, 10_000).unwrap();
    by_socks(dynamic, &target);

    edit_remotely(&owner, &target);

    let ended = owner.alknet(&["exec", "alknet", "echo in; exit 7"]).ended();
    assert_eq!((ended.code(), ended.out().as_str()), (7, "in\n"), "{ended}");
    fine(owner.alknet(&["cp", &path("file"), &format!("alknet:{}", path("by-cp"))]));
    whole("by-cp");
}

#[test]
fn up_says_what_is_on_and_leaves_out_what_it_is_told_to() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = TestNode::up(Setup::empty());
    let said = node.stdout();
    for begins in [
        "on        commands, shell, sftp",
        "off       nothing",
        "others    nobody",
    ] {
        assert!(said.lines().any(|line| line.starts_with(begins)), "{said}");
    }
    // At a later start as well.
    let setup = node.stop().setup;
    let run = setup.on_state("up").args(["--listen", "127.0.0.1:0"]);
    let node = TestNode::starting(setup, run.args(["--no-shell", "--no-sftp"]));
    let owner = Owner::of(&node);
    let said = node.stdout();
    let off = said.lines().find(|line| line.starts_with("off ")).unwrap();
    assert!(off.contains("shell (alknet-node peers grant "), "{off}");
    let shell = owner.ssh("ssh").args(["-T", "alknet"]).ended();
    assert_ne!(shell.code(), 0, "{shell}");
    shell.line_with(&["ssh:shell"]);
    fine(owner.ssh("ssh").args(["alknet", "true"]));
}

#[test]
fn the_owners_files_keep_what_is_theirs() {
    let setup = Setup::empty();
    let home = setup.folder().to_owned();
    fs::create_dir_all(home.join(".config/alknet")).unwrap();
    fs::create_dir(home.join(".ssh")).unwrap();
    let (nodes, config) = (
        home.join(".config/alknet/nodes.toml"),
        home.join(".ssh/config"),
    );
    let of_others = "# mine\n[home]\naddress = \"home.example\" # far\n";
    fs::write(&nodes, of_others).unwrap();
    fs::write(&config, "Host home\n    User me\n").unwrap();
    let node = TestNode::up(setup);
    let owner = Owner::of(&node);
    fine(owner.alknet(&["exec", "alknet", "true"]));
    assert!(fs::read_to_string(&nodes).unwrap().starts_with(of_others));
    // The entry follows the node to another port.
    let node = TestNode::up(node.stop().setup);
    fine(owner.alknet(&["exec", "alknet", "true"]));
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.ends_with("\n\nHost home\n    User me\n"), "{text}");
    assert_eq!(text.matches("Include").count(), 1, "{text}");

    // A name that is another node's stays that node's.
    let setup = node.stop().setup;
    let foreign = "[alknet]\naddress = \"elsewhere.example\"\n";
    fs::write(owner.nodes_file(), foreign).unwrap();
    let node = TestNode::up(setup);
    let said = node.stdout();
    let line = said
        .lines()
        .find(|line| line.contains("not by the name alknet"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains("has a node called \"alknet\" already"),
        "{line}"
    );
    let address = line.rsplit('`').nth(1).unwrap();
    let key = node.setup.state().join("client_key");
    let key = key.to_str().unwrap();
    let options = ["-o", "StrictHostKeyChecking=accept-new", "-i", key];
    let exec = owner
        .alknet(&["exec"])
        .args(options)
        .args([address, "true"]);
    fine(exec);
    assert_eq!(fs::read_to_string(owner.nodes_file()).unwrap(), foreign);
}
