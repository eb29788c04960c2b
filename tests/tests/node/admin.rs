//! The commands that talk to a running node.

use std::fs;

use integration_tests::{
    Background, Ended, Setup, Ssh, TestKey, TestNode, artifacts, eventually, requires,
};
use serde_json::Value;

/// A command of one or two words with more arguments, on a state directory.
fn command(setup: &Setup, args: &[&str]) -> Ended {
    setup.on_state_args(args).ended()
}

fn json(setup: &Setup, args: &[&str]) -> Value {
    let ended = command(setup, &[args, &["--json"]].concat());
    assert_eq!(ended.code(), 0, "{ended}");
    serde_json::from_str(&ended.out()).unwrap()
}

#[test]
fn status_tells_people_and_programs() {
    let node = Setup::new().start();
    let ended = command(&node.setup, &["status"]);
    assert_eq!(ended.code(), 0, "{ended}");
    let out = ended.out();
    for words in ["serving", "PLUGIN", "alknet/ssh", "generation 1", "MiB"] {
        assert!(out.contains(words), "no {words:?} in {out}");
    }
    assert!(!out.contains('\u{1b}'), "colour is for terminals: {out}");
    let status = json(&node.setup, &["status"]);
    assert_eq!(status["node"]["pid"], node.pid());
    assert_eq!(status["node"]["listen"], node.addr.to_string());
    assert_eq!(status["config"]["generation"], 1);
    let generation = &status["generations"][0];
    assert_eq!(generation["plugin"], "ssh");
    assert_eq!(generation["state"], "serving");
    assert_eq!(generation["connections"], 0);
    let listed = json(&node.setup, &["plugins", "list"]);
    assert_eq!(listed[0]["id"], 1);
    // A plugin file that was refused at the start is shown as well.
    let stopped = node.stop();
    stopped.setup.install_bytes(b"", "zz_empty.so");
    let node = stopped.setup.start();
    let out = command(&node.setup, &["status"]).out();
    assert!(out.contains("zz_empty.so: the file is empty"), "{out}");
}

#[test]
fn without_a_node_each_command_says_what_to_do() {
    let setup = Setup::new();
    for args in [
        &["status"][..],
        &["plugins", "list"],
        &["plugins", "reload"],
        &["plugins", "rollback"],
        &["plugins", "unload", "ssh"],
        &["sessions", "list"],
        &["sessions", "close", "1.1"],
        &["drain"],
        &["stop"],
    ] {
        let ended = command(&setup, args);
        assert_eq!(ended.code(), 1, "{args:?}: {ended}");
        ended.line_with(&["no node serves", "alknet-node run"]);
    }
}

