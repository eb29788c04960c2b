//! `alknet socks` with the programs people use through a proxy. The name they
//! ask for is known to the node alone.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use integration_tests::target::{Socket, connect, drain, free_port};
use integration_tests::{
    Alknet, Background, NODE, Random, Run, Setup, Target, TestNode, requires, rules, sha256,
    sha256_of_file,
};

const MIB: usize = 1 << 20;
/// See [`node`].
const NAME: &str = "only-the-node-knows.test";
const DENIED: &str = "denied.test";

/// A node that knows names of its own: it has another `/etc/hosts`. None if
/// that cannot be arranged here.
fn node(setup: Setup) -> Option<TestNode> {
    if !requires(&["unshare", "mount", "curl"]) {
        return None;
    }
    let hosts = setup.folder().join("hosts");
    fs::write(&hosts, format!("127.0.0.1 {NAME}\n127.0.0.3 {DENIED}\n")).unwrap();
    let denied = rules(&[("deny", "127.0.0.3:*", &[])]);
    setup.grant(&["ssh:forward:*:*"]);
    setup.ssh_config(&format!("forwarding.rules = {denied}"));
    let mount = format!(
        "mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
        hosts.display()
    );
    let as_root = is_root();
    let user: &[&str] = if as_root { &[] } else { &["--map-root-user"] };
    let wrapper = [&["unshare", "--mount"], user, &["sh", "-c", &mount]].concat();
    Some(TestNode::start_under(&wrapper, setup))
}

fn is_root() -> bool {
    Run::new("id").arg("-u").output().trim() == "0"
}

/// `alknet socks`, and where it listens.
struct Proxy {
    addr: SocketAddr,
    socks: Background,
    _node: TestNode,
}

impl Proxy {
    fn start() -> Option<Self> {
        let node = node(Setup::new())?;
        let user = Alknet::to(&node);
        let run = user.run(&["socks", NODE, "--listen", "127.0.0.1:0"]);
        let mut socks = Background::spawn(run);
        let line = socks.says(&["listening on"]).unwrap();
        Some(Self {
            addr: line.rsplit(' ').next().unwrap().parse().unwrap(),
            socks,
            _node: node,
        })
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.addr)
    }

    fn curl(&self, scheme: &str, url: &str) -> Run {
        Run::new("curl")
            .args(["-sS", "--noproxy", "", "-x", &self.url(scheme)])
            .arg(url)
    }
}

/// A server of the files in a directory, over HTTP/1.0.
fn files(folder: &Path) -> Target {
    let folder = folder.to_owned();
    Target::tcp("127.0.0.1:0", move |mut socket: Socket| {
        let mut head = BufReader::new(socket.twin());
        let mut request = String::new();
        head.read_line(&mut request).unwrap();
        let mut line = String::new();
        while head.read_line(&mut line).is_ok_and(|read| read > 2) {
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let path = path.split('?').next().unwrap().trim_start_matches('/');
        let answer = match fs::read(folder.join(path)) {
            Ok(bytes) => {
                let head = format!(
                    "HTTP/1.0 200 OK\r\nContent-Length: {}\r\nContent-Type: {}\r\n\r\n",
                    bytes.len(),
                    if path.ends_with("html") {
                        "text/html"
                    } else {
                        "application/octet-stream"
                    },
                );
                [head.as_bytes(), &bytes].concat()
            }
            Err(_) => b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        let _ = socket.write_all(&answer);
        socket.finish();
    })
}

/// The ways to ask for a name that is not resolved here.
const SCHEMES: [&str; 3] = ["socks5h", "socks4a", "http"];

#[test]
fn curl_gets_what_only_the_node_can_reach() {
    let Some(proxy) = Proxy::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let digest = Random::new(1).file(&folder.path().join("file"), 8 * MIB);
    let server = files(folder.path());
    let url = format!("http://{NAME}:{}/file", server.port());
    let here = Run::new("curl")
        .args(["-sS", "--noproxy", "*", &url])
        .ended();
    assert_eq!(here.code(), 6, "the name is unknown here: {here}");
    for scheme in SCHEMES {
        let ended = proxy.curl(scheme, &url).arg("--proxytunnel").ended();
        assert_eq!(ended.code(), 0, "{scheme}: {ended}");
        assert_eq!(sha256(&ended.stdout), digest, "{scheme}");
    }
    let said = proxy.socks.err();
    assert!(!said.contains(NAME), "{said}");
}

#[test]
fn curl_tells_refused_denied_and_unknown_apart() {
    let Some(proxy) = Proxy::start() else { return };
    let dead = free_port();
    let refused = format!("http://{NAME}:{dead}/");
    let denied = format!("http://{DENIED}:{dead}/");
    let unknown = format!("http://no-such-name.test:{dead}/");
    // RFC 1928 section 6; what curl makes of it.
    for (url, code) in [(&refused, "(5)"), (&denied, "(2)"), (&unknown, "(4)")] {
        let ended = proxy.curl("socks5h", url).ended();
        assert_eq!(ended.code(), 97, "{ended}");
        ended.line_with(&[code]);
    }
    for (url, status) in [(&refused, "502"), (&denied, "403"), (&unknown, "503")] {
        let ended = proxy.curl("http", url).arg("--proxytunnel").ended();
        assert_eq!(ended.code(), 56, "{ended}");
        ended.line_with(&[status]);
    }
}

#[test]
fn wget_gets_it() {
    if !requires(&["wget", "openssl"]) {
        return;
    }
    let Some(proxy) = Proxy::start() else { return };
    // wget asks a proxy to CONNECT for https alone.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let digest = Random::new(2).file(&folder.join("file"), MIB);
    let openssl = || Run::new("openssl").dir(folder);
    openssl()
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2",
        ])
        .args(["-subj", &format!("/CN={NAME}")])
        .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
        .output();
    let port = free_port().to_string();
    let mut server = openssl()
        .args(["s_server", "-WWW", "-accept", &port])
        .args(["-key", "key.pem", "-cert", "cert.pem"])
        .spawn();
    integration_tests::eventually("the server listens", || {
        connect(SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            port.parse().unwrap(),
        )))
        .ok()
    });
    Run::new("wget")
        .dir(folder)
        .args(["-q", "-O", "got", "-e", "use_proxy=yes", "-e"])
        .arg(format!("https_proxy={}", proxy.url("http")))
        .args(["--ca-certificate", "cert.pem"])
        .arg(format!("https://{NAME}:{port}/file"))
        .output();
    assert_eq!(sha256_of_file(&folder.join("got")), digest);
    server.kill();
}

