//! Peers who attack the node that lets them in, and what a guest may do
//! nevertheless. SECURITY.md has a table of what is tried here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration_tests::{
    Peers, Run, Setup, Ssh, Terminal, TestKey, TestNode, alive, artifacts, eventually, requires,
    rules,
};

/// Tries everything, and says of each whether it was open to it. `%NAMES%` are
/// filled in by the test.
const ATTACK: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: OPEN"; else echo "$name: shut"; fi; }
into() { printf x >> "$1"; }
from() { head -c 1 < "$1"; }
tcp() ( exec 3<>"/dev/tcp/127.0.0.1/$1" )
tty() { echo x > /dev/tty; }
memory() ( exec 3<"/proc/$1/mem" )
echo "begin"
try mnemonic from '%STATE%/mnemonic'
try mnemonic-by-root from '/proc/self/root%STATE%/mnemonic'
try mnemonic-by-the-node from '/proc/%NODE%/root%STATE%/mnemonic'
try mnemonic-by-a-link sh -c 'ln -s "%STATE%/mnemonic" "$HOME/m" && head -c 1 "$HOME/m"'
try secrets from '%STATE%/secrets.json'
try read-peers from '%STATE%/peers.toml'
try change-peers into '%STATE%/peers.toml'
try change-node into '%STATE%/node.toml'
try list-state ls '%STATE%'
try plugins into '%STATE%/plugins/libalknet_ssh_plugin.so'
try staged ls '%STATE%/staging'
try change-mode chmod 777 '%STATE%'
try owners-keys from '%HOME%/.ssh/id'
try guests ls '%GUESTS%'
try other-home from '%GUESTS%/other/diary'
try memory memory '%NODE%'
try monitors-memory memory '%MONITOR%'
try environment from '/proc/%NODE%/environ'
try descriptors readlink '/proc/%NODE%/fd/0'
try signal kill -CONT '%NODE%'
try signal-monitor kill -CONT '%MONITOR%'
try signal-other kill -CONT '%OTHER%'
try slow-down renice -n 19 -p '%NODE%'
try limit prlimit --pid '%NODE%' --nofile=3:3
try admin-socket python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("%STATE%/admin.sock")'
try agent-socket python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("%AGENT%")'
try abstract-socket python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("\0%ABSTRACT%")'
try trace python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).ptrace(16,%NODE%,0,0) != 0)'
try tcp tcp '%PORT%'
try operators-terminal tty
try mount mount -t tmpfs none /mnt
try become-somebody setpriv --reuid 65534 true
echo "end"
"#;

/// A node of two guests and an owner, and what an attacker would like to have.
struct World {
    node: TestNode,
    guest: TestKey,
    monitor: u32,
    other: u32,
    port: TcpListener,
    abstract_name: String,
    _sockets: [UnixListener; 2],
}

impl World {
    /// With those scopes for the guest.
    fn new(scopes: &[&str], more: &str) -> Option<Self> {
        if !requires(&["ssh", "bash", "python3"]) || !confines() {
            return None;
        }
        let mut setup = Setup::new();
        let home = setup.folder().to_owned();
        fs::create_dir(home.join(".ssh")).unwrap();
        fs::write(home.join(".ssh/id"), "secret").unwrap();
        setup.env("SHELL", "/bin/bash");
        let guest = TestKey::make(&home, "guest");
        let other = TestKey::make(&home, "other");
        Peers::new()
            .add("owner", &setup.key, &["ssh:exec", "ssh:shell", "ssh:sftp"])
            .add_guest("guest", &guest, scopes)
            .more("guest", more)
            .add_guest("other", &other, &["ssh:exec"])
            .write(&setup);
        setup
            .node(&["secret", "set", "proxy", "--state"])
            .arg(setup.state())
            .stdin("user:password")
            .output();
        let agent = UnixListener::bind(home.join("agent.sock")).unwrap();
        fs::set_permissions(home.join("agent.sock"), fs::Permissions::from_mode(0o777)).unwrap();
        let abstract_name = format!("alknet-{}", home.display());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let node = setup.start();
        let hold = "echo dear > ~/diary; sleep 600 >/dev/null 2>&1 & echo $!";
        let other = Ssh::with_key(&node, &other).run(hold);
        let other = other
            .out()
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{other}"));
        let monitor = monitor(node.pid());
        Some(Self {
            node,
            guest,
            monitor,
            other,
            port: TcpListener::bind("127.0.0.1:0").unwrap(),
            abstract_name,
            _sockets: [agent, abstract_socket],
        })
    }

