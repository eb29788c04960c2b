//! The options of ssh that `-o` takes (ssh_config(5)).

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::control_path::ControlPath;
use super::option_error::OptionError;
use super::places;
use super::sharing::{Masters, Persist};
use crate::console::prompt::Prompt;

/// One `-o` as it was given, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenOption {
    pub(crate) text: String,
    pub(crate) option: SshOption,
}

/// One `-o NAME=VALUE`, with ssh's own meaning (ssh_config(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SshOption {
    StrictHostKeyChecking(StrictHostKeys),
    UserKnownHostsFile(Vec<PathBuf>),
    GlobalKnownHostsFile(Vec<PathBuf>),
    BatchMode(bool),
    IdentitiesOnly(bool),
    IdentityAgent(AgentChoice),
    ControlMaster(Masters),
    ControlPath(ControlPath),
    ControlPersist(Persist),
}

/// What is done about a host of which nothing is known. A changed or revoked
/// key is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrictHostKeys {
    /// Refuse it.
    Yes,
    /// Ask; without a terminal refuse it.
    Ask,
    /// Trust it from now on.
    AcceptNew,
}

/// The agent whose keys are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgentChoice {
    /// The agent that `SSH_AUTH_SOCK` leads to.
    Environment,
    None,
    Socket(PathBuf),
}

/// All options together.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) strict_host_keys: StrictHostKeys,
    /// The user's files of known hosts; new hosts are recorded in the first.
    pub(crate) user_known_hosts: Vec<PathBuf>,
    pub(crate) global_known_hosts: Vec<PathBuf>,
    pub(crate) batch: bool,
    pub(crate) identities_only: bool,
    pub(crate) agent: AgentChoice,
    pub(crate) control_master: Option<Masters>,
    pub(crate) control_path: Option<ControlPath>,
    pub(crate) control_persist: Option<Persist>,
}

impl Options {
    /// ssh's defaults, changed by what was given; the first of a kind counts,
    /// as in ssh.
    pub(crate) fn from_args(given: &[GivenOption]) -> Self {
        let ssh = places::home().map(|home| home.join(".ssh"));
        let mut options = Self {
            strict_host_keys: StrictHostKeys::Ask,
            user_known_hosts: ssh.into_iter().flat_map(known_hosts_in).collect(),
            global_known_hosts: ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]
                .map(PathBuf::from)
                .to_vec(),
            batch: false,
            identities_only: false,
            agent: AgentChoice::Environment,
            control_master: None,
            control_path: None,
            control_persist: None,
        };
        for given in given.iter().rev() {
            match given.option.clone() {
                SshOption::StrictHostKeyChecking(value) => options.strict_host_keys = value,
                SshOption::UserKnownHostsFile(value) => options.user_known_hosts = value,
                SshOption::GlobalKnownHostsFile(value) => options.global_known_hosts = value,
                SshOption::BatchMode(value) => options.batch = value,
                SshOption::IdentitiesOnly(value) => options.identities_only = value,
                SshOption::IdentityAgent(value) => options.agent = value,
                SshOption::ControlMaster(value) => options.control_master = Some(value),
                SshOption::ControlPath(value) => options.control_path = Some(value),
                SshOption::ControlPersist(value) => options.control_persist = Some(value),
            }
        }
        options
    }

    pub(crate) fn prompt(&self) -> Prompt {
        Prompt { batch: self.batch }
    }
}

fn known_hosts_in(folder: PathBuf) -> [PathBuf; 2] {
    ["known_hosts", "known_hosts2"].map(|name| folder.join(name))
}

impl FromStr for GivenOption {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        Ok(Self {
            text: text.to_owned(),
            option: text.parse()?,
        })
    }
}

impl FromStr for SshOption {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (name, value) = text
            .split_once('=')
            .or_else(|| text.split_once(' '))
            .ok_or(OptionError::NoValue)?;
        let (name, value) = (name.trim(), value.trim());
        Ok(match name.to_lowercase().as_str() {
            "stricthostkeychecking" => Self::StrictHostKeyChecking(match value {
                "yes" | "true" => StrictHostKeys::Yes,
                "ask" => StrictHostKeys::Ask,
                "accept-new" => StrictHostKeys::AcceptNew,
                "no" | "off" | "false" => return Err(OptionError::NotChecking),
                _ => {
                    return Err(OptionError::Value {
                        name: "StrictHostKeyChecking",
                        expected: "yes, ask or accept-new",
                    });
                }
            }),
            "userknownhostsfile" => Self::UserKnownHostsFile(files(value)),
            "globalknownhostsfile" => Self::GlobalKnownHostsFile(files(value)),
            "batchmode" => Self::BatchMode(yes_or_no("BatchMode", value)?),
            "identitiesonly" => Self::IdentitiesOnly(yes_or_no("IdentitiesOnly", value)?),
            "identityagent" => Self::IdentityAgent(match value {
                "none" => AgentChoice::None,
                "SSH_AUTH_SOCK" => AgentChoice::Environment,
                path => AgentChoice::Socket(places::expanded(Path::new(path))),
            }),
            "controlmaster" => Self::ControlMaster(match value {
                "no" | "false" => Masters::No,
                "yes" | "true" => Masters::Yes,
                "auto" => Masters::Auto,
                "ask" | "autoask" => return Err(OptionError::NotAsking),
                _ => {
                    return Err(OptionError::Value {
                        name: "ControlMaster",
                        expected: "no, yes or auto",
                    });
                }
            }),
            "controlpath" => Self::ControlPath(value.parse()?),
            "controlpersist" => {
                Self::ControlPersist(value.parse().map_err(|_| OptionError::Value {
                    name: "ControlPersist",
                    expected: "no, yes or a time such as 30 (seconds), 10m or 1h30m",
                })?)
            }
            _ => {
                return Err(OptionError::Unknown {
                    name: name.to_owned(),
                });
            }
        })
    }
}

fn files(value: &str) -> Vec<PathBuf> {
    value
        .split_whitespace()
        .filter(|path| *path != "none")
        .map(|path| places::expanded(Path::new(path)))
        .collect()
}

fn yes_or_no(name: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(OptionError::Value {
            name,
            expected: "yes or no",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_as_in_ssh() {
        let option = |text: &str| text.parse::<GivenOption>().unwrap();
        assert_eq!(option("batchmode yes").option, SshOption::BatchMode(true));
        let given = ["BatchMode=no", "BatchMode=yes", "UserKnownHostsFile=/a /b"].map(option);
        let options = Options::from_args(&given);
        assert!(!options.batch, "the first one counts");
        assert_eq!(options.user_known_hosts, ["/a", "/b"].map(PathBuf::from));
        let fault = |text: &str| text.parse::<SshOption>().unwrap_err().to_string();
        assert!(fault("StrictHostKeyChecking=no").contains("always"));
        assert!(fault("ProxyJump=x").contains("not supported"));
        assert!(fault("BatchMode=maybe").contains("yes or no"));
        assert!(fault("BatchMode").contains("NAME=VALUE"));
        assert!(fault("ControlMaster=ask").contains("nobody is asked"));
        assert!(fault("ControlPath=%x").contains("\"%x\""));
        assert!(fault("ControlPersist=soon").contains("10m"));
    }
}
