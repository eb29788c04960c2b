//! Who may do what, as real clients meet it; and the table in the docs.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use integration_tests::target::{connect, echo, exchange, free_port};
use integration_tests::{
    Peers, Reached, Setup, Ssh, Target, TestKey, TestNode, Transport, requires, rules, workspace,
};
use serde_json::Value;

fn ways(node: &TestNode, key: &TestKey) -> [(Transport, Ssh); 2] {
    Transport::ALL.map(|transport| (transport, Ssh::over(transport, node, key)))
}

// --- addresses and names

#[test]
fn no_spelling_of_an_address_slips_past_a_rule() {
    if !requires(&["ssh"]) {
        return;
    }
    let (denied, denied6) = (Target::echo(), Target::tcp("[::1]:0", echo));
    let (free, free6) = (Target::echo(), Target::tcp("[::1]:0", echo));
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.grant(&["ssh:forward:*:*"]);
    let list = rules(&[
        ("deny", &format!("127.0.0.0/8:{}", denied.port()), &[]),
        ("deny", &format!("[::1]:{}", denied6.port()), &[]),
    ]);
    setup.ssh_config(&format!("forwarding.rules = {list}"));
    let node = setup.start();
    // The addresses of this machine's loopback, in many guises.
    let v4 = [
        "127.0.0.1",
        "127.0.0.1.",
        "localhost",
        "LocalHost",
        "localhost.",
        "::ffff:127.0.0.1",
        "::FFFF:7f00:1",
        "0:0:0:0:0:ffff:7f00:0001",
        "::ffff:127.0.0.1%lo",
        "0.0.0.0",
        "::ffff:0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
    ];
    let v6 = [
        "::1",
        "0:0:0:0:0:0:0:1",
        "0000::0001",
        "::0.0.0.1",
        "::1%lo",
        "::1%1",
        "::",
        "0::0",
        "::%lo",
    ];
    for (transport, ssh) in ways(&node, &node.setup.key) {
        for (host, port) in v4
            .map(|host| (host, denied.port()))
            .into_iter()
            .chain(v6.map(|host| (host, denied6.port())))
        {
            let outcome = ssh.reach(host, port);
            let safe = [Reached::Prohibited, Reached::ConnectFailed].contains(&outcome);
            assert!(safe, "{host} over {transport:?}: {outcome:?}");
            // What stands for an address by itself is refused as one.
            if host.parse::<std::net::IpAddr>().is_ok() || host.contains("localhost") {
                assert_eq!(outcome, Reached::Prohibited, "{host} over {transport:?}");
            }
        }
        // It is the rule that refuses, not the spelling.
        for (host, port) in [
            ("127.0.0.1", free.port()),
            ("::ffff:127.0.0.1", free.port()),
            ("0.0.0.0", free.port()),
            ("localhost", free.port()),
            ("127.1", free.port()),
            ("::1", free6.port()),
            ("::", free6.port()),
        ] {
            let outcome = ssh.reach(host, port);
            assert_eq!(outcome, Reached::Served, "{host} over {transport:?}");
        }
    }
    assert_eq!((denied.accepted(), denied6.accepted()), (0, 0));
}