    fn ssh(&self) -> Ssh {
        Ssh::with_key(&self.node, &self.guest)
    }

    fn state(&self) -> String {
        self.node.setup.state().display().to_string()
    }

    fn guests(&self) -> PathBuf {
        self.node.setup.folder().join("state-guests")
    }

    fn attack(&self) -> String {
        let home = self.node.setup.folder().display().to_string();
        ATTACK
            .replace("%STATE%", &self.state())
            .replace("%GUESTS%", &self.guests().display().to_string())
            .replace("%AGENT%", &format!("{home}/agent.sock"))
            .replace("%ABSTRACT%", &self.abstract_name)
            .replace("%HOME%", &home)
            .replace("%NODE%", &self.node.pid().to_string())
            .replace("%MONITOR%", &self.monitor.to_string())
            .replace("%OTHER%", &self.other.to_string())
            .replace(
                "%PORT%",
                &self.port.local_addr().unwrap().port().to_string(),
            )
    }

    /// All tries failed, and the node is as it was.
    fn holds(&self, said: &str) {
        let tries = ATTACK.matches("\ntry ").count();
        assert_eq!(said.matches(": shut").count(), tries, "{said}");
        assert!(!said.contains("OPEN"), "{said}");
        assert!(alive(self.node.pid()) && alive(self.monitor) && alive(self.other));
        let again = self.node.setup.on_state("status").ended();
        assert_eq!(again.code(), 0, "{again}");
    }
}

/// Whether the kernel confines anything here.
fn confines() -> bool {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    // Without securityfs nobody can tell; then the tests will.
    let there = modules.is_empty() || modules.contains("landlock");
    integration_tests::requires_that("a kernel with Landlock", there)
}

/// The monitor of a node: its child of that name.
fn monitor(node: u32) -> u32 {
    eventually("the node has a monitor", || {
        let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
            let name = status.lines().find_map(|line| line.strip_prefix("Name:"))?;
            let is = parent.trim() == node.to_string() && name.trim() == "alknet-monitor";
            is.then_some(pid)
        });
        children.min()
    })
}

#[test]
fn a_guest_with_commands_reaches_nothing_of_the_node() {
    let Some(world) = World::new(&["ssh:exec"], "") else {
        return;
    };
    let ended = world
        .ssh()
        .command("exec bash -s")
        .stdin(world.attack())
        .ended();
    world.holds(&ended.out());
}

#[test]
fn a_guest_with_a_terminal_reaches_nothing_either() {
    let Some(world) = World::new(&["ssh:exec", "ssh:shell"], "") else {
        return;
    };
    // Its own terminal is there to be written to.
    let script = world
        .attack()
        .replace("try operators-terminal tty\n", "try nothing false\n");
    let home = world.guests().join("guest");
    assert_eq!(world.ssh().run("true").code(), 0);
    fs::write(home.join("attack"), script).unwrap();
    let run = world
        .ssh()
        .program("ssh")
        .args(["-tt", "node", "bash attack"]);
    let (_, said) = Terminal::open(run, 24, 200).ended();
    world.holds(&said);
}

#[test]
fn a_guest_with_file_transfer_has_its_home_and_no_more() {
    let Some(world) = World::new(&["ssh:sftp"], "") else {
        return;
    };
    let sftp = |commands: &str| {
        world
            .ssh()
            .program("sftp")
            .args(["-q", "-b", "-", "node"])
            .dir(world.node.setup.folder())
            .stdin(commands)
            .ended()
    };
    fs::write(world.node.setup.folder().join("mine"), "text").unwrap();
    for refused in [
        format!("get {}/mnemonic", world.state()),
        format!("get {}/peers.toml", world.state()),
        format!("put mine {}/plugins/new.so", world.state()),
        format!("get {}/other/diary", world.guests().display()),
        format!("symlink {}/mnemonic link\nget link", world.state()),
        format!("get /proc/{}/mem", world.node.pid()),
        "get /proc/self/mem".to_owned(),
    ] {
        let ended = sftp(&refused);
        assert_ne!(ended.code(), 0, "{refused}: {ended}");
    }
    for stolen in ["mnemonic", "peers.toml", "diary", "link", "mem"] {
        let path = world.node.setup.folder().join(stolen);
        assert!(!path.exists(), "{stolen}");
    }
}

