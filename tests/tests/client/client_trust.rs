//! Which node our client trusts, and with which keys it logs in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use integration_tests::{
    Alknet, Background, Ended, NODE, Run, Setup, TestAuthority, TestKey, TestNode, requires,
};

/// `alknet exec` with the address alone, so that the SSH host key is not known.
fn by_address(alknet: &Alknet, node: &TestNode, options: &[&str]) -> Ended {
    let addr = node.addr.to_string();
    let args = [&["exec"], options, &[addr.as_str(), "echo", "in"]].concat();
    alknet.run(&args).ended()
}

fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), 255, "{ended}");
    assert_eq!(ended.out(), "");
    for word in words {
        assert!(ended.err().contains(word), "{word:?} in {ended}");
    }
}

fn in_by(ended: &Ended) {
    assert_eq!((ended.code(), ended.out().as_str()), (0, "in\n"), "{ended}");
}

#[test]
fn an_unknown_host_key_is_refused_without_a_terminal_and_remembered_on_request() {
    let node = Setup::new().start();
    let alknet = Alknet::stranger(&node);
    alknet.has(&node.setup.key);
    refused(
        &by_address(&alknet, &node, &["-o", "BatchMode=yes"]),
        &["is not known", "--host-key"],
    );
    in_by(&by_address(
        &alknet,
        &node,
        &["-o", "StrictHostKeyChecking=accept-new"],
    ));
    let known = fs::read_to_string(alknet.ssh_folder().join("known_hosts")).unwrap();
    let (host, port) = (node.addr.ip(), node.addr.port());
    assert_eq!(known, format!("[{host}]:{port} {}\n", node.host_key));
    in_by(&by_address(
        &alknet,
        &node,
        &["-o", "StrictHostKeyChecking=yes"],
    ));
    // The file is OpenSSH's own.
    if requires(&["ssh-keygen"]) {
        let found = alknet
            .surrounded(Run::new("ssh-keygen"))
            .args(["-F", &format!("[{host}]:{port}"), "-f"])
            .arg(alknet.ssh_folder().join("known_hosts"))
            .ended();
        assert_eq!(found.code(), 0, "{found}");
        let hashed = alknet
            .surrounded(Run::new("ssh-keygen"))
            .args(["-H", "-f"])
            .arg(alknet.ssh_folder().join("known_hosts"))
            .ended();
        assert_eq!(hashed.code(), 0, "{hashed}");
        in_by(&by_address(
            &alknet,
            &node,
            &["-o", "StrictHostKeyChecking=yes"],
        ));
    }
}

#[test]
fn a_node_whose_key_is_given_needs_no_question() {
    let node = Setup::new().start();
    let alknet = Alknet::stranger(&node);
    alknet.has(&node.setup.key);
    let pinned = format!("{}@{}", node.node_key, node.addr);
    let ended = alknet.run(&["exec", &pinned, "echo", "in"]).ended();
    in_by(&ended);
    assert!(ended.err().contains("added the SSH host key"), "{ended}");
    let again = alknet.run(&["exec", &pinned, "echo", "in"]).ended();
    in_by(&again);
    assert_eq!(again.err(), "");

    let other = "0".repeat(64).replace("00", "a1");
    let wrong = format!("ed25519:{other}@{}", node.addr);
    refused(
        &alknet.run(&["exec", &wrong, "echo", "in"]).ended(),
        &["node key"],
    );
}

#[test]
fn changed_and_revoked_host_keys_are_big_warnings() {
    let node = Setup::new().start();
    let alknet = Alknet::stranger(&node);
    alknet.has(&node.setup.key);
    let other = TestKey::make(node.setup.folder(), "other").public_line();
    let known = alknet.ssh_folder().join("known_hosts");
    let (host, port) = (node.addr.ip(), node.addr.port());
    fs::write(&known, format!("# mine\n[{host}]:{port} {other}\n")).unwrap();
    let options = &["-o", "StrictHostKeyChecking=accept-new"];
    let place = format!("{}:2", known.display());
    refused(
        &by_address(&alknet, &node, options),
        &["@@@@@", "HAS CHANGED", &place, "remove line\n2 of"],
    );
    fs::write(&known, format!("@revoked * {}\n", node.host_key)).unwrap();
    let place = format!("{}:1", known.display());
    refused(
        &by_address(&alknet, &node, options),
        &["@@@@@", "IS REVOKED", &place],
    );
    let pinned = &["--host-key", &other, "-o", "UserKnownHostsFile=none"];
    refused(
        &by_address(&alknet, &node, pinned),
        &["@@@@@", "ANOTHER SSH HOST KEY"],
    );
    let pinned = &[
        "--host-key",
        &node.host_key,
        "-o",
        "UserKnownHostsFile=none",
    ];
    in_by(&by_address(&alknet, &node, pinned));
}