#[test]
fn the_first_rule_that_matches_decides_and_scopes_come_last() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    setup.ssh_config("forwarding.rules = []");
    let (one, two) = (Target::echo(), Target::echo());
    let (a, b) = (one.port(), two.port());
    let keys = ["wide", "narrow", "none"].map(|name| TestKey::make(setup.folder(), name));
    let narrow = format!("ssh:forward:127.0.0.1:{a}");
    Peers::new()
        .add("wide", &keys[0], &["ssh:forward:*:*"])
        .add("narrow", &keys[1], &[&narrow])
        .add("none", &keys[2], &["ssh:exec"])
        .write(&setup);
    let node = setup.start();

    use Reached::{Prohibited, Served};
    type Asked<'a> = (usize, &'a str, u16, Reached);
    let (wide, slim, none) = (0, 1, 2);
    let cases: Vec<(String, Vec<Asked<'_>>)> = vec![
        (
            rules(&[]),
            vec![
                (wide, "127.0.0.1", b, Served),
                (slim, "127.0.0.1", a, Served),
                (slim, "127.0.0.1", b, Prohibited),
                // It resolves to what the scope names.
                (slim, "localhost", a, Served),
                (none, "127.0.0.1", a, Prohibited),
            ],
        ),
        (
            rules(&[
                ("deny", &format!("127.0.0.1:{a}"), &[]),
                ("allow", "127.0.0.0/8:*", &[]),
            ]),
            vec![
                (wide, "127.0.0.1", a, Prohibited),
                (slim, "127.0.0.1", a, Prohibited),
                (none, "127.0.0.1", a, Prohibited),
                (none, "127.0.0.1", b, Served),
                // One of the addresses of the name is denied.
                (none, "localhost", a, Prohibited),
            ],
        ),
        (
            rules(&[
                ("allow", "127.0.0.0/8:*", &[]),
                ("deny", &format!("127.0.0.1:{a}"), &[]),
            ]),
            vec![
                (none, "127.0.0.1", a, Served),
                (slim, "127.0.0.1", b, Served),
            ],
        ),
        (
            rules(&[("deny", "localhost:*", &[])]),
            vec![
                (wide, "localhost", a, Prohibited),
                (wide, "LOCALHOST", a, Prohibited),
                (wide, "localhost.", a, Prohibited),
                (wide, "127.0.0.1", a, Served),
            ],
        ),
        (
            rules(&[("allow", &format!("localhost:{a}"), &[])]),
            vec![
                (none, "localhost", a, Served),
                (none, "localhost", b, Prohibited),
                (none, "127.0.0.1", a, Prohibited),
            ],
        ),
        (
            rules(&[("deny", "*.internal:*", &[])]),
            vec![
                (wide, "db.internal", a, Prohibited),
                (wide, "a.b.INTERNAL.", a, Prohibited),
                (wide, "127.0.0.1", a, Served),
            ],
        ),
        (
            rules(&[("deny", &format!("127.0.0.1:{a}-{a}"), &["wide"])]),
            vec![
                (wide, "127.0.0.1", a, Prohibited),
                (wide, "127.0.0.1", b, Served),
                (slim, "127.0.0.1", a, Served),
            ],
        ),
        (
            rules(&[
                ("deny", "*:*", &["ssh:forward:*:*"]),
                ("allow", "*:*", &["none", "wide"]),
            ]),
            vec![
                (wide, "127.0.0.1", a, Prohibited),
                (slim, "127.0.0.1", a, Served),
                (slim, "127.0.0.1", b, Prohibited),
                (none, "127.0.0.1", b, Served),
            ],
        ),
        (
            "[]\nforwarding.forward = false".to_owned(),
            vec![
                (wide, "127.0.0.1", a, Prohibited),
                (slim, "127.0.0.1", a, Prohibited),
            ],
        ),
    ];
    let mut before = "forwarding.rules = []".to_owned();
    for (rules, asked) in cases {
        let now = format!("forwarding.rules = {rules}");
        node.setup.replace(&before, &now);
        let ended = node.setup.on_state("reload").ended();
        assert_eq!(ended.code(), 0, "{now}: {ended}");
        before = now;
        for (who, host, port, expected) in asked {
            for (transport, ssh) in ways(&node, &keys[who]) {
                let outcome = ssh.reach(host, port);
                let which = format!("{before}: {who} to {host}:{port} over {transport:?}");
                assert_eq!(outcome, expected, "{which}");
            }
        }
    }
}

// --- rules and scopes that cannot match

