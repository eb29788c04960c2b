//! Any rules, scopes, certificate and request: what must hold for all.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alknet_ssh_policy::{
    Action, Denied, Host, Policy, Restrictions, Rule, RuleTarget, Subject, Switches,
    canonical, listen_addresses,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| {
    let request = Request::new(&input);
    let policy = input.policy();
    let scopes: Vec<String> = input.scopes.iter().map(Target::scope).collect();
    let restrictions = input.restrictions();
    let plain = subject(&scopes, Restrictions::none());
    let narrowed = subject(&scopes, &restrictions);

    all_addresses(&policy, &plain, &request);
    one_verdict_per_address(&policy, &plain, &request);
    certificates_narrow(&policy, &plain, &narrowed, &request);

    let more = input.more.scope();
    if !input.principals().contains(&more) {
        let mut extended = scopes.clone();
        extended.insert(input.at as usize % (scopes.len() + 1), more);
        let extended = subject(&extended, Restrictions::none());
        let before = verdicts(&policy, &plain, &request);
        let after = verdicts(&policy, &extended, &request);
        assert!(implies(&before, &after), "a scope took something away");
    }

    let off = Policy::new(Switches::default(), input.rules(), Vec::new());
    let allowed = verdicts(&off, &plain, &request);
    assert!(allowed.iter().all(|allowed| !allowed), "allowed though off");
});

/// A denied address is in no answer, and what is allowed was possible.
fn all_addresses(policy: &Policy, subject: &Subject<'_>, request: &Request) {
    let Request {
        host,
        port,
        addresses,
        ..
    } = request;
    let verdicts: Vec<_> = addresses
        .iter()
        .map(|address| policy.forward(subject, host, *port, *address))
        .collect();
    let by_rule = verdicts
        .iter()
        .any(|verdict| matches!(verdict, Err(Denied::Rule { .. })));
    match policy.forward_all(subject, host, *port, addresses) {
        Ok(allowed) => {
            assert!(!allowed.is_empty() && !by_rule);
            for (address, basis) in &allowed {
                assert_eq!(
                    policy.forward(subject, host, *port, *address).as_ref(),
                    Ok(basis)
                );
                assert_eq!(canonical(*address), *address);
                assert!(addresses.iter().any(|given| canonical(*given) == *address));
            }
            if matches!(host, Host::Name(_)) {
                assert_eq!(policy.forward_possible(subject, host, *port), Ok(()));
            }
        }
        Err(_) => assert!(by_rule || verdicts.iter().all(Result::is_err)),
    }
}

/// However an address is written, it gets the same verdict.
fn one_verdict_per_address(policy: &Policy, subject: &Subject<'_>, request: &Request) {
    for address in &request.addresses {
        let address = canonical(*address);
        let plain = Host::Address(address);
        let verdict = policy.forward(subject, &plain, request.port, address);
        let mut forms = vec![address.to_string()];
        match address {
            IpAddr::V4(v4) => {
                let mapped = v4.to_ipv6_mapped();
                forms.extend([
                    format!("{v4}."),
                    mapped.to_string(),
                    format!("[{mapped}%eth0]"),
                ]);
                if v4 == Ipv4Addr::LOCALHOST {
                    forms.extend(["0.0.0.0", "::ffff:0.0.0.0"].map(str::to_owned));
                }
            }
            IpAddr::V6(v6) => {
                forms.extend([format!("[{v6}]"), format!("{v6}%1")]);
                if v6 == Ipv6Addr::LOCALHOST {
                    forms.push("::".to_owned());
                }
            }
        }
        for form in forms {
            let host = Host::parse(&form).unwrap();
            assert_eq!(host, plain, "{form}");
            assert_eq!(
                policy.forward_possible(subject, &host, request.port).err(),
                verdict.clone().err()
            );
        }
        if let IpAddr::V4(v4) = address {
            let mapped = v4.to_ipv6_mapped().into();
            assert_eq!(
                policy.forward(subject, &request.host, request.port, mapped),
                policy.forward(subject, &request.host, request.port, address),
            );
        }
    }
}

