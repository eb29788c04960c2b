//! Secrets for plugins: kept encrypted, given at creation, shown to nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use integration_tests::{Ended, Run, Setup, artifacts, requires};

const VALUE: &str = "user:correct-qzxjv-battery-staple";

/// A state directory with the odd plugin, which writes down what it is given.
fn setup() -> (Setup, PathBuf) {
    let mut setup = Setup::new();
    setup.install(&artifacts().odd, "zz_odd.so");
    let given = setup.folder().join("given");
    setup.env("ODD_GIVEN", given.to_str().unwrap());
    (setup, given)
}

fn secret(setup: &Setup, args: &[&str]) -> Run {
    let mut all = vec!["secret"];
    all.extend(args);
    setup.node(&all).arg("--state").arg(setup.state())
}

fn set(setup: &Setup, name: &str, value: &[u8]) -> Ended {
    secret(setup, &["set", name]).stdin(value).ended()
}

fn grant(setup: &Setup, names: &[&str]) {
    setup.ssh_config(&format!("[plugins.secrets]\nodd = {names:?}"));
}

/// Every file below `folder` that has `text` in it.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_secret_reaches_its_plugin_and_nobody_else() {
    let (setup, given) = setup();
    setup.replace("filter = \"info\"", "filter = \"trace\"");
    let ended = set(&setup, "proxy", format!("{VALUE}\n").as_bytes());
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("next start"), "{ended}");
    assert_eq!(set(&setup, "other", b"x").code(), 0);
    grant(&setup, &["proxy"]);
    let file = setup.state().join("secrets.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ended = setup.on_state("check").ended();
    assert_eq!(ended.code(), 0, "{ended}");
    fs::remove_file(&given).unwrap();
    let node = setup.start();
    assert_eq!(
        fs::read_to_string(&given).unwrap(),
        format!("proxy={VALUE}")
    );
    fs::remove_file(&given).unwrap();
    assert_eq!(node.setup.on_state("reload").ended().code(), 0);
    for name in ["environ", "cmdline"] {
        let text = fs::read(format!("/proc/{}/{name}", node.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("qzxjv"), "{name}");
    }
    let listed = secret(&node.setup, &["list"]).output();
    assert_eq!(listed, "other\nproxy\n");
    let stopped = node.stop();
    assert!(!stopped.log.contains("qzxjv"));
    let none: [PathBuf; 0] = [];
    assert_eq!(files_with(stopped.setup.folder(), "qzxjv"), none);
}

#[test]
fn a_grant_of_what_is_not_stored_is_a_fault_with_its_place() {
    let (setup, given) = setup();
    grant(&setup, &["proxy"]);
    let line = fs::read_to_string(setup.config_file())
        .unwrap()
        .lines()
        .count();
    for command in ["check", "run"] {
        let ended = setup.on_state(command).ended();
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[
            &format!("node.toml:{line}:"),
            "/plugins/secrets/odd/0",
            "alknet-node secret set proxy",
        ]);
    }
    assert!(!given.exists());
    assert_eq!(set(&setup, "proxy", b"x").code(), 0);
    assert_eq!(setup.on_state("check").ended().code(), 0);
    let ended = secret(&setup, &["remove", "proxy"]).ended();
    assert!(ended.out().contains("next start will fail"), "{ended}");
    assert_eq!(setup.on_state("check").ended().code(), 1);
}

#[test]
fn a_plugin_gets_only_what_its_schema_names() {
    let (mut setup, _) = setup();
    let schema = r#"{"properties":{"token":{"minLength":100}},"required":["token"],"additionalProperties":false}"#;
    setup.env("ODD_CAPABILITIES", schema);
    assert_eq!(set(&setup, "proxy", VALUE.as_bytes()).code(), 0);
    assert_eq!(set(&setup, "token", VALUE.as_bytes()).code(), 0);
    let ended = setup.on_state("check").ended();
    ended.line_with(&["/plugins/secrets/odd", "needs the secret \"token\""]);
    grant(&setup, &["token", "proxy"]);
    let ended = setup.on_state("check").ended();
    ended.line_with(&[
        "/plugins/secrets/odd/1",
        "takes no secret \"proxy\"",
        "token",
    ]);
    assert!(!ended.err().contains("qzxjv"), "{ended}");
    setup.replace("\"proxy\"", "");
    assert_eq!(setup.on_state("check").ended().code(), 0);
}

