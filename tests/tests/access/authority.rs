//! A node as a certificate authority: what `ca` signs and revokes, as stock ssh,
//! ssh-keygen and sshd take it, and `alknet login`.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::{
    Alknet, Background, Ended, Peers, Reached, Run, Setup, Ssh, Sshd, Target, TestKey, TestNode,
    Transport, artifacts, eventually, requires,
};

/// The name of the account that runs the tests.
fn me() -> String {
    Run::new("id").arg("-un").output().trim().to_owned()
}

/// A state directory whose node is an authority for hosts of `test`, with the peer
/// alice, who has a key for the handshake.
fn setup() -> (Setup, TestKey) {
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("services.shell.enabled = true");
    let alice = TestKey::make(setup.folder(), "alice");
    peers(&setup, &alice);
    let made = ca(
        &setup,
        &["init", "--name", "fleet", "--hosts", "*.test,127.0.0.1"],
    );
    let made = made.output();
    assert!(made.contains("authority    ssh-ed25519 "), "{made}");
    assert!(
        made.contains("known_hosts  @cert-authority *.test,127.0.0.1 ssh-ed25519 "),
        "{made}"
    );
    ca(&setup, &["accept", "alice"]).output();
    (setup, alice)
}

fn peers(setup: &Setup, alice: &TestKey) {
    let named = Run::new(&artifacts().client)
        .arg("identity-key")
        .arg(&alice.file)
        .output();
    let mut peers = Peers::new();
    peers.add("owner", &setup.key, &["ssh:exec"]);
    let own = TestKey::make(setup.folder(), "alices_other");
    peers.add("alice", &own, &["ssh:exec", "ssh:forward:127.0.0.1:*"]);
    peers.more("alice", &format!("node_keys = [{:?}]", named.trim()));
    peers.write(setup);
}

/// `alknet-node ca …`.
fn ca(setup: &Setup, args: &[&str]) -> Run {
    setup.on_state_args(&[&["ca"], args].concat())
}

/// Signs a key; gives the certificate's file.
fn sign(setup: &Setup, key: &TestKey, name: &str, args: &[&str]) -> PathBuf {
    let file = setup.folder().join(format!("{name}.cert"));
    let public = key.public_file();
    let place = [
        "sign",
        public.to_str().unwrap(),
        "-o",
        file.to_str().unwrap(),
    ];
    ca(setup, &[&place, args].concat()).output();
    file
}

fn ssh_with(node: &TestNode, key: &TestKey, certificate: &Path) -> Ssh {
    let ssh = Ssh::over(Transport::Tcp, node, key);
    ssh.configure(&format!("CertificateFile {}", certificate.display()));
    ssh
}

fn as_alice(ssh: &Ssh, command: &str) -> Run {
    ssh.program("ssh").args(["-l", "alice", "node", command])
}

fn is_refused(ended: &Ended) -> bool {
    ended.code() == 255 && ended.err().contains("Permission denied")
}

#[test]
fn ssh_keygen_reads_what_is_signed_and_revoked() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let (setup, alice) = setup();
    let narrow = [
        "--for",
        "alice",
        "--scope",
        "ssh:exec:echo",
        "--lifetime",
        "2h",
    ];
    let certificate = sign(&setup, &alice, "narrow", &narrow);
    let shown = Run::new("ssh-keygen")
        .args(["-L", "-f"])
        .arg(&certificate)
        .output();
    for words in [
        "ssh-ed25519-cert-v01@openssh.com user certificate",
        "Key ID: \"alice\"",
        "Serial: 1",
        "scopes@alknet",
        "accounts@alknet",
        "permit-pty",
    ] {
        assert!(shown.contains(words), "{words} in:\n{shown}");
    }
    assert!(!shown.contains("permit-port-forwarding"), "{shown}");

    let list = setup.folder().join("list.krl");
    let krl = || ca(&setup, &["krl", "-o", list.to_str().unwrap()]).output();
    let query = |what: &Path| {
        let query = Run::new("ssh-keygen").args(["-Q", "-f"]).arg(&list);
        query.arg(what).ended()
    };
    krl();
    assert_eq!(query(&certificate).code(), 0);
    let second = sign(&setup, &alice, "second", &["--for", "alice"]);
    let third = sign(
        &setup,
        &alice,
        "third",
        &["--principal", "x", "--id", "by id"],
    );
    ca(&setup, &["revoke", "1", "--key-id", "by id"]).output();
    krl();
    let asked = query(&certificate);
    assert_eq!(asked.code(), 1, "{asked}");
    assert!(asked.out().contains("REVOKED"), "{asked}");
    assert_eq!(query(&second).code(), 0);
    assert_eq!(query(&third).code(), 1);
    let public = alice.public_file();
    assert_eq!(query(&public).code(), 0);
    ca(&setup, &["revoke", "--key", public.to_str().unwrap()]).output();
    krl();
    assert_eq!(query(&public).code(), 1);
    assert_eq!(query(&second).code(), 1, "a revoked key in a certificate");
    let listed = ca(&setup, &["list"]).output();
    assert!(
        listed.contains("revoked") && listed.contains("valid"),
        "{listed}"
    );
}

