//! The decisions of one configuration, one method for each kind of request.

use std::cell::RefCell;
use std::net::IpAddr;

use crate::{
    Action, Command, Denied, Destination, Host, PathPattern, Rule, Scope, Service, Subject,
    canonical, listen, listen_addresses, path, variable,
};

/// The services that are switched on; by default none is. Setting variables has
/// no switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Running commands.
    pub exec: bool,
    /// Connections from the node.
    pub forward: bool,
    /// Listeners on the node.
    pub listen: bool,
    /// Unix sockets on the node.
    pub streamlocal: bool,
    /// Shells.
    pub shell: bool,
    /// File transfer.
    pub sftp: bool,
    /// Agent forwarding.
    pub agent: bool,
}

/// What allowed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A rule.
    Rule {
        /// Its place among those given to [`Policy::new`].
        index: usize,
    },
    /// A scope of the identity, as it is written there.
    Scope(String),
    /// An entry of the variables everybody may set.
    AcceptEnv(String),
}

/// The decisions of one configuration. The identity comes with each request,
/// so that a decision is never older than what it is asked with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    switches: Switches,
    rules: Vec<Rule>,
    accept_env: Vec<String>,
}

impl Policy {
    /// `rules` are tried in their order. `accept_env` are the names of the
    /// variables everybody may set; a trailing `*` matches any rest.
    pub fn new(switches: Switches, rules: Vec<Rule>, accept_env: Vec<String>) -> Self {
        Self {
            switches,
            rules,
            accept_env,
        }
    }

