//! Agent forwarding with stock ssh and a stock agent.

use std::path::{Path, PathBuf};

use integration_tests::target::free_port;
use integration_tests::{
    Background, Ended, Peers, Run, Setup, Ssh, TestNode, eventually, requires,
};

const OFF: &str = "services.agent_forwarding.enabled = false";
const ON: &str = "services.agent_forwarding.enabled = true";

/// An agent that holds the owner's key.
struct Agent {
    socket: PathBuf,
    _running: Background,
}

impl Agent {
    fn start(setup: &Setup) -> Self {
        let socket = setup.folder().join("local-agent");
        let run = Run::new("ssh-agent").arg("-D").arg("-a").arg(&socket);
        let running = Background::spawn(run);
        eventually("the agent listens", || socket.exists().then_some(()));
        let added = Run::new("ssh-add")
            .arg(&setup.key.file)
            .env("SSH_AUTH_SOCK", &socket)
            .ended();
        assert!(added.status.success(), "{added}");
        Self {
            socket,
            _running: running,
        }
    }

    /// `ssh -A … node command`.
    fn ssh(&self, node: &TestNode, args: &[&str]) -> Run {
        Ssh::to(node)
            .program("ssh")
            .args(["-A", "-o", "IdentityAgent=SSH_AUTH_SOCK"])
            .args(args)
            .env("SSH_AUTH_SOCK", &self.socket)
    }

    fn run(&self, node: &TestNode, command: &str) -> Ended {
        self.ssh(node, &["node", command]).ended()
    }
}

fn installed() -> bool {
    requires(&["ssh", "ssh-agent", "ssh-add"])
}

#[test]
fn an_agent_is_forwarded_only_where_both_configuration_and_scope_allow_it() {
    if !installed() {
        return;
    }
    for (config, scopes, forwarded) in [
        (OFF, &["ssh:agent"][..], false),
        (ON, &[][..], false),
        (ON, &["ssh:agent"][..], true),
    ] {
        let setup = Setup::new();
        setup.ssh_config(config).grant(scopes);
        let agent = Agent::start(&setup);
        let node = setup.start();
        let listed = agent.run(&node, "ssh-add -l; echo socket ${SSH_AUTH_SOCK:-none}");
        let said = listed.out();
        assert_eq!(said.contains("ED25519"), forwarded, "{listed}");
        assert_eq!(said.contains("socket none"), !forwarded, "{listed}");
        if !forwarded {
            node.logged(&["request denied", "request=\"agent\""]);
        }
        // Without -A there is none in any case.
        let plain = Ssh::to(&node).run("echo socket ${SSH_AUTH_SOCK:-none}");
        assert_eq!(plain.out(), "socket none\n");
    }
}

#[test]
fn the_socket_is_private_and_goes_with_the_connection() {
    if !installed() {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config(ON).grant(&["ssh:agent"]);
    let agent = Agent::start(&setup);
    let node = setup.start();
    let command = "stat -c '%a %F' $SSH_AUTH_SOCK; stat -c %a $(dirname $SSH_AUTH_SOCK); \
                   echo $SSH_AUTH_SOCK";
    let said = agent.run(&node, command).out();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["600 socket", "700"], "{said}");
    let folder = Path::new(lines[2]).parent().unwrap().to_owned();
    eventually("the directory is removed", || {
        (!folder.exists()).then_some(())
    });
}

#[test]
fn a_key_in_the_agent_signs_for_the_next_hop() {
    if !installed() {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp().ssh_config(ON).grant(&["ssh:agent"]);
    let agent = Agent::start(&setup);
    let node = setup.start();
    let port = node.tcp.unwrap().port();
    let hop = format!(
        "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null -o IdentityFile=/dev/null -p {port} 127.0.0.1 echo there"
    );
    let ended = agent.run(&node, &hop);
    assert_eq!(ended.out(), "there\n", "{ended}");
    // Two commands at once, on one socket.
    let both = agent.run(&node, &format!("{hop} & {hop}; wait"));
    assert_eq!(both.out(), "there\nthere\n", "{both}");
}

#[test]
fn answers_to_other_requests_are_not_mixed_up() {
    if !installed() {
        return;
    }
    let setup = Setup::new();
    setup
        .ssh_config(ON)
        .grant(&["ssh:agent", "ssh:listen:127.0.0.1:*"]);
    let agent = Agent::start(&setup);
    let node = setup.start();
    let forward = format!("127.0.0.1:{}:127.0.0.1:9", free_port());
    let args = [
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        &forward,
        "-R",
        "127.0.0.1:0:127.0.0.1:9",
    ];
    let args = [&args[..], &["node", "ssh-add -l"]].concat();
    let ended = agent.ssh(&node, &args).ended();
    assert!(ended.out().contains("ED25519"), "{ended}");
    assert!(ended.err().contains("Allocated port"), "{ended}");
}

#[test]
fn an_agent_is_out_of_reach_once_its_scope_is_taken_back() {
    if !installed() {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config(ON).grant(&["ssh:agent"]);
    let agent = Agent::start(&setup);
    let node = setup.start();
    let flag = node.setup.folder().join("flag");
    let command = format!(
        "ssh-add -l; echo before; while ! test -e {0}; do sleep 0.1; done; \
         ssh-add -l 2>&1; echo after; test -e $SSH_AUTH_SOCK || echo gone",
        flag.display()
    );
    let mut running = Background::spawn(agent.ssh(&node, &["node", &command]));
    eventually("the agent was reached", || {
        running.out().contains("before").then_some(())
    });
    assert!(running.out().contains("ED25519"));
    let mut peers = Peers::new();
    peers.add("owner", &node.setup.key, &["ssh:exec"]);
    peers.write(&node.setup);
    node.setup.on_state("reload").output();
    node.logged(&["closed a listener", "no longer permitted"]);
    std::fs::write(flag, "").unwrap();
    eventually("ssh ends", || running.status());
    let said = running.out();
    let (_, after) = said.split_once("before").unwrap();
    assert!(!after.contains("ED25519"), "{said}");
    assert!(after.contains("gone"), "{said}");
}