#[test]
fn what_cannot_be_signed_or_revoked_is_refused_with_the_reason() {
    let setup = Setup::new();
    let key = setup.key.public_file();
    let key = key.to_str().unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        let ended = ca(&setup, args).ended();
        assert_ne!(ended.code(), 0, "{args:?}: {ended}");
        ended.line_with(words);
    };
    refused(
        &["sign", key, "--principal", "x"],
        &["not a certificate authority", "ca init"],
    );
    ca(&setup, &["init"]).output();
    for (args, words) in [
        (
            &["sign", key, "--for", "nobody"][..],
            &["no peer \"nobody\""][..],
        ),
        (
            &["sign", key, "--for", "owner", "--scope", "ssh:sftp"],
            &[
                "the scope \"ssh:sftp\" is more than the peer has",
                "ssh:exec",
            ],
        ),
        (
            &["sign", key, "--for", "owner", "--principal", "root"],
            &["the principal \"root\" is more than the peer has"],
        ),
        (
            &["sign", key, "--principal", "x", "--scope", "ssh:exce"],
            &["ssh:exce", "not a known scope"],
        ),
        (
            &["sign", key, "--principal", "a,b"],
            &["\"a,b\" cannot be a name"],
        ),
        (
            &["sign", key, "--principal", "x", "--lifetime", "forever"],
            &["such as 16h"],
        ),
        (&["revoke", "99"], &["no certificate with the serial 99"]),
        (&["accept", "nobody"], &["there is no peer \"nobody\""]),
    ] {
        refused(args, words);
    }
    let listed = ca(&setup, &["list", "--json"]).output();
    assert_eq!(listed.trim(), "[]", "nothing was signed");
}

#[test]
fn a_certificate_is_limited_to_its_scopes_whatever_the_peer_has() {
    if !requires(&["ssh"]) {
        return;
    }
    let (setup, alice) = setup();
    let node = setup.start();
    let echo = Target::echo();
    let whole = sign(&node.setup, &alice, "whole", &["--for", "alice"]);
    let ssh = ssh_with(&node, &alice, &whole);
    ssh.configure("User alice");
    let ended = ssh.run("printf whole; printf more");
    assert_eq!(ended.out(), "wholemore", "{ended}");
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Served);

    let scope = ["--for", "alice", "--scope", "ssh:exec:echo"];
    let narrow = sign(&node.setup, &alice, "narrow", &scope);
    let ssh = ssh_with(&node, &alice, &narrow);
    ssh.configure("User alice");
    let ended = ssh.run("echo in; id");
    assert_eq!(ended.out(), "in; id\n", "without a shell: {ended}");
    let ended = ssh.run("id");
    assert_ne!(ended.code(), 0, "{ended}");
    ended.line_with(&[
        "no ssh:exec scope that the certificate is limited to",
        "log in with a certificate that carries the scope ssh:exec:id",
    ]);
    assert_eq!(ssh.reach("127.0.0.1", echo.port()), Reached::Prohibited);

    // It adds nothing: alice has no shell, whatever the certificate carries.
    let wide = [
        "--principal",
        "alice",
        "--scope",
        "ssh:shell",
        "--scope",
        "ssh:sftp",
    ];
    let wide = sign(&node.setup, &alice, "wide", &wide);
    let ssh = ssh_with(&node, &alice, &wide);
    ssh.configure("User alice");
    let ended = ssh.plain().stdin("echo in\n").ended();
    assert!(
        ended.err().contains("no ssh:shell scope of the identity"),
        "{ended}"
    );
}