#[test]
fn the_question_is_asked_on_the_terminal() {
    if !requires(&["script"]) {
        return;
    }
    let node = Setup::new().start();
    let alknet = Alknet::stranger(&node);
    alknet.has(&node.setup.key);
    let program = integration_tests::artifacts().client.display();
    let script = format!("{program} exec {} echo in", node.addr);
    let ask = |answer: &str| {
        alknet
            .surrounded(Run::new("script"))
            .args(["-qec", &script, "/dev/null"])
            .stdin(answer)
            .ended()
    };
    let no = ask("no\n");
    assert_eq!(no.code(), 255, "{no}");
    assert!(no.out().contains("(yes/no/[fingerprint])?"), "{no}");
    assert!(!alknet.ssh_folder().join("known_hosts").exists());
    let yes = ask("maybe\nyes\n");
    assert_eq!(yes.code(), 0, "{yes}");
    assert!(yes.out().contains("Please type 'yes', 'no'"), "{yes}");
    assert!(yes.out().lines().any(|line| line.trim() == "in"), "{yes}");
}

#[test]
fn keys_that_were_tried_are_listed() {
    let node = Setup::new().start();
    let alknet = Alknet::to(&node);
    let wrong = TestKey::make(node.setup.folder(), "wrong");
    let ended = alknet
        .run(&["exec", "-i", wrong.file.to_str().unwrap(), NODE, "true"])
        .ended();
    let file = wrong.file.display().to_string();
    refused(
        &ended,
        &[
            "no key was accepted",
            &file,
            &wrong.fingerprint(),
            "refused",
        ],
    );
    let missing = alknet
        .run(&["exec", "-i", "/no/such/key", NODE, "true"])
        .ended();
    refused(&missing, &["/no/such/key", "cannot be read"]);
    let none = Alknet::stranger(&node);
    let pinned = format!("{}@{}", node.node_key, node.addr);
    refused(
        &none.run(&["exec", &pinned, "true"]).ended(),
        &["there is no key", "ssh-keygen"],
    );
}

#[test]
fn an_encrypted_key_wants_its_passphrase_from_the_terminal() {
    if !requires(&["ssh-keygen", "script"]) {
        return;
    }
    let node = Setup::new().start();
    let alknet = Alknet::to(&node);
    let key = &node.setup.key.file;
    let locked = node.setup.folder().join("locked");
    fs::copy(key, &locked).unwrap();
    let done = Run::new("ssh-keygen")
        .args(["-q", "-p", "-a", "1", "-N", "open sesame", "-P", "", "-f"])
        .arg(&locked)
        .ended();
    assert_eq!(done.code(), 0, "{done}");
    let file = locked.to_str().unwrap();
    let ended = alknet
        .run(&["exec", "-o", "BatchMode=yes", "-i", file, NODE, "true"])
        .ended();
    refused(&ended, &[file, "is encrypted", "no terminal"]);

    let program = integration_tests::artifacts().client.display();
    let script = format!("{program} exec -i {file} {NODE} echo in; stty -a");
    let run = alknet
        .surrounded(Run::new("script"))
        .args(["-qec", &script, "/dev/null"]);
    let question = "Enter passphrase for key";
    let out = typed(run, &[(question, "wrong\n"), (question, "open sesame\n")]);
    assert!(out.lines().any(|line| line.trim() == "in"), "{out}");
    assert!(!out.contains("sesame"), "nothing is echoed: {out}");
    assert!(!out.contains("-echo "), "the echo is on again: {out}");
}