fn certificates_narrow(
    policy: &Policy,
    plain: &Subject<'_>,
    narrowed: &Subject<'_>,
    request: &Request,
) {
    let compared = request.without_exec();
    let without = verdicts(policy, plain, &compared);
    let with = verdicts(policy, narrowed, &compared);
    assert!(implies(&with, &without), "a certificate widened");
    // What runs could also have been asked for.
    let forced = narrowed.restrictions.force_command.as_ref();
    if let Ok((command, basis)) = policy.exec(narrowed, &request.command) {
        let runs = forced.unwrap_or(&request.command);
        assert_eq!(policy.exec(plain, runs), Ok((command, basis)));
    }
}

/// Every decision on this request: true is allowed.
fn verdicts(policy: &Policy, subject: &Subject<'_>, request: &Request) -> Vec<bool> {
    let Request {
        host, port, path, ..
    } = request;
    let mut verdicts = vec![
        policy.forward_possible(subject, host, *port).is_ok(),
        policy.streamlocal(subject, path).is_ok(),
        policy.shell(subject).is_ok(),
        policy.sftp(subject).is_ok(),
        policy.agent(subject).is_ok(),
    ];
    for address in &request.addresses {
        verdicts.push(policy.forward(subject, host, *port, *address).is_ok());
        let asked = address.to_string();
        for bind in listen_addresses(&asked).unwrap() {
            verdicts.push(policy.listen(subject, &asked, *port, bind).is_ok());
        }
    }
    for asked in ["", "localhost"] {
        for bind in listen_addresses(asked).unwrap() {
            verdicts.push(policy.listen(subject, asked, *port, bind).is_ok());
        }
    }
    if request.with_exec {
        verdicts.push(policy.exec(subject, &request.command).is_ok());
    }
    verdicts
}

fn implies(these: &[bool], those: &[bool]) -> bool {
    these.len() == those.len() && these.iter().zip(those).all(|(this, that)| !this || *that)
}

fn subject<'a>(scopes: &'a [String], restrictions: &'a Restrictions) -> Subject<'a> {
    Subject {
        id: "alice",
        scopes,
        restrictions,
    }
}

#[derive(Clone)]
struct Request {
    host: Host,
    port: u16,
    addresses: Vec<IpAddr>,
    path: String,
    command: Vec<u8>,
    with_exec: bool,
}

impl Request {
    fn new(input: &Input) -> Self {
        let addresses: Vec<_> = input.addresses.iter().map(|address| address.ip()).collect();
        let host = match (&input.host, addresses.first()) {
            (None, Some(address)) => Host::Address(canonical(*address)),
            (name, _) => Host::parse(name.unwrap_or(Name::Db).text()).unwrap(),
        };
        Self {
            host,
            port: input.port,
            addresses,
            path: input.path.clone(),
            command: input.command.clone(),
            with_exec: true,
        }
    }

