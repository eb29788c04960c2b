//! One `authorized_keys` file with every option: under a stock sshd, and
//! imported into a node. The same client does the same on both, and comes to
//! the same.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use integration_tests::target::free_port;
use integration_tests::{Background, Run, Setup, Sshd, Target, TestAuthority, TestKey, requires};

/// A server, as ssh sees it.
struct Server {
    name: &'static str,
    addr: SocketAddr,
    host_key: String,
}

/// One line of the file, and who comes by it.
struct Case {
    options: String,
    key: PathBuf,
    certificate: Option<PathBuf>,
    /// Whether the log-in is to succeed, so that both failing proves nothing.
    gets_in: bool,
}

/// What came of everything that was tried.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    command: (i32, String),
    /// What a shell does with a line, or what runs in its place.
    shell: String,
    terminal: bool,
    agent: bool,
    /// To the port that some lines name, and to another.
    connects: [bool; 2],
    /// On the port that some lines name, and on another.
    listens: [bool; 2],
}

struct World {
    folder: PathBuf,
    user: String,
    echoes: [Target; 2],
    ports: [u16; 2],
}

impl World {
    fn ssh(&self, server: &Server, case: &Case) -> Run {
        let config = self.folder.join("ssh_config");
        let known = self.folder.join("known_hosts");
        let (ip, port) = (server.addr.ip(), server.addr.port());
        fs::write(&known, format!("[{ip}]:{port} {}\n", server.host_key)).unwrap();
        let certificate = match &case.certificate {
            Some(file) => format!("CertificateFile {}\n", file.display()),
            None => String::new(),
        };
        let text = format!(
            "Host server\nHostName {ip}\nPort {port}\nUser {}\nIdentityFile {}\n{certificate}\
             IdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\nExitOnForwardFailure yes\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n",
            self.user,
            case.key.display(),
            known.display()
        );
        fs::write(&config, text).unwrap();
        Run::new("ssh")
            .arg("-F")
            .arg(config)
            .env("SSH_AUTH_SOCK", "")
    }

    fn outcome(&self, server: &Server, case: &Case) -> Outcome {
        let ran = self
            .ssh(server, case)
            .args(["server", "echo run $A"])
            .ended();
        let connects = |number: usize| {
            let target = format!("127.0.0.1:{}", self.echoes[number].port());
            let run = self.ssh(server, case).args(["-W", &target, "server"]);
            run.stdin("an echo\n").ended().out() == "an echo\n"
        };
        let listens = |number: usize| {
            let there = format!("{}:127.0.0.1:9", self.ports[number]);
            let run = self
                .ssh(server, case)
                .args(["-R", &there, "server", "true"]);
            let ended = run.ended();
            let refused = ended.err().contains("remote port forwarding failed");
            assert!(ended.code() == 255 || !refused, "{ended}");
            ended.code() != 255
        };
        let shell = self.ssh(server, case).arg("server");
        let shell = shell.stdin("echo a shell\n").ended();
        let agent = format!("ForwardAgent={}", self.folder.join("agent").display());
        let asks = "tty; test -S \"$SSH_AUTH_SOCK\" && echo agent";
        let with_terminal = self
            .ssh(server, case)
            .args(["-tt", "-o", &agent, "server", asks]);
        let with_terminal = with_terminal.ended().out();
        Outcome {
            command: (ran.code(), ran.out()),
            shell: shell.out(),
            terminal: with_terminal.contains("/dev/pts/"),
            agent: with_terminal.contains("agent"),
            connects: [connects(0), connects(1)],
            listens: [listens(0), listens(1)],
        }
    }
}

fn me() -> String {
    Run::new("id").arg("-un").output().trim().to_owned()
}