#[test]
fn scopes_are_granted_and_taken_back_and_an_expired_peer_is_not_enabled() {
    let setup = Setup::new();
    let file = setup.state().join("peers.toml");
    let text = fs::read_to_string(&file).unwrap();
    let key = TestKey::make(setup.folder(), "guest");
    let entry = format!(
        "\n[[peers]]\nid = \"guest\"\nkeys = [{:?}]\nscopes = [\n  \"ssh:sftp\", # for reports\n]\n\
         resources = {{ \"ssh:expires\" = [\"2020-01-01T00:00:00Z\"], \"ssh:from\" = [\"10.0.0.0/8\"] }}\n",
        key.public_line()
    );
    fs::write(&file, text + &entry).unwrap();
    let does = |args: &[&str], words: &str| {
        let ended = command(&setup, args);
        assert_eq!(ended.code(), 0, "{ended}");
        assert!(ended.out().contains(words), "{words}: {ended}");
    };
    does(
        &["peers", "grant", "guest", "ssh:shell", "ssh:sftp"],
        "granted ssh:shell, ssh:sftp",
    );
    does(&["peers", "show", "guest"], "may          ssh:shell");
    does(&["peers", "show", "guest"], "guest: expired");
    does(&["peers", "list"], "until 2020-01-01T00:00:00Z");
    does(
        &["peers", "revoke", "guest", "ssh:shell"],
        "took ssh:shell from guest",
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("# for reports") && !text.contains("\"ssh:shell\""),
        "{text}"
    );
    assert_eq!(text.matches("ssh:sftp\"").count(), 1, "{text}");
    for (args, words) in [
        (
            ["peers", "grant", "nobody", "ssh:shell"],
            "there is no peer",
        ),
        (["peers", "grant", "guest", "ssh:shel"], "not a known scope"),
        (["peers", "revoke", "guest", "ssh:shell"], "it has ssh:sftp"),
    ] {
        let ended = command(&setup, &args);
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(ended.err().contains(words), "{words}: {ended}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn the_last_log_in_is_remembered_across_restarts() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let peer = |setup: &Setup| json(setup, &["peers", "list"])[0].clone();
    assert!(peer(&node.setup)["last_login_unix"].is_null());
    let shown = |setup: &Setup| command(setup, &["peers", "show", "owner"]).out();
    assert!(shown(&node.setup).contains("last log-in  never"));
    assert_eq!(Ssh::to(&node).run("true").code(), 0);
    let time = eventually("the log-in is written", || {
        peer(&node.setup)["last_login_unix"].as_u64()
    });
    let setup = node.stop().setup;
    assert_eq!(peer(&setup)["last_login_unix"], time);
    let node = setup.start();
    assert_eq!(peer(&node.setup)["last_login_unix"], time);
    assert!(shown(&node.setup).contains(" ago"));
}

#[test]
fn peers_are_added_and_taken_out_and_the_file_keeps_its_comments() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let setup = &node.setup;
    let file = setup.state().join("peers.toml");
    let header = fs::read_to_string(&file).unwrap();
    let header = header.split("[[peers]]").next().unwrap().to_owned();
    let key = TestKey::make(setup.folder(), "second");
    let ssh = Ssh::with_key(&node, &key);
    let may_log_in = || ssh.run("echo in").out() == "in\n";
    let public = key.public_file();
    let public = public.to_str().unwrap();
    assert!(!may_log_in());
    let ended = command(
        setup,
        &["peers", "add", "second", public, "--scope", "ssh:exec"],
    );
    assert_eq!(
        ended.out(),
        "added second; in force, generation 2\n",
        "{ended}"
    );
    assert!(may_log_in());
    let mut cat = Background::spawn(ssh.command("cat"));
    cat.echoes("here");
    let ended = command(setup, &["peers", "disable", "second"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(!may_log_in());
    eventually("a disabled peer's session ends", || cat.status());
    let listed = command(setup, &["peers", "list"]).out();
    let line = listed
        .lines()
        .find(|line| line.starts_with("second"))
        .unwrap();
    assert!(
        line.contains("disabled") && line.contains("SHA256:"),
        "{listed}"
    );
    assert_eq!(json(setup, &["peers", "list"])[1]["id"], "second");
    assert_eq!(command(setup, &["peers", "enable", "second"]).code(), 0);
    assert!(may_log_in());
    assert_eq!(command(setup, &["peers", "remove", "second"]).code(), 0);
    assert!(!may_log_in());
    assert!(fs::read_to_string(&file).unwrap().starts_with(&header));
    for (args, words) in [
        (&["peers", "remove", "second"][..], "there is no peer"),
        (&["peers", "add", "owner", public], "exists"),
        (&["peers", "add", "x y", public], "x y"),
        (&["peers", "add", "x", "/nowhere.pub"], "/nowhere.pub"),
        (
            &["peers", "add", "x", public, "--scope", "ssh:nonsense"],
            "ssh:nonsense",
        ),
    ] {
        let before = fs::read_to_string(&file).unwrap();
        let ended = command(setup, args);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[words]);
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
    // Without a node the file is changed all the same.
    let stopped = node.stop();
    let ended = command(&stopped.setup, &["peers", "add", "second", public]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("no node runs"), "{ended}");
}

#[test]
fn sessions_are_listed_and_closed() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let setup = &node.setup;
    assert_eq!(
        command(setup, &["sessions", "list"]).out(),
        "no session is open\n"
    );
    let ssh = Ssh::to(&node);
    let mut cat = Background::spawn(ssh.command("cat"));
    cat.echoes("here");
    let listed = json(setup, &["sessions", "list"]);
    let session = &listed[0];
    assert_eq!(session["plugin"], "ssh");
    assert_eq!(session["identity"], "owner");
    let id = format!("{}.{}", session["generation"], session["id"]);
    let out = command(setup, &["sessions", "list"]).out();
    let line = out.lines().nth(1).unwrap();
    assert!(line.starts_with(&id) && line.contains("owner"), "{out}");
    let ended = command(setup, &["sessions", "close", &id]);
    assert_eq!(ended.code(), 0, "{ended}");
    eventually("the session ends", || cat.status());
    eventually("the node has forgotten it", || {
        let listed = json(setup, &["sessions", "list"]);
        listed.as_array().unwrap().is_empty().then_some(())
    });
    for (id, words) in [(id.as_str(), "sessions list"), ("7.1", "no generation 7")] {
        let ended = command(setup, &["sessions", "close", id]);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[words]);
    }
}

fn with_odd(settings: &str) -> (TestNode, std::path::PathBuf) {
    let mut setup = Setup::new();
    let file = setup.folder().join("settings");
    fs::write(&file, settings).unwrap();
    setup.env("ODD_SETTINGS", file.to_str().unwrap());
    setup.install(&artifacts().odd, "zz_odd.so");
    (setup.start(), file)
}

#[test]
fn what_a_plugin_says_of_its_sessions_cannot_confuse_the_terminal() {
    let sessions =
        r#"{"sessions":[{"id":4,"identity":"a\u001b[31mb","channels":"many"},{"no":"id"},7]}"#;
    let (node, _) = with_odd(&format!("SESSIONS={sessions}\n"));
    let out = command(&node.setup, &["sessions", "list"]).out();
    assert!(
        out.contains("2.4") && out.contains("a\\u{1b}[31mb"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn a_handler_that_hangs_holds_nothing_up() {
    let (node, settings) = with_odd("");
    let setup = &node.setup;
    fs::write(settings, "STATUS=hang\nCONTROL=hang\nRECONFIGURE=hang\n").unwrap();
    let status = json(setup, &["status"]);
    let odd = &status["generations"][1];
    let said = odd["handler"]["error"].as_str().unwrap();
    assert!(said.contains("does not answer"), "{status:#}");
    setup.append("node.toml", "\n[plugins.config.odd]\nmood = 1\n");
    let ended = command(setup, &["reload"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["/plugins/config/odd", "does not answer"]);
    setup.replace("mood = 1\n", "");
    let ended = command(setup, &["reload"]);
    assert_eq!(ended.code(), 0, "{ended}");
    // It is not even asked any more.
    json(setup, &["status"]);
    json(setup, &["status"]);
    assert_eq!(
        json(setup, &["sessions", "list"]).as_array().unwrap().len(),
        0
    );
}

#[test]
fn drain_lets_sessions_end_and_stop_does_not_wait_for_ever() {
    if !requires(&["ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let ssh = Ssh::to(&node);
    let mut cat = Background::spawn(ssh.command("cat"));
    cat.echoes("before");
    let drain = node
        .setup
        .node(&["drain", "--state"])
        .arg(node.setup.state())
        .spawn();
    node.logged(&["draining"]);
    assert_eq!(json(&node.setup, &["status"])["node"]["state"], "draining");
    assert_eq!(ssh.run("echo in").out(), "", "nobody comes in any more");
    cat.echoes("still here");
    assert_eq!(cat.ended().status.code(), Some(0));
    let ended = drain.ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let stopped = node.wait();
    assert!(stopped.status.success(), "{}", stopped.log);

    let node = stopped.setup.start();
    let ssh = Ssh::to(&node);
    let mut cat = Background::spawn(ssh.command("cat"));
    cat.echoes("before");
    let ended = command(&node.setup, &["stop", "--now"]);
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().ends_with("ended\n"), "{ended}");
    assert!(node.wait().status.success());
    eventually("the session ends", || cat.status());
}

#[test]
fn schemas_are_printed_those_of_plugins_from_their_files() {
    let setup = Setup::new();
    let committed = |name: &str| {
        let path = integration_tests::workspace()
            .join("schema/json")
            .join(name);
        let text = fs::read_to_string(path).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    for (what, name) in [
        ("node", "node-config.schema.json"),
        ("peers", "peers.schema.json"),
        ("ssh", "ssh-config.schema.json"),
        ("capabilities", "ssh-capabilities.schema.json"),
    ] {
        let ended = command(&setup, &["schema", what]);
        assert_eq!(ended.code(), 0, "{ended}");
        let printed: Value = serde_json::from_str(&ended.out()).unwrap();
        assert_eq!(printed, committed(name), "{what}");
    }
    let ended = command(&setup, &["schema", "shh"]);
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["no schema \"shh\"", "ssh"]);
    let file = setup.plugins().join("libalknet_ssh_plugin.so");
    let ended = setup.node(&["schema", "ssh", "--file"]).arg(file).ended();
    assert_eq!(ended.code(), 0, "{ended}");
}
