//! What a node tells Prometheus, and the dashboard that shows it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use integration_tests::{
    HANG, Run, Setup, TestNode, artifacts, connect_ssh, dial, eventually, requires, workspace,
};
use serde_json::Value;
use tokio::io::AsyncReadExt;

fn setup() -> Setup {
    let setup = Setup::new();
    setup.append("node.toml", "\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
    setup
}

fn connect(node: &TestNode) -> TcpStream {
    let addr = eventually("the node names its metrics", || {
        let text = node.stdout();
        let line = text.lines().find(|line| line.starts_with("metrics"))?;
        let (_, rest) = line.split_once("http://")?;
        Some(rest.split_once('/')?.0.to_owned())
    });
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// What is answered to these bytes.
fn ask(node: &TestNode, request: &[u8]) -> String {
    let mut stream = connect(node);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn metrics(node: &TestNode) -> String {
    let answer = ask(node, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    body.to_owned()
}

/// The value of the sample that begins with `name` and has these labels.
fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        let rest = line.strip_prefix(name);
        let own = rest.is_some_and(|rest| rest.starts_with(['{', ' ']));
        own && labels.iter().all(|label| line.contains(label))
    });
    line?.rsplit_once(' ')?.1.parse().ok()
}

/// Logs in and runs a command.
fn one_session(node: &TestNode) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let quic = dial(node).await;
        let client = connect_ssh(node, &quic).await;
        let mut process = client.exec("echo done", &[]).await.unwrap();
        let mut said = String::new();
        process.stdout.read_to_string(&mut said).await.unwrap();
        client.disconnect().await;
    });
    runtime.shutdown_background();
}

/// A node with both plugins that has served one session.
fn served() -> TestNode {
    let setup = setup();
    setup.install(&artifacts().echo, "libalknet_echo.so");
    setup.install_bytes(b"no library", "bad.so");
    let node = setup.start();
    one_session(&node);
    node
}

#[test]
fn a_session_shows_in_the_metrics() {
    let node = served();
    let text = metrics(&node);
    for (name, labels, at_least) in [
        ("alknet_connections_total", &["transport=\"quic\""][..], 1.0),
        ("alknet_handshakes_total", &["result=\"completed\""], 1.0),
        ("alknet_handshake_seconds_count", &[], 1.0),
        ("alknet_handshake_seconds_bucket", &["le=\"+Inf\""], 1.0),
        (
            "alknet_plugin_load_failures_total",
            &["kind=\"not_elf\""],
            1.0,
        ),
        ("alknet_panics_total", &["origin=\"plugin\""], 0.0),
        ("alknet_log_records_dropped_total", &[], 0.0),
        (
            "alknet_generation_info",
            &["plugin=\"ssh\"", "state=\"serving\"", "digest=\"sha256:"],
            1.0,
        ),
        ("alknet_generation_info", &["plugin=\"echo\""], 1.0),
        ("alknet_generation_up", &["plugin=\"ssh\""], 1.0),
        ("alknet_ssh_sessions_total", &["generation="], 1.0),
        (
            "alknet_ssh_auth_total",
            &["result=\"accepted\"", "reason=\"publickey\""],
            1.0,
        ),
        (
            "alknet_ssh_channels_total",
            &["kind=\"session\"", "verdict=\"opened\""],
            1.0,
        ),
        ("alknet_ssh_login_seconds_count", &[], 1.0),
        ("alknet_ssh_bytes_total", &["direction=\"sent\""], 1000.0),
        ("alknet_echo_connections", &[], 0.0),
        ("alknet_echo_bytes_total", &[], 0.0),
        ("process_resident_memory_bytes", &[], 1e6),
        ("process_cpu_seconds_total", &[], 0.0),
        ("process_open_fds", &[], 5.0),
        ("process_start_time_seconds", &[], 1e9),
    ] {
        let found = value(&text, name, labels);
        assert!(
            found.is_some_and(|found| found >= at_least),
            "{name} {labels:?}: {found:?}\n{text}"
        );
    }
    let left_out = value(
        &text,
        "alknet_generation_metrics_left_out",
        &["plugin=\"ssh\""],
    );
    assert_eq!(left_out, Some(0.0));
    assert!(text.lines().count() < 500, "{}", text.lines().count());
    // The session has left: what counts up stays, what is live goes down.
    eventually("no connection is live", || {
        let live = value(
            &metrics(&node),
            "alknet_generation_connections",
            &["\"ssh\""],
        );
        (live == Some(0.0)).then_some(())
    });
}

