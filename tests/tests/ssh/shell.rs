//! Shells and terminals with stock ssh on a real terminal: what a user at a
//! keyboard notices.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use integration_tests::{
    Ended, Peers, Run, Setup, Ssh, Terminal, TestKey, TestNode, Transport, alive, eventually,
    requires, sha256, sha256_of_file,
};
use rustix::process::{Pid, Signal, kill_process};

/// A shell that says the same on every machine.
const ON: &str = "services.shell.enabled = true
services.shell.program = \"/bin/sh\"
services.exec.kill_grace_seconds = 1";

/// A node with shells, whose owner may have one.
fn node() -> Option<TestNode> {
    requires(&["ssh"]).then(|| {
        let setup = Setup::new();
        setup.ssh_config(ON).grant(&["ssh:shell"]);
        setup.listen_on_tcp();
        setup.start()
    })
}

/// `ssh node` on a terminal, at a prompt of our own.
fn shell(node: &TestNode) -> Terminal {
    let mut terminal = Terminal::open(Ssh::to(node).plain(), 24, 80);
    // In parts, so that the echo of what is typed is not it.
    terminal.types("PS1=re'ady> '\r").shows("ready> ");
    terminal
}

/// `ssh -t node command` on a terminal.
fn on_terminal(node: &TestNode, command: &str) -> Terminal {
    let run = Ssh::to(node).program("ssh").args(["-t", "node", command]);
    Terminal::open(run, 24, 80)
}

#[test]
fn switched_off_there_is_no_shell_and_no_terminal() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("services.shell.enabled = false");
    setup.grant(&["ssh:shell"]);
    let node = setup.start();
    let (status, shown) = Terminal::open(Ssh::to(&node).plain(), 24, 80).ended();
    assert_eq!(status.code(), Some(126), "{shown}");
    assert!(shown.contains("a shell is refused"), "{shown}");
    let (status, shown) = on_terminal(&node, "echo ran").ended();
    assert_eq!(status.code(), Some(126), "{shown}");
    assert!(shown.contains("services.shell.enabled = true"), "{shown}");
    assert!(!shown.contains("ran"), "{shown}");
    assert_eq!(Ssh::to(&node).run("echo ran").out(), "ran\n");
    node.logged(&[
        "request denied",
        "request=\"pty\"",
        "services.shell.enabled",
    ]);
    let shell = Ssh::to(&node).plain().arg("-T").ended();
    assert_eq!(shell.code(), 126, "{shell}");
    shell.line_with(&["a shell is refused", "services.shell.enabled = true"]);
}

#[test]
fn without_the_scope_there_is_no_shell_and_with_it_there_is() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config(ON).grant(&[]);
    let node = setup.start();
    let refused = Ssh::to(&node).plain().stdin("echo here\n").ended();
    assert_eq!(refused.status.code(), Some(126), "{refused}");
    refused.line_with(&["alknet: a shell is refused", "the scope ssh:shell"]);
    assert_eq!(refused.out(), "");
    node.logged(&["request denied", "request=\"shell\"", "ssh:shell"]);
}

#[test]
fn a_program_scope_is_that_program_and_no_more() {
    if !requires(&["ssh", "git"]) {
        return;
    }
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "git");
    let scopes = [
        "ssh:exec:git-upload-pack",
        "ssh:exec:printenv",
        "ssh:env:PAGER",
        "ssh:env:LD_PRELOAD",
        "ssh:env:GIT_SSH",
        "ssh:env:RELEASE",
    ];
    Peers::new().add("git", &key, &scopes).write(&setup);
    let node = setup.start();
    let ssh = Ssh::with_key(&node, &key);
    // On a terminal its help would open a pager, from which `!sh` is a shell.
    let run = ssh
        .program("ssh")
        .args(["-tt", "node", "git-upload-pack --help"]);
    let (status, shown) = Terminal::open(run, 24, 80).ended();
    assert_eq!(status.code(), Some(126), "{shown}");
    assert!(shown.contains("a terminal for a program"), "{shown}");
    assert!(shown.contains("ssh:shell"), "{shown}");
    let ended = ssh
        .program("ssh")
        .arg("-o")
        .arg("SetEnv=PAGER=sh LD_PRELOAD=/x GIT_SSH=/x RELEASE=1 LANG=C GIT_PROTOCOL=version=2")
        .args(["node", "printenv"])
        .ended();
    let said = ended.out();
    let has = |line: &str| said.lines().any(|one| one == line);
    assert!(
        has("PAGER=cat") && has("GIT_PAGER=cat") && has("LESSSECURE=1"),
        "{said}"
    );
    assert!(has("RELEASE=1") && has("LANG=C"), "{said}");
    assert!(
        !said.contains("LD_PRELOAD") && !said.contains("GIT_SSH="),
        "{said}"
    );
}

