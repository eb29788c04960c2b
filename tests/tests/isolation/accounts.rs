//! A node that root starts with Unix accounts, in a mount and network namespace
//! with users of its own: what the accounts are, who may have them, and what an
//! account that attacks the node reaches. SECURITY.md has a table of it.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use integration_tests::{
    Peers, Run, Setup, Ssh, Terminal, TestKey, TestNode, alive, artifacts, eventually, requires,
    requires_that,
};
use rustix::process::Signal;

/// Ids that nobody has.
const NETWORK: u32 = 64_201;
const DEPLOY: u32 = 64_202;
const WWW: u32 = 64_203;
const SHARED: u32 = 64_210;

/// Where the accounts and the program are, for a test in its namespace.
const DIRECTORY: &str = "ALKNET_TEST_ACCOUNTS";

/// Files of the system that the namespace has of its own.
const DATABASES: [&str; 3] = ["passwd", "group", "shadow"];

/// Whether this process is in a namespace with accounts. If not, the test is
/// run again in one, and this process has nothing left to do.
fn in_namespace(test: &str) -> bool {
    if std::env::var_os(DIRECTORY).is_some() {
        return true;
    }
    let root = rustix::process::geteuid().is_root();
    if !requires(&["unshare", "mount", "ip", "ssh", "python3"])
        || !requires_that("root", root)
        || !requires_that(
            "mount namespaces",
            Run::new("unshare")
                .args(["-m", "-n", "true"])
                .ended()
                .code()
                == 0,
        )
    {
        return false;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    make_databases(path);
    for (home, id) in [("home-deploy", DEPLOY), ("home-www", WWW)] {
        let home = path.join(home);
        fs::create_dir(&home).unwrap();
        chown(&home, Some(id), Some(id)).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    }
    // Where everybody may run it, whatever the place of the workspace.
    let program = path.join("alknet-node");
    fs::write(&program, "").unwrap();
    let built = artifacts();
    let script = "set -e
        for file in passwd group shadow; do mount --bind \"$0/$file\" \"/etc/$file\"; done
        mount --bind \"$1\" \"$0/alknet-node\"
        ip link set lo up
        shift; exec \"$@\"";
    let test_program = std::env::current_exe().unwrap();
    let ended = Run::new("unshare")
        .args(["-m", "-n", "sh", "-c", script])
        .arg(path)
        .arg(&built.node)
        .arg(test_program)
        .args(["--exact", &format!("accounts::{test}"), "--nocapture"])
        .env(DIRECTORY, path)
        .env("ALKNET_TEST_NODE", &program)
        .env("ALKNET_TEST_CLIENT", &built.client)
        .env("ALKNET_TEST_PLUGIN", &built.plugin)
        .env("ALKNET_TEST_FIXTURE", &built.odd)
        .env("ALKNET_TEST_ECHO", &built.echo)
        .env("ALKNET_TEST_CA", &built.ca)
        .ended();
    assert_eq!(ended.code(), 0, "{ended}");
    false
}

/// The machine's users and three more.
fn make_databases(directory: &Path) {
    let user = |name: &str, id: u32, home: &Path| {
        format!("{name}:x:{id}:{id}::{}:/bin/bash\n", home.display())
    };
    let more = [
        [
            user("alknet", NETWORK, Path::new("/nonexistent")),
            user("deploy", DEPLOY, &directory.join("home-deploy")),
            user("www", WWW, &directory.join("home-www")),
        ]
        .concat(),
        format!(
            "alknet:x:{NETWORK}:\ndeploy:x:{DEPLOY}:\nwww:x:{WWW}:\nshared:x:{SHARED}:deploy,www\n"
        ),
        ["alknet", "deploy", "www"]
            .map(|name| format!("{name}:*:19000:0:99999:7:::\n"))
            .concat(),
    ];
    let ours = ["alknet", "deploy", "www", "shared"];
    for (file, more) in DATABASES.into_iter().zip(more) {
        let real = Path::new("/etc").join(file);
        let text = fs::read_to_string(&real).unwrap();
        // Users of those names that the machine has itself.
        let others = text
            .lines()
            .filter(|line| !ours.contains(&line.split(':').next().unwrap_or_default()));
        let others: String = others.map(|line| format!("{line}\n")).collect();
        let copy = directory.join(file);
        fs::write(&copy, others + &more).unwrap();
        fs::set_permissions(&copy, fs::metadata(&real).unwrap().permissions()).unwrap();
    }
}

fn home(account: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(DIRECTORY).unwrap()).join(format!("home-{account}"))
}

