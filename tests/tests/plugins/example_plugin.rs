//! The example plugin of `host-shim/docs/writing-a-plugin.md`, on a node that
//! serves SSH as well.

use std::fs;
use std::path::Path;

use alknet_quic::QuicStream;
use integration_tests::{
    Alknet, Dialled, Ended, HANG, NODE, Random, Run, Setup, TestNode, artifacts, connect_ssh, dial,
    dial_as, requires,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guarded = async { tokio::time::timeout(HANG, future).await };
    let outcome = runtime.block_on(guarded);
    runtime.shutdown_background();
    outcome.expect("this hangs")
}

fn setup(config: &str) -> Setup {
    let setup = Setup::new();
    setup.install(&artifacts().echo, "libalknet_echo.so");
    setup.append("node.toml", &format!("\n{config}\n"));
    setup
}

async fn dial_echo(node: &TestNode) -> Dialled {
    dial_as(node, None, b"alknet/echo").await.unwrap()
}

/// All that comes back for `said` on a new stream.
async fn answer(dialled: &Dialled, said: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(dialled.stream().await);
    let mut back = Vec::new();
    let speak = async {
        write.write_all(said).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, heard) = tokio::join!(speak, read.read_to_end(&mut back));
    heard.unwrap();
    back
}

/// An author tries a plugin without a client for it.
#[test]
fn any_protocol_is_reached_by_standard_input_and_output() {
    let node = setup("[plugins.config.echo]\ngreeting = \"hello, \"").start();
    let user = Alknet::to(&node);
    let connect = |alpn: &str, said: &str| {
        let run = user.run(&["connect", "--alpn", alpn, NODE]);
        run.stdin(said).ended()
    };
    let ended = connect("alknet/echo", "world\n");
    assert_eq!(
        (ended.code(), ended.out().as_str()),
        (0, "hello, world\n"),
        "{ended}"
    );
    let ended = connect("alknet/none", "");
    assert_eq!(ended.code(), 255, "{ended}");
    ended.line_with(&["does not speak alknet/none", "plugins list"]);
}

#[test]
fn echo_and_ssh_are_served_side_by_side() {
    let node = setup("[plugins.config.echo]\ngreeting = \"hello, \"").start();
    let ready = node.stdout();
    assert!(ready.contains("serving alknet/echo, alknet/ssh"), "{ready}");
    run(async {
        let ssh = dial(&node).await;
        let client = connect_ssh(&node, &ssh).await;
        let echo = dial_echo(&node).await;
        // A stream that waits does not hold up the others.
        let mut waiting: QuicStream = echo.stream().await;
        waiting.write_all(b"wait").await.unwrap();
        let bytes = Random::new(7).bytes(300_000);
        let (first, second) = tokio::join!(answer(&echo, b"world"), answer(&echo, &bytes));
        assert_eq!(first, b"hello, world");
        assert_eq!(second.strip_prefix(b"hello, ").unwrap(), bytes);
        let mut process = client.exec("echo served", &[]).await.unwrap();
        let mut said = String::new();
        process.stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "served\n");
        client.disconnect().await;
    });
    node.logged(&["INFO", "plugin::echo::connection", "opened"]);
    assert!(node.stop().status.success());
}

#[test]
fn its_configuration_is_checked_against_its_own_schema() {
    let setup = setup("[plugins.config.echo]\ngreting = \"hello\"");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/plugins/config/echo", "greting", "greeting"]);

    setup.replace("greting = \"hello\"", "greeting = \"a\\u0007b\"");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/greeting", "is not printable"]);
}

#[test]
fn another_greeting_is_put_in_force_under_a_live_connection() {
    let node = setup("[plugins.config.echo]\ngreeting = \"one \"").start();
    run(async {
        let dialled = dial_echo(&node).await;
        assert_eq!(answer(&dialled, b"x").await, b"one x");
        node.setup.replace("\"one \"", "\"two \"");
        node.setup.on_state("reload").output();
        assert_eq!(answer(&dialled, b"x").await, b"two x");
        // What the plugin refuses changes nothing.
        node.setup.replace("\"two \"", "\"a\\u0007b\"");
        let refused = node.setup.on_state("reload").ended();
        assert_ne!(refused.code(), 0, "{refused}");
        refused.line_with(&["/plugins/config/echo/greeting", "is not printable"]);
        assert_eq!(answer(&dialled, b"x").await, b"two x");
    });
}

#[test]
fn a_secret_it_does_not_know_is_not_granted() {
    let setup = setup("[plugins.secrets]\necho = [\"token\"]");
    for name in ["token", "other"] {
        let set = setup.node(&["secret", "set", name, "--state"]);
        set.arg(setup.state()).stdin("s3cret").output();
    }
    let fine = setup.on_state("check").ended();
    assert_eq!(fine.code(), 0, "{fine}");
    setup.replace("[\"token\"]", "[\"token\", \"other\"]");
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/plugins/secrets/echo", "other"]);
}

#[test]
fn a_stop_lets_it_end_its_connections() {
    let node = setup("[shutdown]\ndrain_seconds = 1").start();
    run(async {
        let dialled = dial_echo(&node).await;
        assert_eq!(answer(&dialled, b"x").await, b"x");
        node.terminate();
        let closed = dialled.connection.closed().await;
        assert!(closed.to_string().contains("the plugin ends"), "{closed}");
    });
    assert!(node.wait().status.success());
}