#[test]
fn git_clones_it() {
    if !requires(&["git"]) {
        return;
    }
    let Some(proxy) = Proxy::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let git = |args: &[&str]| {
        let run = Run::new("git").dir(folder).args(args);
        run.env("HOME", folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("NO_PROXY", "")
            .output()
    };
    git(&["init", "-q", "work"]);
    fs::write(folder.join("work/read-me"), "through the node\n").unwrap();
    git(&["-C", "work", "add", "."]);
    let who = ["-c", "user.name=t", "-c", "user.email=t@t"];
    git(&[&["-C", "work"], &who[..], &["commit", "-qm", "first"]].concat());
    git(&["clone", "-q", "--bare", "work", "served.git"]);
    git(&["-C", "served.git", "update-server-info"]);
    let server = files(folder);
    let url = format!("http://{NAME}:{}/served.git", server.port());
    // Over an HTTP proxy it asks for CONNECT only with https.
    for scheme in ["socks5h", "socks4a"] {
        let through = format!("http.proxy={}", proxy.url(scheme));
        git(&["-c", &through, "clone", "-q", &url, scheme]);
        let read = fs::read_to_string(folder.join(scheme).join("read-me"));
        assert_eq!(read.unwrap(), "through the node\n");
    }
}

#[test]
fn a_browser_shows_it() {
    let browsers = ["chromium-headless-shell"];
    if !requires(&browsers) {
        return;
    }
    let Some(proxy) = Proxy::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = "<p id=p>no</p><img src=dot.png><script src=script.js></script>";
    fs::write(folder.path().join("page.html"), page).unwrap();
    fs::write(
        folder.path().join("script.js"),
        "document.getElementById('p').textContent = 'scripts' + ' ran';",
    )
    .unwrap();
    let server = files(folder.path());
    // With SOCKS4 it resolves names itself, and over an HTTP proxy it asks for
    // CONNECT only with https.
    let ended = Run::new(browsers[0])
        .args(["--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("--proxy-server={}", proxy.url("socks5")))
        .arg(format!("http://{NAME}:{}/page.html", server.port()))
        .env("HOME", folder.path())
        .ended();
    assert!(ended.out().contains("scripts ran"), "{ended}");
    assert!(server.accepted() >= 2);
}

#[test]
fn garbage_half_a_handshake_and_endless_names_hold_nobody_up() {
    let Some(proxy) = Proxy::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "still here").unwrap();
    let server = files(folder.path());
    let say = |bytes: &[u8]| {
        let mut socket = connect(proxy.addr).unwrap();
        // It may hang up before it has heard all.
        let _ = socket.write_all(bytes);
        socket
    };
    let halves = [
        &b""[..],
        b"\x05",
        b"\x05\x01\x00\x05\x01",
        b"\x04\x01\x00",
        b"CONNECT a:1 HT",
    ];
    let _open: Vec<_> = halves.iter().map(|bytes| say(bytes)).collect();
    let long = vec![b'a'; 64 << 10];
    let socks4a = [b"\x04\x01\x00\x50\x00\x00\x00\x01\x00", &long[..]].concat();
    let http = [b"CONNECT ", &long[..], b":80 HTTP/1.1\r\n\r\n"].concat();
    for (bytes, answer) in [
        (Random::new(3).bytes(10_000), None),
        (vec![0; 10_000], None),
        (
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Some(&b"HTTP/1.1 405"[..]),
        ),
        (socks4a, Some(b"\x00\x5b")),
        (http, Some(b"HTTP/1.1 4")),
        // BIND, UDP ASSOCIATE, and no such command.
        (
            b"\x05\x01\x00\x05\x02\x00\x01\x7f\0\0\x01\0\x50".to_vec(),
            Some(b"\x05\x00\x05\x07"),
        ),
        (
            b"\x05\x01\x00\x05\x03\x00\x01\x7f\0\0\x01\0\x50".to_vec(),
            Some(b"\x05\x00\x05\x07"),
        ),
        (
            b"\x05\x01\x00\x05\x09\x00\x01\x7f\0\0\x01\0\x50".to_vec(),
            Some(b"\x05\x00\x05\x07"),
        ),
        // A password is not asked for, so none can be the only way in.
        (b"\x05\x01\x02".to_vec(), Some(b"\x05\xff")),
    ] {
        let mut socket = say(&bytes);
        match answer {
            None => drop(drain(&mut socket)),
            Some(answer) => {
                let mut start = vec![0; answer.len()];
                socket.read_exact(&mut start).unwrap();
                assert_eq!(start, answer);
            }
        }
    }
    let url = format!("http://{NAME}:{}/file", server.port());
    let ended = proxy.curl("socks5h", &url).ended();
    assert_eq!(ended.out(), "still here", "{ended}");
    assert_eq!(
        proxy.socks.err().lines().count(),
        1,
        "{}",
        proxy.socks.err()
    );
}
