//! Stock OpenSSH, and what people run through it, against a real node.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use integration_tests::{
    HANG, Random, Run, Setup, Ssh, TestKey, TestNode, alive, eventually, requires, sha256_of_file,
};

const BULK: usize = 100 * 1024 * 1024;

fn node() -> Option<(TestNode, Ssh)> {
    requires(&["ssh"]).then(|| {
        let node = Setup::new().start();
        let ssh = Ssh::to(&node);
        (node, ssh)
    })
}

#[test]
fn exit_statuses_come_back() {
    let Some((_node, ssh)) = node() else { return };
    for status in [0, 3, 7, 255] {
        let ended = ssh.run(&format!("exit {status}"));
        assert_eq!(ended.code(), status, "{ended}");
        assert_eq!((ended.out(), ended.err()), (String::new(), String::new()));
    }
}

#[test]
fn a_command_ended_by_a_signal_is_reported_as_such() {
    let Some((_node, ssh)) = node() else { return };
    // ssh(1) has no status for a signal: it says 255, and with -v which one.
    let ended = ssh
        .program("ssh")
        .args(["-v", "node", "kill -KILL $$"])
        .ended();
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["exit-signal"]);
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let Some((_node, ssh)) = node() else { return };
    let ended = ssh.run("echo to out; echo to err >&2; cat; exit 5");
    assert_eq!(ended.code(), 5, "{ended}");
    assert_eq!(ended.out(), "to out\n");
    assert_eq!(ended.err(), "to err\n");
}

#[test]
fn standard_input_reaches_the_command_and_ends() {
    let Some((_node, ssh)) = node() else { return };
    let ended = ssh.command("wc -c; echo end").stdin("1234567").ended();
    assert_eq!(ended.out(), "7\nend\n", "{ended}");
}

#[test]
fn a_hundred_megabytes_arrive_whole_each_way() {
    let Some((node, ssh)) = node() else { return };
    let file = node.setup.folder().join("up");
    let digest = Random::new(1).file(&file, BULK);
    let ended = ssh.command("sha256sum").stdin_file(&file).ended();
    assert_eq!(
        ended.out().split_whitespace().next(),
        Some(&*digest),
        "{ended}"
    );

    let down = node.setup.folder().join("down");
    let ended = ssh
        .command(&format!("cat '{}'", file.display()))
        .stdout_file(&down)
        .ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(sha256_of_file(&down), digest);
}

#[test]
fn both_directions_at_once_never_stall() {
    let Some((node, ssh)) = node() else { return };
    let transfers: Vec<_> = (0..2)
        .map(|number| {
            let (up, down) = (
                node.setup.folder().join(format!("up{number}")),
                node.setup.folder().join(format!("down{number}")),
            );
            let digest = Random::new(10 + number).file(&up, BULK);
            let running = ssh
                .command("cat")
                .stdin_file(&up)
                .stdout_file(&down)
                .spawn();
            (running, down, digest)
        })
        .collect();
    for (running, down, digest) in transfers {
        let ended = running.ended();
        assert_eq!(ended.code(), 0, "{ended}");
        assert_eq!(sha256_of_file(&down), digest);
    }
}

#[test]
fn a_reader_that_leaves_early_does_no_harm() {
    let Some((_node, ssh)) = node() else { return };
    let mut shell = std::process::Command::new("sh");
    shell
        .arg("-c")
        .arg(format!(
            "{} node 'head -c 20000000 /dev/zero' | head -c 3 | wc -c",
            ssh.as_command()
        ))
        .env("SSH_AUTH_SOCK", "");
    assert_eq!(Run::from(shell).output().trim(), "3");
    assert_eq!(ssh.run("exit 7").code(), 7);
}

/// A known limit: OpenSSH tells only servers that call themselves OpenSSH that
/// its reader has gone (`eow@openssh.com`), and russh would not pass it on. So
/// a command with endless output goes on until somebody ends `ssh`. This test
/// fails on the day that is mended.
#[test]
fn endless_output_without_a_reader_goes_on_until_ssh_is_ended() {
    let Some((node, ssh)) = node() else { return };
    let pid = node.setup.folder().join("pid");
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = ssh
        .command(&format!("echo $$ > {}; exec yes", pid.display()))
        .into_command();
    let mut running = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
    drop(command);
    let pid: u32 = eventually("the command has started", || {
        fs::read_to_string(&pid).ok()?.trim().parse().ok()
    });
    drop(reader);
    std::thread::sleep(Duration::from_secs(3));
    assert!(alive(pid), "this limit is gone: say so in known-limits.md");
    running.kill().unwrap();
    running.wait().unwrap();
    eventually("the remote `yes` has ended", || (!alive(pid)).then_some(()));
}

