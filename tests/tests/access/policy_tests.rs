//! Tests of the policy in the configuration: what they hold it to, and when.

use std::fmt::Write as _;
use std::fs;

use integration_tests::{
    Ended, Peers, Reached, Setup, Ssh, Target, TestKey, requires, rules, workspace,
};

const TESTS: &str = "/plugins/config/ssh/tests";

fn test(identity: &str, request: &str, expect: &str, more: &str) -> String {
    format!(
        "[[plugins.config.ssh.tests]]\nidentity = {identity:?}\nrequest = {request:?}\nexpect = {expect:?}\n{more}\n"
    )
}

fn check(setup: &Setup) -> Ended {
    setup.on_state("check").ended()
}

fn reload(setup: &Setup, args: &[&str]) -> Ended {
    setup.on_state("reload").args(args).ended()
}

/// The place of the line that begins like this, the last one there is.
fn place(setup: &Setup, line: &str) -> String {
    let text = fs::read_to_string(setup.config_file()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let index = lines.iter().rposition(|found| found.starts_with(line));
    let number = index.unwrap_or_else(|| panic!("no {line:?} in {text}")) + 1;
    format!("{}:{number}", setup.config_file().display())
}

/// Peers of several kinds, and rules; no test yet.
fn setup() -> Setup {
    let setup = Setup::new();
    let keys = ["job", "away", "gone"].map(|name| TestKey::make(setup.folder(), name));
    let mut peers = Peers::new();
    peers
        .add(
            "owner",
            &setup.key,
            &["ssh:exec", "ssh:forward:*:*", "ssh:shell"],
        )
        .add(
            "job",
            &keys[0],
            &[
                "ssh:exec:echo",
                "ssh:env:RELEASE",
                "ssh:listen:localhost:7000",
                "ssh:streamlocal:/run/app.sock",
            ],
        )
        .add("away", &keys[1], &["ssh:sftp", "ssh:agent", "ssh:exec"])
        .more(
            "away",
            "accounts = [\"www\"]\nresources = { \"ssh:from\" = [\"192.0.2.0/24\"], \"ssh:expires\" = [\"2030-01-01T00:00:00Z\"] }",
        )
        .add("gone", &keys[2], &["ssh:exec"])
        .disable("gone");
    peers.write(&setup);
    let list = rules(&[
        ("deny", "10.0.0.0/8:*", &[]),
        ("allow", "db.internal:5432", &["job"]),
    ]);
    setup.ssh_config(&format!(
        "services.subsystems = {{ shout = \"echo hello\", other = \"cat\" }}\nforwarding.rules = {list}"
    ));
    setup
}

#[test]
fn every_kind_of_request_is_decided_as_a_client_would_find_it() {
    let setup = setup();
    let dns = "dns = [\"192.0.2.9\", \"10.1.2.3\"]";
    let mut text = String::new();
    let mut number = 0;
    for (identity, request, allowed, more) in [
        ("owner", "exec:ls -l; uname", true, ""),
        ("job", "exec:echo hello", true, ""),
        ("job", "exec:cat x", false, ""),
        ("owner", "shell", true, ""),
        ("job", "shell", false, ""),
        ("away", "sftp", true, ""),
        ("away", "subsystem:sftp", true, ""),
        ("owner", "sftp", false, ""),
        ("job", "subsystem:shout", true, ""),
        ("job", "subsystem:other", false, ""),
        ("owner", "subsystem:none", false, ""),
        (
            "job",
            "forward:db.internal:5432",
            true,
            "dns = [\"192.0.2.9\"]",
        ),
        ("job", "forward:db.internal:5432", false, dns),
        ("owner", "forward:db.internal:5432", false, dns),
        ("owner", "forward:db.internal:5432", false, "dns = []"),
        ("owner", "forward:[::ffff:10.0.0.1]:22", false, ""),
        ("owner", "forward:[2001:db8::1]:22", true, ""),
        ("job", "listen:localhost:7000", true, ""),
        ("job", "listen:*:7000", false, ""),
        ("owner", "listen:localhost:443", false, ""),
        ("job", "streamlocal:/run/app.sock", true, ""),
        ("job", "streamlocal:/run/other.sock", false, ""),
        ("away", "agent", true, ""),
        ("owner", "agent", false, ""),
        ("job", "env:RELEASE", true, ""),
        ("job", "env:LC_ALL", true, ""),
        ("owner", "env:RELEASE", false, ""),
        ("gone", "exec:ls", false, ""),
        // How it comes in counts.
        ("away", "exec:ls", true, "from = \"192.0.2.7\""),
        ("away", "exec:ls", false, "from = \"198.51.100.7\""),
        ("away", "exec:ls", true, "at = \"2029-12-31T23:59:59Z\""),
        ("away", "exec:ls", false, "at = \"2030-01-01T00:00:00Z\""),
        ("away", "exec:ls", true, "user = \"www\""),
        ("away", "exec:ls", false, "user = \"root\""),
        // Somebody who is not a peer yet, and a peer as it could be.
        ("later", "exec:ls", true, "scopes = [\"ssh:exec\"]"),
        ("later", "shell", false, "scopes = [\"ssh:exec\"]"),
        ("owner", "shell", false, "scopes = []"),
        ("gone", "shell", false, "scopes = [\"ssh:shell\"]"),
    ] {
        let expect = if allowed { "allow" } else { "deny" };
        text.push_str(&test(identity, request, expect, more));
        number += 1;
    }
    setup.ssh_config(&text);
    let ended = check(&setup);
    // A node of root's has an account to make up its mind about.
    let faults = ended.err();
    assert!(!faults.contains(TESTS), "{ended}");
    if ended.code() == 0 {
        let passed = format!("tests     {number} passed\n");
        assert!(ended.out().contains(&passed), "{ended}");
    }

    // The other way round each of them fails, and says so.
    let whole = fs::read_to_string(setup.config_file()).unwrap();
    let turned = whole
        .replace("expect = \"allow\"", "expect = \"?\"")
        .replace("expect = \"deny\"", "expect = \"allow\"")
        .replace("expect = \"?\"", "expect = \"deny\"");
    fs::write(setup.config_file(), turned).unwrap();
    let ended = check(&setup);
    assert_eq!(ended.code(), 1, "{ended}");
    for index in 0..number {
        ended.line_with(&[&format!(" {TESTS}/{index}: the test expects that ")]);
    }
}

#[test]
fn a_test_that_fails_names_its_place_and_the_rule_that_decided() {
    let setup = setup();
    let dns = "dns = [\"192.0.2.9\", \"10.1.2.3\"]";
    setup.ssh_config(&test("owner", "forward:db.internal:5432", "allow", dns));
    let ended = check(&setup);
    assert_eq!(ended.code(), 1, "{ended}");
    let rule = place(&setup, "forwarding.rules");
    ended.line_with(&[
        &format!("{}:", place(&setup, "[[plugins.config.ssh.tests]]")),
        &format!("{TESTS}/0: the test expects that forward:db.internal:5432 is allowed to owner"),
        "and it is denied: for 10.1.2.3 the rule at /forwarding/rules/0 denies it",
        &format!("({rule})"),
    ]);
    let whole = fs::read_to_string(setup.config_file()).unwrap();
    let first = whole.find("[[plugins.config.ssh.tests]]").unwrap();
    fs::write(setup.config_file(), &whole[..first]).unwrap();
    setup.ssh_config(&test("owner", "shell", "deny", ""));
    let ended = check(&setup);
    ended.line_with(&[
        &format!("{TESTS}/0: the test expects that shell is denied to owner"),
        "and it is allowed: the scope ssh:shell grants it",
    ]);
}

#[test]
fn a_reload_that_fails_a_test_changes_nothing() {
    if !requires(&["ssh"]) {
        return;
    }
    let echo = Target::echo();
    let setup = Setup::new();
    setup.grant(&["ssh:forward:127.0.0.1:*"]);
    setup.ssh_config("forwarding.rules = []");
    let request = format!("forward:127.0.0.1:{}", echo.port());
    setup.ssh_config(&test("owner", &request, "allow", ""));
    let node = setup.start();
    let ssh = Ssh::to(&node);
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Served);
    let ended = reload(&node.setup, &[]);
    assert_eq!(
        ended.out(),
        "reloaded: generation 2, changed nothing\ntests passed: 1\n",
        "{ended}"
    );

    // A rule that takes away what the test holds.
    let list = rules(&[("deny", "127.0.0.0/8:*", &[])]);
    let denied = format!("forwarding.rules = {list}");
    node.setup.replace("forwarding.rules = []", &denied);
    for args in [&[][..], &["--dry-run"]] {
        let ended = reload(&node.setup, args);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[TESTS, "the rule at /forwarding/rules/0 denies it"]);
        assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Served);
    }
    // Nor does a new version of the plugin serve with it.
    let swapped = node
        .setup
        .on_state_args(&["plugins", "reload", "ssh", "--force"])
        .ended();
    assert_ne!(swapped.code(), 0, "{swapped}");
    assert!(swapped.to_string().contains(TESTS), "{swapped}");
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Served);

    // A peer that loses what the test says it has.
    node.setup.replace(&denied, "forwarding.rules = []");
    node.setup.grant(&[]);
    let ended = reload(&node.setup, &[]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[TESTS, "no rule and no ssh:forward scope"]);
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Served);

    // One that is meant comes into force with a test that says so.
    node.setup
        .replace("expect = \"allow\"", "expect = \"deny\"");
    let ended = reload(&node.setup, &[]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Prohibited);
}

