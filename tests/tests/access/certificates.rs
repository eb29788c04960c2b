//! Log-ins by OpenSSH user certificate, as stock ssh and ssh-keygen make them:
//! who gets in, who does not and why, what a certificate withholds, and what
//! is taken back while it is in use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use integration_tests::{
    Background, Ended, Reached, Run, Setup, Ssh, Target, TestAuthority, TestKey, TestNode,
    Transport, eventually, requires,
};

/// A node that trusts the authority `staff` for the peer `alice`, with the
/// principals `alice` and `ops`, and takes revoked keys from a file.
struct World {
    node: TestNode,
    staff: TestAuthority,
    key: TestKey,
}

const SCOPES: &str = r#"["ssh:exec", "ssh:forward:127.0.0.1:*"]"#;

impl World {
    fn new() -> Option<Self> {
        requires(&["ssh", "ssh-keygen"]).then(|| {
            let setup = Setup::new();
            setup.listen_on_tcp();
            fs::write(revoked_file(&setup), "").unwrap();
            setup.ssh_config(&format!(
                "certificates.enabled = true\ncertificates.revoked_keys = {:?}",
                revoked_file(&setup)
            ));
            let staff = TestAuthority::make(setup.folder(), "staff", "ed25519");
            let key = TestKey::make(setup.folder(), "alice");
            write_peers(&setup, &peers(&setup, &staff, ""));
            Self {
                node: setup.start(),
                staff,
                key,
            }
        })
    }

    fn folder(&self) -> &Path {
        self.node.setup.folder()
    }

    /// A certificate for alice's key.
    fn certificate(&self, name: &str, args: &[&str]) -> PathBuf {
        self.staff.sign(name, &self.key.public_file(), args)
    }

    /// ssh with alice's key and this certificate.
    fn ssh(&self, certificate: &Path) -> Ssh {
        let ssh = Ssh::over(Transport::Tcp, &self.node, &self.key);
        ssh.configure(&format!("CertificateFile {}", certificate.display()));
        ssh
    }

    fn log_in(&self, user: &str, certificate: &Path) -> Ended {
        as_user(&self.ssh(certificate), user, "echo in").ended()
    }

    /// A session that is open.
    fn hold(&self, certificate: &Path) -> Background {
        let mut live = Background::spawn(as_user(&self.ssh(certificate), "alice", "cat"));
        live.echoes("here");
        live
    }

    fn revoke(&self, bytes: impl AsRef<[u8]>) {
        fs::write(revoked_file(&self.node.setup), bytes).unwrap();
    }

    /// A key revocation list by `ssh-keygen -k`.
    fn krl(&self, specification: &str) -> PathBuf {
        let spec = self.folder().join("krl.spec");
        let list = self.folder().join("krl");
        fs::write(&spec, specification).unwrap();
        Run::new("ssh-keygen")
            .args(["-q", "-k", "-f"])
            .arg(&list)
            .arg("-s")
            .arg(self.staff.file.with_extension("pub"))
            .arg(&spec)
            .output();
        list
    }

    fn reload(&self) -> Ended {
        self.node.setup.on_state("reload").ended()
    }
}

fn revoked_file(setup: &Setup) -> PathBuf {
    setup.folder().join("revoked")
}

fn peers(setup: &Setup, staff: &TestAuthority, resources: &str) -> String {
    format!(
        "[[authorities]]\nid = \"staff\"\nkeys = [{:?}]\n\n\
         [[peers]]\nid = \"owner\"\nkeys = [{:?}]\nscopes = {SCOPES}\n\n\
         [[peers]]\nid = \"alice\"\nscopes = {SCOPES}\n{resources}\n\
         certificates = [{{ authority = \"staff\", principals = [\"alice\", \"ops\"] }}]\n",
        staff.public_line(),
        setup.key.public_line(),
    )
}

