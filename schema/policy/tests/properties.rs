//! Properties of the policy that hold for all inputs, tried with generated
//! ones (proptest).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alknet_ssh_policy::{
    Action, Denied, Host, Policy, Restrictions, Rule, RuleTarget, Scope, Subject, Switches,
    canonical, listen_addresses,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A few addresses, so that patterns and requests meet.
fn address() -> impl Strategy<Value = IpAddr> {
    select(vec![
        "0.0.0.0",
        "127.0.0.1",
        "10.0.0.5",
        "10.1.0.5",
        "192.168.0.1",
        "::",
        "::1",
        "fe80::1",
        "fd00::5",
        "::ffff:10.0.0.5",
        "::ffff:0.0.0.0",
        "::ffff:127.0.0.1",
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn host_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["*", "db", "*.internal", "db.internal", "localhost"]).prop_map(str::to_owned),
        (any::<u32>(), 0..=32_u32).prop_map(|(bits, length)| {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from_bits(bits & mask))
        }),
        (any::<u128>(), 0..=128_u32).prop_map(|(bits, length)| {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("[{}]/{length}", Ipv6Addr::from_bits(bits & mask))
        }),
        (address(), 0..=32_u32).prop_map(|(address, shorter)| match canonical(address) {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(shorter).unwrap_or(0);
                let network = Ipv4Addr::from_bits(address.to_bits() & mask);
                format!("{network}/{}", 32 - shorter)
            }
            IpAddr::V6(address) => format!("[{address}]"),
        }),
    ]
}

fn port_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        select(vec!["22", "80", "1-1024"]).prop_map(str::to_owned),
        (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
}

/// Targets that mostly parse.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (select(vec!["forward", "listen"]), host_pattern(), port_pattern())
            .prop_map(|(service, host, port)| format!("{service}:{host}:{port}")),
        2 => select(vec!["exec", "exec:ls", "exec:id", "shell", "sftp", "agent", "env:LANG"])
            .prop_map(str::to_owned),
        2 => select(vec!["streamlocal:/run/x", "streamlocal:/run/*", "streamlocal:/run/app/*"])
            .prop_map(str::to_owned),
    ]
}

fn scopes() -> impl Strategy<Value = Vec<String>> {
    vec(target().prop_map(|target| format!("ssh:{target}")), 0..5)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let principals = prop_oneof![
        2 => Just(Vec::new()),
        1 => Just(vec!["alice".to_owned()]),
        1 => Just(vec!["bob".to_owned()]),
    ];
    let rule = (target(), any::<bool>(), principals).prop_filter_map(
        "a target that parses",
        |(target, allow, principals)| {
            Some(Rule {
                target: RuleTarget::parse(&target).ok()?,
                action: if allow { Action::Allow } else { Action::Deny },
                principals,
            })
        },
    );
    vec(rule, 0..6)
}

fn policy() -> impl Strategy<Value = Policy> {
    rules().prop_map(|rules| {
        let all = Switches {
            exec: true,
            forward: true,
            listen: true,
            streamlocal: true,
            shell: true,
            sftp: true,
            agent: true,
        };
        Policy::new(all, rules, vec!["LC_*".to_owned()])
    })
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        select(vec![
            "db",
            "db.internal",
            "a.b.internal",
            "localhost",
            "web"
        ])
        .prop_map(|name| Host::parse(name).unwrap()),
        address().prop_map(|address| Host::Address(canonical(address))),
    ]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![select(vec![0, 22, 80, 65535]), any::<u16>()]
}

fn restrictions() -> impl Strategy<Value = Restrictions> {
    (any::<[bool; 3]>(), proptest::option::of(command())).prop_map(
        |([no_port_forwarding, no_pty, no_agent_forwarding], force_command)| Restrictions {
            no_port_forwarding,
            no_pty,
            no_agent_forwarding,
            force_command,
            scopes: None,
        },
    )
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        select(vec!["ls", "id -u", "ls 'x", "rm; ls", ""])
            .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..20),
    ]
}

const PATHS: [&str; 4] = ["/run/x", "/run/app/y", "/run/../x", "x"];

fn is_by_rule<T>(verdict: &Result<T, Denied>) -> bool {
    matches!(verdict, Err(Denied::Rule { .. }))
}

fn alice<'a>(scopes: &'a [String], restrictions: &'a Restrictions) -> Subject<'a> {
    Subject {
        id: "alice",
        scopes,
        restrictions,
    }
}

