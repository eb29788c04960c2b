//! Connections that leave the node through an upstream proxy.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::target::{connect, exchange, free_port};
use integration_tests::{
    Reached, Setup, Ssh, Target, TestNode, Transport, UpstreamProxy, requires, rules,
};

const USER: &str = "node-7";
const PASSWORD: &str = "plover xyzzy 0xC0FFEE";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Socks5,
    Http,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Socks5, Self::Http];

    fn proxy(self, password: &str) -> UpstreamProxy {
        match self {
            Self::Socks5 => UpstreamProxy::socks5(Some((USER, password))),
            Self::Http => UpstreamProxy::http(Some((USER, password))),
        }
    }

    fn url(self, proxy: &UpstreamProxy) -> String {
        let scheme = match self {
            Self::Socks5 => "socks5",
            Self::Http => "http",
        };
        format!("{scheme}://{}", proxy.addr())
    }
}

/// A state directory whose node goes out through `url`, with the credentials as a
/// stored secret; it logs all that it can.
fn setup(url: &str) -> Setup {
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.grant(&["ssh:forward:*:*"]);
    setup.replace("filter = \"info\"", "filter = \"trace\"");
    let denied = rules(&[("deny", "[::1]:*", &[]), ("deny", "127.0.0.2:*", &[])]);
    setup.ssh_config(&format!(
        "forwarding.egress = {{ proxy = {url:?}, credentials = \"proxy\" }}\n\
         forwarding.rules = {denied}\n\
         [plugins.secrets]\nssh = [\"proxy\"]"
    ));
    let stored = setup
        .node(&["secret", "set", "proxy", "--state"])
        .arg(setup.state())
        .stdin(format!("{USER}:{PASSWORD}\n"))
        .ended();
    assert_eq!(stored.code(), 0, "{stored}");
    setup
}

fn ways(node: &TestNode) -> [(Transport, Ssh); 2] {
    Transport::ALL.map(|transport| (transport, Ssh::over(transport, node, &node.setup.key)))
}

#[test]
fn forwards_go_through_the_proxy_and_the_secret_stays_secret() {
    if !requires(&["ssh"]) {
        return;
    }
    for kind in Kind::ALL {
        let proxy = kind.proxy(PASSWORD);
        let node = setup(&kind.url(&proxy)).start();
        let echo = Target::echo();
        for (transport, ssh) in ways(&node) {
            let which = format!("{kind:?} over {transport:?}");
            let before = proxy.targets().len();
            let port = free_port();
            let forward = format!("127.0.0.1:{port}:127.0.0.1:{}", echo.port());
            let tunnel = ssh
                .tunnel(&["-L", &forward])
                .unwrap_or_else(|e| panic!("{e}"));
            let socket = connect(([127, 0, 0, 1], port).into()).unwrap();
            assert_eq!(exchange(socket, 40, 8 << 20), Ok(()), "{which}");
            drop(tunnel);
            let asked = proxy.targets()[before..].to_vec();
            assert_eq!(asked, [echo.addr.to_string()], "{which}");
            // What the policy denies is not even asked of the proxy.
            let refused = ssh.reach("127.0.0.2", echo.port());
            assert_eq!(refused, Reached::Prohibited, "{which}");
            assert_eq!(proxy.targets().len(), before + 1, "{which}");
            // Nobody listens there: the proxy says so, and ssh is told.
            let refused = ssh.reach("127.0.0.1", free_port());
            assert_eq!(refused, Reached::ConnectFailed, "{which}");
        }
        assert_told_to_nobody(node, &[PASSWORD, &base64_of_the_credentials()]);
    }
}

/// The secret is nowhere an outsider, or somebody with a copy of the state
/// directory, could read it.
fn assert_told_to_nobody(node: TestNode, secrets: &[&str]) {
    let mut told = vec![("standard output".to_owned(), node.stdout())];
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{name}", node.pid())).unwrap();
        told.push((
            name.to_owned(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    let status = node.setup.on_state("status").ended();
    told.push(("status".to_owned(), status.out() + &status.err()));
    let stopped = node.stop();
    assert!(stopped.log.contains("TRACE"), "the log is complete");
    told.push(("log".to_owned(), stopped.log));
    for path in files(stopped.setup.folder()) {
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        told.push((path.display().to_string(), text));
    }
    for (place, text) in &told {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret:?} is in {place}");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// As HTTP carries them (RFC 7617).
fn base64_of_the_credentials() -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

#[test]
fn a_wrong_password_is_a_failed_connect() {
    if !requires(&["ssh"]) {
        return;
    }
    for kind in Kind::ALL {
        let proxy = kind.proxy("something else");
        let node = setup(&kind.url(&proxy)).start();
        let echo = Target::echo();
        for (transport, ssh) in ways(&node) {
            let outcome = ssh.reach("127.0.0.1", echo.port());
            assert_eq!(outcome, Reached::ConnectFailed, "{kind:?} {transport:?}");
        }
        assert_eq!(proxy.targets(), Vec::<String>::new());
        assert_eq!(echo.accepted(), 0, "it went around the proxy");
        // Who runs the node has to find out.
        let line = node.logged(&["the upstream proxy", "does not accept"]);
        println!("{kind:?}: {line}");
        assert_told_to_nobody(node, &[PASSWORD]);
    }
}

#[test]
fn without_its_proxy_nothing_goes_out() {
    if !requires(&["ssh"]) {
        return;
    }
    for scheme in ["socks5", "http"] {
        let node = setup(&format!("{scheme}://127.0.0.1:{}", free_port())).start();
        let echo = Target::echo();
        for (transport, ssh) in ways(&node) {
            let outcome = ssh.reach("127.0.0.1", echo.port());
            assert_eq!(outcome, Reached::ConnectFailed, "{scheme} {transport:?}");
            // What is denied is denied all the same.
            let outcome = ssh.reach("::1", echo.port());
            assert_eq!(outcome, Reached::Prohibited, "{scheme} {transport:?}");
            assert_eq!(ssh.run("echo on").out(), "on\n");
        }
        assert_eq!(echo.accepted(), 0, "it went around the proxy");
    }
}

#[test]
fn a_proxy_that_says_nothing_is_given_up() {
    if !requires(&["ssh"]) {
        return;
    }
    let mute = Target::tcp("127.0.0.1:0", integration_tests::target::never_reads);
    for scheme in ["socks5", "http"] {
        let setup = setup(&format!("{scheme}://{}", mute.addr));
        setup.replace(
            "forwarding.rules",
            "forwarding.connect_timeout_seconds = 1\nforwarding.rules",
        );
        let node = setup.start();
        let ssh = Ssh::to(&node);
        let outcome = ssh.reach("127.0.0.1", 9);
        assert_eq!(outcome, Reached::ConnectFailed, "{scheme}");
    }
}

#[test]
fn credentials_that_are_not_there_are_a_fault_before_the_start() {
    let setup = Setup::new();
    setup.ssh_config(
        "forwarding.egress = { proxy = \"socks5://127.0.0.1:1080\", credentials = \"proxy\" }",
    );
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/forwarding/egress/credentials", "secret set proxy"]);
    // In the address they would lie open in the file.
    setup.replace("socks5://127", "socks5://user:pw@127");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    let line = ended.line_with(&["/forwarding/egress/proxy", "secret set"]);
    assert!(!line.contains("user:pw"), "{line}");
}