#[test]
fn what_a_command_leaves_behind_ends_with_the_connection_where_it_is_set_so() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("services.exec.end_with_channel = true");
    let node = setup.start();
    let ssh = Ssh::to(&node);
    let pids = node.setup.folder().join("pids");
    let mut running = ssh
        .command(&format!(
            "sleep 1000 & echo $! > {0}.new; echo $$ >> {0}.new; mv {0}.new {0}; wait",
            pids.display()
        ))
        .spawn();
    let pids = eventually("the command has started", || fs::read_to_string(&pids).ok());
    running.kill();
    for pid in pids.lines() {
        let pid = pid.parse().unwrap();
        eventually("the command's processes have ended", || {
            (!alive(pid)).then_some(())
        });
    }
}

#[test]
fn git_clones_and_pushes() {
    if !requires(&["git"]) {
        return;
    }
    let Some((node, ssh)) = node() else { return };
    let folder = node.setup.folder();
    let git = |dir: &Path, args: &[&str]| {
        Run::new("git")
            .dir(dir)
            .env("GIT_SSH_COMMAND", ssh.as_command())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args(["-c", "user.name=T", "-c", "user.email=t@example.org"])
            .args(["-c", "init.defaultBranch=main", "-c", "safe.directory=*"])
            .args(args.iter().copied())
            .output()
    };
    git(folder, &["init", "-q", "--bare", "origin.git"]);
    let url = format!("ssh://node{}/origin.git", folder.display());
    git(folder, &["clone", "-q", &url, "first"]);
    let first = folder.join("first");
    Random::new(3).file(&first.join("large"), 3_000_000);
    fs::write(first.join("hello"), "hello\n").unwrap();
    git(&first, &["add", "."]);
    git(&first, &["commit", "-q", "-m", "One"]);
    git(&first, &["push", "-q", "origin", "HEAD:main"]);
    git(folder, &["clone", "-q", "-b", "main", &url, "second"]);
    assert_eq!(
        git(&first, &["rev-parse", "HEAD"]),
        git(&folder.join("second"), &["rev-parse", "HEAD"])
    );
    assert_eq!(
        sha256_of_file(&first.join("large")),
        sha256_of_file(&folder.join("second/large"))
    );
}

#[test]
fn rsync_copies_a_tree_each_way() {
    if !requires(&["rsync"]) {
        return;
    }
    let Some((node, ssh)) = node() else { return };
    let folder = node.setup.folder();
    let from = folder.join("from");
    fs::create_dir_all(from.join("deep/er")).unwrap();
    let digest = Random::new(4).file(&from.join("deep/er/large"), 5_000_000);
    fs::write(from.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.join("script"), fs::Permissions::from_mode(0o750)).unwrap();
    let rsync = |from: String, to: String| {
        Run::new("rsync")
            .args(["-a", "-e", &ssh.as_command(), &from, &to])
            .output()
    };
    let there = format!("node:{}/there/", folder.display());
    rsync(format!("{}/", from.display()), there.clone());
    rsync(there, format!("{}/back/", folder.display()));
    let back = folder.join("back");
    assert_eq!(sha256_of_file(&back.join("deep/er/large")), digest);
    let mode = fs::metadata(back.join("script")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o750);
}

#[test]
fn scp_by_its_old_protocol_copies_each_way() {
    if !requires(&["scp"]) {
        return;
    }
    let Some((node, ssh)) = node() else { return };
    let folder = node.setup.folder();
    let digest = Random::new(5).file(&folder.join("file"), 5_000_000);
    let scp = |from: String, to: String| ssh.program("scp").args(["-O", "-q", &from, &to]).output();
    let there = format!("node:{}/there", folder.display());
    scp(format!("{}/file", folder.display()), there.clone());
    scp(there, format!("{}/back", folder.display()));
    assert_eq!(sha256_of_file(&folder.join("there")), digest);
    assert_eq!(sha256_of_file(&folder.join("back")), digest);
}

