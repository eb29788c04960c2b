//! What identities reach under given rules and scopes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::net::IpAddr;

use alknet_ssh_policy::{
    Action, BadPath, Basis, Denied, Host, Policy, Restrictions, Rule, RuleTarget, Service, Subject,
    Switches,
};

const ALL: Switches = Switches {
    exec: true,
    forward: true,
    listen: true,
    streamlocal: true,
    shell: true,
    sftp: true,
    agent: true,
};

const NO_FORWARD: Denied = Denied::NoScope {
    service: Service::Forward,
};

/// Rules as `allow <target> [principal...]`.
fn policy(rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|line| {
        let mut words = line.split(' ');
        let action = match words.next() {
            Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            other => panic!("{other:?}"),
        };
        Rule {
            action,
            target: RuleTarget::parse(words.next().unwrap()).unwrap(),
            principals: words.map(str::to_owned).collect(),
        }
    });
    Policy::new(ALL, rules.collect(), vec!["LANG".into(), "LC_*".into()])
}

struct Alice(Vec<String>, Restrictions);

fn alice(scopes: &[&str]) -> Alice {
    Alice(
        scopes.iter().map(|&scope| scope.to_owned()).collect(),
        Restrictions::default(),
    )
}

impl Alice {
    fn subject(&self) -> Subject<'_> {
        Subject {
            id: "alice",
            scopes: &self.0,
            restrictions: &self.1,
        }
    }

    fn forward(
        &self,
        rules: &[&str],
        host: &str,
        port: u16,
        address: &str,
    ) -> Result<Basis, Denied> {
        let host = Host::parse(host).unwrap();
        policy(rules).forward(&self.subject(), &host, port, ip(address))
    }

    fn forward_all(
        &self,
        rules: &[&str],
        host: &str,
        addresses: &[&str],
    ) -> Result<Vec<String>, Denied> {
        let host = Host::parse(host).unwrap();
        let addresses: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
        policy(rules)
            .forward_all(&self.subject(), &host, 22, &addresses)
            .map(|allowed| {
                let text = |(address, _): &(IpAddr, Basis)| address.to_string();
                allowed.iter().map(text).collect()
            })
    }

    fn possible(&self, rules: &[&str], host: &str) -> Result<(), Denied> {
        let host = Host::parse(host).unwrap();
        policy(rules).forward_possible(&self.subject(), &host, 22)
    }

    fn listen(&self, rules: &[&str], asked: &str, port: u16, bind: &str) -> Result<Basis, Denied> {
        policy(rules).listen(&self.subject(), asked, port, ip(bind))
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn scope(text: &str) -> Result<Basis, Denied> {
    Ok(Basis::Scope(text.to_owned()))
}

#[test]
fn nothing_is_allowed_by_default() {
    let nobody = alice(&[]);
    let subject = nobody.subject();
    let policy = policy(&[]);
    let no = |service| Err(Denied::NoScope { service });
    assert_eq!(
        nobody.forward(&[], "db", 22, "10.0.0.5"),
        no(Service::Forward)
    );
    assert_eq!(nobody.listen(&[], "", 0, "::"), no(Service::Listen));
    assert_eq!(
        policy
            .streamlocal(&subject, "/run/x")
            .map(|(_, basis)| basis),
        no(Service::StreamLocal)
    );
    assert_eq!(policy.shell(&subject), no(Service::Shell));
    assert_eq!(policy.sftp(&subject), no(Service::Sftp));
    assert_eq!(policy.agent(&subject), no(Service::Agent));
    assert_eq!(policy.env(&subject, "EDITOR"), no(Service::Env));
}

#[test]
fn a_service_that_is_off_refuses_every_scope_and_rule() {
    let everything = alice(&[
        "ssh:exec",
        "ssh:forward:*:*",
        "ssh:listen:*:*",
        "ssh:streamlocal:/run/x",
        "ssh:shell",
        "ssh:sftp",
        "ssh:agent",
    ]);
    let subject = everything.subject();
    let allow = Rule {
        target: RuleTarget::parse("*:*").unwrap(),
        action: Action::Allow,
        principals: Vec::new(),
    };
    let off = Policy::new(Switches::default(), vec![allow], Vec::new());
    let host = Host::parse("db").unwrap();
    let is = |service| Err(Denied::ServiceOff { service });
    assert_eq!(
        off.forward(&subject, &host, 22, ip("::1")),
        is(Service::Forward)
    );
    assert_eq!(
        off.forward_possible(&subject, &host, 22)
            .unwrap_err()
            .to_string(),
        "the service forward is switched off"
    );
    assert_eq!(off.listen(&subject, "", 0, ip("::")), is(Service::Listen));
    assert_eq!(
        off.streamlocal(&subject, "/run/x").map(|(_, basis)| basis),
        is(Service::StreamLocal)
    );
    assert_eq!(off.shell(&subject), is(Service::Shell));
    assert_eq!(off.sftp(&subject), is(Service::Sftp));
    assert_eq!(off.agent(&subject), is(Service::Agent));
}

#[test]
fn the_plain_services_need_their_own_scope() {
    let alice = alice(&["ssh:exec", "ssh:shell", "ssh:agent"]);
    let policy = policy(&["deny agent", "allow sftp bob"]);
    let subject = alice.subject();
    assert_eq!(policy.shell(&subject), scope("ssh:shell"));
    assert_eq!(policy.agent(&subject), Err(Denied::Rule { index: 0 }));
    assert!(policy.sftp(&subject).is_err());
    let bob = Subject {
        id: "bob",
        ..subject
    };
    assert_eq!(policy.sftp(&bob), Ok(Basis::Rule { index: 1 }));
}

#[test]
fn a_name_is_granted_by_its_name_and_a_network_by_its_address() {
    let by_name = alice(&["ssh:forward:db.internal:5432"]);
    let granted = scope("ssh:forward:db.internal:5432");
    assert_eq!(
        by_name.forward(&[], "DB.internal.", 5432, "10.0.0.5"),
        granted
    );
    assert_eq!(
        by_name.forward(&[], "db.internal", 5433, "10.0.0.5"),
        Err(NO_FORWARD)
    );
    assert_eq!(
        by_name.forward(&[], "10.0.0.5", 5432, "10.0.0.5"),
        Err(NO_FORWARD)
    );

    let by_network = alice(&["ssh:forward:10.0.0.0/8:*"]);
    let granted = scope("ssh:forward:10.0.0.0/8:*");
    assert_eq!(by_network.forward(&[], "anything", 1, "10.0.0.5"), granted);
    assert_eq!(by_network.forward(&[], "10.0.0.5", 1, "10.0.0.5"), granted);
    assert_eq!(
        by_network.forward(&[], "db", 1, "11.0.0.5"),
        Err(NO_FORWARD)
    );
}

#[test]
fn a_rule_comes_before_every_scope_and_the_first_decides() {
    let alice = alice(&["ssh:forward:*:*"]);
    let rules = [
        "allow 10.0.0.5:22",
        "deny 10.0.0.0/8:* alice",
        "allow 10.0.0.6:22",
        "deny *:25",
        "deny *:* bob",
    ];
    let rule = |index| Ok(Basis::Rule { index });
    assert_eq!(alice.forward(&rules, "10.0.0.5", 22, "10.0.0.5"), rule(0));
    assert_eq!(
        alice.forward(&rules, "10.0.0.6", 22, "10.0.0.6"),
        Err(Denied::Rule { index: 1 })
    );
    assert_eq!(
        alice.forward(&rules, "mx", 25, "1.1.1.1"),
        Err(Denied::Rule { index: 3 })
    );
    assert_eq!(
        alice.forward(&rules, "mx", 26, "1.1.1.1"),
        scope("ssh:forward:*:*")
    );
}

#[test]
fn another_way_of_writing_an_address_gets_the_same_verdict() {
    let rules = [
        "deny 10.0.0.0/8:*",
        "deny 127.0.0.0/8:*",
        "deny [::1]:*",
        "deny [fe80::]/10:*",
    ];
    let alice = alice(&["ssh:forward:*:*"]);
    for (host, address, index) in [
        ("10.0.0.5", "10.0.0.5", 0),
        ("::ffff:10.0.0.5", "::ffff:10.0.0.5", 0),
        ("[::ffff:a00:5]", "::ffff:a00:5", 0),
        ("db", "::ffff:10.0.0.5", 0),
        ("0.0.0.0", "0.0.0.0", 1),
        ("::ffff:0:0", "::ffff:0:0", 1),
        ("db", "::ffff:0.0.0.0", 1),
        ("::", "::", 2),
        ("db", "::", 2),
        ("fe80::1%eth0", "fe80::1", 3),
    ] {
        let verdict = alice.forward(&rules, host, 22, address);
        assert_eq!(verdict, Err(Denied::Rule { index }), "{host} {address}");
    }
}

#[test]
fn a_name_with_one_denied_address_is_refused_whole() {
    let anywhere = alice(&["ssh:forward:*:*"]);
    let rules = ["deny 169.254.0.0/16:*"];
    assert_eq!(
        anywhere.forward_all(&rules, "db", &["1.1.1.1", "169.254.169.254"]),
        Err(Denied::Rule { index: 0 })
    );
    assert_eq!(
        anywhere.forward_all(&rules, "db", &["::ffff:169.254.169.254"]),
        Err(Denied::Rule { index: 0 })
    );
}

#[test]
fn addresses_that_nothing_grants_are_left_out() {
    let inside = alice(&["ssh:forward:10.0.0.0/8:22"]);
    assert_eq!(
        inside.forward_all(
            &[],
            "db",
            &["1.1.1.1", "10.0.0.2", "::ffff:10.0.0.1", "10.0.0.1"]
        ),
        Ok(vec!["10.0.0.2".to_owned(), "10.0.0.1".to_owned()])
    );
    assert_eq!(inside.forward_all(&[], "db", &["1.1.1.1"]), Err(NO_FORWARD));
    assert_eq!(inside.forward_all(&[], "db", &[]), Err(Denied::NoAddress));
}

#[test]
fn a_name_is_looked_up_only_for_who_might_reach_it() {
    let nobody = alice(&["ssh:exec", "ssh:forward:db:22", "ssh:forward:*:80"]);
    assert_eq!(nobody.possible(&[], "web"), Err(NO_FORWARD));
    assert_eq!(nobody.possible(&[], "db"), Ok(()));
    let inside = alice(&["ssh:forward:10.0.0.0/8:22"]);
    assert_eq!(inside.possible(&[], "web"), Ok(()));
    assert_eq!(
        inside.possible(&["deny 10.0.0.0/8:*"], "web"),
        Ok(()),
        "it may be elsewhere"
    );
    let denied = Err(Denied::Rule { index: 0 });
    assert_eq!(inside.possible(&["deny web:*"], "web"), denied);
    assert_eq!(
        inside.possible(&["deny *:*", "allow web:22"], "web"),
        denied
    );
    assert_eq!(
        inside.possible(&["allow 1.1.1.1:22", "deny *:*"], "web"),
        Ok(())
    );
    assert_eq!(inside.possible(&[], "1.1.1.1"), Err(NO_FORWARD));
    assert_eq!(nobody.possible(&["allow 1.1.1.1:22"], "web"), Ok(()));
}

#[test]
fn port_0_is_no_port_to_connect_to() {
    let alice = alice(&["ssh:forward:*:*"]);
    let refused = Err(Denied::BadPort { port: 0 });
    assert_eq!(alice.forward(&[], "db", 0, "1.1.1.1"), refused);
    let host = Host::parse("db").unwrap();
    let policy = policy(&[]);
    assert!(policy.forward_possible(&alice.subject(), &host, 0).is_err());
}

#[test]
fn a_listener_is_granted_by_its_address() {
    let alice = alice(&["ssh:listen:localhost:8000-8010", "ssh:listen:10.0.0.5:0"]);
    let local = scope("ssh:listen:localhost:8000-8010");
    assert_eq!(alice.listen(&[], "localhost", 8000, "127.0.0.1"), local);
    assert_eq!(alice.listen(&[], "localhost", 8000, "::1"), local);
    assert_eq!(alice.listen(&[], "127.0.0.1", 8000, "127.0.0.1"), local);
    assert!(alice.listen(&[], "localhost", 0, "::1").is_err());
    for everywhere in ["", "*", "0.0.0.0"] {
        assert!(alice.listen(&[], everywhere, 8000, "0.0.0.0").is_err());
    }
    let free = scope("ssh:listen:10.0.0.5:0");
    assert_eq!(alice.listen(&[], "10.0.0.5", 0, "10.0.0.5"), free);
    assert_eq!(alice.listen(&[], "::ffff:10.0.0.5", 0, "10.0.0.5"), free);
}

#[test]
fn a_denied_listener_is_not_had_by_listening_everywhere() {
    let anywhere = alice(&["ssh:listen:*:*"]);
    let rules = ["deny listen:10.0.0.0/8:*"];
    for asked in ["", "*", "0.0.0.0", "::ffff:0.0.0.0"] {
        assert_eq!(
            anywhere.listen(&rules, asked, 80, "0.0.0.0"),
            Err(Denied::Rule { index: 0 }),
            "{asked}"
        );
    }
    assert_eq!(
        anywhere.listen(&rules, "", 80, "::"),
        scope("ssh:listen:*:*")
    );
}

#[test]
fn only_what_was_asked_for_is_bound() {
    let anywhere = alice(&["ssh:listen:*:*"]);
    let bind = ip("10.0.0.5");
    assert_eq!(
        anywhere.listen(&[], "localhost", 80, "10.0.0.5"),
        Err(Denied::NotAsked { bind })
    );
    assert_eq!(
        anywhere.listen(&[], "db", 80, "10.0.0.5"),
        Err(Denied::ListenName)
    );
}

#[test]
fn a_socket_is_granted_by_its_plain_path() {
    let alice = alice(&["ssh:streamlocal:/run/app/*"]);
    let policy = policy(&["deny streamlocal:/run/app/secret"]);
    let ask = |path| {
        policy
            .streamlocal(&alice.subject(), path)
            .map(|(_, basis)| basis)
    };
    assert_eq!(ask("/run/app/a"), scope("ssh:streamlocal:/run/app/*"));
    assert_eq!(ask("/run/app/secret"), Err(Denied::Rule { index: 0 }));
    for detour in [
        "/run/app/./secret",
        "/run/app//secret",
        "/run/app/x/../secret",
    ] {
        assert_eq!(
            ask(detour),
            Err(Denied::BadPath(BadPath::Detour)),
            "{detour}"
        );
    }
}

/// Alice with a certificate that is limited to scopes.
fn certified(scopes: &[&str], certified: &[&str]) -> Alice {
    let mut alice = alice(scopes);
    let certified = certified.iter().map(|&scope| scope.to_owned());
    alice.1.scopes = Some(certified.collect());
    alice
}

#[test]
fn a_certificate_is_limited_to_its_scopes_and_adds_none() {
    let policy = policy(&["allow ruled:22"]);
    let no = |service| Denied::NotCertified { service };
    let narrow = certified(
        &[
            "ssh:exec",
            "ssh:forward:*:*",
            "ssh:streamlocal:/run/**",
            "ssh:unconfined",
        ],
        &[
            "ssh:exec:git",
            "ssh:forward:db:5432",
            "ssh:streamlocal:/run/app/*",
            "ssh:shell",
        ],
    );
    let subject = narrow.subject();
    let (git, basis) = policy.exec(&subject, b"git fetch; id").unwrap();
    assert_eq!(basis, Basis::Scope("ssh:exec".to_owned()));
    assert!(
        matches!(git, alknet_ssh_policy::Command::Direct { .. }),
        "nothing is appended: {git:?}"
    );
    assert_eq!(policy.exec(&subject, b"id"), Err(no(Service::Exec)));
    let address = "10.0.0.1".parse().unwrap();
    let forward = |host: &str, port| {
        let host = Host::parse(host).unwrap();
        policy.forward(&subject, &host, port, address).map(drop)
    };
    assert_eq!(forward("db", 5432), Ok(()));
    assert_eq!(forward("db", 22), Err(no(Service::Forward)));
    // What a rule grants has to be in it too.
    assert_eq!(forward("ruled", 22), Err(no(Service::Forward)));
    let (pattern, _) = policy.streamlocal(&subject, "/run/app/x").unwrap();
    assert_eq!(pattern.to_string(), "/run/app/*");
    assert!(policy.streamlocal(&subject, "/run/x").is_err());
    // It grants nothing that the identity has not.
    let service = Service::Shell;
    assert_eq!(policy.shell(&subject), Err(Denied::NoScope { service }));
    assert!(!subject.is_unconfined());
    assert!(policy.env(&subject, "LANG").is_ok());
    let wider = certified(
        &["ssh:streamlocal:/run/app/*"],
        &["ssh:streamlocal:/run/**"],
    );
    let (pattern, _) = policy.streamlocal(&wider.subject(), "/run/app/x").unwrap();
    assert_eq!(pattern.to_string(), "/run/app/*");
    let nothing = certified(&["ssh:exec"], &[]);
    let refused = policy.exec(&nothing.subject(), b"id");
    assert_eq!(refused, Err(no(Service::Exec)));
}

#[test]
fn what_a_scope_covers_can_be_told() {
    for (own, other, covered) in [
        ("ssh:exec", "ssh:exec:git", true),
        ("ssh:exec:git", "ssh:exec", false),
        ("ssh:shell", "ssh:shell", true),
        ("ssh:shell", "ssh:sftp", false),
        ("ssh:forward:*:*", "ssh:forward:db:22", true),
        ("ssh:forward:*:*", "ssh:listen:*:22", false),
        ("ssh:forward:*.a:1-99", "ssh:forward:b.a:22", true),
        ("ssh:forward:*.a:1-99", "ssh:forward:a:22", false),
        ("ssh:forward:*.a:1-99", "ssh:forward:*.b.a:*", false),
        (
            "ssh:forward:10.0.0.0/8:22",
            "ssh:forward:10.1.0.0/16:22",
            true,
        ),
        ("ssh:forward:10.0.0.0/8:22", "ssh:forward:*:22", false),
        ("ssh:streamlocal:/run/**", "ssh:streamlocal:/run/a/b", true),
        ("ssh:streamlocal:/run/*", "ssh:streamlocal:/run/a/b", false),
    ] {
        let parse = |text| alknet_ssh_policy::Scope::parse(text).unwrap();
        assert_eq!(parse(own).covers(&parse(other)), covered, "{own} {other}");
    }
}

#[test]
fn a_certificate_narrows() {
    let mut alice = alice(&[
        "ssh:exec",
        "ssh:forward:*:*",
        "ssh:listen:*:*",
        "ssh:streamlocal:/run/x",
        "ssh:shell",
        "ssh:sftp",
        "ssh:agent",
    ]);
    alice.1 = Restrictions {
        no_port_forwarding: true,
        no_pty: true,
        no_agent_forwarding: true,
        force_command: Some(b"date".to_vec()),
        scopes: None,
    };
    let policy = policy(&["allow *:*"]);
    let subject = alice.subject();
    let forwarding = Err(Denied::Restricted {
        what: "permit-port-forwarding",
    });
    assert_eq!(
        alice.forward(&["allow *:*"], "db", 22, "1.1.1.1"),
        forwarding
    );
    assert_eq!(alice.listen(&[], "", 0, "::"), forwarding);
    let streamlocal = policy.streamlocal(&subject, "/run/x");
    assert_eq!(streamlocal.map(|(_, basis)| basis), forwarding);
    assert_eq!(
        policy.agent(&subject).unwrap_err().to_string(),
        "the certificate does not permit it (permit-agent-forwarding)"
    );
    for denied in [policy.shell(&subject), policy.sftp(&subject)] {
        assert_eq!(
            denied.unwrap_err().to_string(),
            "the certificate does not permit it (force-command)"
        );
    }
    assert!(policy.exec(&subject, b"id").is_ok());

    alice.1.force_command = Some(b"internal-sftp".to_vec());
    assert_eq!(policy.sftp(&alice.subject()), scope("ssh:sftp"));
    assert!(policy.shell(&alice.subject()).is_err());
}

#[test]
fn variables_pass_by_rule_by_list_or_by_scope() {
    let alice = alice(&["ssh:env:EDITOR", "ssh:exec"]);
    let policy = policy(&["deny env:LC_ALL", "allow env:PAGER"]);
    let ask = |name| policy.env(&alice.subject(), name);
    assert_eq!(ask("LANG"), Ok(Basis::AcceptEnv("LANG".into())));
    assert_eq!(ask("LC_TIME"), Ok(Basis::AcceptEnv("LC_*".into())));
    assert_eq!(ask("LC_ALL"), Err(Denied::Rule { index: 0 }));
    assert_eq!(ask("PAGER"), Ok(Basis::Rule { index: 1 }));
    assert_eq!(ask("EDITOR"), scope("ssh:env:EDITOR"));
    assert!(ask("LANGUAGE").is_err());
    assert!(ask("LD_PRELOAD").is_err());
    for name in ["", "LC_A=B", "LC_\0"] {
        assert_eq!(ask(name), Err(Denied::BadVariable));
    }
}

#[test]
fn no_variable_that_starts_programs_is_set_under_a_program_scope() {
    let names = ["EDITOR", "LD_PRELOAD", "GIT_SSH", "RELEASE", "GIT_PROTOCOL"];
    let granted: Vec<String> = names.iter().map(|name| format!("ssh:env:{name}")).collect();
    let may = |more: &[&str]| {
        let mut peer = alice(more);
        peer.0.extend(granted.iter().cloned());
        let policy = policy(&["allow env:PAGER"]);
        let may = |name: &&str| policy.env(&peer.subject(), name).is_ok();
        let names = ["EDITOR", "LD_PRELOAD", "GIT_SSH", "PAGER", "RELEASE"];
        names.into_iter().filter(may).collect::<Vec<_>>()
    };
    assert_eq!(may(&["ssh:exec:git-upload-pack"]), ["RELEASE"]);
    assert_eq!(may(&[]), ["RELEASE"]);
    assert_eq!(may(&["ssh:exec"]).len(), 5);
    assert_eq!(may(&["ssh:shell"]).len(), 5);
}

#[test]
fn a_program_has_a_terminal_only_with_a_shell() {
    use alknet_ssh_policy::Command;
    let policy = policy(&[]);
    let direct = Command::Direct {
        program: "top".into(),
        arguments: Vec::new(),
    };
    let line = Command::Shell("top".into());
    let ask = |scopes: &[&str], command| policy.terminal(&alice(scopes).subject(), command);
    let refused = Err(Denied::TerminalOfProgram);
    assert_eq!(ask(&["ssh:exec:top"], Some(&direct)), refused);
    assert_eq!(ask(&["ssh:exec:top", "ssh:shell"], Some(&direct)), Ok(()));
    assert_eq!(ask(&["ssh:exec"], Some(&line)), Ok(()));
    assert_eq!(ask(&["ssh:shell"], None), Ok(()));
    let mut alice = alice(&["ssh:shell"]);
    alice.1.no_pty = true;
    assert!(policy.terminal(&alice.subject(), None).is_err());
}

#[test]
fn a_socket_that_was_found_is_asked_about_by_its_real_path() {
    let alice = alice(&["ssh:streamlocal:/run/app/**"]);
    let long = format!("/run/secret/{}", "d/".repeat(100));
    let policy = policy(&["deny streamlocal:/run/secret/**"]);
    let subject = &alice.subject();
    let (granted, _) = policy.streamlocal(subject, "/run/app/link/s").unwrap();
    assert_eq!(granted.directory(), Some("/run/app"));
    let denied = Err(Denied::Rule { index: 0 });
    assert_eq!(
        policy.streamlocal_found(subject, format!("{long}s").as_bytes()),
        denied
    );
    assert_eq!(
        policy.streamlocal_found(subject, b"/run/secret/\xff"),
        denied
    );
    assert_eq!(policy.streamlocal_found(subject, b"/run/app/s"), Ok(()));
}