#[test]
fn a_login_shell_starts_at_home_with_a_clean_environment() {
    let Some(node) = node() else { return };
    let ssh = Ssh::to(&node);
    let script = "echo name $0; echo home $HOME $(pwd); echo user $USER $LOGNAME\n\
                  echo shell $SHELL; echo term ${TERM:-none} ${SSH_TTY:-none}\n\
                  echo from $SSH_CONNECTION; echo state $XDG_STATE_HOME.; exit 5\n";
    let ended = ssh.plain().arg("-T").stdin(script).ended();
    let said = ended.out();
    assert_eq!(ended.status.code(), Some(5), "{ended}");
    let line = |start: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("{ended}")).to_owned()
    };
    assert_eq!(line("name "), "-sh");
    let home = line("home ");
    let (home, folder) = home.split_once(' ').unwrap();
    assert_eq!(
        fs::canonicalize(home).unwrap(),
        fs::canonicalize(folder).unwrap()
    );
    let user = line("user ");
    let (user, logname) = user.split_once(' ').unwrap();
    assert_eq!(user, logname);
    assert_eq!(line("shell "), "/bin/sh");
    assert_eq!(line("term "), "none none");
    assert!(line("from ").starts_with("127.0.0.1 "), "{ended}");
    assert_eq!(line("state "), ".");

    let mut terminal = shell(&node);
    terminal
        .types("echo \"<$TERM $SSH_TTY $(tty)>\"\r")
        .shows("<xterm ");
    let ttys = terminal.shows(">");
    let (variable, program) = ttys.split_once(' ').unwrap();
    assert!(variable.starts_with("/dev/"), "{ttys}");
    assert_eq!(variable, program);
}

#[test]
fn a_user_resizes_interrupts_suspends_and_leaves_with_a_status() {
    let Some(node) = node() else { return };
    let mut terminal = shell(&node);
    terminal.types("stty size\r").shows("24 80");
    terminal
        .types("trap 'echo size $(stty size)' WINCH; echo trap''ped\r")
        .shows("trapped");
    terminal.resize(50, 132);
    // The shell tends to traps once it has something to do.
    eventually("the new size arrives", || {
        terminal.types("\r");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.all().contains("size 50 132").then_some(())
    });
    terminal.types("stty size\r").shows("50 132");

    terminal.types("echo now; sleep 1000\r").shows("now\r\n");
    terminal.types("\x03").shows("ready> ");
    terminal.types("echo caught $?\r").shows("caught 130");

    terminal
        .types("sh -c 'echo started; read line; echo got $line'\r")
        .shows("started\r\n");
    terminal.types("\x1a").shows("ready> ");
    terminal.types("jobs\r").shows("topped");
    terminal.types("fg\r").shows("read line");
    terminal.types("words\r").shows("got words");

    terminal.shows("ready> ");
    terminal.types("exit 7\r");
    let (status, shown) = terminal.ended();
    assert_eq!(status.code(), Some(7), "{shown}");
}

#[test]
fn a_full_screen_program_works() {
    if !requires(&["vi"]) {
        return;
    }
    let Some(node) = node() else { return };
    let file = node.setup.folder().join("letter");
    fs::write(&file, "first line\n").unwrap();
    let mut terminal = on_terminal(&node, &format!("vi -u NONE {}", file.display()));
    terminal.shows("first line");
    terminal.resize(40, 100);
    terminal.types("osecond line\x1b");
    terminal.shows("second line");
    terminal.types(":wq\r");
    let (status, shown) = terminal.ended();
    assert!(status.success(), "{shown}");
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "first line\nsecond line\n"
    );
}

#[test]
fn the_modes_of_the_users_terminal_are_taken_over() {
    let Some(node) = node() else { return };
    let ssh = Ssh::to(&node).as_command();
    let command = format!("stty intr ^G -ixon; exec {ssh} -t node 'stty -a; echo the e''nd'");
    let mut terminal = Terminal::open(Run::new("sh").args(["-c", &command]), 24, 80);
    let modes = terminal.shows("the end");
    assert!(modes.contains("intr = ^G"), "{modes}");
    assert!(modes.contains("-ixon"), "{modes}");
    assert!(modes.contains(" echo "), "{modes}");
}

#[test]
fn commands_on_a_terminal_end_as_they_ended() {
    let Some(node) = node() else { return };
    let (status, shown) = on_terminal(&node, "test -t 0 && test -t 2 && exit 3").ended();
    assert_eq!(status.code(), Some(3), "{shown}");
    let (status, _) = on_terminal(&node, "kill -9 $$").ended();
    assert_eq!(status.code(), Some(255));
    let (status, shown) = on_terminal(&node, "sleep 1000 & echo started").ended();
    assert!(status.success() && shown.contains("started"), "{shown}");
    let (status, shown) = on_terminal(&node, "exec /nowhere/at/all").ended();
    assert_eq!(status.code(), Some(127), "{shown}");
}