#[test]
fn a_node_does_not_start_with_a_test_that_fails() {
    let setup = Setup::new();
    setup.grant(&[]);
    setup.ssh_config(&test("owner", "exec:ls", "allow", ""));
    setup.ssh_config(&test("owner", "exec:rm", "deny", ""));
    let ended = setup.on_state("run").ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&[&format!("{TESTS}/1: "), "the scope ssh:exec grants it"]);
    ended.line_with(&["1 of the configuration's tests failed"]);
}

#[test]
fn what_is_not_a_test_is_named_with_its_place() {
    let setup = setup();
    let fresh = fs::read_to_string(setup.config_file()).unwrap();
    for (text, pointer, words) in [
        (test("ownr", "shell", "deny", ""), "/0/identity", "owner"),
        (test("", "shell", "deny", ""), "/0/identity", ""),
        (
            test("owner", "ssh:shell", "deny", ""),
            "/0/request",
            "leave out",
        ),
        (
            test("owner", "shel", "deny", ""),
            "/0/request",
            "subsystem:<name>",
        ),
        (
            test("owner", "forward:db.internal:5432", "deny", ""),
            "/0/request",
            "`dns`",
        ),
        (
            test("owner", "forward:db:22", "deny", "dns = [\"db\"]"),
            "/0/dns/0",
            "IP address",
        ),
        (
            test("owner", "shell", "deny", "at = \"never\""),
            "/0/at",
            "2030",
        ),
        (
            test("owner", "shell", "deny", "form = \"::1\""),
            "/0",
            "form",
        ),
        (test("owner", "shell", "refuse", ""), "/0/expect", "allow"),
        (
            test("owner", "shell", "deny", "scopes = [\"ssh:exce\"]"),
            "/0/scopes/0",
            "not a known scope",
        ),
        (
            "[[plugins.config.ssh.tests]]\nidentity = \"owner\"\nexpect = \"deny\"\n".to_owned(),
            "/0",
            "request",
        ),
    ] {
        fs::write(setup.config_file(), &fresh).unwrap();
        setup.ssh_config(&text);
        let ended = check(&setup);
        assert_eq!(ended.code(), 1, "{text}{ended}");
        let file = setup.config_file().display().to_string();
        ended.line_with(&[&file, &format!(" {TESTS}{pointer}"), words]);
    }
}