#[test]
fn a_revoked_certificate_ends_its_session_at_once_and_lets_nobody_in() {
    if !requires(&["ssh"]) {
        return;
    }
    let (setup, alice) = setup();
    let node = setup.start();
    let first = sign(&node.setup, &alice, "first", &["--for", "alice"]);
    let other = TestKey::make(node.setup.folder(), "other");
    let second = sign(&node.setup, &other, "second", &["--for", "alice"]);
    let hold = |key: &TestKey, certificate: &Path| {
        let mut live = Background::spawn(as_alice(&ssh_with(&node, key, certificate), "cat"));
        live.echoes("here");
        live
    };
    let mut revoked = hold(&alice, &first);
    let mut kept = hold(&other, &second);
    let said = ca(&node.setup, &["revoke", "1"]).output();
    assert!(
        said.contains("revoked serial 1: list 1; in force"),
        "{said}"
    );
    eventually("the session ends", || revoked.status());
    kept.echoes("still here");
    let ended = as_alice(&ssh_with(&node, &alice, &first), "echo in").ended();
    assert!(is_refused(&ended), "{ended}");
    node.logged(&["auth attempt", "refused", "revoked"]);
    let ended = as_alice(&ssh_with(&node, &other, &second), "echo in").ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
}

#[test]
fn a_host_certificate_leaves_no_question() {
    if !requires(&["ssh"]) {
        return;
    }
    let (setup, _) = setup();
    let node = setup.start();
    let signed = ca(
        &node.setup,
        &["sign", "--host", "node.test", "--host", "127.0.0.1"],
    );
    let said = signed.output();
    assert!(
        said.contains("this node proves to be node.test, 127.0.0.1; in force"),
        "{said}"
    );
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("known_hosts  "));
    let user = Alknet::stranger(&node);
    let known_hosts = user.ssh_folder().join("known_hosts");
    fs::write(&known_hosts, format!("{}\n", line.unwrap())).unwrap();

    let ssh = Ssh::over_tcp(&node);
    let strict = format!("UserKnownHostsFile {}", known_hosts.display());
    ssh.configure(&format!(
        "{strict}\nStrictHostKeyChecking yes\nHostKeyAlias node.test"
    ));
    let ended = ssh.run("echo in");
    assert_eq!(ended.out(), "in\n", "{ended}");
    // Under a name that it has not, it is nobody.
    let ssh = Ssh::over_tcp(&node);
    ssh.configure(&format!(
        "{strict}\nStrictHostKeyChecking yes\nHostKeyAlias other.test"
    ));
    let ended = ssh.run("echo in");
    assert_eq!(ended.code(), 255, "{ended}");

    // Our own client believes the same line.
    let pinned = format!("{}@{}", node.node_key, node.addr);
    user.has(&node.setup.key);
    let strict = [
        "exec",
        "-o",
        "StrictHostKeyChecking=yes",
        &pinned,
        "echo",
        "in",
    ];
    let ended = user.run(&strict).ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
    fs::write(&known_hosts, "").unwrap();
    let ended = user.run(&strict).ended();
    assert_eq!(ended.code(), 255, "{ended}");
}

#[test]
fn a_host_certificate_that_does_not_fit_is_a_fault_with_its_place() {
    let (setup, alice) = setup();
    let user = sign(&setup, &alice, "user", &["--for", "alice"]);
    let other = sign(&setup, &alice, "other", &["--host", "node.test"]);
    for (file, why) in [
        (user.as_path(), "for users"),
        (other.as_path(), "not of a host key of this node"),
        (Path::new("/nonexistent"), "cannot be read"),
    ] {
        let before = fs::read_to_string(setup.config_file()).unwrap();
        setup.replace(
            "certificates = {",
            &format!("certificates = {{ host_certificates = [{file:?}],"),
        );
        let ended = setup.on_state("check").ended();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.line_with(&["/certificates/host_certificates/0", why]);
        fs::write(setup.config_file(), before).unwrap();
    }
}

