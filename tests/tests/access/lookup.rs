//! A program that knows who a peer is, with stock ssh as the client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use integration_tests::{
    Background, Peers, Setup, Ssh, TestKey, TestNode, alive, eventually, requires, requires_that,
    workspace,
};
use serde_json::{Value, json};

/// A block of code of the page about it.
fn block(language: &str, number: usize) -> String {
    let page = fs::read_to_string(workspace().join("host-shim/docs/lookup.md")).unwrap();
    let begin = format!("```{language}\n");
    let block = page.split(&begin).nth(number + 1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A set-up with the program of the docs and its file; `more` is of `[lookup]`.
struct Scene {
    setup: Setup,
    ann: TestKey,
    people: PathBuf,
}

impl Scene {
    fn new(more: &str) -> Option<Self> {
        requires(&["ssh", "python3"]).then(|| {
            let setup = Setup::new();
            let program = setup.folder().join("who-is");
            script(&program, &block("python", 0));
            Self::with(setup, &program, more)
        })
    }

    fn with(setup: Setup, program: &Path, more: &str) -> Self {
        let ann = TestKey::make(setup.folder(), "ann");
        let people = setup.folder().join("people.json");
        setup.append(
            "node.toml",
            &format!(
                "\n[lookup]\ncommand = [{program:?}, {people:?}]\n{more}\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n"
            ),
        );
        let scene = Self { setup, ann, people };
        write_people(&scene.people, &[&scene.ann], json!({"id": "ann"}));
        scene
    }
}

/// Writes the file of the example: these keys are of this identity, who may run
/// commands.
fn write_people(file: &Path, keys: &[&TestKey], identity: Value) {
    let keys: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
    let mut whole = json!({"scopes": ["ssh:exec", "ssh:unconfined"]});
    let given = identity.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(given);
    let people = json!([{"keys": keys, "identity": whole}]);
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, people.to_string()).unwrap();
    fs::rename(fresh, file).unwrap();
}

fn may_log_in(node: &TestNode, key: &TestKey) -> bool {
    Ssh::with_key(node, key).run("echo in").out() == "in\n"
}

fn status(node: &TestNode) -> Value {
    let ended = node.setup.on_state("status").arg("--json").ended();
    let status: Value = serde_json::from_str(&ended.out()).unwrap_or_else(|_| panic!("{ended}"));
    status["lookup"].clone()
}

#[test]
fn whom_the_program_of_the_docs_knows_comes_in_and_goes() {
    let Some(scene) = Scene::new("cache_seconds = 1\nnegative_cache_seconds = 0") else {
        return;
    };
    let example: Value = serde_json::from_str(&block("json", 0)).unwrap();
    assert!(example[0]["identity"]["id"].is_string());
    let (ann, people) = (scene.ann, scene.people);
    let eve = TestKey::make(scene.setup.folder(), "eve");
    let ended = scene.setup.on_state("check").ended();
    assert!(!ended.err().contains("/lookup"), "{ended}");
    let node = scene.setup.start();
    assert!(may_log_in(&node, &ann), "{}", node.log());
    assert!(may_log_in(&node, &node.setup.key));
    assert!(!may_log_in(&node, &eve));
    node.logged(&["auth attempt", "ann", "accepted"]);

    let lookup = status(&node);
    assert_eq!(lookup["state"], "running", "{lookup}");
    assert_eq!(lookup["cached_identities"], 1, "{lookup}");
    let text = node.setup.on_state("status").ended().out();
    assert!(text.contains("lookup"), "{text}");

    // Whoever leaves has no session any more.
    let mut session = Background::spawn(Ssh::with_key(&node, &ann).command("echo up; sleep 300"));
    eventually("the session runs", || {
        session.out().contains("up").then_some(())
    });
    write_people(&people, &[&eve], json!({"id": "eve"}));
    eventually("the session ends", || session.status());
    assert!(!may_log_in(&node, &ann));
    assert!(may_log_in(&node, &eve));
}

#[test]
fn an_outage_concerns_only_whom_nobody_remembers() {
    let Some(scene) = Scene::new("cache_seconds = 1\nstaleness_seconds = 3600") else {
        return;
    };
    let (ann, people) = (scene.ann, scene.people);
    let eve = TestKey::make(scene.setup.folder(), "eve");
    let node = scene.setup.start();
    assert!(may_log_in(&node, &ann), "{}", node.log());
    let mut session = Background::spawn(Ssh::with_key(&node, &ann).command("echo up; sleep 300"));
    eventually("the session runs", || {
        session.out().contains("up").then_some(())
    });
    fs::rename(&people, people.with_extension("away")).unwrap();
    eventually("the outage is noticed", || {
        let _ = may_log_in(&node, &eve);
        status(&node)["outage_seconds"].is_u64().then_some(())
    });
    node.logged(&["cannot tell", "No such file"]);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert!(may_log_in(&node, &ann), "{}", node.log());
    assert!(may_log_in(&node, &node.setup.key));
    assert!(!may_log_in(&node, &eve));
    assert!(session.status().is_none());

    // It ends, and is started again.
    let pid = status(&node)["pid"].as_u64().unwrap();
    let pid = u32::try_from(pid).unwrap();
    let killed = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    fs::rename(people.with_extension("away"), &people).unwrap();
    eventually("another one runs", || {
        let now = status(&node);
        (now["state"] == "running" && now["pid"] != u64::from(pid)).then_some(())
    });
    assert!(!alive(pid));
    eventually("it answers again", || {
        let _ = may_log_in(&node, &eve);
        status(&node)["outage_seconds"].is_null().then_some(())
    });
    assert!(session.status().is_none(), "{}", node.log());
}

#[test]
fn nobody_comes_in_as_a_peer_of_the_file() {
    let Some(scene) = Scene::new("cache_seconds = 1\nnegative_cache_seconds = 0") else {
        return;
    };
    let (ann, people) = (scene.ann, scene.people);
    let gone = TestKey::make(scene.setup.folder(), "gone");
    Peers::new()
        .add("owner", &scene.setup.key, &["ssh:exec"])
        .add("gone", &gone, &["ssh:exec"])
        .disable("gone")
        .write(&scene.setup);
    let node = scene.setup.start();
    assert!(may_log_in(&node, &ann), "{}", node.log());
    for id in ["owner", "gone"] {
        write_people(&people, &[&ann, &gone], json!({"id": id}));
        eventually("it is refused", || (!may_log_in(&node, &ann)).then_some(()));
        node.logged(&[&format!("{id:?}"), "in the peers file"]);
    }
    // Nor does the program bring a disabled peer back.
    write_people(&people, &[&ann, &gone], json!({"id": "somebody"}));
    eventually("the other is let in", || {
        may_log_in(&node, &ann).then_some(())
    });
    assert!(!may_log_in(&node, &gone));
}

#[test]
fn what_it_says_on_standard_error_is_logged_and_made_printable() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    let program = setup.folder().join("who-is");
    script(
        &program,
        "#!/bin/sh\nprintf 'look \\033[31mhere\\n' >&2\nwhile read -r line; do echo nonsense; done\n",
    );
    let scene = Scene::with(setup, &program, "");
    let node = scene.setup.start();
    assert!(!may_log_in(&node, &scene.ann));
    node.logged(&["look-up program: look ", "here"]);
    node.logged(&["nonsense", "not an answer"]);
    assert!(!node.log().contains("look \u{1b}[31mhere"));
    assert!(may_log_in(&node, &node.setup.key));
}

