//! Decisions by few rules and by many.

use std::net::IpAddr;

use alknet_ssh_policy::{Action, Host, Policy, Restrictions, Rule, RuleTarget, Subject, Switches};
use divan::{Bencher, black_box};

/// Rules about that many networks.
fn policy(rules: usize) -> Policy {
    let rule = |number: usize| Rule {
        target: RuleTarget::parse(&format!("10.{}.{}.0/24:443", number / 256, number % 256))
            .unwrap(),
        action: Action::Allow,
        principals: Vec::new(),
    };
    let switches = Switches {
        forward: true,
        ..Switches::default()
    };
    Policy::new(switches, (0..rules).map(rule).collect(), Vec::new())
}

fn subject(scopes: &[String]) -> Subject<'_> {
    Subject {
        id: "somebody",
        scopes,
        restrictions: Restrictions::none(),
    }
}

/// The last rule decides.
#[divan::bench(args = [10, 10_000])]
fn last_rule(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = policy(rules);
    let last = rules - 1;
    let address: IpAddr = [10, (last / 256) as u8, (last % 256) as u8, 7].into();
    let host = Host::Address(address);
    bencher.bench_local(|| {
        policy
            .forward(&subject(&[]), black_box(&host), 443, address)
            .unwrap()
    });
}

/// No rule matches, and a scope of the identity grants it.
#[divan::bench(args = [10, 10_000])]
fn scope_after_rules(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = policy(rules);
    let scopes = ["ssh:exec", "ssh:forward:db.internal:5432"].map(str::to_owned);
    let host = Host::parse("db.internal").unwrap();
    let address = [192, 0, 2, 1].into();
    bencher.bench_local(|| {
        policy
            .forward(&subject(&scopes), black_box(&host), 5432, address)
            .unwrap()
    });
}
