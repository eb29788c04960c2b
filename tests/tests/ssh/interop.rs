//! Other people's SSH clients towards a real node: everything that is served
//! without OpenSSH's or our own client.

mod clients;

use std::fs;
use std::net::{SocketAddr, TcpStream};

use clients::Client;
use integration_tests::target::{self, Target};
use integration_tests::{
    Peers, Random, Run, Setup, TestKey, TestNode, Transport, eventually, requires, requires_that,
    sha256, sha256_of_file,
};

const BULK: usize = 100 << 20;
/// Enough for many requests under way at once.
const FILE: usize = 32 << 20;
/// Bytes after which new keys are agreed, so that it happens in every transfer.
const REKEY: &str = "8388608";
/// The same at the client's wish: never near the end of a transfer, where
/// Paramiko waits 30 s for itself, see known-limits.md.
const REKEY_BY_CLIENT: &str = "41943040";

#[test]
fn paramiko() {
    serves(Client::Paramiko);
}

#[test]
fn asyncssh() {
    serves(Client::Asyncssh);
}

#[test]
fn ssh2_for_node() {
    serves(Client::Ssh2);
}

#[test]
fn go_x_crypto() {
    serves(Client::Go);
}

#[test]
fn putty_plink() {
    serves(Client::Plink);
}

#[test]
fn dropbear_dbclient() {
    serves(Client::Dropbear);
}

/// libssh2, through curl: SFTP, and the node's own `scp` as a command.
#[test]
fn curl_with_libssh2() {
    if !requires(&["curl", "scp"]) || !curl_speaks_ssh() {
        return;
    }
    let node = with_sftp();
    let folder = node.setup.folder().canonicalize().unwrap();
    let digest = Random::new(1).file(&folder.join("up"), BULK);
    for (scheme, path) in [
        ("sftp", "/copy".to_owned()),
        ("scp", format!("{}/served/copy", folder.display())),
    ] {
        let url = format!("{scheme}://{}{path}", node.tcp.unwrap());
        curl(&node, &url).arg("-T").arg(folder.join("up")).output();
        assert_eq!(sha256_of_file(&folder.join("served/copy")), digest);
        curl(&node, &url)
            .arg("-o")
            .arg(folder.join("down"))
            .output();
        assert_eq!(sha256_of_file(&folder.join("down")), digest);
        fs::remove_file(folder.join("served/copy")).unwrap();
        let ended = curl(&node, &url).ended();
        assert!(!ended.status.success(), "{scheme} {ended}");
    }
    let url = format!("sftp://{}/", node.tcp.unwrap());
    fs::write(folder.join("served/here"), "").unwrap();
    let names = curl(&node, &url).arg("--list-only").output();
    assert!(names.lines().any(|name| name == "here"), "{names}");
}

/// The whole of what a client is served, one thing after the other.
fn serves(client: Client) {
    if !client.is_here() {
        return;
    }
    commands(client);
    strangers(client);
    forwards(client);
    listeners(client);
    many_at_once(client);
    bulk(client);
    files(client);
}

fn commands(client: Client) {
    let node = node("");
    for transport in Transport::ALL {
        if transport == Transport::Quic && !client.takes_a_proxy_command() {
            continue;
        }
        let keys = [&node.setup.key];
        let way = client.to(&node, &keys, transport);
        let ended = way.exec("cat; echo to err >&2; exit 3").stdin("in").ended();
        assert_eq!(ended.code(), 3, "{client:?} {transport:?} {ended}");
        assert_eq!(ended.out(), "in", "{client:?}");
        ended.line_with(&["to err"]);
        let ended = way.exec("echo out; kill -TERM $$").ended();
        assert_eq!(ended.code(), client.status_of_a_signal(), "{ended}");
        assert_eq!(ended.out(), "out\n", "{client:?}");
    }
}

/// Who has no key here is told so; who has one among others gets in.
fn strangers(client: Client) {
    let node = node("");
    let folder = node.setup.folder();
    let strangers: Vec<_> = (0..4)
        .map(|number| TestKey::make(folder, &format!("stranger{number}")))
        .collect();
    let ended = client
        .to(&node, &[&strangers[0]], Transport::Tcp)
        .exec("echo in")
        .ended();
    assert_ne!(ended.code(), 0, "{client:?} {ended}");
    assert_eq!(ended.out(), "");
    node.logged(&["auth attempt", "refused", "unknown key"]);
    if client.offers_several_keys() {
        let mut keys: Vec<_> = strangers.iter().collect();
        keys.push(&node.setup.key);
        let way = client.to(&node, &keys, Transport::Tcp);
        let ended = way.exec("echo in").ended();
        assert_eq!((ended.code(), &*ended.out()), (0, "in\n"), "{ended}");
    }
}