    /// Whether any address could make [`Policy::forward`] allow it. Ask before
    /// a name is looked up: who may connect nowhere causes no query.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn forward_possible(
        &self,
        subject: &Subject<'_>,
        host: &Host,
        port: u16,
    ) -> Result<(), Denied> {
        if let Host::Address(address) = host {
            return self.forward(subject, host, port, *address).map(drop);
        }
        self.forward_gate(subject, port)?;
        // A network may hold the name's addresses, and may not: to deny that
        // says nothing yet, to allow it is enough.
        self.decide(subject, Service::Forward, |target, action| {
            matches!(target, Scope::Forward(destination)
                if destination.ports.holds(port)
                    && (destination.host.holds_name(host)
                        || (destination.host.is_network() && action == Action::Allow)))
        })
        .map(drop)
    }

    /// Decides on a connection to one address. `host` is what was asked for:
    /// names in rules and scopes are compared with it, networks with the
    /// address.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn forward(
        &self,
        subject: &Subject<'_>,
        host: &Host,
        port: u16,
        address: IpAddr,
    ) -> Result<Basis, Denied> {
        self.forward_gate(subject, port)?;
        let address = canonical(address);
        let holds = |destination: &Destination| {
            destination.ports.holds(port)
                && (destination.host.holds_name(host) || destination.host.holds_address(address))
        };
        self.decide(
            subject,
            Service::Forward,
            |target, _| matches!(target, Scope::Forward(destination) if holds(destination)),
        )
    }

    /// Decides on all addresses a name has. One that a rule denies has the
    /// whole request refused; those that nothing grants are left out.
    ///
    /// The addresses in the answer are the ones to connect to, as
    /// [`canonical`] gives them, each once and in the order given.
    ///
    /// # Errors
    /// The reason for refusing it, when no address is left.
    pub fn forward_all(
        &self,
        subject: &Subject<'_>,
        host: &Host,
        port: u16,
        addresses: &[IpAddr],
    ) -> Result<Vec<(IpAddr, Basis)>, Denied> {
        let mut allowed: Vec<(IpAddr, Basis)> = Vec::new();
        let mut refusal = Denied::NoAddress;
        for address in addresses.iter().copied().map(canonical) {
            match self.forward(subject, host, port, address) {
                Ok(basis) => {
                    if allowed.iter().all(|(known, _)| *known != address) {
                        allowed.push((address, basis));
                    }
                }
                Err(denied @ (Denied::NoScope { .. } | Denied::NotCertified { .. })) => {
                    refusal = denied;
                }
                Err(denied) => return Err(denied),
            }
        }
        if allowed.is_empty() {
            return Err(refusal);
        }
        Ok(allowed)
    }

    /// Decides on a listener. `asked` is the text of the request, `bind` one
    /// of the addresses [`listen_addresses`] says it stands for.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn listen(
        &self,
        subject: &Subject<'_>,
        asked: &str,
        port: u16,
        bind: IpAddr,
    ) -> Result<Basis, Denied> {
        self.gate(subject, Service::Listen)?;
        let bind = bind.to_canonical();
        if !listen_addresses(asked)?.contains(&bind) {
            return Err(Denied::NotAsked { bind });
        }
        self.decide(subject, Service::Listen, |target, action| {
            matches!(target, Scope::Listen(destination)
                if listen::holds(destination, action, port, bind))
        })
    }

    /// Decides on a Unix socket, to connect to or to listen on, and says what
    /// the deciding rule or scope grants. Symbolic links in the path are not
    /// seen here: it is to be opened without leaving [`PathPattern::directory`],
    /// and what was found is to be asked about with
    /// [`streamlocal_found`](Self::streamlocal_found).
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn streamlocal(
        &self,
        subject: &Subject<'_>,
        path: &str,
    ) -> Result<(PathPattern, Basis), Denied> {
        self.gate(subject, Service::StreamLocal)?;
        path::check(path)?;
        // Where a certificate has to grant it too, the narrower of the two counts:
        // the path is in both, so that one of the directories is in the other.
        let granted: RefCell<Option<PathPattern>> = RefCell::new(None);
        let basis = self.decide(subject, Service::StreamLocal, |target, _| match target {
            Scope::StreamLocal(pattern) if pattern.holds(path.as_bytes()) => {
                let mut granted = granted.borrow_mut();
                if granted
                    .as_ref()
                    .is_none_or(|known| pattern.is_narrower(known))
                {
                    *granted = Some(pattern.clone());
                }
                true
            }
            _ => false,
        })?;
        let pattern = granted.into_inner().ok_or(Denied::NoScope {
            service: Service::StreamLocal,
        })?;
        Ok((pattern, basis))
    }

    /// Decides on the real path, without links and of any length, of a socket
    /// that was found or is to be made in what [`streamlocal`](Self::streamlocal)
    /// grants: the first rule about it must not deny it.
    ///
    /// # Errors
    /// The rule that denies it.
    pub fn streamlocal_found(&self, subject: &Subject<'_>, real: &[u8]) -> Result<(), Denied> {
        let decided = self.decide(
            subject,
            Service::StreamLocal,
            |target, _| matches!(target, Scope::StreamLocal(pattern) if pattern.holds(real)),
        );
        match decided {
            Err(denied @ Denied::Rule { .. }) => Err(denied),
            _ => Ok(()),
        }
    }

    /// Decides on a terminal for what was granted. A program that runs without
    /// a shell gets one only where the peer may have a shell anyway: many
    /// programs start others for who sits at a terminal.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn terminal(&self, subject: &Subject<'_>, command: Option<&Command>) -> Result<(), Denied> {
        if subject.restrictions.no_pty {
            return Err(Denied::Restricted { what: "permit-pty" });
        }
        if !self.switches.shell {
            return Err(Denied::ServiceOff {
                service: Service::Shell,
            });
        }
        match command {
            Some(Command::Direct { .. }) => self
                .decide(subject, Service::Shell, |target, _| {
                    target.service() == Service::Shell
                })
                .map(drop)
                .map_err(|denied| match denied {
                    Denied::NoScope { .. } => Denied::TerminalOfProgram,
                    denied => denied,
                }),
            Some(Command::Shell(_)) | None => Ok(()),
        }
    }

    /// Decides on a shell. A certificate with a forced command has none: ask
    /// [`Policy::exec`] for that command instead.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn shell(&self, subject: &Subject<'_>) -> Result<Basis, Denied> {
        self.plain(subject, Service::Shell)
    }

    /// Decides on file transfer. A forced command other than `internal-sftp`
    /// rules it out.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn sftp(&self, subject: &Subject<'_>) -> Result<Basis, Denied> {
        self.plain(subject, Service::Sftp)
    }

    /// Decides on agent forwarding.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn agent(&self, subject: &Subject<'_>) -> Result<Basis, Denied> {
        self.plain(subject, Service::Agent)
    }

    /// Decides on setting an environment variable. A rule comes first, then
    /// the names everybody may set, then a scope. Who may run certain programs
    /// only sets none that starts others, see `can_start_programs`.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub fn env(&self, subject: &Subject<'_>, name: &str) -> Result<Basis, Denied> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Denied::BadVariable);
        }
        let holds = |pattern: &&String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        };
        let decided = self.decide(
            subject,
            Service::Env,
            |target, _| matches!(target, Scope::Env(variable) if variable == name),
        );
        let basis = match (decided, self.accept_env.iter().find(holds)) {
            (
                Ok(Basis::Scope(_)) | Err(Denied::NoScope { .. } | Denied::NotCertified { .. }),
                Some(pattern),
            ) => Basis::AcceptEnv(pattern.clone()),
            (decided, _) => decided?,
        };
        if variable::can_start_programs(name) && !self.runs_anything(subject) {
            return Err(Denied::StartsPrograms);
        }
        Ok(basis)
    }

    /// Whether the peer may run any program: by exec as a whole, or in a
    /// shell.
    fn runs_anything(&self, subject: &Subject<'_>) -> bool {
        let exec = self
            .gate(subject, Service::Exec)
            .and_then(|()| {
                self.decide(subject, Service::Exec, |target, _| {
                    matches!(target, Scope::Exec(None))
                })
            })
            .is_ok();
        exec || self.shell(subject).is_ok()
    }

    fn plain(&self, subject: &Subject<'_>, service: Service) -> Result<Basis, Denied> {
        self.gate(subject, service)?;
        self.decide(subject, service, |target, _| target.service() == service)
    }

    fn forward_gate(&self, subject: &Subject<'_>, port: u16) -> Result<(), Denied> {
        self.gate(subject, Service::Forward)?;
        if port == 0 {
            return Err(Denied::BadPort { port: 0 });
        }
        Ok(())
    }

    /// The service is on, and the certificate does not withhold it.
    pub(crate) fn gate(&self, subject: &Subject<'_>, service: Service) -> Result<(), Denied> {
        let switches = &self.switches;
        let restrictions = subject.restrictions;
        let forced = restrictions.force_command.is_some();
        let (on, withheld, what) = match service {
            Service::Exec => (switches.exec, false, ""),
            Service::Forward => (
                switches.forward,
                restrictions.no_port_forwarding,
                "permit-port-forwarding",
            ),
            Service::Listen => (
                switches.listen,
                restrictions.no_port_forwarding,
                "permit-port-forwarding",
            ),
            Service::StreamLocal => (
                switches.streamlocal,
                restrictions.no_port_forwarding,
                "permit-port-forwarding",
            ),
            Service::Shell => (switches.shell, forced, "force-command"),
            Service::Sftp => (
                switches.sftp,
                forced && !restrictions.forces_sftp(),
                "force-command",
            ),
            Service::Agent => (
                switches.agent,
                restrictions.no_agent_forwarding,
                "permit-agent-forwarding",
            ),
            Service::Env | Service::Unconfined => (true, false, ""),
        };
        match (on, withheld) {
            (false, _) => Err(Denied::ServiceOff { service }),
            (true, true) => Err(Denied::Restricted { what }),
            (true, false) => Ok(()),
        }
    }

    pub(crate) fn rules_about<'a>(
        &'a self,
        subject: &'a Subject<'a>,
    ) -> impl Iterator<Item = (usize, &'a Rule)> {
        self.rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.is_about(subject))
    }

    /// The first rule that matches decides, else a scope must grant it; and then a
    /// scope that the certificate is limited to, if it is. `matches` is told what a
    /// match would do.
    fn decide(
        &self,
        subject: &Subject<'_>,
        service: Service,
        matches: impl Fn(&Scope, Action) -> bool,
    ) -> Result<Basis, Denied> {
        let basis = self.without_certificate(subject, service, &matches)?;
        match &subject.restrictions.scopes {
            Some(scopes) if granting(scopes, &matches).is_none() => {
                Err(Denied::NotCertified { service })
            }
            _ => Ok(basis),
        }
    }

    fn without_certificate(
        &self,
        subject: &Subject<'_>,
        service: Service,
        matches: &impl Fn(&Scope, Action) -> bool,
    ) -> Result<Basis, Denied> {
        for (index, rule) in self.rules_about(subject) {
            if matches(rule.target.scope(), rule.action) {
                return match rule.action {
                    Action::Allow => Ok(Basis::Rule { index }),
                    Action::Deny => Err(Denied::Rule { index }),
                };
            }
        }
        granting(subject.scopes, matches)
            .map(|scope| Basis::Scope(scope.clone()))
            .ok_or(Denied::NoScope { service })
    }
}

/// The first of these scopes that matches.
fn granting<'a>(
    scopes: &'a [String],
    matches: &impl Fn(&Scope, Action) -> bool,
) -> Option<&'a String> {
    scopes
        .iter()
        .find(|text| Scope::parse(text).is_ok_and(|scope| matches(&scope, Action::Allow)))
}