#[test]
fn bytes_pass_a_raw_terminal_unharmed_in_both_directions() {
    let Some(node) = node() else { return };
    let file = node.setup.folder().join("bytes");
    let bytes: Vec<u8> = (0..20_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(&file, &bytes).unwrap();
    let ssh = Ssh::to(&node);
    let raw = |command: &str| {
        let command = format!("stty raw -echo; {command}");
        ssh.program("ssh")
            .args(["-tt", "-e", "none", "node", &command])
    };
    let down = raw(&format!("cat {}", file.display())).ended();
    assert_eq!(sha256(&down.stdout), sha256_of_file(&file));

    // What is typed before the terminal is raw would be edited as a line.
    let copy = node.setup.folder().join("copy");
    let command = format!("echo raw; head -c {} > {}", bytes.len(), copy.display());
    let mut up = raw(&command)
        .into_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 3];
    up.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"raw");
    up.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    assert!(up.wait().unwrap().success());
    assert_eq!(sha256_of_file(&copy), sha256_of_file(&file));
}

#[test]
fn a_user_who_is_gone_hangs_up_and_what_runs_in_the_background_stays() {
    let Some(node) = node() else { return };
    let mut terminal = shell(&node);
    terminal.types("echo me''=$$.\r").shows("me=");
    let itself: u32 = terminal.shows(".").parse().unwrap();
    terminal
        .types("nohup sleep 1000 >/dev/null 2>&1 & echo one''=$!.\r")
        .shows("one=");
    let behind: u32 = terminal.shows(".").parse().unwrap();
    terminal
        .types("setsid sh -c 'trap \"\" HUP TERM; echo two\"\"=$$.; while :; do sleep 1; done' &\r")
        .shows("two=");
    let stubborn: u32 = terminal.shows(".").parse().unwrap();
    let ssh = Pid::from_raw(i32::try_from(terminal.id()).unwrap()).unwrap();
    kill_process(ssh, Signal::KILL).unwrap();
    eventually("the shell hangs up", || (!alive(itself)).then_some(()));
    assert!(alive(behind) && alive(stubborn));

    let mut peers = Peers::new();
    peers.add("owner", &node.setup.key, &["ssh:exec"]);
    peers.write(&node.setup);
    node.setup.on_state("reload").output();
    for pid in [behind, stubborn] {
        eventually("what was left behind ends with the scope", || {
            (!alive(pid)).then_some(())
        });
    }
}

#[test]
fn a_shell_ends_when_its_scope_is_taken_back() {
    let Some(node) = node() else { return };
    let mut terminal = shell(&node);
    terminal.types("echo me''=$$.\r").shows("me=");
    let shell: u32 = terminal.shows(".").parse().unwrap();
    let mut peers = Peers::new();
    peers.add("owner", &node.setup.key, &["ssh:exec"]);
    peers.write(&node.setup);
    node.setup.on_state("reload").output();
    terminal.shows("no longer permitted");
    eventually("the shell ends", || (!alive(shell)).then_some(()));
}

#[test]
fn a_user_who_stops_reading_holds_up_nobody_else() {
    let Some(node) = node() else { return };
    let mut terminal = on_terminal(&node, "echo pid=$$.; exec yes");
    terminal.shows("pid=");
    let yes: u32 = terminal.shows(".").parse().unwrap();
    let ssh = Pid::from_raw(i32::try_from(terminal.id()).unwrap()).unwrap();
    kill_process(ssh, Signal::STOP).unwrap();
    for transport in [Transport::Quic, Transport::Tcp] {
        let other = Ssh::over(transport, &node, &node.setup.key);
        assert_eq!(other.run("echo here").out(), "here\n");
    }
    kill_process(ssh, Signal::CONT).unwrap();
    terminal.types("\x03");
    terminal.ended();
    eventually("the command ends", || (!alive(yes)).then_some(()));
}

#[test]
fn a_client_that_dies_leaves_no_terminal_behind() {
    let Some(node) = node() else { return };
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", node.pid()))
            .unwrap()
            .count()
    };
    let ended: Ended = Ssh::to(&node).run("true");
    assert!(ended.status.success());
    let before = eventually("the node is quiet", || {
        let count = descriptors();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (count == descriptors()).then_some(count)
    });
    for _ in 0..10 {
        shell(&node);
    }
    eventually("all descriptors are given back", || {
        (descriptors() <= before + 1).then_some(())
    });
}