/// Lines with plain keys: options, and whether they let in at all.
fn lines(open: u16, listen: u16) -> Vec<(String, bool)> {
    [
        ("", true),
        ("restrict", true),
        ("restrict,port-forwarding", true),
        ("port-forwarding,restrict", true),
        ("no-port-forwarding,no-pty,no-agent-forwarding,no-X11-forwarding,no-user-rc", true),
        ("agent-forwarding,pty,RESTRICT", true),
        (r#"command="echo \"forced:\" $SSH_ORIGINAL_COMMAND""#, true),
        (r#"restrict,command="echo only; exit 3""#, true),
        (r#"permitopen="127.0.0.1:OPEN""#, true),
        (r#"permitopen="127.0.0.1:*",permitlisten="LISTEN""#, true),
        (r#"permitopen="*:OPEN",no-pty"#, true),
        (r#"restrict,permitopen="127.0.0.1:OPEN",permitlisten="LISTEN""#, true),
        (r#"restrict,port-forwarding,permitopen="127.0.0.1:OPEN",permitlisten="localhost:LISTEN""#, true),
        (r#"permitlisten="*:LISTEN",permitlisten="localhost:1""#, true),
        (r#"from="127.0.0.1""#, true),
        (r#"from="10.0.0.0/8,127.0.0.0/8""#, true),
        (r#"from="127.*,!127.0.0.2""#, true),
        (r#"from="127.0.0.?""#, true),
        (r#"from="*,!127.0.0.1""#, false),
        (r#"from="10.*,192.0.2.0/24""#, false),
        (r#"expiry-time="20991231""#, true),
        (r#"expiry-time="209912312359Z""#, true),
        (r#"expiry-time="20200101""#, false),
        (r#"expiry-time="20991231",expiry-time="20200101000000Z""#, false),
        (r#"environment="A=b c",environment="A=again""#, true),
        (r#"restrict,environment="A=it's \"b\"",command="echo $A; echo $SSH_ORIGINAL_COMMAND""#, true),
    ]
    .into_iter()
    .map(|(options, gets_in)| {
        let options = options
            .replace("OPEN", &open.to_string())
            .replace("LISTEN", &listen.to_string());
        (options, gets_in)
    })
    .collect()
}

/// Certificates of authorities that the file names. One without principals is
/// left out: a stock sshd takes it for anybody's, and here it is nobody's.
fn certified(folder: &Path, user: &str) -> (String, Vec<Case>) {
    let ca = |name: &str| TestAuthority::make(folder, name, "ed25519");
    let (plain, ops, narrow) = (ca("ca_plain"), ca("ca_ops"), ca("ca_narrow"));
    let text = format!(
        "cert-authority {}\ncert-authority,principals=\"ops,dev\" {}\n\
         cert-authority,principals=\"job\",restrict,command=\"echo job\" {}\n",
        plain.public_line(),
        ops.public_line(),
        narrow.public_line()
    );
    let mut cases = Vec::new();
    for (name, authority, args, gets_in) in [
        ("p_user", &plain, &["-n", user][..], true),
        ("p_other", &plain, &["-n", "somebody"], false),
        ("p_host", &plain, &["-h", "-n", user], false),
        (
            "p_expired",
            &plain,
            &["-n", user, "-V", "20200101:20210101"],
            false,
        ),
        (
            "p_here",
            &plain,
            &["-n", user, "-O", "source-address=127.0.0.1/32"],
            true,
        ),
        (
            "p_away",
            &plain,
            &["-n", user, "-O", "source-address=10.0.0.0/8"],
            false,
        ),
        (
            "p_forced",
            &plain,
            &["-n", user, "-O", "force-command=echo cert"],
            true,
        ),
        ("p_clear", &plain, &["-n", user, "-O", "clear"], true),
        (
            "p_odd",
            &plain,
            &["-n", user, "-O", "critical:x@example.com=1"],
            false,
        ),
        ("o_dev", &ops, &["-n", "dev,other"], true),
        ("o_user", &ops, &["-n", user], false),
        ("n_job", &narrow, &["-n", "job"], true),
        (
            "n_same",
            &narrow,
            &["-n", "job", "-O", "force-command=echo job"],
            true,
        ),
        (
            "n_other",
            &narrow,
            &["-n", "job", "-O", "force-command=echo x"],
            false,
        ),
    ] {
        let key = TestKey::make(folder, &format!("key_{name}"));
        let certificate = authority.sign(name, &key.public_file(), args);
        cases.push(Case {
            options: name.to_owned(),
            key: key.file.clone(),
            certificate: Some(certificate),
            gets_in,
        });
    }
    (text, cases)
}

#[test]
fn imported_lines_let_do_what_they_do_under_sshd() {
    if !requires(&["ssh", "ssh-agent", "ssh-keygen", "sshd"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config(
        "certificates.enabled = true\nservices.shell.enabled = true\n\
         services.agent_forwarding.enabled = true",
    );
    let folder = setup.folder().join("import");
    fs::create_dir(&folder).unwrap();
    let world = World {
        folder: folder.clone(),
        user: me(),
        echoes: [Target::echo(), Target::echo()],
        ports: [free_port(), free_port()],
    };
    let (mut text, certified) = certified(&folder, &world.user);
    let mut cases = Vec::new();
    let lines = lines(world.echoes[0].port(), world.ports[0]);
    for (number, (options, gets_in)) in lines.into_iter().enumerate() {
        let key = TestKey::make(&folder, &format!("key{number}"));
        text.push_str(format!("{options} {}\n", key.public_line()).trim_start());
        cases.push(Case {
            options,
            key: key.file.clone(),
            certificate: None,
            gets_in,
        });
    }
    cases.extend(certified);

    let sshd = Sshd::start(&folder, &text, "PermitUserEnvironment yes\nMaxStartups 100");
    let file = folder.join("authorized_keys");
    let import = |args: &[&str]| {
        let run = setup.node(&[
            "peers",
            "import",
            "--user",
            &world.user,
            "--id-prefix",
            "old.",
        ]);
        run.args(args)
            .arg(&file)
            .arg("--state")
            .arg(setup.state())
            .output()
    };
    let before = fs::read_to_string(setup.state().join("peers.toml")).unwrap();
    let said = import(&["--dry-run"]);
    assert!(said.contains("nothing was changed"), "{said}");
    assert!(
        said.contains("may run `echo only; exit 3`, whatever it asks for"),
        "{said}"
    );
    let peers = || fs::read_to_string(setup.state().join("peers.toml")).unwrap();
    assert_eq!(peers(), before);
    let said = import(&[]);
    assert!(said.contains("and 3 authorities"), "{said}");
    assert!(peers().starts_with(&before), "what was there stays");

    let agent = Run::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(folder.join("agent"));
    let _agent = Background::spawn(agent);
    let node = setup.start();
    let servers = [
        Server {
            name: "sshd",
            addr: sshd.addr,
            host_key: sshd.host_key.clone(),
        },
        Server {
            name: "node",
            addr: node.tcp.unwrap(),
            host_key: node.host_key.clone(),
        },
    ];
    let mut different = Vec::new();
    for case in &cases {
        let [theirs, ours] = servers.each_ref().map(|server| {
            let outcome = world.outcome(server, case);
            let got_in = outcome.command.0 != 255;
            assert_eq!(
                got_in, case.gets_in,
                "{} of {}: {outcome:?}",
                case.options, server.name
            );
            outcome
        });
        if theirs != ours {
            different.push(format!(
                "{}\n  sshd: {theirs:?}\n  node: {ours:?}",
                case.options
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn a_file_with_what_cannot_be_imported_changes_nothing() {
    if !requires(&["ssh-keygen"]) {
        return;
    }
    let setup = Setup::new();
    let peers = || fs::read_to_string(setup.state().join("peers.toml")).unwrap();
    let before = peers();
    let good = TestKey::make(setup.folder(), "good").public_line();
    let other = TestKey::make(setup.folder(), "other").public_line();
    let file = setup.folder().join("authorized_keys");
    fs::write(
        &file,
        format!(
            "# ours\n{good}\ntunnel=\"0\" {other}\nfrom=\"*.example.com\" {other}\nfrob {other}\n"
        ),
    )
    .unwrap();
    let run = setup.node(&["peers", "import"]).arg(&file).arg("--state");
    let ended = run.arg(setup.state()).ended();
    assert_eq!(ended.code(), 1, "{ended}");
    let shown = file.display();
    for fault in [
        format!("{shown}:3: tunnel: "),
        format!("{shown}:4: from: \"*.example.com\""),
        format!("{shown}:5: frob: there is no such option"),
        "nothing was imported".to_owned(),
    ] {
        assert!(ended.err().contains(&fault), "{ended}");
    }
    assert_eq!(peers(), before);
}
