//! Programs as operators write them, and as they should not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alknet_handler::{CertificateQuery, Identity, IdentityError, IdentityProvider};
use alknet_identity::{Peer, PeerStore, PeersConfig};
use alknet_lookup::{Lookup, LookupConfig, Surroundings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A guard against tests that hang.
const HANG: Duration = Duration::from_secs(60);
/// Reads a question into `$line`, its number into `$id`.
const READ: &str = "id=${line#*:}; id=${id%%,*}; printf '%s\\n' \"$line\" >> \"$0.asked\"";
/// Answers that it is ann.
const ANN: &str =
    "printf '{\"id\":%s,\"identity\":{\"id\":\"ann\",\"scopes\":[\"ssh:exec\"]}}\\n' \"$id\"";

/// A program in a directory of its own, and who has a session.
struct Scene {
    dir: TempDir,
    in_use: Arc<Mutex<HashSet<String>>>,
    changes: Arc<AtomicUsize>,
}

impl Scene {
    /// A shell script that does this for each question.
    fn answering(each: &str) -> Self {
        Self::script(&format!("while read -r line; do\n{READ}\n{each}\ndone\n"))
    }

    fn script(text: &str) -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            in_use: Arc::default(),
            changes: Arc::default(),
        };
        scene.rewrite(text);
        scene
    }

    fn rewrite(&self, text: &str) {
        let fresh = self.dir.path().join("fresh");
        fs::write(&fresh, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, self.program()).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    fn asked(&self) -> usize {
        let asked = self.dir.path().join("program.asked");
        fs::read_to_string(asked)
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// The look-up, with more of its settings, beside a peer and a disabled one.
    fn start(&self, more: Value) -> Lookup {
        let mut config = json!({"command": [self.program()], "timeout_seconds": 2});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        let config: LookupConfig = serde_json::from_value(config).unwrap();
        assert_eq!(config.faults(false), []);
        let peer = |id: &str, digit: &str, disabled| Peer {
            id: id.to_owned(),
            node_keys: vec![format!("ed25519:{}", digit.repeat(64))],
            disabled,
            ..Peer::default()
        };
        let peers = PeersConfig {
            peers: vec![peer("owner", "a", false), peer("gone", "b", true)],
            ..PeersConfig::default()
        };
        let (in_use, changes) = (Arc::clone(&self.in_use), Arc::clone(&self.changes));
        let surroundings = Surroundings {
            closed: Vec::new(),
            in_use: Box::new(move || in_use.lock().unwrap().clone()),
            changed: Box::new(move || {
                changes.fetch_add(1, Ordering::SeqCst);
            }),
        };
        Lookup::start(
            config,
            Arc::new(PeerStore::new(peers).unwrap()),
            surroundings,
        )
    }
}

async fn ask(lookup: &Lookup, key: &str) -> Result<Option<Identity>, IdentityError> {
    lookup.resolve_from_fingerprint(key).await
}

async fn id(lookup: &Lookup, key: &str) -> Option<String> {
    ask(lookup, key).await.unwrap().map(|identity| identity.id)
}

async fn error(lookup: &Lookup, key: &str) -> String {
    ask(lookup, key).await.unwrap_err().to_string()
}

async fn eventually(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !probe().await {
        assert!(began.elapsed() < HANG, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_remembered() {
    let scene = Scene::answering(&format!(
        "case \"$line\" in *ann*) {ANN};; *) printf '{{\"id\":%s,\"identity\":null}}\\n' $id;; esac"
    ));
    let lookup = scene.start(json!({}));
    for _ in 0..3 {
        assert_eq!(id(&lookup, "SHA256:ann").await.as_deref(), Some("ann"));
        assert_eq!(id(&lookup, "SHA256:bob").await, None);
    }
    assert_eq!(scene.asked(), 2);
    // Many at once are one question.
    let asks: Vec<_> = (0..20)
        .map(|_| {
            let lookup = lookup.clone();
            tokio::spawn(async move { id(&lookup, "SHA256:ann-too").await })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap().as_deref(), Some("ann"));
    }
    assert_eq!(scene.asked(), 3);
    assert_eq!(
        lookup.resolve_from_token("ann").await.unwrap().unwrap().id,
        "ann"
    );
    let certificate = CertificateQuery {
        ca_fingerprint: "SHA256:ca".to_owned(),
        key_id: "k".to_owned(),
        serial: 7,
        principals: vec!["ann".to_owned()],
        requested_user: "ann".to_owned(),
    };
    let found = lookup.resolve_from_certificate(&certificate).await;
    assert_eq!(found.unwrap().unwrap().id, "ann");
    let status = lookup.status();
    assert_eq!((status.found, status.unknown, status.failed), (4, 1, 0));
    assert_eq!(status.cached_identities, 4);
    assert_eq!(status.outage_seconds, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_peers_file_knows_is_not_asked_about() {
    let scene = Scene::answering(ANN);
    let lookup = scene.start(json!({}));
    let owner = format!("ed25519:{}", "a".repeat(64));
    assert_eq!(id(&lookup, &owner).await.as_deref(), Some("owner"));
    // Neither the key of a disabled peer.
    let gone = format!("ed25519:{}", "b".repeat(64));
    assert_eq!(id(&lookup, &gone).await, None);
    assert_eq!(scene.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_as_a_peer() {
    for answer in ["owner", "gone"] {
        let scene = Scene::answering(&format!(
            "printf '{{\"id\":%s,\"identity\":{{\"id\":\"{answer}\",\"scopes\":[]}}}}\\n' $id"
        ));
        let lookup = scene.start(json!({}));
        let error = error(&lookup, "SHA256:x").await;
        assert!(error.contains("in the peers file"), "{error}");
        assert_eq!(lookup.status().invalid, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_cannot_be_relied_on_let_nobody_in() {
    let answer = |text: &str| format!("printf '{text}\\n' $id");
    for (each, words) in [
        ("echo hello".to_owned(), "not an answer"),
        ("echo '[]'".to_owned(), "not an answer"),
        (answer("{\"id\":%s}"), "no `identity` and no `error`"),
        (
            answer("{\"id\":%s,\"identity\":null,\"error\":\"x\"}"),
            "`identity` and `error`",
        ),
        (
            answer("{\"id\":1%s,\"identity\":{\"id\":\"ann\"}}"),
            "which was not asked",
        ),
        (format!("id=0; {ANN}"), "twice"),
        (
            "head -c 100000 /dev/zero | tr '\\0' x; echo".to_owned(),
            "a line of more than",
        ),
        ("exit 3".to_owned(), "exit status: 3"),
        (
            "exec >&-; sleep 60".to_owned(),
            "closed its standard output",
        ),
        ("sleep 60".to_owned(), "not answered within 2 s"),
        (
            answer("{\"id\":%s,\"error\":\"no \\u001b[1mnet\"}"),
            "cannot tell: no \\u{1b}[1mnet",
        ),
        (
            answer("{\"id\":%s,\"identity\":{\"id\":\"a b\"}}"),
            "cannot be a peer",
        ),
        (
            answer("{\"id\":%s,\"identity\":{\"id\":\"ann\",\"scopes\":[\"ssh:exce\"]}}"),
            "/scopes/0",
        ),
        (answer("{\"id\":%s,\"identity\":[]}"), "not an identity"),
    ] {
        let scene = Scene::answering(&each);
        let lookup = scene.start(json!({}));
        let error = error(&lookup, "SHA256:x").await;
        assert!(error.contains(words), "{each}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_twice_ends_the_program() {
    let scene = Scene::answering(&format!("{ANN}; {ANN}"));
    let lookup = scene.start(json!({}));
    assert_eq!(id(&lookup, "SHA256:x").await.as_deref(), Some("ann"));
    eventually("it is started again", async || {
        let status = lookup.status();
        status.restarts > 0 && status.last_error.is_some_and(|why| why.contains("twice"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_is_started_again() {
    let scene = Scene::answering(&format!(
        "if [ -e \"$0.second\" ]; then {ANN}; else touch \"$0.second\"; exit 1; fi"
    ));
    let lookup = scene.start(json!({}));
    let error = error(&lookup, "SHA256:x").await;
    assert!(error.contains("does not run"), "{error}");
    eventually("it answers", async || {
        ask(&lookup, "SHA256:x")
            .await
            .is_ok_and(|found| found.is_some())
    })
    .await;
    assert_eq!(lookup.status().outage_seconds, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_waited_for() {
    let scene = Scene::answering(ANN);
    let lookup = scene.start(json!({}));
    fs::remove_file(scene.program()).unwrap();
    // Whether it was started before is chance.
    let _ = ask(&lookup, "SHA256:x").await;
    scene.rewrite(&format!("while read -r line; do\n{READ}\n{ANN}\ndone\n"));
    eventually("it answers", async || {
        ask(&lookup, "SHA256:y")
            .await
            .is_ok_and(|found| found.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_slow_once_goes_on() {
    // The second question is answered before the first, which is too late then.
    let scene = Scene::script(&format!(
        "read -r line; {READ}; first=$id\nread -r line; {READ}; {ANN}\nsleep 2.5\nid=$first; {ANN}\n\
         while read -r line; do {READ}; {ANN}; done\n"
    ));
    let lookup = scene.start(json!({}));
    let first = tokio::spawn({
        let lookup = lookup.clone();
        async move { error(&lookup, "SHA256:first").await }
    });
    eventually("the first is asked", async || scene.asked() == 1).await;
    assert_eq!(id(&lookup, "SHA256:second").await.as_deref(), Some("ann"));
    let first = first.await.unwrap();
    assert!(first.contains("not answered within 2 s"), "{first}");
    eventually("a third is answered", async || {
        ask(&lookup, "SHA256:third")
            .await
            .is_ok_and(|found| found.is_some())
    })
    .await;
    assert_eq!(lookup.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_outlives_an_outage_for_its_time() {
    let dies =
        format!("case \"$line\" in *die*) exit 1;; esac; [ -e \"$0.down\" ] && exit 1; {ANN}");
    for (more, goes_on) in [
        (json!({"staleness_seconds": 600}), true),
        (json!({"staleness_seconds": 0}), false),
        (json!({"staleness_seconds": 0, "when_stale": "serve"}), true),
    ] {
        let scene = Scene::answering(&dies);
        let mut config = json!({"cache_seconds": 1});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let lookup = scene.start(config);
        assert_eq!(id(&lookup, "SHA256:x").await.as_deref(), Some("ann"));
        fs::write(scene.dir.path().join("program.down"), "").unwrap();
        error(&lookup, "SHA256:die").await;
        sleep(Duration::from_millis(1100)).await;
        let found = ask(&lookup, "SHA256:x").await;
        assert_eq!(found.is_ok(), goes_on, "{more}: {found:?}");
        // Whom nobody knows is not let in.
        error(&lookup, "SHA256:other").await;
        let status = lookup.status();
        assert!(status.outage_seconds.is_some(), "{status:?}");
        assert_eq!(status.refuses_log_ins, !goes_on, "{status:?}");
        assert_eq!(status.stale > 0, goes_on, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_session_is_asked_about_again() {
    let scene = Scene::answering(&format!(
        "if [ -e \"$0.gone\" ]; then printf '{{\"id\":%s,\"identity\":null}}\\n' $id; else {ANN}; fi"
    ));
    let lookup = scene.start(json!({"cache_seconds": 1}));
    assert_eq!(id(&lookup, "SHA256:x").await.as_deref(), Some("ann"));
    scene.in_use.lock().unwrap().insert("ann".to_owned());
    eventually("it is asked again", async || scene.asked() >= 3).await;
    assert_eq!(scene.changes.load(Ordering::SeqCst), 0);
    fs::write(scene.dir.path().join("program.gone"), "").unwrap();
    eventually("the change is told", async || {
        scene.changes.load(Ordering::SeqCst) > 0
    })
    .await;
    assert_eq!(id(&lookup, "SHA256:x").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_gets_nothing_of_the_nodes_environment() {
    let scene = Scene::script(&format!(
        "env | sort > \"$0.env\"; ls /proc/self/fd | wc -l > \"$0.fds\"\n\
         while read -r line; do\n{READ}\n{ANN}\ndone\n"
    ));
    let lookup = scene.start(json!({"environment": {"LDAP_URI": "ldap://localhost"}}));
    assert!(id(&lookup, "SHA256:x").await.is_some());
    let env = fs::read_to_string(scene.dir.path().join("program.env")).unwrap();
    for line in env.lines() {
        let (name, _) = line.split_once('=').unwrap();
        // The shell sets some itself.
        let known = [
            "PATH", "LANG", "HOME", "LDAP_URI", "PWD", "OLDPWD", "SHLVL", "_",
        ];
        assert!(known.contains(&name), "{env}");
    }
    assert!(env.contains("LDAP_URI=ldap://localhost"), "{env}");
}

#[test]
fn what_is_wrong_with_the_settings_is_named() {
    for (config, pointer, words) in [
        (json!({"command": []}), "/command", "a program"),
        (json!({"command": ["who-is"]}), "/command/0", "absolute"),
        (
            json!({"command": ["/no/such"]}),
            "/command/0",
            "No such file",
        ),
        (json!({"command": ["/etc"]}), "/command/0", "not a file"),
        (
            json!({"command": ["/bin/sh"], "user": "no-such-account"}),
            "/user",
            "no account",
        ),
        (
            json!({"command": ["/bin/sh"], "environment": {"A=": "b"}}),
            "/environment",
            "cannot be a variable",
        ),
    ] {
        let config: LookupConfig = serde_json::from_value(config).unwrap();
        let faults = config.faults(false);
        let [fault] = faults.as_slice() else {
            panic!("{faults:?}")
        };
        assert_eq!(fault.pointer, pointer);
        assert!(fault.message.contains(words), "{fault}");
    }
}
