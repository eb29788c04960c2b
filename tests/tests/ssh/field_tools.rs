//! Programs that people put on top of ssh, and that leave something behind.

use integration_tests::{Run, Setup, Ssh, TestNode, requires};

fn node() -> (TestNode, Ssh) {
    let node = Setup::new().start();
    let ssh = Ssh::to(&node);
    (node, ssh)
}

/// mosh logs in by ssh, and goes on over UDP with a server that ssh leaves
/// behind.
#[test]
fn mosh_goes_on_without_ssh() {
    if !requires(&["ssh", "mosh", "mosh-server", "script", "stty"]) {
        return;
    }
    let (_node, ssh) = node();
    // The address comes from SSH_CONNECTION: the name is not one of DNS.
    mosh("--experimental-remote-ip=remote", &ssh.as_command());
}

/// Where the stanza names a TCP listener, mosh finds its own way to the node.
#[test]
fn mosh_takes_the_name_alone_with_a_tcp_listener() {
    if !requires(&["ssh", "mosh", "mosh-server", "script", "stty"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let node = setup.start();
    let tcp = node.tcp.unwrap();
    let by_stanza = Ssh::at_or_tcp(&node, node.addr, &tcp.to_string());
    let by_port = format!("{} -p {}", Ssh::over_tcp(&node).as_command(), tcp.port());
    for ssh in [by_stanza.as_command(), by_port] {
        mosh("", &ssh);
    }
}

/// A session of mosh by this ssh, from its log-in to its output.
fn mosh(options: &str, ssh: &str) {
    let session = format!(
        "stty rows 24 cols 80; mosh {options} --predict=never --ssh='{ssh}' \
         node -- sh -c 'echo MO$((40 + 2))SH; sleep 2'"
    );
    let ended = Run::new("script")
        .args(["-qec", &session, "/dev/null"])
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .env("SSH_AUTH_SOCK", "")
        .ended();
    assert!(ended.out().contains("MO42SH"), "{ssh}: {ended}");
}

#[test]
fn tmux_is_found_again() {
    if !requires(&["ssh", "tmux"]) {
        return;
    }
    let (_node, ssh) = node();
    let tmux = format!("tmux -f /dev/null -L alknet-test-{}", std::process::id());
    let begun = ssh.run(&format!("{tmux} new-session -d -s work 'sleep 600'"));
    assert_eq!(begun.code(), 0, "{begun}");
    let found = ssh.run(&format!("{tmux} list-sessions"));
    let ended = ssh.run(&format!("{tmux} kill-server"));
    assert!(found.out().starts_with("work: "), "{found}");
    assert_eq!(ended.code(), 0, "{ended}");
}

/// With the stock script, at its word: no key is said to be added that would let
/// nobody in.
#[test]
fn ssh_copy_id_says_what_to_do_instead() {
    if !requires(&["ssh", "ssh-copy-id"]) {
        return;
    }
    let (node, ssh) = node();
    // `~` is where the script keeps its own files.
    let home = node.setup.folder();
    std::fs::create_dir(home.join(".ssh")).unwrap();
    let key = integration_tests::TestKey::make(home, "another");
    let ended = ssh.program("ssh-copy-id");
    let ended = ended.args(["-f", "-i"]).arg(key.public_file()).arg("node");
    let ended = ended.env("HOME", home).ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[
        "ssh-copy-id would write",
        "alknet-node peers add ID KEY.pub",
    ]);
}