#[test]
fn an_unknown_key_is_refused_and_logged_with_its_fingerprint() {
    let Some((node, _)) = node() else { return };
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    let ended = Ssh::with_key(&node, &stranger).run("echo in");
    assert_eq!(ended.code(), 255, "{ended}");
    assert_eq!(ended.out(), "");
    ended.line_with(&["Permission denied (publickey)"]);
    let line = node.logged(&["plugin::ssh::auth", &stranger.fingerprint()]);
    for word in ["refused", "unknown key", "127.0.0.1:"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn an_accepted_key_is_logged_with_its_identity() {
    let Some((node, ssh)) = node() else { return };
    assert_eq!(ssh.run("true").code(), 0);
    let fingerprint = node.setup.key.fingerprint();
    let line = node.logged(&["plugin::ssh::auth", &fingerprint, "accepted"]);
    assert!(line.contains("owner"), "{line}");
    node.logged(&["plugin::ssh::auth", "connection opened"]);
    node.logged(&["plugin::ssh::auth", "connection closed"]);
}

#[test]
fn a_shell_is_refused_with_a_reason() {
    let Some((_node, ssh)) = node() else { return };
    let ended = ssh.program("ssh").args(["-T", "node"]).ended();
    assert_eq!(ended.code(), 126, "{ended}");
    ended.line_with(&["alknet: a shell is refused", "\"owner\"", "ssh:shell"]);
}

#[test]
fn forwarding_and_sftp_are_refused_and_commands_go_on() {
    let Some((_node, ssh)) = node() else { return };
    let remote = ssh
        .program("ssh")
        .args([
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            "127.0.0.1:0:127.0.0.1:9",
        ])
        .args(["node", "true"])
        .ended();
    assert_eq!(remote.code(), 255, "{remote}");
    remote.line_with(&["remote port forwarding failed"]);
    // The protocol has no place for the reason; `ssh -v` shows it.
    let remote = ssh
        .program("ssh")
        .args([
            "-v",
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            "127.0.0.1:0:127.0.0.1:9",
        ])
        .args(["node", "true"])
        .ended();
    remote.line_with(&["the listener is refused", "ssh:listen:127.0.0.1:0"]);

    // Standard input and output over a forwarded port.
    let local = ssh
        .program("ssh")
        .args(["-W", "127.0.0.1:9", "node"])
        .ended();
    assert_eq!(local.code(), 255, "{local}");
    local.line_with(&["administratively prohibited", "ssh:forward:127.0.0.1:9"]);

    let subsystem = ssh.program("ssh").args(["-s", "node", "sftp"]).ended();
    assert_eq!(subsystem.code(), 126, "{subsystem}");
    subsystem.line_with(&["alknet: file transfer is refused", "ssh:sftp"]);

    assert_eq!(ssh.run("exit 7").code(), 7);
}

#[test]
fn any_cipher_of_a_client_will_do_and_aes_gcm_is_taken_where_there_is_one() {
    let Some((_node, ssh)) = node() else { return };
    for (wanted, taken) in [
        (None, "-gcm@openssh.com"),
        (Some("chacha20-poly1305@openssh.com"), "chacha20-poly1305"),
        (Some("aes256-ctr"), "aes256-ctr"),
        (
            Some("chacha20-poly1305@openssh.com,aes256-gcm@openssh.com"),
            "aes256-gcm",
        ),
    ] {
        let mut run = ssh.program("ssh").arg("-v");
        if let Some(ciphers) = wanted {
            run = run.args(["-c", ciphers]);
        }
        let ended = run.args(["node", "echo", "in"]).ended();
        assert_eq!(ended.out(), "in\n", "{ended}");
        let has_aes = std::arch::is_x86_feature_detected!("aes");
        if wanted.is_some() || has_aes {
            ended.line_with(&["kex: server->client cipher", taken]);
        }
    }
}

#[test]
fn one_connection_can_be_shared() {
    let Some((node, ssh)) = node() else { return };
    // Unix sockets have short names.
    let socket = node.setup.folder().join("mux");
    let shared = |args: &[&str]| {
        ssh.program("ssh")
            .arg("-S")
            .arg(&socket)
            .args(args.iter().copied())
            .arg("node")
    };
    // Standard error goes nowhere, for the master would hold it open.
    let master = shared(&["-M", "-N"]).spawn();
    eventually("the master serves", || {
        (shared(&["-O", "check"]).ended().code() == 0).then_some(())
    });
    let runs: Vec<_> = (1..6)
        .map(|n| (n, shared(&[]).arg(format!("exit {n}")).spawn()))
        .collect();
    for (n, run) in runs {
        assert_eq!(run.ended().code(), n);
    }
    assert_eq!(shared(&["-O", "exit"]).ended().code(), 0);
    drop(master);
}

#[test]
fn twenty_connections_at_once_are_served() {
    let Some((_node, ssh)) = node() else { return };
    let runs: Vec<_> = (0..20)
        .map(|n| (n, ssh.command(&format!("echo {n}; exit {n}")).spawn()))
        .collect();
    for (n, run) in runs {
        let ended = run.ended();
        assert_eq!(
            (ended.code(), ended.out()),
            (n, format!("{n}\n")),
            "{ended}"
        );
    }
}

#[test]
fn nothing_of_the_nodes_environment_leaks() {
    if !requires(&["ssh"]) {
        return;
    }
    let mut setup = Setup::new();
    setup.env("SECRET_X", "do-not-tell");
    let node = setup.start();
    let ssh = Ssh::to(&node);
    let ended = ssh
        .program("ssh")
        .args(["-o", "SetEnv=LANG=C.UTF-8 EVIL=1", "node", "env"])
        .ended();
    let mut names: Vec<_> = ended
        .out()
        .lines()
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect();
    names.sort();
    // PWD and the like are the shell's own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(&name.as_str()));
    assert_eq!(
        names,
        [
            "HOME",
            "LANG",
            "LOGNAME",
            "PATH",
            "SHELL",
            "SSH_CLIENT",
            "SSH_CONNECTION",
            "USER"
        ],
        "{ended}"
    );
    assert!(!ended.out().contains("do-not-tell"));
}

#[test]
fn a_long_silence_is_not_an_end() {
    let Some((_node, ssh)) = node() else { return };
    assert!(HANG.as_secs() > 40);
    // Longer than the idle timeout of the QUIC connection.
    let ended = ssh.run("sleep 33; echo still here");
    assert_eq!(ended.out(), "still here\n", "{ended}");
}