fn write_peers(setup: &Setup, text: &str) {
    let file = setup.state().join("peers.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn as_user(ssh: &Ssh, user: &str, command: &str) -> Run {
    ssh.program("ssh").args(["-l", user, "node", command])
}

fn is_in(ended: &Ended) -> bool {
    ended.code() == 0 && ended.out() == "in\n"
}

fn is_refused(ended: &Ended) -> bool {
    ended.code() == 255 && ended.err().contains("Permission denied (publickey)")
}

const GOOD: [&str; 4] = ["-n", "alice", "-V", "-1m:+1d"];

#[test]
fn a_certificate_of_a_known_authority_logs_in_and_is_named_in_the_log() {
    let Some(world) = World::new() else { return };
    let certificate = world.certificate("laptop", &["-n", "alice,x", "-z", "17", "-V", "-1m:+1d"]);
    let ended = world.log_in("alice", &certificate);
    assert!(is_in(&ended), "{ended}");
    let line = world.node.logged(&["auth attempt", "accepted"]);
    for word in [
        "laptop",
        "17",
        "certificate_serial",
        "ca_fingerprint",
        "alice",
    ] {
        assert!(line.contains(word), "{line}");
    }
    // Also without dates, for another principal, and over QUIC.
    let forever = world.certificate("forever", &["-n", "ops"]);
    assert!(is_in(&world.log_in("ops", &forever)));
    let ssh = Ssh::with_key(&world.node, &world.key);
    ssh.configure(&format!("CertificateFile {}", forever.display()));
    let ended = as_user(&ssh, "ops", "echo in").ended();
    assert!(is_in(&ended), "{ended}");
}

#[test]
fn every_kind_of_key_can_be_certified_and_certify() {
    if !requires(&["ssh", "ssh-keygen"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("certificates.enabled = true");
    let kinds = ["ed25519", "ecdsa", "rsa"];
    let authorities =
        kinds.map(|kind| TestAuthority::make(setup.folder(), &format!("ca_{kind}"), kind));
    let lines: Vec<_> = authorities.iter().map(TestAuthority::public_line).collect();
    write_peers(
        &setup,
        &format!(
            "[[authorities]]\nid = \"staff\"\nkeys = {lines:?}\n\n[[peers]]\nid = \"alice\"\nscopes = {SCOPES}\n\
             certificates = [{{ authority = \"staff\", principals = [\"alice\"] }}]\n"
        ),
    );
    let node = setup.start();
    let folder = node.setup.folder();
    let (first, rest) = (&authorities[0], &authorities[1..]);
    let of_each_kind = kinds.map(|kind| (kind, first));
    let by_each_kind = rest.iter().map(|authority| ("ed25519", authority));
    for (number, (kind, authority)) in of_each_kind.into_iter().chain(by_each_kind).enumerate() {
        let name = format!("key_{kind}_{number}");
        let key = TestAuthority::make(folder, &name, kind);
        let name = format!("{name}_c");
        let public = key.file.with_extension("pub");
        let certificate = authority.sign(&name, &public, &["-n", "alice"]);
        let ended = with_files(&node, &key.file, &certificate);
        assert!(is_in(&ended), "{name}: {ended}");
    }
    // Nor does a certified RSA key sign with SHA-1.
    let rsa = folder.join("key_rsa_2");
    let ssh = Ssh::over_tcp(&node);
    ssh.configure(&format!(
        "IdentityFile {}\nCertificateFile {}\n\
         PubkeyAcceptedAlgorithms ssh-rsa-cert-v01@openssh.com",
        rsa.display(),
        folder.join("key_rsa_2_c.cert").display()
    ));
    let ended = as_user(&ssh, "alice", "echo in").ended();
    assert!(!is_in(&ended), "{ended}");
    // An authority that signs with SHA-1 is not trusted.
    let key = TestKey::make(folder, "sha1");
    let weak = ["-n", "alice", "-t", "ssh-rsa"];
    let certificate = authorities[2].sign("sha1_c", &key.public_file(), &weak);
    let ended = with_files(&node, &key.file, &certificate);
    assert!(is_refused(&ended), "{ended}");
    node.logged(&["auth attempt", "refused", "SHA-1"]);
}

/// ssh with any key file.
fn with_files(node: &TestNode, key: &Path, certificate: &Path) -> Ended {
    let ssh = Ssh::over_tcp(node);
    ssh.configure(&format!(
        "IdentityFile {}\nCertificateFile {}",
        key.display(),
        certificate.display()
    ));
    // The configuration goes on with the owner's key, which is not known here.
    as_user(&ssh, "alice", "echo in").ended()
}

#[test]
fn every_wrong_kind_is_refused_for_its_reason() {
    let Some(world) = World::new() else { return };
    let other = TestAuthority::make(world.folder(), "other", "ed25519");
    let certified = TestAuthority::with_key(&world.key);
    let mine = world.key.public_file();
    for (name, user, reason, authority, args) in [
        ("other_ca", "alice", "no peer takes", &other, &GOOD[..]),
        // One's own certificate makes nobody an authority.
        ("chain", "alice", "no peer takes", &certified, &GOOD),
        (
            "principal",
            "bob",
            "no peer takes",
            &world.staff,
            &["-n", "bob"],
        ),
        ("user", "root", "no peer takes", &world.staff, &GOOD),
        ("not_named", "ops", "no peer takes", &world.staff, &GOOD),
        ("nobody", "alice", "names no principal", &world.staff, &[]),
        (
            "elsewhere",
            "alice",
            "not one it may come from",
            &world.staff,
            &[
                "-n",
                "alice",
                "-O",
                "source-address=192.0.2.0/24,2001:db8::/32",
            ],
        ),
        (
            "critical",
            "alice",
            "critical option",
            &world.staff,
            &["-n", "alice", "-O", "critical:new@example.com=1"],
        ),
        (
            "verify",
            "alice",
            "critical option",
            &world.staff,
            &["-n", "alice", "-O", "verify-required"],
        ),
    ] {
        let certificate = authority.sign(name, &mine, args);
        let ended = world.log_in(user, &certificate);
        assert!(is_refused(&ended), "{name}: {ended}");
        world.node.logged(&["auth attempt", "refused", reason]);
    }
    // ssh does not show this one, so another client does in the plugin's tests.
    let certificate = world.certificate("host", &["-h", "-n", "alice"]);
    let ended = world.log_in("alice", &certificate);
    assert!(is_refused(&ended), "{ended}");
    // russh refuses these by itself, and says nothing of them.
    for (name, validity) in [
        ("expired", "20200101:20210101"),
        ("early", "20400101:20410101"),
    ] {
        let certificate = world.certificate(name, &["-n", "alice", "-V", validity]);
        let ended = world.log_in("alice", &certificate);
        assert!(is_refused(&ended), "{name}: {ended}");
    }
    let here = ["-n", "alice", "-O", "source-address=192.0.2.1,127.0.0.0/8"];
    let certificate = world.certificate("here", &here);
    let ended = world.log_in("alice", &certificate);
    assert!(is_in(&ended), "{ended}");
}

#[test]
fn certificates_are_off_until_they_are_switched_on() {
    let Some(world) = World::new() else { return };
    let certificate = world.certificate("laptop", &GOOD);
    assert!(is_in(&world.log_in("alice", &certificate)));
    let mut live = world.hold(&certificate);
    let setup = &world.node.setup;
    setup.replace(
        "certificates.enabled = true",
        "certificates.enabled = false",
    );
    assert_eq!(world.reload().code(), 0);
    ends(&mut live);
    let ended = world.log_in("alice", &certificate);
    assert!(is_refused(&ended), "{ended}");
    // A key that is known by itself needs none.
    let ended = Ssh::over_tcp(&world.node).run("echo in");
    assert!(is_in(&ended), "{ended}");
}

#[test]
fn many_unknown_keys_and_certificates_do_not_keep_a_good_one_out() {
    let Some(world) = World::new() else { return };
    let other = TestAuthority::make(world.folder(), "other", "ed25519");
    let good = world.certificate("good", &GOOD);
    let ssh = Ssh::over(Transport::Tcp, &world.node, &world.key);
    let mut lines = String::new();
    for number in 0..8 {
        let key = TestKey::make(world.folder(), &format!("unknown{number}"));
        let certificate = other.sign(&format!("u{number}"), &key.public_file(), &GOOD);
        lines.push_str(&format!(
            "IdentityFile {}\nCertificateFile {}\n",
            key.file.display(),
            certificate.display()
        ));
    }
    ssh.configure(&format!("{lines}CertificateFile {}", good.display()));
    let ended = as_user(&ssh, "alice", "echo in").ended();
    assert!(is_in(&ended), "{ended}");
}

#[test]
fn a_certificate_withholds_what_it_does_not_permit() {
    let Some(world) = World::new() else { return };
    let echo = Target::echo();
    let none = world.certificate("none", &["-n", "alice", "-O", "clear"]);
    let forwarding = ["-n", "alice", "-O", "clear", "-O", "permit-port-forwarding"];
    let forwarding = world.certificate("forwarding", &forwarding);
    let reach = |certificate: &Path| {
        let ssh = world.ssh(certificate);
        ssh.configure("User alice");
        ssh.reach("127.0.0.1", echo.port())
    };
    assert_eq!(reach(&none), Reached::Prohibited);
    assert_eq!(reach(&forwarding), Reached::Served);
    assert!(
        is_in(&world.log_in("alice", &none)),
        "commands need no extension"
    );

    let forced = ["-n", "alice", "-O", "force-command=echo forced; echo again"];
    let forced = world.certificate("forced", &forced);
    for asked in ["echo in", "exit 3", "rm -rf /nonexistent"] {
        let ended = as_user(&world.ssh(&forced), "alice", asked).ended();
        assert_eq!(ended.out(), "forced\nagain\n", "{ended}");
    }
    // It forces what may be run, and permits nothing.
    let peers = peers(&world.node.setup, &world.staff, "");
    let narrowed = peers.replace(
        &format!("id = \"alice\"\nscopes = {SCOPES}"),
        "id = \"alice\"\nscopes = [\"ssh:exec:uptime\"]",
    );
    write_peers(&world.node.setup, &narrowed);
    assert_eq!(world.reload().code(), 0);
    let ended = as_user(&world.ssh(&forced), "alice", "uptime").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    assert!(!ended.out().contains("forced"), "{ended}");
}

#[test]
fn conditions_of_a_peer_hold_for_its_certificates_too() {
    let Some(world) = World::new() else { return };
    let certificate = world.certificate("laptop", &GOOD);
    let forced = ["-n", "alice", "-O", "force-command=echo certificate"];
    let forced = world.certificate("forced", &forced);
    let with = |resources: &str| {
        let resources = format!("resources = {{ {resources} }}");
        write_peers(
            &world.node.setup,
            &peers(&world.node.setup, &world.staff, &resources),
        );
        world.reload()
    };
    let ended = with("\"ssh:command\" = [\"echo peer $A\"], \"ssh:environment\" = [\"A=b\"]");
    assert_eq!(ended.code(), 0, "{ended}");
    assert_eq!(world.log_in("alice", &certificate).out(), "peer b\n");
    assert!(is_refused(&world.log_in("alice", &forced)));
    world.node.logged(&["refused", "different forced commands"]);
    for (resources, reason) in [
        ("\"ssh:from\" = [\"!127.0.0.1\", \"*\"]", "may come from"),
        (
            "\"ssh:expires\" = [\"2020-01-01T00:00:00Z\"]",
            "ssh:expires",
        ),
    ] {
        assert_eq!(with(resources).code(), 0);
        assert!(
            is_refused(&world.log_in("alice", &certificate)),
            "{resources}"
        );
        world.node.logged(&["auth attempt", "refused", reason]);
    }
    let ended = with("\"ssh:form\" = [\"*\"]");
    assert_ne!(ended.code(), 0);
    assert!(
        ended.err().contains("/peers/1/resources/ssh:form"),
        "{ended}"
    );
}

// --- revocation

#[test]
fn the_node_and_ssh_keygen_agree_on_what_a_list_revokes() {
    let Some(world) = World::new() else { return };
    let fingerprint = |key: &TestKey| key.fingerprint();
    let keys: Vec<_> = (0..5)
        .map(|number| TestKey::make(world.folder(), &format!("k{number}")))
        .collect();
    let mut specification = format!(
        "serial: 3\nserial: 10-12\nserial: 100\nserial: 102\nserial: 104\nserial: 1000000\n\
         id: lost\nkey: {}\nsha1: {}\nsha256: {}\n",
        keys[0].public_line(),
        keys[1].public_line(),
        keys[2].public_line(),
    );
    specification.push_str(&format!("hash: {}\n", fingerprint(&keys[3])));
    let list = world.krl(&specification);
    world.revoke(fs::read(&list).unwrap());
    let ended = world.reload();
    assert_eq!(ended.code(), 0, "{ended}");

    let mut certificates = Vec::new();
    for serial in [
        0, 1, 3, 9, 10, 12, 13, 100, 101, 102, 104, 1_000_000, 1_000_001,
    ] {
        let number = serial.to_string();
        let args = ["-n", "alice", "-z", &number];
        let name = format!("s{serial}");
        certificates.push((&world.key, world.certificate(&name, &args)));
    }
    for id in ["lost", "found"] {
        certificates.push((&world.key, world.certificate(id, &GOOD)));
    }
    for (number, key) in keys.iter().enumerate() {
        let name = format!("kc{number}");
        certificates.push((key, world.staff.sign(&name, &key.public_file(), &GOOD)));
    }
    let (mut revoked, mut kept) = (0, 0);
    for (key, certificate) in certificates {
        let query = Run::new("ssh-keygen").args(["-Q", "-f"]).arg(&list);
        let expected = query.arg(&certificate).ended().code() == 0;
        let ssh = Ssh::over(Transport::Tcp, &world.node, key);
        ssh.configure(&format!("CertificateFile {}", certificate.display()));
        let ended = as_user(&ssh, "alice", "echo in").ended();
        let shown = certificate.display();
        assert_eq!(is_in(&ended), expected, "{shown}: {ended}");
        if expected {
            kept += 1;
        } else {
            assert!(is_refused(&ended), "{shown}: {ended}");
            revoked += 1;
        }
    }
    assert!(revoked >= 10 && kept >= 6, "{revoked} {kept}");
    world
        .node
        .logged(&["auth attempt", "refused", "is revoked"]);
}

#[test]
fn what_is_revoked_ends_at_the_next_reload() {
    let Some(world) = World::new() else { return };
    let staff = world.staff.public_line();
    let key = world.key.public_line();
    let certificate = world.certificate("laptop", &["-n", "alice", "-z", "17"]);
    for (what, list) in [
        ("its serial number", world.krl("serial: 17\n")),
        ("its key id", world.krl("id: laptop\n")),
        ("its key", world.krl(&format!("key: {key}\n"))),
        ("its authority", world.krl(&format!("key: {staff}\n"))),
        ("its key in a list of keys", {
            let file = world.folder().join("keys");
            fs::write(&file, format!("# lost\n{key}\n")).unwrap();
            file
        }),
    ]
    .map(|(what, list)| (what, fs::read(list).unwrap()))
    {
        let mut live = world.hold(&certificate);
        let mut owner = Background::spawn(Ssh::over_tcp(&world.node).command("cat"));
        owner.echoes("before");
        world.revoke(&list);
        let ended = world.reload();
        assert_eq!(ended.code(), 0, "{what}: {ended}");
        assert!(ended.out().contains("changed nothing"), "{ended}");
        ends(&mut live);
        assert!(is_refused(&world.log_in("alice", &certificate)), "{what}");
        owner.echoes("after");
        world.revoke("");
        assert_eq!(world.reload().code(), 0, "{what}");
        assert!(is_in(&world.log_in("alice", &certificate)), "{what}");
    }
    // A plain key, too.
    let mut owner = Background::spawn(Ssh::over_tcp(&world.node).command("cat"));
    owner.echoes("before");
    world.revoke(world.node.setup.key.public_line());
    assert_eq!(world.reload().code(), 0);
    ends(&mut owner);
    assert!(is_refused(&Ssh::over_tcp(&world.node).run("echo in")));
}

#[test]
fn who_loses_the_authority_or_the_principal_is_out() {
    let Some(world) = World::new() else { return };
    let certificate = world.certificate("laptop", &GOOD);
    let whole = peers(&world.node.setup, &world.staff, "");
    for (what, without) in [
        (
            "the principal",
            whole.replace("\"alice\", \"ops\"", "\"ops\""),
        ),
        (
            "the authority",
            whole.replace("id = \"staff\"\n", "id = \"staff\"\ndisabled = true\n"),
        ),
        (
            "the peer",
            whole.replace("id = \"alice\"\n", "id = \"alice\"\ndisabled = true\n"),
        ),
    ] {
        let mut live = world.hold(&certificate);
        assert_ne!(without, whole);
        write_peers(&world.node.setup, &without);
        assert_eq!(world.reload().code(), 0, "{what}");
        ends(&mut live);
        assert!(is_refused(&world.log_in("alice", &certificate)), "{what}");
        write_peers(&world.node.setup, &whole);
        assert_eq!(world.reload().code(), 0, "{what}");
    }
    // What does not concern a session leaves it alone.
    let mut live = world.hold(&certificate);
    let more = format!("{whole}\n[[peers]]\nid = \"new\"\n");
    write_peers(&world.node.setup, &more);
    assert_eq!(world.reload().code(), 0);
    live.echoes("still here");
}

#[test]
fn a_list_that_cannot_be_read_is_a_fault_and_the_old_one_stays_in_force() {
    let Some(world) = World::new() else { return };
    let file = revoked_file(&world.node.setup);
    let certificate = world.certificate("laptop", &["-n", "alice", "-z", "17"]);
    let good = fs::read(world.krl("serial: 17\n")).unwrap();
    world.revoke(&good);
    assert_eq!(world.reload().code(), 0);
    for (bytes, fault) in [
        (&good[..good.len() - 3], "ends early"),
        (b"ssh-ed25519 AAAA", "line 1: this is not a public key"),
        (b"\xff\xff", "neither a key revocation list nor a text file"),
    ] {
        world.revoke(bytes);
        let ended = world.reload();
        assert_ne!(ended.code(), 0, "{ended}");
        for word in [fault, "revoked_keys", file.to_str().unwrap()] {
            assert!(ended.err().contains(word), "{ended}");
        }
        assert!(is_refused(&world.log_in("alice", &certificate)), "{fault}");
    }
    fs::remove_file(&file).unwrap();
    let ended = world.reload();
    assert!(ended.err().contains("cannot be read"), "{ended}");
    assert!(is_refused(&world.log_in("alice", &certificate)));
    // Nor does a node start without its list.
    let stopped = world.node.stop();
    let ended = stopped.setup.on_state("run").ended();
    assert_ne!(ended.code(), 0, "{ended}");
    assert!(
        ended.err().contains("certificates/revoked_keys")
            || ended.err().contains("certificates.revoked_keys"),
        "{ended}"
    );
}

fn ends(live: &mut Background) {
    eventually("a session ends", || live.status());
}