#[test]
fn what_cannot_match_is_named_with_its_place() {
    let setup = Setup::new();
    let fresh = fs::read_to_string(setup.config_file()).unwrap();
    let forwarding = "/plugins/config/ssh/forwarding/rules/0";
    let services = "/plugins/config/ssh/services/rules/0";
    for (list, rule, place, words) in [
        (
            "forwarding",
            ("deny", "127.0.0.1/8:*", ""),
            "target",
            "127.0.0.0/8",
        ),
        ("forwarding", ("deny", "10.0.0.0/33:*", ""), "target", "33"),
        (
            "forwarding",
            ("deny", "10.0.0.0/8:9000-8000", ""),
            "target",
            "8000",
        ),
        ("forwarding", ("allow", "db:0", ""), "target", "0"),
        ("forwarding", ("allow", "db:70000", ""), "target", "70000"),
        ("forwarding", ("allow", "db", ""), "target", "db"),
        (
            "forwarding",
            ("allow", "frobnicate:db:22", ""),
            "target",
            "frobnicate",
        ),
        (
            "forwarding",
            ("allow", "[fd00::/8]:22", ""),
            "target",
            "[fd00::]/8",
        ),
        (
            "forwarding",
            ("allow", "[fd00::1]/8:22", ""),
            "target",
            "[fd00::]/8",
        ),
        (
            "forwarding",
            ("deny", "[::ffff:10.0.0.0]/104:*", ""),
            "target",
            "10.0.0.0/8",
        ),
        (
            "forwarding",
            ("allow", "*.*.internal:22", ""),
            "target",
            "*",
        ),
        (
            "forwarding",
            ("allow", "streamlocal:run/x", ""),
            "target",
            "run/x",
        ),
        (
            "forwarding",
            ("allow", "exec", ""),
            "target",
            "/services/rules",
        ),
        ("forwarding", ("permit", "db:22", ""), "action", "permit"),
        (
            "forwarding",
            ("allow", "db:22", "ssh:frobnicate"),
            "principals/0",
            "frobnicate",
        ),
        ("services", ("deny", "exec:git", ""), "target", "shell"),
        (
            "services",
            ("allow", "db:22", ""),
            "target",
            "/forwarding/rules",
        ),
    ] {
        let (action, target, principal) = rule;
        let principals: &[&str] = if principal.is_empty() {
            &[]
        } else {
            &[principal]
        };
        let rules = rules(&[(action, target, principals)]);
        fs::write(setup.config_file(), &fresh).unwrap();
        setup.ssh_config(&format!("{list}.rules = {rules}"));
        let text = fs::read_to_string(setup.config_file()).unwrap();
        let line = format!(
            "{}:{}:",
            setup.config_file().display(),
            text.lines().count()
        );
        let pointer = if list == "services" {
            services
        } else {
            forwarding
        };
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{target}: {ended}");
        ended.line_with(&[&line, &format!("{pointer}/{place}"), words]);
    }
    fs::write(setup.config_file(), &fresh).unwrap();
    let file = setup.state().join("peers.toml").display().to_string();
    for (scope, words) in [
        ("ssh:frobnicate", "frobnicate"),
        ("ssh:forward:10.0.0.1/8:22", "10.0.0.0/8"),
        ("ssh:forward:db:9-8", "8"),
        ("ssh:forward:db:0", "0"),
        ("ssh:listen:127.0.0.1", "127.0.0.1"),
        ("ssh:streamlocal:run/x", "run/x"),
    ] {
        setup.grant(&[scope]);
        let ended = setup.on_state("check").ended();
        assert_eq!(ended.code(), 1, "{scope}: {ended}");
        ended.line_with(&[&file, "/peers/0/scopes/1", words]);
    }
}

// --- the table in the docs

/// Places that the table names, and where they are in this test.
struct Places {
    /// In the table, and here. No text of the right holds another of them.
    named: Vec<(&'static str, String)>,
    _targets: Vec<Target>,
}

impl Places {
    fn new(folder: &std::path::Path) -> Self {
        let tcp: Vec<_> = (0..3).map(|_| Target::echo()).collect();
        let socket = folder.join("app.sock");
        let unix = Target::unix(&socket, echo);
        let mut named: Vec<_> = ["5432", "8080", "9090"]
            .into_iter()
            .zip(tcp.iter().map(|target| target.port().to_string()))
            .collect();
        named.push(("7000", free_port().to_string()));
        named.push(("/run/app", folder.display().to_string()));
        Self {
            named,
            _targets: tcp.into_iter().chain([unix]).collect(),
        }
    }