#[test]
fn stock_sshd_takes_certificates_and_the_revocation_list() {
    if !requires(&["ssh", "sshd"]) {
        return;
    }
    let (setup, alice) = setup();
    let folder = setup.folder().join("sshd");
    fs::create_dir(&folder).unwrap();
    let authority = ca(&setup, &["show"]).output();
    let line = authority
        .lines()
        .find_map(|line| line.strip_prefix("authority"));
    fs::write(folder.join("ca.pub"), format!("{}\n", line.unwrap().trim())).unwrap();
    let list = folder.join("list.krl");
    ca(&setup, &["krl", "-o", list.to_str().unwrap()]).output();
    let config = format!(
        "TrustedUserCAKeys {}\nRevokedKeys {}",
        folder.join("ca.pub").display(),
        list.display()
    );
    let sshd = Sshd::start(&folder, "", &config);
    let user = me();
    let limited = ["--principal", &user, "--scope", "ssh:exec"];
    let certificate = sign(&setup, &alice, "stock", &limited);
    let ssh = Ssh::to_sshd(&sshd, &alice, &folder);
    ssh.configure(&format!(
        "User {user}\nCertificateFile {}",
        certificate.display()
    ));
    let ended = ssh.run("echo in");
    assert_eq!(ended.out(), "in\n", "{ended}\n{}", sshd.log());
    ca(&setup, &["revoke", "1"]).output();
    ca(&setup, &["krl", "-o", list.to_str().unwrap()]).output();
    let ended = ssh.run("echo in");
    assert!(is_refused(&ended), "{ended}\n{}", sshd.log());
}

/// A node that signs for its peers.
fn signing() -> (TestNode, TestKey) {
    let (setup, alice) = setup();
    setup.install(&artifacts().ca, "libalknet_ca_plugin.so");
    let said = ca(&setup, &["serve", "--max-lifetime", "1h"]).output();
    assert!(said.contains("signs for its peers as fleet"), "{said}");
    (setup.start(), alice)
}

fn login(user: &Alknet, node: &TestNode, key: &TestKey, args: &[&str]) -> Run {
    let pinned = format!("{}@{}", node.node_key, node.addr);
    let key = key.file.to_str().unwrap();
    user.run(&[&["login", &pinned, "--identity-key", key], args].concat())
}

#[test]
fn login_gets_a_certificate_into_the_agent_and_stock_ssh_uses_it() {
    if !requires(&["ssh", "ssh-agent", "ssh-add"]) {
        return;
    }
    let (node, alice) = signing();
    let socket = node.setup.folder().join("agent");
    let _agent = Background::spawn(Run::new("ssh-agent").arg("-D").arg("-a").arg(&socket));
    eventually("the agent listens", || socket.exists().then_some(()));
    let user = Alknet::stranger(&node);
    let got = login(&user, &node, &alice, &[]).env("SSH_AUTH_SOCK", &socket);
    let got = got.ended();
    assert_eq!(got.code(), 0, "{got}");
    got.line_with(&[
        "certificate 1 for alice",
        "valid for 1 h",
        "the agent has it",
    ]);
    got.line_with(&["known_hosts", "*.test"]);
    let known = fs::read_to_string(user.ssh_folder().join("known_hosts")).unwrap();
    assert!(
        known.starts_with("@cert-authority *.test,127.0.0.1 ssh-ed25519 "),
        "{known}"
    );
    node.logged(&["INFO", "plugin::ca::certificate", "signed", "alice"]);

    let ssh = Ssh::over_tcp(&node);
    let agent = |run: Run| run.env("SSH_AUTH_SOCK", &socket);
    let by_agent = |command| {
        let run = ssh.program("ssh").args(["-o", "IdentitiesOnly=no"]);
        let run = run
            .arg("-o")
            .arg(format!("IdentityAgent={}", socket.display()));
        // The owner's key file would do as well.
        run.args(["-o", "IdentityFile=none", "-l", "alice", "node", command])
    };
    let ended = by_agent("echo in").ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
    let pinned = format!("{}@{}", node.node_key, node.addr);
    let host = [
        "exec",
        "--host-key",
        &node.host_key,
        "-l",
        "alice",
        &pinned,
        "echo",
        "in",
    ];
    let ended = agent(user.run(&host)).ended();
    assert_eq!(ended.out(), "in\n", "{ended}");

    // Once more takes the place of the first, and the known host is there once.
    let again = agent(login(&user, &node, &alice, &["--scope", "ssh:exec:echo"])).ended();
    again.line_with(&["certificate 2 for alice"]);
    let held = agent(Run::new("ssh-add").arg("-l")).output();
    assert_eq!(held.lines().count(), 1, "{held}");
    let known = fs::read_to_string(user.ssh_folder().join("known_hosts")).unwrap();
    assert_eq!(known.lines().count(), 1, "{known}");
    assert_eq!(by_agent("echo in").ended().out(), "in\n");
    assert_ne!(by_agent("id").ended().code(), 0);
}