/// A known limit: Paramiko asks for the user authentication service anew
/// before each key, and russh answers the first time only. This test fails on
/// the day that is mended.
#[test]
fn paramiko_gets_no_further_than_its_first_key() {
    if !Client::Paramiko.is_here() {
        return;
    }
    let node = node("");
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    let keys = [&stranger, &node.setup.key];
    let ended = Client::Paramiko
        .to(&node, &keys, Transport::Tcp)
        .exec("echo in")
        .env("AUTH_TIMEOUT", "5")
        .ended();
    assert_eq!((ended.code(), &*ended.out()), (255, ""), "{ended}");
    node.logged(&["auth attempt", "refused", "unknown key"]);
    assert!(!node.log().contains("accepted"), "{}", node.log());
}

/// Ours is not the only client that asks for checksums.
#[test]
fn paramiko_is_told_what_a_file_hashes_to() {
    if !Client::Paramiko.is_here() {
        return;
    }
    let node = with_sftp();
    let file = node.setup.folder().join("served/file");
    let digest = Random::new(6).file(&file, FILE);
    let keys = [&node.setup.key];
    let way = Client::Paramiko.to(&node, &keys, Transport::Tcp);
    let said = way.library(&["check", "/file"]).output();
    assert_eq!(said.trim(), digest);
}

/// A known limit: asyncssh before 2.18 goes on sending data after it has
/// proposed new keys, which RFC 4253 section 7.1 forbids and russh does not
/// forgive. This test fails on the day that it does.
#[test]
fn asyncssh_that_talks_while_keys_are_agreed_loses_its_connection() {
    if !Client::Asyncssh.is_here() || Client::Asyncssh.renews_keys() {
        return;
    }
    let node = node("");
    let keys = [&node.setup.key];
    let ended = Client::Asyncssh
        .to(&node, &keys, Transport::Tcp)
        .exec("sha256sum")
        .env("REKEY", REKEY)
        .stdin(Random::new(3).bytes(24 << 20))
        .ended();
    assert_eq!(ended.out(), "", "{ended}");
    node.logged(&["connection closed", "Inconsistent state of the protocol"]);
}

fn forwards(client: Client) {
    let node = node("");
    let keys = [&node.setup.key];
    let way = client.to(&node, &keys, Transport::Tcp);
    // The answer comes after the end of what was sent.
    let target = Target::tcp("127.0.0.1:0", target::digests);
    let sent = Random::new(2).bytes(5 << 20);
    let ended = way
        .reach("127.0.0.1", target.port())
        .stdin(sent.clone())
        .ended();
    let expected = format!("{} {}\n", sent.len(), sha256(&sent));
    assert_eq!(ended.out(), expected, "{client:?} {ended}");
    // A target that is not granted is not reached.
    let other = Target::tcp("127.0.0.2:0", target::echo);
    let ended = way.reach("127.0.0.2", other.port()).stdin("hello").ended();
    assert_eq!(ended.out(), "", "{client:?}");
    assert!(
        !ended.err().is_empty(),
        "{client:?} says nothing of a refusal"
    );
    assert_eq!(other.accepted(), 0);
}

fn listeners(client: Client) {
    let node = node("");
    let keys = [&node.setup.key];
    let echo = Target::echo();
    let (running, port) = client.to(&node, &keys, Transport::Tcp).listen(&echo);
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the node listens", || target::answers(addr).then_some(()));
    let exchanges: Vec<_> = (0..4)
        .map(|seed| {
            let socket = target::connect(addr).unwrap();
            std::thread::spawn(move || target::exchange(socket, seed, 1 << 20))
        })
        .collect();
    for exchange in exchanges {
        exchange
            .join()
            .unwrap()
            .unwrap_or_else(|error| panic!("{client:?}: {error}"));
    }
    if client.is_a_library() {
        let ended = running.ended();
        assert_eq!(ended.code(), 0, "{client:?} {ended}");
        assert!(ended.out().contains("cancelled"), "{client:?} {ended}");
    } else {
        drop(running);
    }
    eventually("nobody listens any more", || {
        TcpStream::connect(addr).is_err().then_some(())
    });
}

fn many_at_once(client: Client) {
    let node = node("");
    let keys = [&node.setup.key];
    let way = client.to(&node, &keys, Transport::Tcp);
    if client.is_a_library() {
        let ended = way.library(&["many", "8", "4000000"]).ended();
        assert_eq!(ended.out(), "right\n", "{client:?} {ended}");
        return;
    }
    let echo = Target::echo();
    let (_running, port) = way.local_forward(&echo);
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the client listens", || target::answers(addr).then_some(()));
    let exchanges: Vec<_> = (0..8)
        .map(|seed| {
            let socket = target::connect(addr).unwrap();
            std::thread::spawn(move || target::exchange(socket, seed, 4 << 20))
        })
        .collect();
    for exchange in exchanges {
        exchange
            .join()
            .unwrap()
            .unwrap_or_else(|error| panic!("{client:?}: {error}"));
    }
}

