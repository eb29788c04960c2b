//! What the node's commands print fits the terminal.

use integration_tests::{Setup, Ssh, Terminal, TestKey, eventually, requires};

const SCOPES: [&str; 6] = [
    "ssh:exec:git-upload-pack",
    "ssh:exec:git-receive-pack",
    "ssh:forward:database.internal.example:5432",
    "ssh:forward:*.internal.example:8000-8999",
    "ssh:listen:localhost:*",
    "ssh:streamlocal:/run/application/application.sock",
];

/// The lines without colour.
fn lines(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut in_colour = false;
    for c in shown.chars() {
        match c {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            c if !in_colour => plain.push(c),
            _ => {}
        }
    }
    plain
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn status_and_peers_fit_the_terminal_and_show_traffic() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    let key = TestKey::make(setup.folder(), "other");
    let public = key.public_file();
    let long = "continuous-integration-of-the-second-department";
    let mut add = vec!["peers", "add", long, public.to_str().unwrap()];
    for scope in SCOPES {
        add.extend(["--scope", scope]);
    }
    let added = setup.on_state_args(&add).ended();
    assert_eq!(added.code(), 0, "{added}");
    let node = setup.start();
    let ended = Ssh::to(&node).command("head -c 300000 /dev/zero").ended();
    assert_eq!(ended.code(), 0, "{ended}");
    let run = |command: &[&str]| node.setup.on_state_args(command);
    let _session = Ssh::with_key(&node, &key).tunnel(&[]).ok();
    eventually("the session is listed", || {
        let listed = run(&["sessions", "list"]).ended().out();
        listed.contains(long).then_some(())
    });
    for command in [
        &["status"][..],
        &["peers", "list"],
        &["plugins", "list"],
        &["sessions", "list"],
    ] {
        for columns in [80, 60] {
            let (status, shown) = Terminal::open(run(command), 24, columns).ended();
            assert!(status.success(), "{shown}");
            for line in lines(&shown) {
                let width = line.chars().count();
                assert!(width <= columns.into(), "{columns}: {line}\n{shown}");
            }
            // Nothing is left out, though a word may have been broken.
            let all = lines(&shown).concat().replace(' ', "");
            let scopes = SCOPES.iter().filter(|_| command.contains(&"peers"));
            for scope in scopes {
                assert!(all.contains(scope), "{scope}: {shown}");
            }
        }
    }
    eventually("the traffic is shown", || {
        let listed = run(&["peers", "list"]).ended().out();
        let line = listed.lines().find(|line| line.starts_with("owner"))?;
        let out = line.split(" KiB out").next()?.rsplit(' ').next()?;
        let out: f64 = out.parse().ok()?;
        (out >= 290.0).then_some(())
    });
    let listed = run(&["peers", "list"]).ended().out();
    let line = listed.lines().find(|line| line.starts_with(long)).unwrap();
    assert!(
        line.contains(&SCOPES.join(" ")),
        "a file has whole lines: {listed}"
    );
    let status = run(&["status"]).ended().out();
    assert!(
        status.contains("traffic   ") && status.contains(" out since the start"),
        "{status}"
    );
}