#[test]
fn a_question_is_printed_as_the_test_that_it_comes_to() {
    let setup = setup();
    let explain = |args: &[&str]| {
        let ended = setup
            .on_state_args(&["policy", "explain"])
            .args(["--as-test", "--identity"])
            .args(args)
            .ended();
        assert!(ended.code() < 2, "{ended}");
        ended.out()
    };
    let named = [
        "job",
        "forward",
        "db.internal:5432",
        "--address",
        "10.1.2.3",
    ];
    assert_eq!(
        explain(&named),
        "[[plugins.config.ssh.tests]]\nidentity = \"job\"\nrequest = \"forward:db.internal:5432\"\n\
         dns = [\"10.1.2.3\"]\nexpect = \"deny\"\n"
    );
    let mut text = explain(&named);
    for args in [
        &["owner", "exec", "echo", "\"a\\b\""][..],
        &["job", "exec", "ls"],
        &["gone", "forward", "db.internal:22"],
        &["owner", "forward", "localhost:22"],
        &["owner", "forward", "[::1]:22"],
        &["job", "listen", ":7000"],
        &["job", "subsystem", "shout"],
        &["away", "--from", "192.0.2.1", "agent"],
        &["away", "--as-of", "2031-01-01T00:00:00Z", "sftp"],
        &["job", "streamlocal", "/run/app.sock"],
        &["job", "env", "RELEASE"],
        &["owner", "shell"],
    ] {
        let _ = write!(text, "\n{}", explain(args));
    }
    setup.ssh_config(&text);
    let ended = check(&setup);
    assert!(!ended.err().contains(TESTS), "{ended}");
}

#[test]
fn thousands_of_tests_are_run() {
    let setup = setup();
    let list: Vec<_> = (0..500)
        .map(|number| format!("host{number}.internal:22"))
        .collect();
    let list: Vec<_> = list
        .iter()
        .map(|target| ("deny", target.as_str(), &[][..]))
        .collect();
    setup.replace(
        "forwarding.rules = [",
        &format!(
            "{}, ",
            format_args!("forwarding.rules = {}", rules(&list).trim_end_matches(']'))
        ),
    );
    let mut text = String::new();
    for number in 0..3000 {
        let expect = if number < 500 { "deny" } else { "allow" };
        let request = format!("forward:host{number}.internal:22");
        text.push_str(&test("owner", &request, expect, "dns = [\"192.0.2.1\"]"));
    }
    setup.ssh_config(&text);
    let ended = check(&setup);
    assert!(!ended.err().contains(TESTS), "{ended}");
}

#[test]
fn the_tests_of_the_docs_pass() {
    let page = fs::read_to_string(workspace().join("host-shim/docs/policy.md")).unwrap();
    let blocks: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    let (peers, config) = blocks[0].split_once("# in node.toml\n").unwrap();
    let setup = Setup::new();
    fs::write(setup.state().join("peers.toml"), peers).unwrap();
    setup.ssh_config(config.strip_prefix("[plugins.config.ssh]\n").unwrap());
    setup.ssh_config(blocks[1]);
    let ended = check(&setup);
    assert_eq!(ended.code(), 0, "{ended}");
    let number = blocks[1].matches("[[plugins.config.ssh.tests]]").count();
    let passed = format!("tests     {number} passed\n");
    assert!(ended.out().contains(&passed), "{ended}");
}