    /// Exec is compared by what runs, not by what is asked for.
    fn without_exec(&self) -> Self {
        Self {
            with_exec: false,
            ..self.clone()
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Vec<(Target, bool, Vec<Principal>)>,
    scopes: Vec<Target>,
    more: Target,
    at: u8,
    host: Option<Name>,
    port: u16,
    addresses: Vec<Address>,
    path: String,
    command: Vec<u8>,
    withheld: [bool; 3],
    force_command: Option<Vec<u8>>,
}

impl Input {
    fn policy(&self) -> Policy {
        let all = Switches {
            exec: true,
            forward: true,
            listen: true,
            streamlocal: true,
            shell: true,
            sftp: true,
            agent: true,
        };
        Policy::new(all, self.rules(), vec!["LC_*".to_owned()])
    }

    fn rules(&self) -> Vec<Rule> {
        let rule = |(target, allow, principals): &(Target, bool, Vec<Principal>)| {
            Some(Rule {
                target: RuleTarget::parse(&target.text()).ok()?,
                action: if *allow { Action::Allow } else { Action::Deny },
                principals: principals.iter().map(Principal::text).collect(),
            })
        };
        self.rules.iter().filter_map(rule).collect()
    }

    fn principals(&self) -> Vec<String> {
        let all = self.rules.iter().flat_map(|(_, _, principals)| principals);
        all.map(Principal::text).collect()
    }

    fn restrictions(&self) -> Restrictions {
        let [no_port_forwarding, no_pty, no_agent_forwarding] = self.withheld;
        Restrictions {
            no_port_forwarding,
            no_pty,
            no_agent_forwarding,
            force_command: self.force_command.clone(),
            scopes: None,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Principal {
    Alice,
    Bob,
    Scope(Target),
}

impl Principal {
    fn text(&self) -> String {
        match self {
            Self::Alice => "alice".to_owned(),
            Self::Bob => "bob".to_owned(),
            Self::Scope(target) => target.scope(),
        }
    }
}

/// Mostly targets that parse; the rest are free texts.
#[derive(Arbitrary, Debug)]
enum Target {
    Forward(HostPattern, Ports),
    Listen(HostPattern, Ports),
    Folder(String),
    Path(String),
    Exec,
    Program(String),
    Shell,
    Sftp,
    Agent,
    Free(String),
}

impl Target {
    fn text(&self) -> String {
        match self {
            Self::Forward(host, ports) => format!("forward:{}:{}", host.text(), ports.text()),
            Self::Listen(host, ports) => format!("listen:{}:{}", host.text(), ports.text()),
            Self::Folder(path) => format!("streamlocal:{path}/*"),
            Self::Path(path) => format!("streamlocal:{path}"),
            Self::Exec => "exec".to_owned(),
            Self::Program(program) => format!("exec:{program}"),
            Self::Shell => "shell".to_owned(),
            Self::Sftp => "sftp".to_owned(),
            Self::Agent => "agent".to_owned(),
            Self::Free(text) => text.clone(),
        }
    }

    fn scope(&self) -> String {
        format!("ssh:{}", self.text())
    }
}

#[derive(Arbitrary, Debug)]
enum HostPattern {
    Any,
    Name(Name),
    Suffix(Name),
    Network(Address, u8),
}

impl HostPattern {
    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Name(name) => name.text().to_owned(),
            Self::Suffix(name) => format!("*.{}", name.text()),
            Self::Network(address, length) => match canonical(address.ip()) {
                IpAddr::V4(address) => {
                    let length = u32::from(*length) % 33;
                    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                    format!("{}/{length}", Ipv4Addr::from_bits(address.to_bits() & mask))
                }
                IpAddr::V6(address) => {
                    let length = u32::from(*length) % 129;
                    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                    format!(
                        "[{}]/{length}",
                        Ipv6Addr::from_bits(address.to_bits() & mask)
                    )
                }
            },
        }
    }
}

/// Few enough that patterns and requests meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Db,
    DbInternal,
    Internal,
    Localhost,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::DbInternal => "db.internal",
            Self::Internal => "internal",
            Self::Localhost => "localhost",
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Ports {
    Any,
    Range(u16, u16),
}

impl Ports {
    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Range(a, b) => format!("{}-{}", a.min(b), a.max(b)),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Address {
    Near(u8),
    NearMapped(u8),
    V4(u32),
    V6(u128),
    Loopback(bool),
    Unspecified(bool),
    MappedUnspecified,
}

impl Address {
    fn ip(&self) -> IpAddr {
        match *self {
            Self::Near(last) => Ipv4Addr::new(10, 0, 0, last).into(),
            Self::NearMapped(last) => Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().into(),
            Self::V4(bits) => Ipv4Addr::from_bits(bits).into(),
            Self::V6(bits) => Ipv6Addr::from_bits(bits).into(),
            Self::Loopback(true) => Ipv4Addr::LOCALHOST.into(),
            Self::Loopback(false) => Ipv6Addr::LOCALHOST.into(),
            Self::Unspecified(true) => Ipv4Addr::UNSPECIFIED.into(),
            Self::Unspecified(false) => Ipv6Addr::UNSPECIFIED.into(),
            Self::MappedUnspecified => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into(),
        }
    }
}