/// What a program on a terminal says when each question gets its answer.
fn typed(run: Run, dialogue: &[(&str, &str)]) -> String {
    let mut child = run
        .into_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut said = Vec::new();
    let mut answered = 0;
    let mut buffer = [0; 4096];
    let mut dialogue = dialogue.iter();
    let mut next = dialogue.next();
    loop {
        let read = output.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        said.extend_from_slice(&buffer[..read]);
        let since = String::from_utf8_lossy(&said[answered..]).into_owned();
        if let Some((question, answer)) = next
            && since.contains(question)
        {
            answered = said.len();
            input.write_all(answer.as_bytes()).unwrap();
            next = dialogue.next();
        }
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(said).unwrap()
}

#[test]
fn a_certificate_beside_the_key_is_shown() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let setup = Setup::new();
    setup.ssh_config("certificates.enabled = true");
    let staff = TestAuthority::make(setup.folder(), "staff", "ed25519");
    let key = TestKey::make(setup.folder(), "alice");
    let peers = format!(
        "[[authorities]]\nid = \"staff\"\nkeys = [{:?}]\n\n\
         [[peers]]\nid = \"alice\"\nscopes = [\"ssh:exec\"]\n\
         certificates = [{{ authority = \"staff\", principals = [\"alice\"] }}]\n",
        staff.public_line()
    );
    let file = setup.state().join("peers.toml");
    fs::write(&file, peers).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let signed = staff.sign("alice", &key.public_file(), &["-n", "alice"]);
    fs::rename(signed, setup.folder().join("alice-cert.pub")).unwrap();
    let node = setup.start();
    let alknet = Alknet::to(&node);
    let file = key.file.to_str().unwrap();
    let exec = |user| {
        let ended = alknet.run(&["exec", "-l", user, "-i", file, NODE, "echo", "in"]);
        ended.ended()
    };
    in_by(&exec("alice"));
    refused(
        &exec("bob"),
        &["ssh-ed25519 certificate SHA256:", "refused"],
    );
}

#[test]
fn an_agent_lists_holds_and_signs() {
    if !requires(&["ssh-agent"]) {
        return;
    }
    let node = Setup::new().start();
    let alknet = Alknet::stranger(&node);
    let socket = node.setup.folder().join("agent");
    let agent = Background::spawn(Run::new("ssh-agent").arg("-D").arg("-a").arg(&socket));
    integration_tests::eventually("the agent listens", || socket.exists().then_some(()));
    let run = |args: &[&str]| alknet.run(args).env("SSH_AUTH_SOCK", &socket).ended();
    let none = run(&["keys"]);
    assert_eq!(none.code(), 255);
    assert!(none.err().contains("no key"), "{none}");
    let file = node.setup.key.file.to_str().unwrap();
    let added = run(&["keys", "add", file]);
    assert_eq!(added.code(), 0, "{added}");
    let listed = run(&["keys"]);
    let fingerprint = node.setup.key.fingerprint();
    assert!(listed.out().contains(&fingerprint), "{listed}");
    assert!(listed.out().contains("(agent)"), "{listed}");
    let pinned = format!("{}@{}", node.node_key, node.addr);
    in_by(&run(&["exec", &pinned, "echo", "in"]));
    // A public key file names a key of the agent.
    let public = node.setup.key.public_file();
    let public = public.to_str().unwrap();
    in_by(&run(&[
        "exec",
        "-o",
        "IdentitiesOnly=yes",
        "-i",
        public,
        &pinned,
        "echo",
        "in",
    ]));
    agent.terminate();
    agent.ended();
    let gone = run(&["exec", &pinned, "true"]);
    refused(&gone, &["agent at"]);
}

#[test]
fn names_are_looked_up_and_faults_have_their_place() {
    let node = Setup::new().start();
    let alknet = Alknet::to(&node);
    in_by(&alknet.exec("echo in").ended());
    alknet.know("[test-node]\naddress = \"h:x\"\n");
    refused(
        &alknet.exec("echo in").ended(),
        &["nodes.toml:2:11", "port"],
    );
}

#[test]
fn destinations_are_named_on_request_alone() {
    let node = Setup::new().start();
    let alknet = Alknet::to(&node);
    let quiet = alknet.exec("true").ended();
    assert_eq!(quiet.err(), "");
    let talkative = alknet.run(&["-v", "exec", NODE, "true"]).ended();
    assert!(
        talkative.err().contains(&node.addr.to_string()),
        "{talkative}"
    );
    assert!(talkative.err().contains("logged in"), "{talkative}");
}