#[test]
fn login_without_an_agent_keeps_key_and_certificate_in_files() {
    if !requires(&["ssh", "ssh-keygen"]) {
        return;
    }
    let (node, alice) = signing();
    let user = Alknet::stranger(&node);
    let got = login(&user, &node, &alice, &["--lifetime", "600"]).ended();
    assert_eq!(got.code(), 0, "{got}");
    got.line_with(&["certificate 1 for alice", "10 min", "login_key-cert.pub"]);
    let key = user.home().join(".config/alknet/login_key");
    let ssh = Ssh::over_tcp(&node);
    let run = ssh.program("ssh").arg("-i").arg(&key);
    let ended = run.args(["-l", "alice", "node", "echo in"]).ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
    // A key of one's own, which is named.
    let own = TestKey::make(node.setup.folder(), "own");
    let args = ["--key", own.file.to_str().unwrap()];
    assert_eq!(login(&user, &node, &alice, &args).ended().code(), 0);
    let shown = Run::new("ssh-keygen")
        .args(["-L", "-f"])
        .arg(node.setup.folder().join("own-cert.pub"))
        .output();
    assert!(shown.contains("Serial: 2"), "{shown}");
    let pinned = format!("{}@{}", node.node_key, node.addr);
    let own = own.file.to_str().unwrap();
    let run = [
        "exec",
        "--host-key",
        &node.host_key,
        "-i",
        own,
        "-l",
        "alice",
        &pinned,
        "echo",
        "in",
    ];
    let ended = user.run(&run).ended();
    assert_eq!(ended.out(), "in\n", "{ended}");
}

#[test]
fn login_is_refused_with_what_to_do() {
    let (node, alice) = signing();
    let user = Alknet::stranger(&node);
    let refused = |key: &TestKey, args: &[&str], words: &[&str]| {
        let ended = login(&user, &node, key, args).ended();
        assert_eq!(ended.code(), 255, "{args:?}: {ended}");
        ended.line_with(words);
    };
    let stranger = TestKey::make(node.setup.folder(), "stranger");
    refused(
        &stranger,
        &[],
        &["no peer of this node has the key ed25519:", "node_keys"],
    );
    for (args, words) in [
        (
            &["--scope", "ssh:shell"][..],
            &["the scope \"ssh:shell\" is more than the peer has"][..],
        ),
        (
            &["--principal", "owner"],
            &["the principal \"owner\" is more than the peer has"],
        ),
        (
            &["--account", "root"],
            &["the account \"root\" is more than the peer has"],
        ),
        (
            &["--lifetime", "3601"],
            &["3601 s is not a lifetime", "1 to 3600"],
        ),
    ] {
        refused(&alice, args, words);
    }
    node.logged(&["plugin::ca::certificate", "refused", "ssh:shell"]);
    let listed = ca(&node.setup, &["list", "--json"]).output();
    assert_eq!(listed.trim(), "[]", "nothing was signed");
    // A key that is revoked gets no other certificate.
    let file = alice.public_file();
    ca(&node.setup, &["revoke", "--key", file.to_str().unwrap()]).output();
    let key = ["--key", alice.file.to_str().unwrap()];
    refused(&alice, &key, &["the key or the peer is revoked"]);
    let no_key = user
        .run(&["login", &format!("{}@{}", node.node_key, node.addr)])
        .ended();
    no_key.line_with(&["the node has to know who asks", "--identity-key"]);
    // A node without the plugin.
    let plain = Setup::new().start();
    let ended = login(&user, &plain, &alice, &[]).ended();
    assert_eq!(ended.code(), 255);
    ended.line_with(&["does not speak alknet/ca", "no plugin"]);
}

