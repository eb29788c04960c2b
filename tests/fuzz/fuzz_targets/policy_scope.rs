//! Any text as a scope, a target, a host, a listener's address: no panic, and
//! what is read is written so that it reads back the same.
#![no_main]

use alknet_ssh_policy::{Host, RuleTarget, Scope, canonical, listen_addresses};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    scope(text);
    for service in ["exec", "forward", "listen", "streamlocal", "env"] {
        scope(&format!("ssh:{service}:{text}"));
    }
    target(text);
    host(text);
    if let Ok(addresses) = listen_addresses(text) {
        assert!(!addresses.is_empty());
    }
});

fn scope(text: &str) {
    match Scope::parse(text) {
        Ok(scope) => {
            assert_eq!(Scope::parse(&scope.to_string()), Ok(scope.clone()));
            let target = RuleTarget::from(scope);
            assert_eq!(RuleTarget::parse(&target.to_string()), Ok(target));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn target(text: &str) {
    match RuleTarget::parse(text) {
        Ok(target) => {
            assert_eq!(RuleTarget::parse(&target.to_string()), Ok(target.clone()));
            assert_eq!(
                Scope::parse(&format!("ssh:{target}")).as_ref(),
                Ok(target.scope())
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn host(text: &str) {
    let Ok(host) = Host::parse(text) else {
        return;
    };
    assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    match host {
        Host::Address(address) => assert_eq!(canonical(address), address),
        Host::Name(name) => {
            assert!(name.len() <= 253 && !name.ends_with('.'));
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }
}