    fn here(&self, text: &str) -> String {
        let replace = |text: String, (name, here): &(&str, String)| text.replace(name, here);
        self.named.iter().fold(text.to_owned(), replace)
    }

    fn in_the_table(&self, text: &str) -> String {
        let replace = |text: String, (name, here): &(&str, String)| text.replace(here, name);
        self.named.iter().fold(text.to_owned(), replace)
    }
}

/// Who they are, and their scopes.
const WHO: &[(&str, &str, &[&str])] = &[
    (
        "alice",
        "a developer",
        &[
            "ssh:exec",
            "ssh:forward:localhost:5432",
            "ssh:forward:127.0.0.0/8:8080",
            "ssh:streamlocal:/run/app/app.sock",
            "ssh:shell",
            "ssh:sftp",
        ],
    ),
    (
        "deploy",
        "a job",
        &[
            "ssh:exec:echo",
            "ssh:exec:printenv",
            "ssh:env:RELEASE",
            "ssh:listen:127.0.0.1:7000",
        ],
    ),
    (
        "root",
        "an administrator",
        &["ssh:exec", "ssh:forward:*:*", "ssh:listen:*:*"],
    ),
    ("guest", "anybody", &[]),
];

/// The rules of the example, in their order.
const RULES: &[(&str, &str, &[&str])] = &[
    ("allow", "127.0.0.1:9090", &["deploy"]),
    ("deny", "127.0.0.0/8:9090", &[]),
    ("deny", "localhost:5432", &["root"]),
    ("allow", "*:8080", &["guest"]),
];

/// What they ask for: the words of `policy explain`.
const REQUESTS: &[&[&str]] = &[
    &["exec", "uname"],
    &["exec", "echo", "hello"],
    &["exec", "echo hello; uname"],
    &["env", "RELEASE"],
    &["env", "LC_ALL"],
    &["forward", "localhost:5432"],
    &["forward", "127.0.0.1:5432"],
    &["forward", "127.0.0.1:8080"],
    &["forward", "127.0.0.1:9090"],
    &["forward", "[::ffff:127.0.0.1]:9090"],
    &["forward", "0.0.0.0:9090"],
    &["listen", "127.0.0.1:7000"],
    &["listen", "*:7000"],
    &["listen", "127.0.0.1:443"],
    &["streamlocal", "/run/app/app.sock"],
    &["shell"],
    &["sftp"],
];

#[test]
fn the_table_in_the_docs_is_what_clients_get() {
    if !requires(&["ssh"]) {
        return;
    }
    let setup = Setup::new();
    setup.listen_on_tcp();
    let places = Places::new(setup.folder());
    let list: Vec<_> = RULES
        .iter()
        .map(|(action, target, principals)| (*action, places.here(target), *principals))
        .collect();
    let list: Vec<_> = list.iter().map(|(a, t, p)| (*a, t.as_str(), *p)).collect();
    setup.ssh_config(&format!("forwarding.rules = {}", rules(&list)));
    let mut peers = Peers::new();
    let keys: Vec<_> = WHO
        .iter()
        .map(|(id, _, scopes)| {
            let key = TestKey::make(setup.folder(), id);
            let scopes: Vec<_> = scopes.iter().map(|scope| places.here(scope)).collect();
            let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
            peers.add(id, &key, &scopes);
            key
        })
        .collect();
    peers.write(&setup);
    // By the files alone, before any node runs.
    let verdicts: Vec<Vec<Verdict>> = WHO
        .iter()
        .map(|(id, _, _)| {
            REQUESTS
                .iter()
                .map(|asked| explain(&setup, &places, id, asked))
        })
        .map(Iterator::collect)
        .collect();

    let node = setup.start();
    for ((key, (id, _, _)), verdicts) in keys.iter().zip(WHO).zip(&verdicts) {
        for (transport, ssh) in ways(&node, key) {
            for (asked, verdict) in REQUESTS.iter().zip(verdicts) {
                let asked: Vec<_> = asked.iter().map(|word| places.here(word)).collect();
                let Some(got) = real(&ssh, &asked) else {
                    continue;
                };
                let which = format!("{id}: {asked:?} over {transport:?}: {}", verdict.why);
                assert_eq!(got, verdict.allowed, "{which}\n{}", node.log());
            }
        }
    }

    let text = document(&verdicts);
    let file = docs();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{} is out of date: UPDATE_DOCS=1 cargo test --release -p integration-tests --test access policy rewrites it\n{text}",
        file.display()
    );
}