#[test]
fn the_names_are_as_prometheus_wants_them() {
    let node = served();
    let text = metrics(&node);
    let families: BTreeSet<&str> = lines_with(&text, "# TYPE ").collect();
    let helped: BTreeSet<&str> = lines_with(&text, "# HELP ").collect();
    assert_eq!(families, helped);
    if requires(&["promtool"]) {
        let checked = Run::new("promtool")
            .args(["check", "metrics"])
            .stdin(text.as_bytes())
            .ended();
        assert_eq!(checked.code(), 0, "{checked}");
        assert_eq!(
            (checked.out(), checked.err()),
            (String::new(), String::new())
        );
    }
}

/// The names that follow `label`.
fn lines_with<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text
        .lines()
        .filter_map(move |line| line.strip_prefix(label));
    lines.map(|line| line.split(' ').next().unwrap())
}

#[test]
fn what_is_no_request_for_metrics_is_refused() {
    let node = setup().start();
    // Whoever says nothing holds nobody up.
    let _silent: Vec<_> = (0..4).map(|_| connect(&node)).collect();
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n", "x".repeat(9000));
    for (request, status) in [
        (
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            "404 Not Found",
        ),
        (b"GET /metrics/x HTTP/1.0\r\n\r\n", "404 Not Found"),
        (
            b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            "405 Method Not Allowed",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "400 Bad Request",
        ),
        (long.as_bytes(), "431 Request Header Fields Too Large"),
    ] {
        let mut stream = connect(&node);
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
    }
    assert!(metrics(&node).contains("alknet_node_info"));
}

#[test]
fn metrics_are_for_this_machine_and_off_unless_asked_for() {
    let plain = Setup::new();
    let node = plain.start();
    assert!(!node.stdout().contains("metrics"), "{}", node.stdout());

    let setup = setup();
    for addr in ["0.0.0.0:9464", "192.0.2.7:9464", "[::]:9464"] {
        let text = fs::read_to_string(setup.config_file()).unwrap();
        setup.replace(
            "listen = \"127.0.0.1:0\"\n",
            &format!("listen = \"{addr}\"\n"),
        );
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[
            "node.toml:",
            "/metrics/listen",
            addr,
            "not a loopback address",
        ]);
        fs::write(setup.config_file(), text).unwrap();
    }
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let path = workspace().join("host-shim/packaging/grafana/alknet-node.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let expressions: Vec<&str> = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(expressions.len() >= 15, "{}", expressions.len());
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());

    let node = served();
    let text = metrics(&node);
    let families: BTreeSet<&str> = lines_with(&text, "# TYPE ").collect();
    let separator = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    for expression in expressions {
        let names = expression
            .split(separator)
            .filter(|word| word.starts_with("alknet_") || word.starts_with("process_"));
        let mut found = 0;
        for name in names {
            let endings = ["", "_bucket", "_sum", "_count"];
            let known = endings.iter().any(|ending| {
                let family = name.strip_suffix(ending);
                family.is_some_and(|family| families.contains(family))
            });
            assert!(known, "{name} of {expression:?} is not told");
            found += 1;
        }
        assert!(found > 0, "{expression:?} shows nothing of a node");
    }
}

#[test]
fn a_web_page_under_another_name_reads_no_metrics() {
    let setup = setup();
    setup.append("node.toml", "hosts = [\"metrics.example\"]\n");
    let node = setup.start();
    for (host, status) in [
        ("metrics.example:80", "200"),
        ("127.0.0.1:9464", "200"),
        ("evil.example", "421"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = ask(&node, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
    let answer = ask(&node, b"GET /metrics HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn slow_askers_do_not_keep_others_out() {
    let node = setup().start();
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(&node);
            stream.write_all(b"GET /met").unwrap();
            stream
        })
        .collect();
    assert!(metrics(&node).contains("alknet_node_info"));
    for mut stream in slow {
        let mut rest = Vec::new();
        // They are let go, whatever that looks like from here.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}