#[test]
fn it_runs_as_the_account_that_is_configured() {
    let root = rustix::process::geteuid().is_root();
    if !requires(&["ssh"]) || !requires_that("root", root) {
        return;
    }
    let setup = Setup::new();
    // Where the other account can come.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("who-is");
    script(
        &program,
        "#!/bin/sh\nread -r line; id=${line#*:}; id=${id%%,*}\n\
         printf '{\"id\":%s,\"error\":\"as %s with %s\"}\\n' \"$id\" \"$(id -u)\" \"$(id -G)\"\ncat >/dev/null\n",
    );
    let scene = Scene::with(setup, &program, "user = \"nobody\"");
    let node = scene.setup.start();
    assert!(!may_log_in(&node, &scene.ann));
    node.logged(&["cannot tell: as 65534 with 65534"]);
}

#[test]
fn what_is_wrong_with_the_settings_is_named_with_its_place() {
    let setup = Setup::new();
    let fresh = fs::read_to_string(setup.config_file()).unwrap();
    let open = setup.folder().join("open");
    script(&open, "#!/bin/sh\n");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for (lines, pointer, words) in [
        ("command = []".to_owned(), "/lookup/command", ""),
        (
            "command = [\"who-is\"]".to_owned(),
            "/lookup/command/0",
            "absolute",
        ),
        (
            "command = [\"/no/such\"]".to_owned(),
            "/lookup/command/0",
            "No such file",
        ),
        (format!("command = [{open:?}]"), "/lookup/command/0", "open"),
        (
            "command = [\"/bin/sh\"]\nuser = \"no-such-account\"".to_owned(),
            "/lookup/user",
            "no account",
        ),
        (
            "command = [\"/bin/sh\"]\ntimeout_seconds = 9".to_owned(),
            "/lookup/timeout_seconds",
            "8",
        ),
        (
            "command = [\"/bin/sh\"]\nwhen_stale = \"allow\"".to_owned(),
            "/lookup/when_stale",
            "serve",
        ),
        (
            "command = [\"/bin/sh\"]\nshell = 1".to_owned(),
            "/lookup",
            "shell",
        ),
        ("cache_seconds = 1".to_owned(), "/lookup", "command"),
    ] {
        fs::write(setup.config_file(), format!("{fresh}\n[lookup]\n{lines}\n")).unwrap();
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{lines}: {ended}");
        let file = setup.config_file().display().to_string();
        ended.line_with(&[&file, &format!(" {pointer}"), words]);
    }
}