const ALL: [&str; 4] = ["ssh:exec", "ssh:shell", "ssh:sftp", "ssh:streamlocal:/**"];

/// A node with two accounts for its owner, and more peers.
struct World {
    node: TestNode,
    /// Has the account `deploy`, confined to its home and no files.
    confined: TestKey,
    /// Has no account.
    nobody: TestKey,
}

impl World {
    fn new() -> Self {
        Self::with("")
    }

    /// With those lines in the configuration.
    fn with(accounts: &str) -> Self {
        let setup = Setup::new();
        // An account's login shell is what is tried here.
        setup.replace("services.exec.shell = \"/bin/sh\"\n", "");
        let folder = setup.folder();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        let confined = TestKey::make(folder, "confined");
        let nobody = TestKey::make(folder, "nobody");
        let git = folder.join("srv-git");
        fs::create_dir(&git).unwrap();
        chown(&git, Some(DEPLOY), Some(SHARED)).unwrap();
        let host_key = TestKey::make(&setup.state(), "host_key");
        assert!(host_key.file.exists());
        setup.replace("[log]\n", "host_key_files = [\"host_key\"]\n\n[log]\n");
        if !accounts.is_empty() {
            setup.append("node.toml", &format!("\n[accounts]\n{accounts}\n"));
        }
        Self::peers(&setup, &confined, &nobody).write(&setup);
        setup
            .node(&["secret", "set", "proxy", "--state"])
            .arg(setup.state())
            .stdin("user:password")
            .output();
        Self {
            node: setup.start(),
            confined,
            nobody,
        }
    }

    fn peers(setup: &Setup, confined: &TestKey, nobody: &TestKey) -> Peers {
        let git = setup.folder().join("srv-git");
        let mut peers = Peers::new();
        peers
            .add_guest("owner", &setup.key, &ALL)
            .more("owner", "accounts = [\"deploy\", \"www\"]")
            .add_guest("confined", confined, &ALL)
            .more(
                "confined",
                &format!(
                    "accounts = [\"deploy\"]\nfiles = [\"{}:rw\"]",
                    git.display()
                ),
            )
            .add_guest("nobody", nobody, &ALL);
        peers
    }

    fn ssh(&self, account: &str) -> Ssh {
        self.ssh_as(&self.node.setup.key, account)
    }

    fn ssh_as(&self, key: &TestKey, account: &str) -> Ssh {
        let ssh = Ssh::with_key(&self.node, key);
        ssh.configure(&format!("Host node\n    User {account}"));
        ssh
    }

    fn state(&self) -> PathBuf {
        self.node.setup.state()
    }