/// The verdict of every decision on this input: true is allowed.
fn verdicts(
    policy: &Policy,
    subject: &Subject<'_>,
    host: &Host,
    port: u16,
    address: IpAddr,
) -> Vec<bool> {
    let mut verdicts = vec![
        policy.forward(subject, host, port, address).is_ok(),
        policy.forward_possible(subject, host, port).is_ok(),
        policy.shell(subject).is_ok(),
        policy.sftp(subject).is_ok(),
        policy.agent(subject).is_ok(),
        policy.env(subject, "LANG").is_ok(),
    ];
    for asked in ["", "localhost", "10.0.0.5", "0.0.0.0", "::"] {
        for bind in listen_addresses(asked).unwrap() {
            verdicts.push(policy.listen(subject, asked, port, bind).is_ok());
        }
    }
    verdicts.extend(PATHS.map(|path| policy.streamlocal(subject, path).is_ok()));
    verdicts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_causes_a_panic(text in "(?s).{0,40}", bytes in vec(any::<u8>(), 0..40)) {
        let _ = (Scope::parse(&text), RuleTarget::parse(&text), Host::parse(&text));
        for service in ["exec", "forward", "listen", "streamlocal", "env"] {
            let _ = Scope::parse(&format!("ssh:{service}:{text}"));
        }
        let scopes = [text.clone(), "ssh:exec:ls".to_owned()];
        let subject = alice(&scopes, Restrictions::none());
        let policy = Policy::default();
        let _ = (policy.exec(&subject, &bytes), policy.streamlocal(&subject, &text));
        let _ = (policy.env(&subject, &text), listen_addresses(&text));
    }

    #[test]
    fn a_scope_reads_back_as_written(target in target()) {
        if let Ok(scope) = Scope::parse(&format!("ssh:{target}")) {
            prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope.clone()));
            let target = RuleTarget::from(scope);
            prop_assert_eq!(RuleTarget::parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn a_target_is_the_scope_without_its_prefix(target in target()) {
        let as_target = RuleTarget::parse(&target).map(|target| target.scope().clone());
        prop_assert_eq!(as_target.ok(), Scope::parse(&format!("ssh:{target}")).ok());
    }

    #[test]
    fn a_host_reads_back_as_written(text in "[a-zA-Z0-9.:%\\[\\]]{0,12}") {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }

    #[test]
    fn a_denied_address_is_in_no_answer(
        policy in policy(),
        scopes in scopes(),
        host in host(),
        port in port(),
        addresses in vec(address(), 0..5),
    ) {
        let subject = alice(&scopes, Restrictions::none());
        let verdicts: Vec<_> = addresses
            .iter()
            .map(|address| policy.forward(&subject, &host, port, *address))
            .collect();
        match policy.forward_all(&subject, &host, port, &addresses) {
            Ok(allowed) => {
                prop_assert!(!allowed.is_empty());
                prop_assert!(!verdicts.iter().any(is_by_rule));
                for (address, basis) in allowed {
                    prop_assert_eq!(policy.forward(&subject, &host, port, address), Ok(basis));
                    prop_assert!(addresses.iter().any(|given| canonical(*given) == address));
                }
            }
            Err(_) => prop_assert!(
                verdicts.iter().all(Result::is_err)
                    || verdicts.iter().any(is_by_rule)
            ),
        }
    }

    #[test]
    fn what_is_allowed_was_possible(
        policy in policy(), scopes in scopes(), host in host(), port in port(), address in address(),
    ) {
        let subject = alice(&scopes, Restrictions::none());
        // The address of an address is itself.
        let address = match host {
            Host::Address(address) => address,
            Host::Name(_) => address,
        };
        if policy.forward(&subject, &host, port, address).is_ok() {
            prop_assert_eq!(policy.forward_possible(&subject, &host, port), Ok(()));
        }
    }

    #[test]
    fn every_form_of_an_address_gets_one_verdict(
        policy in policy(), scopes in scopes(), bits in any::<u32>(), port in port(), local in any::<bool>(),
    ) {
        let subject = alice(&scopes, Restrictions::none());
        let v4 = if local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::from_bits(bits) };
        let mapped = v4.to_ipv6_mapped();
        let mut forms = vec![
            v4.to_string(), format!("{v4}."), mapped.to_string(), format!("[{mapped}]"),
            format!("{mapped}%eth0"), format!("[{mapped}%1]"),
        ];
        if local {
            forms.extend(["0.0.0.0", "::ffff:0.0.0.0", "[::ffff:0:0%lo]"].map(str::to_owned));
        }
        let plain = Host::Address(v4.into());
        let verdict = policy.forward(&subject, &plain, port, v4.into());
        for form in forms {
            let host = Host::parse(&form).unwrap();
            prop_assert_eq!(&host, &plain, "{}", form);
            let bare = form.trim_matches(['[', ']', '.']).split('%').next().unwrap();
            let address: IpAddr = bare.parse().unwrap();
            prop_assert_eq!(&policy.forward(&subject, &host, port, address), &verdict, "{}", form);
        }
        let name = Host::Name("db".to_owned());
        prop_assert_eq!(
            policy.forward(&subject, &name, port, mapped.into()),
            policy.forward(&subject, &name, port, v4.into())
        );
    }

    #[test]
    fn restrictions_never_widen(
        policy in policy(), scopes in scopes(), host in host(), port in port(),
        address in address(), restrictions in restrictions(), asked in command(),
    ) {
        let narrowed = alice(&scopes, &restrictions);
        let plain = alice(&scopes, Restrictions::none());
        let with = verdicts(&policy, &narrowed, &host, port, address);
        let without = verdicts(&policy, &plain, &host, port, address);
        for (with, without) in with.into_iter().zip(without) {
            prop_assert!(without || !with);
        }
        // What runs could also have been asked for.
        if let Ok((command, basis)) = policy.exec(&narrowed, &asked) {
            let runs = restrictions.force_command.clone().unwrap_or(asked);
            prop_assert_eq!(policy.exec(&plain, &runs), Ok((command, basis)));
        }
    }

    #[test]
    fn a_scope_more_never_takes_anything_away(
        policy in policy(), scopes in scopes(), more in target(), at in any::<prop::sample::Index>(),
        host in host(), port in port(), address in address(), asked in command(),
    ) {
        let mut extended = scopes.clone();
        extended.insert(at.index(scopes.len() + 1), format!("ssh:{more}"));
        let before = alice(&scopes, Restrictions::none());
        let after = alice(&extended, Restrictions::none());
        let with = verdicts(&policy, &after, &host, port, address);
        let without = verdicts(&policy, &before, &host, port, address);
        for (with, without) in with.into_iter().zip(without) {
            prop_assert!(with || !without);
        }
        prop_assert!(policy.exec(&after, &asked).is_ok() || policy.exec(&before, &asked).is_err());
    }
}