#[test]
fn a_guest_does_not_reach_the_admin_socket_by_a_forward() {
    let Some(world) = World::new(&["ssh:exec", "ssh:streamlocal:/**"], "") else {
        return;
    };
    let socket = world.node.setup.folder().join("forwarded.sock");
    let forward = format!("{}:{}/admin.sock", socket.display(), world.state());
    let ssh = world.ssh();
    let Ok(_tunnel) = ssh.tunnel(&["-L", &forward]) else {
        return;
    };
    let ask = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect({:?})\n\
         s.sendall(b'{{\"version\":1,\"command\":\"status\"}}\\n')\nprint(s.recv(65536).decode())",
        socket.display().to_string()
    );
    let ended = Run::new("python3").args(["-c", &ask]).ended();
    assert!(!ended.out().contains("\"ok\":true"), "{ended}");
}

/// What a Unix socket says first, when it is reached by a forward.
fn greeting(near: &std::path::Path) -> String {
    let mut said = String::new();
    let mut stream = UnixStream::connect(near).unwrap();
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn a_guest_forwards_the_unix_sockets_it_is_granted_and_no_others() {
    let Some(world) = World::new(&[], "") else {
        return;
    };
    let folder = world.node.setup.folder().canonicalize().unwrap();
    let (granted, outside) = (folder.join("granted"), folder.join("outside"));
    for directory in [&granted, &outside, &granted.join("closed")] {
        fs::create_dir(directory).unwrap();
    }
    // Who greets, and how often somebody came.
    let greeters = ["granted/s", "granted/closed/s", "outside/s"].map(|name| {
        let listener = UnixListener::bind(folder.join(name)).unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&came);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = (&stream).write_all(b"hello");
            }
        });
        came
    });
    symlink(&outside, granted.join("out")).unwrap();
    symlink("closed", granted.join("in")).unwrap();
    let setup = &world.node.setup;
    Peers::new()
        .add("owner", &setup.key, &["ssh:exec"])
        .add_guest(
            "guest",
            &world.guest,
            &[&format!("ssh:streamlocal:{}/**", granted.display())],
        )
        .write(setup);
    let denied = format!("streamlocal:{}/closed/**", granted.display());
    let denied = rules(&[("deny", &denied, &[])]);
    setup.ssh_config(&format!("forwarding.rules = {denied}"));
    let reloaded = setup.on_state("reload").ended();
    assert_eq!(reloaded.code(), 0, "{reloaded}");
    let ssh = world.ssh();
    let near = folder.join("near.sock");
    for (name, expected) in [
        ("granted/s", "hello"),
        // A rule denies it: by its own name, and by where a link leads.
        ("granted/closed/s", ""),
        ("granted/in/s", ""),
        ("granted/out/s", ""),
        ("outside/s", ""),
        ("granted/none", ""),
    ] {
        let _ = fs::remove_file(&near);
        let forward = format!("{}:{}", near.display(), folder.join(name).display());
        let tunnel = ssh.tunnel(&["-L", &forward]);
        let _tunnel = tunnel.unwrap_or_else(|ended| panic!("{ended}"));
        assert_eq!(greeting(&near), expected, "{name}");
    }
    // What is refused is not even connected to.
    let came = greeters.map(|came| came.load(Ordering::SeqCst));
    assert_eq!(came, [1, 0, 0]);
    for (name, allowed) in [
        ("granted/new", true),
        ("granted/closed/new", false),
        ("granted/in/new", false),
        ("granted/out/new", false),
        ("outside/new", false),
    ] {
        let far = folder.join(name);
        let target = folder.join("granted/s");
        let forward = format!("{}:{}", far.display(), target.display());
        match ssh.tunnel(&["-R", &forward]) {
            Ok(_tunnel) => {
                assert!(allowed, "{name}");
                assert_eq!(greeting(&far), "hello", "{name}");
                let mode = fs::metadata(&far).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{name}");
            }
            Err(ended) => assert!(!allowed, "{name}: {ended}"),
        }
        eventually("nothing is left there", || {
            fs::symlink_metadata(&far).is_err().then_some(())
        });
    }
    assert!(!outside.join("new").exists());
}

#[test]
fn the_first_accounts_of_a_node_that_runs_need_a_restart() {
    let root = rustix::process::geteuid().is_root();
    if !integration_tests::requires_that("root", root) {
        return;
    }
    let node = Setup::new().start();
    let setup = &node.setup;
    Peers::new()
        .add("owner", &setup.key, &["ssh:exec"])
        .more("owner", "accounts = [\"daemon\"]")
        .write(setup);
    let reloaded = setup.on_state("reload").ended();
    assert_eq!(reloaded.code(), 0, "{reloaded}");
    reloaded.line_with(&["the accounts of owner", "needs a restart"]);
    let listed = setup.node(&["peers", "list", "--state"]).arg(setup.state());
    let listed = listed.ended();
    assert!(listed.out().contains("as daemon"), "{listed}");
}