fn docs() -> PathBuf {
    workspace().join("host-shim/docs/policy.md")
}

struct Verdict {
    allowed: bool,
    why: String,
}

fn explain(setup: &Setup, places: &Places, id: &str, asked: &[&str]) -> Verdict {
    let ended = setup
        .node(&["policy", "explain", "--json", "--identity", id, "--state"])
        .arg(setup.state())
        .args(asked.iter().map(|word| places.here(word)))
        .ended();
    let answer: Value = serde_json::from_str(&ended.out()).unwrap_or_else(|_| panic!("{ended}"));
    let allowed = answer["allowed"].as_bool().unwrap();
    assert_eq!(ended.code(), i32::from(!allowed), "{ended}");
    let why = if let Some(scope) = answer["scope"].as_str() {
        format!("scope `{}`", places.in_the_table(scope))
    } else if let Some(index) = answer["rule"]["index"].as_u64() {
        format!("rule {index}")
    } else {
        let reason = answer["reason"].as_str().unwrap();
        match reason.starts_with("no rule and no ssh:") {
            true => "nothing grants it".to_owned(),
            false => places.in_the_table(reason),
        }
    };
    Verdict { allowed, why }
}

/// What a stock client gets. `None` where none can see it.
fn real(ssh: &Ssh, asked: &[String]) -> Option<bool> {
    let word = asked.get(1).map(String::as_str).unwrap_or_default();
    let program = |args: &[&str]| ssh.program("ssh").args(args).arg("node");
    Some(match asked[0].as_str() {
        "exec" => ssh.run(&asked[1..].join(" ")).code() == 0,
        "env" => {
            // Only a command sees the variables.
            let option = format!("SetEnv={word}=C.UTF-8");
            let ended = program(&["-o", &option]).arg("printenv").ended();
            if ended.code() != 0 {
                return None;
            }
            let line = format!("{word}=C.UTF-8");
            ended.out().lines().any(|said| said == line)
        }
        "forward" => {
            let (host, port) = word.rsplit_once(':').unwrap();
            let host = host.trim_matches(['[', ']']);
            match ssh.reach(host, port.parse().unwrap()) {
                Reached::Served => true,
                Reached::Prohibited => false,
                other => panic!("{word}: {other:?}"),
            }
        }
        "listen" => {
            let (address, port) = word.rsplit_once(':').unwrap();
            let there = format!("{address}:{port}:127.0.0.1:9");
            match ssh.tunnel(&["-R", &there]) {
                Ok(tunnel) => {
                    tunnel.terminate();
                    let gone = || connect(([127, 0, 0, 1], port.parse().unwrap()).into()).is_err();
                    integration_tests::eventually("it is gone", || gone().then_some(()));
                    true
                }
                Err(ended) => {
                    ended.line_with(&["remote port forwarding failed"]);
                    false
                }
            }
        }
        "streamlocal" => {
            let port = free_port();
            let there = format!("127.0.0.1:{port}:{word}");
            let _tunnel = ssh
                .tunnel(&["-L", &there])
                .unwrap_or_else(|e| panic!("{e}"));
            exchange(connect(([127, 0, 0, 1], port).into()).unwrap(), 60, 1000).is_ok()
        }
        "shell" => program(&["-T"]).stdin("echo in\n").ended().out() == "in\n",
        "sftp" => {
            ssh.program("ssh")
                .args(["-s", "node", "sftp"])
                .ended()
                .code()
                == 0
        }
        other => panic!("{other}"),
    })
}