    /// The process that talks to the network: the monitor's child.
    fn network_process(&self) -> u32 {
        let monitor = self.node.pid().to_string();
        eventually("the monitor has a child", || {
            let path = format!("/proc/{monitor}/task/{monitor}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            let mut children = children.split_whitespace().filter_map(|id| id.parse().ok());
            children.find(|id: &u32| {
                fs::metadata(format!("/proc/{id}/task")).is_ok_and(|_| uid_of(*id) == NETWORK)
            })
        })
    }
}

/// The user id of a process.
fn uid_of(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let first = line.and_then(|line| line.split_whitespace().next());
    first.and_then(|id| id.parse().ok()).unwrap_or(u32::MAX)
}

#[test]
fn a_peer_is_the_account_that_it_asks_for() {
    if !in_namespace("a_peer_is_the_account_that_it_asks_for") {
        return;
    }
    let world = World::new();
    assert_eq!(uid_of(world.node.pid()), 0);
    assert_eq!(uid_of(world.network_process()), NETWORK);
    for (account, id) in [("deploy", DEPLOY), ("www", WWW)] {
        let ssh = world.ssh(account);
        let home = home(account);
        let said = ssh.run("id -un; id -gn; id -Gn; pwd; umask; echo $HOME $USER $SHELL; touch made; mkdir d; kill -0 $PPID || echo kept");
        let expected = format!(
            "{account}\n{account}\n{account} shared\n{0}\n0022\n{0} {account} /bin/bash\nkept\n",
            home.display()
        );
        assert_eq!(said.out(), expected, "{said}");
        let made = fs::metadata(home.join("made")).unwrap();
        assert_eq!((made.uid(), made.gid()), (id, id));
        assert_eq!(made.mode() & 0o777, 0o644);
        assert_eq!(fs::metadata(home.join("d")).unwrap().mode() & 0o777, 0o755);
        // A shell on a terminal that is the account's.
        let run = ssh.program("ssh").args([
            "-tt",
            "node",
            "id -un; stat -c %U $(tty); echo $0 | sed s,.*/,,",
        ]);
        let (_, said) = Terminal::open(run, 24, 80).ended();
        assert!(
            said.contains(&format!("{account}\r\n{account}\r\n")),
            "{said}"
        );
        // Files by sftp.
        let file = world.node.setup.folder().join(format!("upload-{account}"));
        fs::write(&file, "text").unwrap();
        let sftp = ssh
            .program("sftp")
            .args(["-q", "-b", "-", "node"])
            .stdin(format!(
                "pwd\nput {} up\nget up {}.back\n",
                file.display(),
                file.display()
            ))
            .ended();
        assert_eq!(sftp.code(), 0, "{sftp} {}", world.node.log());
        assert!(sftp.out().contains(&home.display().to_string()), "{sftp}");
        let up = fs::metadata(home.join("up")).unwrap();
        assert_eq!((up.uid(), up.gid()), (id, id));
        assert_eq!(
            fs::read(format!("{}.back", file.display())).unwrap(),
            b"text"
        );
    }
    // Each keeps to itself.
    let other = world
        .ssh("www")
        .run(&format!("cat {}/made", home("deploy").display()));
    assert_ne!(other.code(), 0, "{other}");
    // The rights of the files beside it.
    let state = world.state();
    for (name, user, group, mode) in [
        ("", 0, NETWORK, 0o750),
        ("mnemonic", 0, 0, 0o600),
        ("secrets.json", 0, 0, 0o600),
        ("host_key", 0, 0, 0o600),
        ("node.toml", 0, NETWORK, 0o640),
        ("peers.toml", 0, NETWORK, 0o640),
        ("plugins", 0, NETWORK, 0o750),
        ("run", NETWORK, NETWORK, 0o700),
    ] {
        let found = fs::metadata(state.join(name)).unwrap();
        let found = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(found, (user, group, mode), "{name}");
    }
    // Root administers it, and a stop ends with the node's status.
    assert_eq!(world.node.setup.on_state("status").ended().code(), 0);
    let check = world.node.setup.on_state("check").ended();
    assert_eq!(check.code(), 0, "{check}");
    let on_state = |words: &[&str]| {
        world
            .node
            .setup
            .node(words)
            .arg("--state")
            .arg(world.state())
    };
    let set = on_state(&["secret", "set", "other"]).stdin("value").ended();
    assert!(set.out().contains("has it after its next start"), "{set}");
    let peers = on_state(&["peers", "list"]).ended();
    for words in ["as deploy,www", "as deploy, confined", "none: no account"] {
        assert!(peers.out().contains(words), "{peers}");
    }
    let second = world.node.setup.on_state("run").ended();
    assert_ne!(second.code(), 0, "{second}");
    second.line_with(&["a node already serves"]);
    let stopped = world.node.stop();
    assert!(
        stopped.status.success(),
        "{:?} {}",
        stopped.status,
        stopped.log
    );
}

#[test]
fn only_the_accounts_of_a_peer_are_given() {
    if !in_namespace("only_the_accounts_of_a_peer_are_given") {
        return;
    }
    let world = World::new();
    for (key, account) in [
        (&world.node.setup.key, "root"),
        (&world.node.setup.key, "alknet"),
        (&world.node.setup.key, "nosuchaccount"),
        (&world.confined, "www"),
    ] {
        let said = world.ssh_as(key, account).run("id");
        assert_eq!(said.code(), 255, "{account}: {said}");
        assert!(
            said.err().contains("Permission denied"),
            "{account}: {said}"
        );
    }
    // No account, no process.
    let said = world.ssh_as(&world.nobody, "deploy").run("id");
    assert_ne!(said.code(), 0, "{said}");
    assert!(!said.out().contains("uid="), "{said}");
    // Accounts come and go with the peers file.
    let setup = &world.node.setup;
    let mut peers = World::peers(setup, &world.confined, &world.nobody);
    peers.more("owner", "accounts = [\"www\"]");
    peers.more("nobody", "accounts = [\"deploy\"]");
    peers.write(setup);
    // As an editor leaves it that knows nothing of the group.
    let closed = setup.on_state("reload").ended();
    assert_ne!(closed.code(), 0, "{closed}");
    closed.line_with(&["peers.toml", "ermission denied"]);
    chown(setup.state().join("peers.toml"), Some(0), Some(NETWORK)).unwrap();
    let open = Permissions::from_mode(0o640);
    fs::set_permissions(setup.state().join("peers.toml"), open).unwrap();
    let reloaded = setup.on_state("reload").ended();
    assert_eq!(reloaded.code(), 0, "{reloaded}");
    assert_eq!(world.ssh("deploy").run("id").code(), 255);
    assert_eq!(world.ssh("www").run("id -un").out(), "www\n");
    let now = world.ssh_as(&world.nobody, "deploy").run("id -un");
    assert_eq!(now.out(), "deploy\n", "{now}");
    // By SIGHUP, through the monitor, and with our own command.
    let taken = setup.node(&["peers", "revoke", "nobody", "ssh:exec", "--state"]);
    assert_eq!(taken.arg(setup.state()).ended().code(), 0);
    world.node.signal(Signal::HUP);
    eventually("the scope is gone", || {
        (world.ssh_as(&world.nobody, "deploy").run("id").code() != 0).then_some(())
    });
}

#[test]
fn the_default_account_stands_for_other_names_and_root_is_asked_for() {
    if !in_namespace("the_default_account_stands_for_other_names_and_root_is_asked_for") {
        return;
    }
    let world = World::with("default_account = \"www\"");
    for (key, name, account) in [
        (&world.node.setup.key, "whoever", "www"),
        (&world.node.setup.key, "root", "www"),
        (&world.node.setup.key, "deploy", "deploy"),
        (&world.nobody, "nobody", "www"),
    ] {
        let said = world.ssh_as(key, name).run("id -un");
        assert_eq!(said.out(), format!("{account}\n"), "{name}: {said}");
    }
    // Whoever may be root is told so; the node does not start otherwise.
    let setup = world.node.stop().setup;
    let key = &setup.key;
    Peers::new()
        .add_guest("owner", key, &ALL)
        .more("owner", "accounts = [\"root\"]")
        .write(&setup);
    for command in ["check", "run"] {
        let ended = setup.on_state(command).ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["owner", "root", "allow_root"]);
    }
    setup.replace("default_account", "allow_root = true\ndefault_account");
    let node = setup.start();
    let ssh = Ssh::to(&node);
    ssh.configure("Host node\n    User root");
    let said = ssh.run("id -u");
    assert_eq!(said.out(), "0\n", "{said}");
    // Nor may a root of a peer administer the node.
    let admin = node.setup.state().join("run/admin.sock");
    let asked = ssh.run(&ask(&admin));
    assert!(!asked.out().contains("\"ok\":true"), "{asked}");
    node.logged(&["owner", "refused at the admin socket"]);
}