#[test]
fn what_cannot_be_a_secret_is_refused() {
    let setup = Setup::new();
    for (name, value, said) in [
        ("Proxy", &b"x"[..], "lower-case"),
        ("../x", b"x", "lower-case"),
        ("", b"x", "lower-case"),
        ("proxy", b"", "empty"),
        ("proxy", b"\n", "empty"),
        ("proxy", &[b'x'; 65537], "65536"),
    ] {
        let ended = set(&setup, name, value);
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[said]);
    }
    assert!(!setup.state().join("secrets.json").exists());
    let ended = set(&setup, "proxy", &[0xff; 65536]);
    assert_eq!(ended.code(), 0, "{ended}");
    let ended = secret(&setup, &["remove", "porxy"]).ended();
    assert_eq!(ended.code(), 1, "{ended}");
    ended.line_with(&["secrets.json", "porxy"]);
}

#[test]
fn another_mnemonic_or_a_changed_file_is_told() {
    let (setup, _) = setup();
    assert_eq!(set(&setup, "proxy", VALUE.as_bytes()).code(), 0);
    grant(&setup, &["proxy"]);
    let file = setup.state().join("secrets.json");
    let text = fs::read_to_string(&file).unwrap();
    // Another letter in the middle of the value.
    let at = text.find("\"value\": \"").unwrap() + 20;
    let letter = if &text[at..=at] == "A" { "B" } else { "A" };
    let mut changed = text.clone();
    changed.replace_range(at..=at, letter);
    fs::write(&file, changed).unwrap();
    let undecipherable = |ended: Ended| {
        assert_eq!(ended.code(), 1, "{ended}");
        ended.line_with(&[
            "secrets.json",
            "proxy",
            "another mnemonic",
            "secret set proxy",
        ]);
    };
    undecipherable(setup.on_state("check").ended());
    fs::write(&file, text).unwrap();
    assert_eq!(setup.on_state("check").ended().code(), 0);
    let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                 abandon abandon about";
    fs::write(setup.state().join("mnemonic"), words).unwrap();
    undecipherable(setup.on_state("check").ended());
    undecipherable(set(&setup, "second", b"x"));
    fs::write(&file, "{").unwrap();
    let ended = setup.on_state("check").ended();
    ended.line_with(&["secrets.json", "not a secrets file"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = secret(&setup, &["list"]).ended();
    ended.line_with(&["chmod 600"]);
}

#[test]
fn at_a_terminal_the_value_is_not_shown() {
    if !requires(&["script"]) {
        return;
    }
    let (setup, given) = setup();
    let shown = setup.folder().join("shown");
    fs::write(&shown, "").unwrap();
    // Typed only when it is asked for; before, a terminal shows everything.
    let command = format!(
        "(until grep -q 'not shown' {shown}; do sleep 0.05; done; echo {VALUE}) | \
         script -qefc '{} secret set proxy --state {}' {shown}",
        artifacts().node.display(),
        setup.state().display(),
        shown = shown.display(),
    );
    let ended = Run::new("sh").args(["-c", &command]).ended();
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.out().contains("not shown"), "{ended}");
    assert!(ended.out().contains("stored proxy"), "{ended}");
    assert!(!ended.out().contains("qzxjv"), "{ended}");
    grant(&setup, &["proxy"]);
    assert_eq!(setup.on_state("check").ended().code(), 0);
    assert_eq!(
        fs::read_to_string(&given).unwrap(),
        format!("proxy={VALUE}")
    );
}
