//! The options of an authorized key (sshd(8)), turned into scopes and
//! conditions one by one.

use std::collections::BTreeMap;

use alknet_openssh::KeyOption;
use alknet_ssh_policy::{Conditions, Scope};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The command by which OpenSSH names its own file transfer.
const INTERNAL_SFTP: &str = "internal-sftp";

/// What the options of an authorized key leave of what sshd gives a key,
/// option by option and in their order, as sshd goes through them.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    pub(crate) is_authority: bool,
    pub(crate) principals: Option<Vec<String>>,
    forwarding: bool,
    agent: bool,
    pty: bool,
    command: Option<String>,
    from: Option<Vec<String>>,
    expires: Option<jiff::Timestamp>,
    environment: Vec<String>,
    opens: Vec<String>,
    listens: Vec<String>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            is_authority: false,
            principals: None,
            forwarding: true,
            agent: true,
            pty: true,
            command: None,
            from: None,
            expires: None,
            environment: Vec::new(),
            opens: Vec::new(),
            listens: Vec::new(),
        }
    }
}

impl Allowance {
    /// Takes one more option into account.
    pub(crate) fn add(&mut self, option: &KeyOption, zone: &TimeZone) -> Result<(), OptionError> {
        let (negated, flag) = match option.name.strip_prefix("no-") {
            Some(flag) => (true, flag),
            None => (false, option.name.as_str()),
        };
        if let Some(value) = &option.value {
            return self.add_value(&option.name, value, zone);
        }
        match (flag, negated) {
            ("restrict", false) => {
                self.forwarding = false;
                self.agent = false;
                self.pty = false;
            }
            ("cert-authority", false) => self.is_authority = true,
            ("port-forwarding", _) => self.forwarding = !negated,
            ("agent-forwarding", _) => self.agent = !negated,
            ("pty", _) => self.pty = !negated,
            // Never granted here, so there is nothing to withhold.
            ("x11-forwarding" | "user-rc", true) => {}
            ("x11-forwarding", false) => return Err(OptionError::X11),
            ("user-rc", false) => return Err(OptionError::UserRc),
            ("touch-required", true) | ("verify-required", _) => return Err(OptionError::Fido),
            (
                "command" | "environment" | "expiry-time" | "from" | "permitlisten" | "permitopen"
                | "principals" | "tunnel",
                false,
            ) => return Err(OptionError::NoValue),
            _ => return Err(OptionError::Unknown),
        }
        Ok(())
    }

    fn add_value(&mut self, name: &str, value: &str, zone: &TimeZone) -> Result<(), OptionError> {
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match name {
            "command" if self.command.is_some() => return Err(OptionError::Twice),
            // Part of sshd, and not a program.
            "command" if value == INTERNAL_SFTP => self.command = Some(value.to_owned()),
            "command" if value.starts_with(INTERNAL_SFTP) => return Err(OptionError::Sftp),
            "command" => self.command = Some(value.to_owned()),
            "from" if self.from.is_some() => return Err(OptionError::Twice),
            "from" => self.from = Some(list()),
            "principals" if self.principals.is_some() => return Err(OptionError::Twice),
            "principals" => self.principals = Some(list()),
            // sshd heeds the earliest.
            "expiry-time" => {
                let time = time(value, zone).ok_or(OptionError::Time)?;
                self.expires = Some(self.expires.map_or(time, |before| before.min(time)));
            }
            // sshd heeds the first.
            "environment" => {
                let name = value.split('=').next().unwrap_or_default();
                let known = self.environment.iter().any(|known| {
                    known
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('='))
                });
                if !known {
                    self.environment.push(value.to_owned());
                }
            }
            "permitopen" => {
                let (host, port) = place(value).ok_or(OptionError::NoPort)?;
                self.opens.push(scope("forward", host, port)?);
            }
            "permitlisten" => {
                let (host, port) = place(value).unwrap_or(("*", value));
                // sshd listens on the loopback, unless GatewayPorts says more.
                let host = if host == "*" { "localhost" } else { host };
                self.listens.push(scope("listen", host, port)?);
            }
            "tunnel" => return Err(OptionError::Tunnel),
            _ => return Err(OptionError::Unknown),
        }
        Ok(())
    }

    /// The scopes that the options come to.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let runs: &[&str] = match self.command.as_deref() {
            None => &["ssh:exec", "ssh:shell", "ssh:sftp"],
            Some(INTERNAL_SFTP) => &["ssh:sftp"],
            Some(_) => &["ssh:exec"],
        };
        let mut scopes: Vec<String> = runs.iter().map(|&scope| scope.to_owned()).collect();
        if self.agent {
            scopes.push("ssh:agent".to_owned());
        }
        if self.forwarding {
            let or_any = |scopes: &[String], any: &str| match scopes {
                [] => vec![any.to_owned()],
                scopes => scopes.to_vec(),
            };
            scopes.extend(or_any(&self.opens, "ssh:forward:*:*"));
            scopes.extend(or_any(&self.listens, "ssh:listen:localhost:*"));
            // sshd does not limit them, but who names places means no others.
            if self.has_unix_sockets() {
                scopes.push("ssh:streamlocal:/**".to_owned());
            }
        }
        scopes
    }

    /// Whether forwarding reaches Unix sockets: not where only certain places
    /// are permitted.
    fn has_unix_sockets(&self) -> bool {
        self.opens.is_empty() && self.listens.is_empty()
    }

    /// The conditions that the options come to, as resources of an identity.
    ///
    /// # Errors
    /// The first value that means nothing here, by its option.
    pub(crate) fn resources(
        &self,
    ) -> Result<BTreeMap<String, Vec<String>>, (&'static str, OptionError)> {
        let mut resources = BTreeMap::new();
        let mut add = |option: &'static str, kind: &str, values: Vec<String>| {
            let one = BTreeMap::from([(kind.to_owned(), values)]);
            if let Some(fault) = Conditions::read(&one).err().into_iter().flatten().next() {
                return Err((option, OptionError::Value(fault.fault.to_string())));
            }
            resources.extend(one);
            Ok(())
        };
        if let Some(from) = &self.from {
            add("from", "ssh:from", from.clone())?;
        }
        if let Some(expires) = &self.expires {
            add("expiry-time", "ssh:expires", vec![expires.to_string()])?;
        }
        if let Some(command) = self
            .command
            .as_ref()
            .filter(|command| *command != INTERNAL_SFTP)
        {
            add("command", "ssh:command", vec![command.clone()])?;
        }
        if !self.environment.is_empty() {
            add("environment", "ssh:environment", self.environment.clone())?;
        }
        if !self.pty {
            add("no-pty", "ssh:no-pty", vec!["yes".to_owned()])?;
        }
        Ok(resources)
    }

    /// A sentence for people that says what the options allow.
    pub(crate) fn words(&self) -> String {
        let mut may = vec![match self.command.as_deref() {
            Some(INTERNAL_SFTP) => "transfer files and run nothing".to_owned(),
            Some(command) => format!("run `{command}`, whatever it asks for"),
            None => "run any command, have a shell, transfer files".to_owned(),
        }];
        if self.agent {
            may.push("have its agent forwarded".to_owned());
        }
        let mut sentences = Vec::new();
        if self.forwarding {
            let places = |scopes: &[String]| {
                let places = scopes
                    .iter()
                    .filter_map(|scope| scope.splitn(3, ':').nth(2));
                places.collect::<Vec<_>>().join(", ")
            };
            may.push(match self.opens.as_slice() {
                [] => "connect anywhere through the node".to_owned(),
                opens => format!("connect to {}", places(opens)),
            });
            may.push(match self.listens.as_slice() {
                [] => "listen on the node's loopback".to_owned(),
                listens => format!("listen on {}", places(listens)),
            });
            if self.has_unix_sockets() {
                may.push("use any Unix socket of the node".to_owned());
            }
        }
        sentences.push(format!("may {}", may.join("; ")));
        let mut not = Vec::new();
        if !self.pty {
            not.push("terminal");
        }
        if !self.forwarding {
            not.push("forwarding");
        }
        if !self.agent {
            not.push("agent");
        }
        if !not.is_empty() {
            sentences.push(format!("no {}", not.join(", no ")));
        }
        if let Some(from) = &self.from {
            sentences.push(format!("from {} only", from.join(", ")));
        }
        if let Some(expires) = &self.expires {
            sentences.push(format!("until {expires}"));
        }
        if !self.environment.is_empty() {
            sentences.push(format!("with {} set", self.environment.join(", ")));
        }
        sentences.join(". ")
    }
}