/// Asks the admin socket for its status.
fn ask(socket: &Path) -> String {
    format!(
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(20); \
         s.connect(\"{}\"); s.sendall(b\"{{\\\"version\\\":1,\\\"command\\\":\\\"status\\\"}}\\n\"); \
         print(s.recv(65536).decode())'",
        socket.display()
    )
}

#[test]
fn sockets_are_opened_and_made_as_the_account() {
    if !in_namespace("sockets_are_opened_and_made_as_the_account") {
        return;
    }
    let world = World::new();
    // -L: of the account's own socket, and not of another's.
    let path = home("deploy").join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    chown(&path, Some(DEPLOY), Some(DEPLOY)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"hello");
        }
    });
    let near = world.node.setup.folder().join("near.sock");
    for (account, expected) in [("www", ""), ("deploy", "hello")] {
        let _ = fs::remove_file(&near);
        let forward = format!("{}:{}", near.display(), path.display());
        let tunnel = world.ssh(account).tunnel(&["-L", &forward]);
        let _tunnel = tunnel.unwrap_or_else(|ended| panic!("{ended}"));
        let mut said = String::new();
        let mut stream = UnixStream::connect(&near).unwrap();
        let _ = stream.read_to_string(&mut said);
        assert_eq!(said, expected, "{account}");
    }
    // -R: the account owns what is made, and makes it where it may.
    let far = home("deploy").join("far.sock");
    let target = UnixListener::bind(world.node.setup.folder().join("target.sock")).unwrap();
    let _ = &target;
    let forward = format!(
        "{}:{}/target.sock",
        far.display(),
        world.node.setup.folder().display()
    );
    assert!(world.ssh("www").tunnel(&["-R", &forward]).is_err());
    let tunnel = world.ssh("deploy").tunnel(&["-R", &forward]);
    let _tunnel = tunnel.unwrap_or_else(|ended| panic!("{ended}"));
    let made = fs::metadata(&far).unwrap();
    assert_eq!(made.uid(), DEPLOY);
    assert_eq!(made.mode() & 0o077, 0);
}