/// 100 MB each way, with new keys every now and then: at the node's wish, and
/// at the client's where it can be told.
fn bulk(client: Client) {
    for (config, rekey) in [
        (format!("transport = {{ rekey_bytes = {REKEY} }}"), false),
        (String::new(), true),
    ] {
        if rekey && !client.renews_keys() {
            continue;
        }
        let node = node(&config);
        let keys = [&node.setup.key];
        let way = client.to(&node, &keys, Transport::Tcp);
        let exec = |command: &str| match rekey {
            true => way.exec(command).env("REKEY", REKEY_BY_CLIENT),
            false => way.exec(command),
        };
        let (up, down) = (
            node.setup.folder().join("up"),
            node.setup.folder().join("down"),
        );
        let digest = Random::new(1).file(&up, BULK);
        let ended = exec("sha256sum").stdin_file(&up).ended();
        let arrived = ended.out();
        assert_eq!(
            arrived.split_whitespace().next(),
            Some(&*digest),
            "{client:?} {ended}"
        );
        let command = format!("cat '{}'", up.display());
        let ended = exec(&command).stdout_file(&down).ended();
        assert_eq!(ended.code(), 0, "{client:?} {ended}");
        let length = std::fs::metadata(&down).unwrap().len();
        assert_eq!(
            sha256_of_file(&down),
            digest,
            "{client:?}, rekey by the client: {rekey}, {length} bytes: {ended} {}",
            node.log()
        );
    }
}

/// SFTP, where the client has it.
fn files(client: Client) {
    if !client.has_sftp() {
        return;
    }
    // Without commands too: psftp would run the node's own `sftp-server`.
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("services.sftp.enabled = false");
    Peers::new()
        .add("owner", &setup.key, &["ssh:sftp"])
        .write(&setup);
    let refuses = setup.start();
    let keys = [&refuses.setup.key];
    let ended = client.to(&refuses, &keys, Transport::Tcp).list("/").ended();
    assert_ne!(ended.code(), 0, "{client:?} {ended}");

    let node = with_sftp();
    let folder = node.setup.folder();
    let keys = [&node.setup.key];
    let way = client.to(&node, &keys, Transport::Tcp);
    let (up, down) = (folder.join("up"), folder.join("down"));
    let digest = Random::new(4).file(&up, FILE);
    let ended = way.put(&up, "/copy").ended();
    assert_eq!(ended.code(), 0, "{client:?} {ended}");
    assert_eq!(sha256_of_file(&folder.join("served/copy")), digest);
    let ended = way.get("/copy", &down).ended();
    assert_eq!(ended.code(), 0, "{client:?} {ended}");
    assert_eq!(sha256_of_file(&down), digest, "{client:?}");
    let names = way.list("/").output();
    assert!(names.contains("copy"), "{client:?} {names}");
    // Nothing outside of the root.
    let ended = way.get("/../up", &folder.join("stolen")).ended();
    assert_ne!(ended.code(), 0, "{client:?} {ended}");
}

fn node(config: &str) -> TestNode {
    granting(Setup::new(), config)
}

/// A node that serves the directory `served` below its own.
fn with_sftp() -> TestNode {
    let setup = Setup::new();
    let root = setup.folder().join("served");
    fs::create_dir(&root).unwrap();
    let config = format!("services.sftp = {{ enabled = true, root = {root:?} }}");
    granting(setup, &config)
}

fn granting(setup: Setup, config: &str) -> TestNode {
    setup.listen_on_tcp().ssh_config(config);
    setup.grant(&[
        "ssh:forward:127.0.0.1:*",
        "ssh:listen:127.0.0.1:*",
        "ssh:sftp",
    ]);
    setup.start()
}

fn curl(node: &TestNode, url: &str) -> Run {
    let key = &node.setup.key;
    let blob = node.host_key.split(' ').nth(1).unwrap();
    let known_hosts = node.setup.folder().join(".ssh");
    fs::create_dir_all(&known_hosts).unwrap();
    let addr = node.tcp.unwrap();
    fs::write(
        known_hosts.join("known_hosts"),
        format!("[{}]:{} ssh-ed25519 {blob}\n", addr.ip(), addr.port()),
    )
    .unwrap();
    Run::new("curl")
        .args(["-sS", "-u", "someone:", "--key"])
        .arg(&key.file)
        .arg("--pubkey")
        .arg(key.public_file())
        .env("HOME", node.setup.folder())
        .arg(url)
}

fn curl_speaks_ssh() -> bool {
    let version = Run::new("curl").arg("-V").output();
    requires_that("curl with libssh2", version.contains("libssh2"))
}