/// `plugins check --deep` of a library, with variables for the odd one.
fn check_deep(library: &Path, env: &[(&str, &str)]) -> Ended {
    let mut setup = Setup::empty();
    for (name, value) in env {
        setup.env(name, value);
    }
    fs::create_dir_all(setup.plugins()).unwrap();
    let file = setup.install(library, "x.so");
    setup
        .node(&["plugins", "check", "--deep"])
        .arg(file)
        .ended()
}

/// The steps that failed, with what was seen.
fn failures(ended: &Ended) -> Vec<String> {
    let lines = ended.out();
    let failed = lines.lines().filter_map(|line| line.strip_prefix("FAIL  "));
    failed.map(str::to_owned).collect()
}

#[test]
fn the_example_and_the_ssh_plugin_keep_to_the_interface() {
    for library in [&artifacts().echo, &artifacts().plugin] {
        let ended = check_deep(library, &[]);
        assert_eq!(ended.code(), 0, "{ended}");
        assert_eq!(failures(&ended), [""; 0]);
        for step in [
            "load",
            "create",
            "peer with garbage",
            "bad reconfigure",
            "drain",
            "drop",
        ] {
            let lines = ended.out();
            let mut lines = lines.lines().filter_map(|line| line.strip_prefix("ok    "));
            assert!(lines.any(|line| line.starts_with(step)), "{step}: {ended}");
        }
        assert!(
            ended.out().contains("x.so: keeps to the interface"),
            "{ended}"
        );
    }
}

#[test]
fn a_deep_check_names_what_a_plugin_does_wrong() {
    let odd = &artifacts().odd;
    let cases = [
        (
            "ODD_FACTORY",
            "fail",
            "create",
            "the stars do not favour it",
        ),
        (
            "ODD_FACTORY",
            "panic",
            "panics",
            "the factory has had enough",
        ),
        ("ODD_HANDLE", "panic", "panics", "no connection today"),
        ("ODD_HANDLE", "panic-later", "panics", "no stream today"),
        (
            "ODD_HANDLE",
            "panic-unguarded",
            "peer that leaves",
            "panicked",
        ),
        ("ODD_HANDLE", "panic-unguarded", "panics", "no guard today"),
        ("ODD_RECONFIGURE", "fail", "reconfigure", "no change today"),
        ("ODD_SCHEMA", "garbage", "load", "config schema is not JSON"),
        (
            "ODD_SCHEMA",
            r#"{"type":"no such type"}"#,
            "schemas",
            "/type",
        ),
        (
            "ODD_SCHEMA",
            r#"{"required":["x"]}"#,
            "configuration",
            "--config FILE",
        ),
        ("ODD_INTERFACE", "7", "load", "plugin interface 7"),
        // What it does wrong without being told to.
        (
            "ODD_HANDLE",
            "ok",
            "bad reconfigure",
            "is taken for a configuration",
        ),
        (
            "ODD_HANDLE",
            "ok",
            "drain",
            "yet a live connection did not end",
        ),
    ];
    let check = |(variable, value, step, seen): (&str, &str, &str, &str)| {
        let ended = check_deep(odd, &[(variable, value)]);
        assert_eq!(ended.code(), 1, "{ended}");
        let failed = failures(&ended);
        assert!(
            failed
                .iter()
                .any(|line| line.starts_with(step) && line.contains(seen)),
            "{variable}={value}: no {step} with {seen:?} in {ended}"
        );
        ended.line_with(&["x.so: does not keep to the interface"]);
    };
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

#[test]
fn a_deep_check_survives_a_library_that_kills_its_loader() {
    if !requires(&["cc"]) {
        return;
    }
    let setup = Setup::empty();
    let source = setup.folder().join("fatal.c");
    let library = setup.folder().join("fatal.so");
    fs::write(
        &source,
        "#include <unistd.h>
         int _1as_0lib_1header_0root_bmodule_bloader;
         __attribute__((constructor)) static void fatal(void) { _exit(3); }",
    )
    .unwrap();
    Run::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output();
    let ended = check_deep(&library, &[]);
    assert_eq!(ended.code(), 1, "{ended}");
    let failed = failures(&ended);
    assert_eq!(failed.len(), 1, "{ended}");
    let seen = "ends the process that loaded it (exit status 3)";
    assert!(
        failed[0].starts_with("load") && failed[0].contains(seen),
        "{ended}"
    );
}

#[test]
fn the_guide_quotes_the_example() {
    let read = |path: &str| fs::read_to_string(integration_tests::workspace().join(path)).unwrap();
    let guide = read("host-shim/docs/writing-a-plugin.md");
    let example = read("plugin/echo/src/lib.rs");
    let own = example.lines().map(str::trim);
    let own = own.filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(own.count() < 60, "the example is to be read in one go");
    let manifest = read("plugin/sdk/template/Cargo.toml.in");
    for (language, of) in [("rust", &example), ("toml", &manifest)] {
        let quotes: Vec<_> = guide.split(&format!("```{language}\n")).skip(1).collect();
        assert!(!quotes.is_empty());
        for quote in quotes {
            let (quote, _) = quote.split_once("```").unwrap();
            assert!(of.contains(quote), "not in the example:\n{quote}");
        }
    }
}