#[test]
fn git_and_rsync_work_as_each_account() {
    if !in_namespace("git_and_rsync_work_as_each_account") || !requires(&["git", "rsync"]) {
        return;
    }
    let world = World::new();
    let folder = world.node.setup.folder();
    let mine = folder.join("mine");
    let git = |dir: &Path, ssh: &Ssh, args: &[&str]| {
        let ended = Run::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(args)
            .dir(dir)
            .env("HOME", folder)
            .env("GIT_SSH_COMMAND", ssh.as_command())
            .ended();
        assert_eq!(ended.code(), 0, "{args:?}: {ended}");
    };
    for (account, id) in [("deploy", DEPLOY), ("www", WWW)] {
        let ssh = world.ssh(account);
        let made = ssh.run("git init -q --bare r.git");
        assert_eq!(made.code(), 0, "{made}");
        if !mine.exists() {
            git(folder, &ssh, &["init", "-q", "mine"]);
            git(
                &mine,
                &ssh,
                &["commit", "-q", "--allow-empty", "-m", "first"],
            );
        }
        git(
            &mine,
            &ssh,
            &["push", "-q", "node:r.git", "HEAD:refs/heads/main"],
        );
        let back = format!("back-{account}");
        git(
            folder,
            &ssh,
            &["clone", "-q", "-b", "main", "node:r.git", &back],
        );
        let pushed = fs::metadata(home(account).join("r.git/refs/heads/main")).unwrap();
        assert_eq!(pushed.uid(), id);
        fs::write(folder.join("sent"), "text").unwrap();
        let copied = Run::new("rsync")
            .args(["-e", &ssh.as_command()])
            .arg(folder.join("sent"))
            .arg("node:received")
            .ended();
        assert_eq!(copied.code(), 0, "{copied}");
        assert_eq!(
            fs::metadata(home(account).join("received")).unwrap().uid(),
            id
        );
    }
    // A confined account pushes to its tree.
    let ssh = world.ssh_as(&world.confined, "deploy");
    let tree = folder.join("srv-git/r.git");
    let made = ssh.run(&format!("git init -q --bare {}", tree.display()));
    assert_eq!(made.code(), 0, "{made}");
    let url = format!("node:{}", tree.display());
    git(&mine, &ssh, &["push", "-q", &url, "HEAD:refs/heads/main"]);
    assert_eq!(
        fs::metadata(tree.join("refs/heads/main")).unwrap().uid(),
        DEPLOY
    );
}

