//! `policy explain`, answered by the SSH plugin itself.

use std::fs;

use integration_tests::{Ended, Setup, artifacts};
use serde_json::Value;

fn explain(setup: &Setup, args: &[&str]) -> Ended {
    setup
        .node(&["policy", "explain", "--identity", "owner", "--state"])
        .arg(setup.state())
        .args(args)
        .ended()
}

fn setup() -> Setup {
    let setup = Setup::new();
    let peers = setup.state().join("peers.toml");
    let text = fs::read_to_string(&peers).unwrap();
    assert!(text.contains("\"ssh:exec\""), "{text}");
    fs::write(
        &peers,
        text.replace("\"ssh:exec\"", "\"ssh:exec\", \"ssh:forward:*:5432\""),
    )
    .unwrap();
    setup.ssh_config(
        "[[plugins.config.ssh.forwarding.rules]]\ntarget = \"10.0.0.0/8:*\"\naction = \"deny\"",
    );
    setup
}

#[test]
fn the_plugin_says_what_decides() {
    let setup = setup();
    let said = |args: &[&str], code: i32, line: &str| {
        let ended = explain(&setup, args);
        assert_eq!(ended.code(), code, "{ended}");
        assert!(ended.out().starts_with(line), "{line}\n{ended}");
        assert_eq!(ended.err(), "");
    };
    said(
        &["exec", "ls", "-l"],
        0,
        "allow  ssh:exec:ls -l  (scope ssh:exec)\n",
    );
    said(
        &["forward", "localhost:5432"],
        0,
        "allow  ssh:forward:localhost:5432  (scope ssh:forward:*:5432)\n",
    );
    said(
        &["forward", "localhost:22"],
        1,
        "deny   ssh:forward:localhost:22  (",
    );
    said(&["shell"], 1, "deny   ssh:shell  (");
    // One denied address is enough, in whatever guise.
    let line = fs::read_to_string(setup.config_file())
        .unwrap()
        .lines()
        .count()
        - 2;
    let place = format!(
        "(rule {}:{line} /plugins/config/ssh/forwarding/rules/0)\n",
        setup.config_file().display()
    );
    let named = [
        "forward",
        "db:5432",
        "--address",
        "192.0.2.1",
        "--address",
        "10.1.2.3",
    ];
    said(&named, 1, &format!("deny   ssh:forward:db:5432  {place}"));
    let mapped = ["forward", "[::ffff:10.1.2.3]:5432"];
    said(
        &mapped,
        1,
        &format!("deny   ssh:forward:[::ffff:10.1.2.3]:5432  {place}"),
    );
}

#[test]
fn the_json_form_holds_the_same() {
    let setup = setup();
    let ended = explain(
        &setup,
        &["--json", "forward", "db:5432", "--address", "10.1.2.3"],
    );
    assert_eq!(ended.code(), 1, "{ended}");
    let answer: Value = serde_json::from_str(&ended.out()).unwrap();
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["identity"], "owner");
    assert_eq!(answer["request"]["kind"], "forward");
    assert_eq!(answer["rule"]["pointer"], "/forwarding/rules/0");
    assert_eq!(answer["addresses"][0]["address"], "10.1.2.3");
}

#[test]
fn a_disabled_peer_is_denied_and_an_unknown_one_is_a_fault() {
    let setup = setup();
    let peers = setup.state().join("peers.toml");
    let text = fs::read_to_string(&peers).unwrap();
    fs::write(
        &peers,
        text.replace("id = \"owner\"", "id = \"owner\"\ndisabled = true"),
    )
    .unwrap();
    let ended = explain(&setup, &["exec", "ls"]);
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(ended.out().contains("disabled"), "{ended}");
    fs::write(&peers, text.replace("id = \"owner\"", "id = \"other\"")).unwrap();
    let ended = explain(&setup, &["exec", "ls"]);
    assert_eq!(ended.code(), 2, "{ended}");
    ended.line_with(&["no peer", "owner", "other"]);
}

#[test]
fn what_cannot_be_answered_is_a_fault() {
    let setup = setup();
    for (args, said) in [
        (&["forward", "db"][..], "HOST:PORT"),
        (&["forward", "db:70000"], "HOST:PORT"),
        (&["forward", "::1:22"], "HOST:PORT"),
        (&["--plugin", "shh", "shell"], "loaded: ssh"),
        (&["forward", "no-such-host.invalid:5432"], "--address"),
    ] {
        let ended = explain(&setup, args);
        assert_eq!(ended.code(), 2, "{ended}");
        assert_eq!(ended.out(), "", "{ended}");
        ended.line_with(&[said]);
    }
    setup.install(&artifacts().odd, "zz_odd.so");
    let ended = explain(&setup, &["--plugin", "odd", "shell"]);
    assert_eq!(ended.code(), 2, "{ended}");
    ended.line_with(&["does not explain", "unknown command"]);
    setup.ssh_config("[plugins.config.ssh.limits]\nmax_chanels = 1");
    let ended = explain(&setup, &["shell"]);
    assert_eq!(ended.code(), 2, "{ended}");
    ended.line_with(&["max_chanels"]);
}

/// A peer under many conditions.
fn conditioned(command: bool) -> Setup {
    let setup = Setup::new();
    let peers = setup.state().join("peers.toml");
    let text = fs::read_to_string(&peers).unwrap();
    let command = if command {
        "\"ssh:command\" = [\"git-shell -c x\"], "
    } else {
        ""
    };
    let resources = format!(
        "id = \"owner\"\nresources = {{ {command}\"ssh:from\" = [\"10.0.0.0/8\"], \
         \"ssh:expires\" = [\"2040-01-01T00:00:00Z\"], \"ssh:no-pty\" = [\"yes\"] }}"
    );
    fs::write(&peers, text.replace("id = \"owner\"", &resources)).unwrap();
    setup
}

#[test]
fn the_answer_follows_time_address_and_forced_command() {
    let setup = conditioned(true);
    for (args, code, words) in [
        (
            &["exec", "ls"][..],
            0,
            &["runs \"git-shell -c x\"", "10.0.0.0/8 (ssh:from)"][..],
        ),
        (
            &["shell"],
            0,
            &["git-shell", "until 2040-01-01", "without a terminal"],
        ),
        (
            &["--from", "10.1.1.1", "exec", "ls"],
            0,
            &["scope ssh:exec"],
        ),
        (
            &["--from", "192.0.2.1", "exec", "ls"],
            1,
            &["cannot log in from 192.0.2.1"],
        ),
        (
            &["--as-of", "2041-01-01T00:00:00Z", "exec", "ls"],
            1,
            &["ssh:expires is over"],
        ),
        (
            &["--as-of", "2039-01-01T00:00:00Z", "exec", "ls"],
            0,
            &["allow"],
        ),
        (&["--as-of", "soon", "exec", "ls"], 2, &[]),
    ] {
        let ended = explain(&setup, args);
        assert_eq!(ended.code(), code, "{args:?} {ended}");
        for words in words {
            assert!(ended.out().contains(words), "{words}: {ended}");
        }
    }
    let ended = explain(&conditioned(false), &["--from", "10.1.1.1", "sftp"]);
    assert_eq!(ended.code(), 1, "{ended}");
}
