//! What shells complete: commands and options, and what only the program knows.

use std::fs;
use std::path::Path;

use integration_tests::{Run, Setup, Ssh, Terminal, TestKey, artifacts, eventually, requires};

use super::packaging::programs;

#[test]
fn every_shell_has_a_script() {
    for (name, program) in programs() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = Run::new(program).args(["completions", shell]).output();
            assert!(script.contains(name), "{shell}: {script}");
            assert!(
                script.contains(program.to_str().unwrap()),
                "{shell}: {script}"
            );
        }
    }
}

/// What bash is told about the last of these words.
fn completed(program: &Path, home: &Path, words: &[&str]) -> Vec<String> {
    // As bash does it: words end at the characters of COMP_WORDBREAKS as well.
    let script = r#"
        source <("$0" completions bash)
        name=${0##*/} COMP_LINE="${0##*/} $*" COMP_WORDS=("${0##*/}")
        for word; do
            while [[ $word == *[:=]* ]]; do
                before=${word%%[:=]*} rest=${word#"$before"}
                [[ -z $before ]] || COMP_WORDS+=("$before")
                COMP_WORDS+=("${rest:0:1}") word=${rest:1}
            done
            [[ -z $word && $COMP_LINE == *[:=] ]] || COMP_WORDS+=("$word")
        done
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) last=${COMP_WORDS[-1]}
        [[ $last == [:=] ]] && last=
        function=$(complete -p "$name" | sed 's/.* -F \([^ ]*\).*/\1/')
        "$function" "$name" "$last"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let run = Run::new("bash").args(["--norc", "-c", script]).arg(program);
    let run = run.env("HOME", home).env("XDG_CONFIG_HOME", home);
    let out = run.args(words).output();
    out.lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn commands_and_options_are_completed() {
    if !requires(&["bash"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (client, node) = (&artifacts().client, &artifacts().node);
    for (program, words, expected) in [
        (node, &["plug"][..], &["plugins"][..]),
        (node, &["plugins", "ro"], &["rollback"]),
        (node, &["plugins", "reload", "--f"], &["--force"]),
        (node, &["conf"], &[]),
        (client, &["ssh"], &["ssh-config"]),
        (client, &["ssh-config", "--node"], &["--node-key"]),
    ] {
        assert_eq!(
            completed(program, home.path(), words),
            expected,
            "{words:?}"
        );
    }
}

#[test]
fn nodes_are_completed() {
    if !requires(&["bash"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("alknet");
    fs::create_dir(&directory).unwrap();
    let nodes =
        "[home]\naddress = \"h:1\"\n[hotel]\naddress = \"h:2\"\n[work]\naddress = \"h:3\"\n";
    fs::write(directory.join("nodes.toml"), nodes).unwrap();
    let ask = |words: &[&str]| completed(&artifacts().client, home.path(), words);
    assert_eq!(ask(&["exec", "ho"]), ["home", "hotel"]);
    assert_eq!(ask(&["forward", "me@w"]), ["me@work"]);
    assert_eq!(ask(&["ping", "--timeout", "5", "w"]), ["work"]);
    assert_eq!(ask(&["cp", "x", "hom"]), ["home:"]);
    let beside = home.path().join("word.txt");
    fs::write(&beside, "").unwrap();
    let begun = home.path().join("wor");
    let begun = begun.to_str().unwrap();
    assert_eq!(ask(&["cp", begun]), [beside.to_str().unwrap()]);
}

#[test]
fn peers_and_scopes_are_completed() {
    if !requires(&["bash"]) {
        return;
    }
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "other");
    let public = key.public_file();
    let state = setup.state();
    let state = state.to_str().unwrap();
    let public = public.to_str().unwrap();
    let scope = "ssh:exec:git-receive-pack";
    let added = setup
        .on_state_args(&["peers", "add", "other", public, "--scope", scope])
        .ended();
    assert_eq!(added.code(), 0, "{added}");
    let ask = |words: &[&str]| completed(&artifacts().node, setup.folder(), words);
    assert_eq!(ask(&["peers", "show", "--state", state, "ot"]), ["other"]);
    assert_eq!(
        ask(&["policy", "explain", "--state", state, "--identity", "ow"]),
        ["owner"]
    );
    let revoke = ["peers", "revoke", "--state", state, "other", "ssh:e"];
    assert_eq!(ask(&revoke), ["exec:git-receive-pack"], "after the colon");
    let grant = ["peers", "grant", "--state", state, "owner", "ssh:sh"];
    assert_eq!(ask(&grant), ["shell"]);
    let grant = ["peers", "grant", "--state", state, "owner", "ssh:exec:"];
    assert_eq!(ask(&grant), ["git-receive-pack"], "what others have");
}

#[test]
fn sessions_and_plugins_of_the_running_node_are_completed() {
    if !requires(&["bash", "ssh"]) {
        return;
    }
    let node = Setup::new().start();
    let state = node.setup.state();
    let state = state.to_str().unwrap();
    let ask = |words: &[&str]| completed(&artifacts().node, node.setup.folder(), words);
    assert_eq!(ask(&["plugins", "unload", "--state", state, "s"]), ["ssh"]);
    let _session = Ssh::to(&node).command("sleep 1000").spawn();
    eventually("the session is named", || {
        let named = ask(&["sessions", "close", "--state", state, ""]);
        named
            .starts_with(&["1.1".into(), "owner".into()])
            .then_some(())
    });
}

#[test]
fn a_key_at_a_terminal_completes() {
    if !requires(&["bash"]) {
        return;
    }
    let setup = Setup::new();
    let node = &artifacts().node;
    let run = Run::new("bash").args(["--norc", "--noprofile", "-i"]);
    let run = run
        .env("ALKNET_STATE", setup.state())
        .env("HOME", setup.folder())
        .env("PS1", "")
        .env("node", node);
    let mut terminal = Terminal::open(run, 24, 80);
    terminal.types("bind 'set enable-bracketed-paste off'; source <(\"$node\" completions bash); echo rea''dy\n");
    terminal.shows("ready");
    // The line is completed, then printed: Ctrl-A goes to its start.
    terminal.types("alknet-node peers grant own\tssh:she\t\u{1}echo =\n");
    terminal.shows("\n=alknet-node peers grant owner ssh:shell");
    terminal.types("exit\n");
    terminal.ended();
}