/// Tries everything, and says of each whether it was open to it.
const ATTACK: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: OPEN"; else echo "$name: shut"; fi; }
into() { printf x >> "$1"; }
from() { head -c 1 < "$1"; }
tty() { echo x > /dev/tty; }
memory() ( exec 3<"/proc/$1/mem" )
echo "begin"
try mnemonic from '%STATE%/mnemonic'
try mnemonic-by-the-node from '/proc/%NODE%/root%STATE%/mnemonic'
try mnemonic-by-the-monitor from '/proc/%MONITOR%/root%STATE%/mnemonic'
try secrets from '%STATE%/secrets.json'
try host-key from '%STATE%/host_key'
try read-peers from '%STATE%/peers.toml'
try change-peers into '%STATE%/peers.toml'
try change-node into '%STATE%/node.toml'
try list-state ls '%STATE%'
try plugins into '%STATE%/plugins/libalknet_ssh_plugin.so'
try staged ls '%STATE%/run/staging'
try change-mode chmod 777 '%STATE%'
try other-home from '%OTHERS%/diary'
try memory memory '%NODE%'
try monitors-memory memory '%MONITOR%'
try environment from '/proc/%NODE%/environ'
try descriptors ls '/proc/%NODE%/fd/'
try signal kill -CONT '%NODE%'
try signal-monitor kill -CONT '%MONITOR%'
try signal-keeper kill -CONT "$PPID"
try signal-other kill -CONT '%OTHER%'
try slow-down renice -n 19 -p '%NODE%'
try limit prlimit --pid '%NODE%' --nofile=3:3
try admin-socket python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("%STATE%/run/admin.sock")'
try trace python3 -c 'import ctypes,sys; sys.exit(ctypes.CDLL(None).ptrace(16,%NODE%,0,0) != 0)'
try operators-terminal tty
try mount mount -t tmpfs none /mnt
try become-root setpriv --reuid 0 true
try become-other setpriv --reuid %OTHER_ID% true
try network-user setpriv --reuid %NETWORK% true
"#;

/// What only those try who are confined to their files.
const CONFINED: &str = r#"
try abstract-socket python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("\0%ABSTRACT%")'
try other-tree ls '%FOLDER%'
try write-outside into '%FOLDER%/open'
"#;

#[test]
fn an_account_that_attacks_reaches_nothing() {
    if !in_namespace("an_account_that_attacks_reaches_nothing") {
        return;
    }
    let world = World::new();
    let folder = world.node.setup.folder();
    fs::write(folder.join("open"), "").unwrap();
    fs::set_permissions(folder.join("open"), Permissions::from_mode(0o666)).unwrap();
    let abstract_name = format!("alknet-{}", folder.display());
    let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let _abstract_socket = UnixListener::bind_addr(&address).unwrap();
    let hold = "umask 077; echo dear > diary; sleep 600 >/dev/null 2>&1 & echo $!";
    let other = world.ssh("www").run(hold);
    let other: u32 = other
        .out()
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{other}"));
    let (node, monitor) = (world.network_process(), world.node.pid());
    let fill = |text: &str| {
        text.replace("%STATE%", &world.state().display().to_string())
            .replace("%FOLDER%", &folder.display().to_string())
            .replace("%OTHERS%", &home("www").display().to_string())
            .replace("%ABSTRACT%", &abstract_name)
            .replace("%NODE%", &node.to_string())
            .replace("%MONITOR%", &monitor.to_string())
            .replace("%OTHER%", &other.to_string())
            .replace("%OTHER_ID%", &WWW.to_string())
            .replace("%NETWORK%", &NETWORK.to_string())
    };
    let confined = format!("{ATTACK}{CONFINED}");
    for (key, script) in [
        (&world.node.setup.key, ATTACK),
        (&world.confined, confined.as_str()),
    ] {
        let ssh = world.ssh_as(key, "deploy");
        // Its parent is then the keeper.
        let said = ssh.command("exec bash -s").stdin(fill(script)).ended();
        let tries = script.matches("\ntry ").count();
        let shut = said.out().matches(": shut").count();
        assert_eq!(shut, tries, "{said}");
        assert!(!said.out().contains("OPEN"), "{said}");
        // By file transfer, and by a forward.
        for refused in [
            format!("get {}/mnemonic", world.state().display()),
            format!("get {}/secrets.json", world.state().display()),
            format!("get {}/diary", home("www").display()),
            format!("get /proc/{node}/mem"),
            format!("get /proc/{monitor}/mem"),
        ] {
            let sftp = ssh
                .program("sftp")
                .args(["-q", "-b", "-", "node"])
                .dir(folder);
            let ended = sftp.stdin(refused.as_str()).ended();
            assert_ne!(ended.code(), 0, "{refused}: {ended}");
        }
        let socket = folder.join("forwarded.sock");
        let _ = fs::remove_file(&socket);
        let admin = world.state().join("run/admin.sock");
        let forward = format!("{}:{}", socket.display(), admin.display());
        if let Ok(_tunnel) = ssh.tunnel(&["-L", &forward]) {
            let asked = Run::new("sh").args(["-c", &ask(&socket)]).ended();
            assert!(!asked.out().contains("\"ok\":true"), "{asked}");
        }
    }
    assert!(alive(node) && alive(monitor) && alive(other));
    assert_eq!(world.node.setup.on_state("status").ended().code(), 0);
}