fn document(verdicts: &[Vec<Verdict>]) -> String {
    let mut text = String::from(
        "<!-- Generated by tests/tests/access/policy.rs, which also does each of these requests with\n     \
         stock OpenSSH and compares: UPDATE_DOCS=1 cargo test --release -p integration-tests --test access policy -->\n\n\
         # Who may do what: an example\n\n\
         A request passes when its service is switched on; then the first rule that matches\n\
         decides; if none does, a scope of the identity must grant it; else it is denied. A rule\n\
         about a name is compared with the name asked for, a rule about a network with every\n\
         address of it, in whatever form it was written.\n\n\
         These are the answers of `alknet-node policy explain --identity ID …` for four identities\n\
         and these rules. Everything here is asked of one machine, so the addresses are its own.\n\n\
         ```toml\n",
    );
    for (id, who, scopes) in WHO {
        let _ = writeln!(
            text,
            "[[peers]] # {who}\nid = {id:?}\nscopes = {scopes:?}\n"
        );
    }
    text.push_str("# in node.toml\n[plugins.config.ssh]\nforwarding.rules = [\n");
    for (index, rule) in RULES.iter().enumerate() {
        let line = rules(&[*rule]);
        let line = line.trim_start_matches('[').trim_end_matches(']');
        let _ = writeln!(text, "  {line}, # rule {index}");
    }
    text.push_str("]\n```\n");
    text.push_str("\n| request |");
    for (id, _, _) in WHO {
        let _ = write!(text, " {id} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(WHO.len()));
    for (number, asked) in REQUESTS.iter().enumerate() {
        let _ = write!(text, "| `{}` |", asked.join(" "));
        for verdicts in verdicts {
            let Verdict { allowed, why } = &verdicts[number];
            let word = if *allowed { "**allow**" } else { "deny" };
            let _ = write!(text, " {word}: {why} |");
        }
        text.push('\n');
    }
    text.push_str(TESTS);
    text
}

/// The page's part about tests; `policy_tests` runs them.
const TESTS: &str = r#"
## Tests of a policy

What a policy is meant to allow and to deny can stand beside its rules, as tests:

```toml
[[plugins.config.ssh.tests]] # the job reaches its exporter
identity = "deploy"
request = "forward:127.0.0.1:9090"
expect = "allow"

[[plugins.config.ssh.tests]] # the database is for developers
identity = "root"
request = "forward:localhost:5432"
dns = ["127.0.0.1", "::1"]
expect = "deny"

[[plugins.config.ssh.tests]] # and nobody listens on ports of the system
identity = "root"
request = "listen:*:443"
from = "192.0.2.7"
expect = "deny"

[[plugins.config.ssh.tests]] # whom we do not have yet
identity = "newcomer"
scopes = ["ssh:exec:echo"]
request = "exec:cat /etc/hostname"
expect = "deny"
```

`alknet-node check`, every start, every reload (`--dry-run` too) and every new version of
the plugin run all of them, with the rules and peers that would come into force, and by
the code that serves. Where one fails, nothing comes into force. The message has the place
of the test, what was decided instead, and the place of the rule that decided:

```
alknet-node: /var/lib/alknet/node.toml:48:1: /plugins/config/ssh/tests/0: the test expects that forward:127.0.0.1:9090 is allowed to deploy, and it is denied: the rule at /forwarding/rules/0 denies it (/var/lib/alknet/node.toml:42)
```

| field | meaning |
|---|---|
| `identity` | The id of a peer. |
| `request` | `exec:<command>`, `shell`, `sftp`, `subsystem:<name>`, `forward:<host>:<port>`, `listen:<address>:<port>`, `streamlocal:<path>`, `agent` or `env:<NAME>`. |
| `expect` | `allow` or `deny`. |
| `dns` | The addresses that the name in a `forward:` has. Nothing is looked up, so a name needs them. |
| `from` | The address it comes from. Without it, one that its `ssh:from` admits. |
| `at` | The time of its log-in, such as `2030-12-31T00:00:00Z`. Without it, one at which nothing has expired: no test fails by itself one day. |
| `user` | The user name, where peers have accounts. |
| `scopes` | Scopes in place of the peer's own; then there need not be such a peer. |

`alknet-node policy explain --as-test …` prints a question and its answer as such an entry,
so a policy that does what it should is soon held to it.
"#;
