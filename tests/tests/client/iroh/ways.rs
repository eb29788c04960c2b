//! What must work by whatever way a node is reached.

use std::fs;
use std::net::SocketAddr;

use integration_tests::swapping::{SSH, install, status, swap, variant};
use integration_tests::target::{self, answers, free_port};
use integration_tests::{
    Alknet, Background, NODE, Random, Setup, Ssh, Target, TestNode, artifacts, sha256_of_file,
};

/// A state directory whose node is reached through iroh as well, and whose owner
/// may do everything that is tried here.
pub(super) fn setup(lines: &str) -> Setup {
    let setup = Setup::new();
    setup.replace(
        "[log]",
        &format!("[iroh]\nenabled = true\n{lines}\n\n[log]"),
    );
    setup.serve_root("");
    setup.grant(&["ssh:sftp", "ssh:forward:*:*", "ssh:listen:*:*"]);
    setup
}

/// The endpoint id of a node.
pub(super) fn endpoint_id(node: &TestNode) -> String {
    let key = node.node_key.to_string();
    key.strip_prefix("ed25519:").unwrap().to_owned()
}

/// The UDP port on which a node waits for direct ways.
pub(super) fn port(node: &TestNode) -> u16 {
    let status = status(&node.setup);
    let listen = status["node"]["iroh"]["listen"][0].as_str().unwrap();
    listen.parse::<SocketAddr>().unwrap().port()
}

/// The addresses of both ends for forwards.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// Ours, as the node reaches it.
    pub(super) ours: &'static str,
    /// The node's, as we reach it.
    pub(super) nodes: &'static str,
}

/// Runs commands, copies, forwards and a swap of the plugin by this address.
pub(super) fn all_of_it_works(node: &TestNode, address: &str, ends: Ends, length: usize) {
    let user = Alknet::by_address(node, address);
    let ended = user.exec("echo through iroh").ended();
    assert_eq!(ended.out(), "through iroh\n", "{ended}");
    copies_arrive_whole(node, &user, length);

    let Ends { ours: our, nodes } = ends;
    let target = Target::tcp(&format!("{our}:0"), target::echo);
    let ssh = Ssh::by_address(node, address);
    let (here, there) = (free_port(), free_port());
    let from = |host: &str, port: u16| format!("{host}:{port}:{our}:{}", target.port());
    let tunnel = ssh.tunnel(&["-L", &from("127.0.0.1", here), "-R", &from(nodes, there)]);
    let tunnel = tunnel.unwrap_or_else(|ended| panic!("{ended}"));
    let ours = free_port();
    let spec = from("127.0.0.1", ours);
    let mut forward = Background::spawn(user.run(&["forward", NODE, "-L", &spec]));
    forward.says(&["listening on"]).unwrap();
    let mut cat = Background::spawn(ssh.command("cat"));
    let mut all_work = |word: &str| {
        cat.echoes(word);
        for (host, port) in [("127.0.0.1", here), ("127.0.0.1", ours), (nodes, there)] {
            let addr = SocketAddr::new(host.parse().unwrap(), port);
            assert!(answers(addr), "{word} {addr}");
        }
        let ended = ssh.run("echo new");
        assert_eq!(ended.out(), "new\n", "{ended}");
    };
    all_work("before");
    install(&node.setup, &variant(&artifacts().plugin, 1), SSH);
    let ended = swap(&node.setup);
    assert_eq!(ended.code(), 0, "{ended}");
    all_work("after");
    let generations = status(&node.setup)["generations"].clone();
    assert_eq!(generations[0]["state"], "draining", "{generations:#}");
    assert_eq!(generations[1]["state"], "serving", "{generations:#}");
    drop(tunnel);
}

/// The length of the files that are copied: `ALKNET_TEST_IROH_BYTES`, or by default
/// what a test has time for.
pub(super) fn bytes(default: usize) -> usize {
    let told = std::env::var("ALKNET_TEST_IROH_BYTES").ok();
    told.map_or(default, |text| text.parse().unwrap())
}

/// Copies a file to the node and back, and compares the digests.
fn copies_arrive_whole(node: &TestNode, user: &Alknet, length: usize) {
    let local = node.setup.folder().join("local");
    let _ = fs::create_dir(&local);
    let sent = Random::new(7).file(&local.join("sent"), length);
    let to = format!("{NODE}:/there");
    for (from, to) in [("sent", to.as_str()), (&to, "back")] {
        let ended = user.run(&["cp", from, to]).dir(&local).ended();
        assert_eq!(ended.code(), 0, "{ended}");
    }
    let root = node.setup.folder().join("root");
    assert_eq!(sha256_of_file(&root.join("there")), sent);
    assert_eq!(sha256_of_file(&local.join("back")), sent);
}