#[test]
fn a_guest_works_in_its_home_and_its_trees() {
    let Some(world) = World::new(&["ssh:exec"], "") else {
        return;
    };
    let folder = world.node.setup.folder();
    let (git, www) = (folder.join("git"), folder.join("www"));
    fs::create_dir(&git).unwrap();
    fs::create_dir(&www).unwrap();
    fs::write(www.join("index.html"), "hello").unwrap();
    let entry = format!(
        "files = [\"{}:rw\", \"{}:ro\"]\nnetwork = true",
        git.display(),
        www.display()
    );
    Peers::new()
        .add("owner", &world.node.setup.key, &["ssh:exec"])
        .add_guest("guest", &world.guest, &["ssh:exec"])
        .more("guest", &entry)
        .write(&world.node.setup);
    assert_eq!(world.node.setup.on_state("reload").ended().code(), 0);
    let ssh = world.ssh();
    let home = ssh.run("pwd && echo $HOME && echo hi > ~/note && cat ~/note && echo $TMPDIR > /dev/null && f=$(mktemp) && echo t > $f");
    let expected = world.guests().join("guest").display().to_string();
    assert_eq!(
        home.out(),
        format!("{expected}\n{expected}\nhi\n"),
        "{home}"
    );
    let www = www.display();
    let read = ssh.run(&format!("cat {www}/index.html"));
    assert_eq!(read.out(), "hello", "{read}");
    let written = ssh.run(&format!("echo x > {www}/index.html"));
    assert_ne!(written.code(), 0, "{written}");
    let port = world.port.local_addr().unwrap().port();
    let tcp = ssh.run(&format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'"));
    assert_eq!(tcp.code(), 0, "{tcp}");
    if requires(&["git"]) {
        let made = ssh.run(&format!("git init -q --bare {}/r.git", git.display()));
        assert_eq!(made.code(), 0, "{made}");
        let mine = folder.join("mine");
        let git_in = |dir: &std::path::Path, args: &[&str]| {
            let run = Run::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b"])
                .args(args)
                .dir(dir)
                .env("GIT_SSH_COMMAND", ssh.as_command());
            let ended = run.ended();
            assert_eq!(ended.code(), 0, "{args:?}: {ended}");
        };
        let url = format!("node:{}/r.git", git.display());
        git_in(folder, &["init", "-q", "mine"]);
        git_in(&mine, &["commit", "-q", "--allow-empty", "-m", "first"]);
        git_in(&mine, &["push", "-q", &url, "HEAD:refs/heads/main"]);
        git_in(folder, &["clone", "-q", "-b", "main", &url, "back"]);
    }
}

#[test]
fn the_owner_is_not_confined_and_may_administer() {
    let Some(world) = World::new(&[], "") else {
        return;
    };
    let ssh = Ssh::to(&world.node);
    let words = ssh.run(&format!("cat {}/mnemonic", world.state()));
    let mnemonic = fs::read_to_string(world.node.setup.state().join("mnemonic")).unwrap();
    assert_eq!(words.out(), mnemonic, "{words}");
    let status = format!(
        "{} status --state {}",
        artifacts().node.display(),
        world.state()
    );
    let status = ssh.run(&status);
    assert_eq!(status.code(), 0, "{status}");
    assert!(status.out().contains("unconfined: owner"), "{status}");
}

#[test]
fn a_tree_that_holds_the_nodes_files_is_refused() {
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "guest");
    let state = setup.state();
    for tree in [
        state.clone(),
        setup.folder().to_owned(),
        state.join("plugins"),
    ] {
        Peers::new()
            .add_guest("guest", &key, &["ssh:exec"])
            .more("guest", &format!("files = [\"{}:ro\"]", tree.display()))
            .write(&setup);
        let ended = setup.on_state("check").ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["/peers/0/files/0", "is not for peers"]);
    }
}

#[test]
fn configuration_that_others_can_change_is_refused() {
    let setup = Setup::new();
    for name in ["peers.toml", "node.toml"] {
        let path = setup.state().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        for command in ["check", "run"] {
            let ended = setup.on_state(command).ended();
            assert_ne!(ended.code(), 0, "{name} {command}: {ended}");
            ended.line_with(&[name, "is writable by group and others", "chmod go-w"]);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(setup.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let ended = setup.on_state("check").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    fs::set_permissions(setup.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(setup.on_state("check").ended().code(), 0);
}