/// Splits `host:port`, the host perhaps in brackets.
fn place(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.rsplit_once(':'),
    }
}

fn scope(service: &str, host: &str, port: &str) -> Result<String, OptionError> {
    if port != "*" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(OptionError::NoPort);
    }
    let scope = match host.contains(':') {
        true => format!("ssh:{service}:[{host}]:{port}"),
        false => format!("ssh:{service}:{host}:{port}"),
    };
    // Neither names with wildcards nor networks: sshd compares letter by letter.
    if host.contains(['/', '?']) || (host.contains('*') && host != "*") {
        return Err(OptionError::Wildcards);
    }
    match Scope::parse(&scope) {
        Ok(_) => Ok(scope),
        Err(error) => Err(OptionError::Value(error.to_string())),
    }
}

/// Reads `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]`; without `Z` in local time.
fn time(text: &str, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, &TimeZone::UTC),
        None => (text, zone),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i8>().ok();
    let (hour, minute, second) = match digits.len() {
        8 => (0, 0, 0),
        12 => (number(8..10)?, number(10..12)?, 0),
        14 => (number(8..10)?, number(10..12)?, number(12..14)?),
        _ => return None,
    };
    let year = digits.get(..4)?.parse().ok()?;
    let date = DateTime::new(year, number(4..6)?, number(6..8)?, hour, minute, second, 0);
    zone.to_timestamp(date.ok()?).ok()
}

/// Why an option has no counterpart in scopes and conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// sshd has no such option.
    #[error("there is no such option, or it takes no such value")]
    Unknown,
    /// The option occurs twice.
    #[error("it is given twice")]
    Twice,
    /// The option needs a value.
    #[error("a value in double quotes is missing")]
    NoValue,
    /// X11 is never forwarded.
    #[error("X11 is never forwarded here; remove it")]
    X11,
    /// `~/.ssh/rc` is never run.
    #[error("no user's rc file is run here; remove it")]
    UserRc,
    /// sshd's own file transfer has arguments.
    #[error("internal-sftp is part of sshd; without arguments it becomes the scope ssh:sftp")]
    Sftp,
    /// The option is about FIDO keys, which are not supported.
    #[error("it is about FIDO security keys, which are not supported")]
    Fido,
    /// The option is about tun(4) devices, which are not supported.
    #[error("tun(4) devices are not forwarded here; remove it")]
    Tunnel,
    /// The value is not a time.
    #[error(
        "the time is written YYYYMMDD or YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z after it for UTC"
    )]
    Time,
    /// Host or port are missing.
    #[error("a host, a colon and a port from 1 to 65535 (or *) are expected")]
    NoPort,
    /// Names are compared letter by letter.
    #[error("patterns of hosts are not supported; name each host, or * for all")]
    Wildcards,
    /// The option's value has no counterpart in a scope or condition.
    #[error("{0}")]
    Value(String),
}