#[test]
fn a_fleet_agrees_by_certificates_alone() {
    if !requires(&["ssh"]) {
        return;
    }
    let (first, alice) = signing();
    let mut peers = Peers::new();
    let key = TestKey::make(first.setup.folder(), "alices_second");
    let named = Run::new(&artifacts().client)
        .arg("identity-key")
        .arg(&alice.file)
        .output();
    peers.add("alice", &key, &["ssh:exec:echo", "ssh:exec:printf"]);
    let lines = format!(
        "node_keys = [{:?}]\nresources = {{ \"ca:principals\" = [\"staff\"] }}",
        named.trim()
    );
    peers.more("alice", &lines).write(&first.setup);
    first.setup.on_state("reload").output();

    // The other node trusts the authority, and knows nobody but the staff.
    let setup = Setup::new();
    setup.listen_on_tcp();
    let shown = ca(&first.setup, &["show"]).output();
    let line = |label| {
        let line = shown.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap().trim().to_owned()
    };
    let authority = setup.folder().join("fleet.pub");
    fs::write(&authority, format!("{}\n", line("authority"))).unwrap();
    let list = setup.folder().join("fleet.krl");
    let copy_list = || ca(&first.setup, &["krl", "-o", list.to_str().unwrap()]).output();
    copy_list();
    let nobody = TestKey::make(setup.folder(), "nobody");
    let mut staff = Peers::new();
    staff.add("staff", &nobody, &["ssh:exec"]).write(&setup);
    let list_file = list.to_str().unwrap();
    let trust = ["trust", authority.to_str().unwrap(), "--name", "fleet"];
    ca(
        &setup,
        &[&trust[..], &["--revoked-keys", list_file]].concat(),
    )
    .output();
    let accept = ["accept", "staff", "--principal", "staff", "--user", "*"];
    let said = ca(&setup, &accept).output();
    assert!(
        said.contains("staff is let in by certificates of fleet for staff"),
        "{said}"
    );
    let second = setup.start();

    // Its host key is certified where the authority is.
    let host_key = second.setup.folder().join("node2.pub");
    fs::write(&host_key, format!("{}\n", second.host_key)).unwrap();
    let certificate = second.setup.folder().join("node2-cert.pub");
    let host_key = host_key.to_str().unwrap();
    ca(&first.setup, &["sign", host_key, "--host", "node2.test"]).output();
    second.setup.replace(
        "certificates = {",
        &format!("certificates = {{ host_certificates = [{certificate:?}],"),
    );
    second.setup.on_state("reload").output();

    let user = Alknet::stranger(&first);
    let got = login(&user, &first, &alice, &[]).ended();
    assert_eq!(got.code(), 0, "{got}");
    let known_hosts = user.ssh_folder().join("known_hosts");
    let ssh = Ssh::over_tcp(&second);
    ssh.configure(&format!(
        "UserKnownHostsFile {}\nStrictHostKeyChecking yes\nHostKeyAlias node2.test\nUser alice\nIdentityFile {}",
        known_hosts.display(),
        user.home().join(".config/alknet/login_key").display()
    ));
    let ended = ssh.run("echo in");
    assert_eq!(ended.out(), "in\n", "{ended}");
    second.logged(&[
        "auth attempt",
        "accepted",
        "certificate_id",
        "alice",
        "staff",
    ]);
    let ended = ssh.run("id");
    assert_ne!(ended.code(), 0, "alice has less than the staff: {ended}");

    ca(&first.setup, &["revoke", "--key-id", "alice"]).output();
    copy_list();
    second.setup.on_state("reload").output();
    let ended = ssh.run("echo in");
    assert!(is_refused(&ended), "{ended}");
    let ended = login(&user, &first, &alice, &[]).ended();
    ended.line_with(&["the key or the peer is revoked"]);
}