#[test]
fn plugins_are_swapped_and_the_monitor_and_the_node_end_together() {
    if !in_namespace("plugins_are_swapped_and_the_monitor_and_the_node_end_together") {
        return;
    }
    let world = World::new();
    let hold = |ssh: &Ssh| -> u32 {
        let said = ssh.run("sleep 600 >/dev/null 2>&1 & echo $!");
        said.out()
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{said}"))
    };
    let job = hold(&world.ssh("deploy"));
    // A version that root puts in place serves from its own copy.
    let setup = &world.node.setup;
    setup.install(&artifacts().plugin, "libalknet_ssh_plugin.so");
    let swap = setup.node(&["plugins", "reload", "ssh", "--force", "--state"]);
    let swapped = swap.arg(setup.state()).ended();
    assert_eq!(swapped.code(), 0, "{swapped}");
    assert_eq!(world.ssh("www").run("id -un").out(), "www\n");
    assert!(alive(job));
    // The node killed: its jobs end, and the monitor with its status.
    let kill = |process: u32| {
        let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap());
        rustix::process::kill_process(process.unwrap(), Signal::KILL).unwrap();
    };
    kill(world.network_process());
    let stopped = world.node.wait();
    assert_eq!(stopped.status.code(), Some(128 + 9), "{}", stopped.log);
    eventually("the job ends", || (!alive(job)).then_some(()));
    // The monitor killed: the node ends.
    let node = stopped.setup.start();
    let world = World {
        node,
        confined: world.confined,
        nobody: world.nobody,
    };
    let network = world.network_process();
    world.node.signal(Signal::KILL);
    eventually("the node ends", || (!alive(network)).then_some(()));
}

#[test]
fn a_start_without_the_account_for_the_network_says_how_to_make_it() {
    if !in_namespace("a_start_without_the_account_for_the_network_says_how_to_make_it") {
        return;
    }
    let setup = Setup::new();
    fs::set_permissions(setup.folder(), Permissions::from_mode(0o755)).unwrap();
    setup.append("node.toml", "\n[accounts]\nnetwork_user = \"nosuchuser\"\n");
    for command in ["check", "run"] {
        let ended = setup.on_state(command).ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["nosuchuser", "useradd --system"]);
    }
    // A state directory that it cannot reach.
    setup.replace("nosuchuser", "alknet");
    fs::set_permissions(setup.folder(), Permissions::from_mode(0o700)).unwrap();
    for command in ["check", "run"] {
        let ended = setup.on_state(command).ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["alknet", "cannot reach", "is closed to it"]);
    }
}
