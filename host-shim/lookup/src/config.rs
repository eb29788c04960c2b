//! The settings of a look-up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::{Account, is_privileged};

/// The name of a Unix account (useradd(8)).
const ACCOUNT: &str = r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$";

/// A program that is asked who a peer is that the peers file does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupConfig {
    /// The program, an absolute path, and its arguments. It is started once, reads a
    /// question a line and writes an answer a line, in JSON.
    #[schemars(length(min = 1), extend("examples" = [["/usr/local/bin/who-is"]]))]
    pub command: Vec<String>,
    /// The account that it runs as, on a node that runs as root. By default the node's.
    #[serde(default)]
    #[schemars(with = "Option<AccountName>")]
    pub user: Option<String>,
    /// Variables of its environment beside `PATH`, `LANG` and `HOME`; nothing of the
    /// node's own is passed on. Not for secrets: it reads those from a file of its own.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Seconds after which a question counts as not answered, 1 to 8. Default 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 8))]
    pub timeout_seconds: u32,
    /// How many questions may be open at a time, 1 to 1024; others wait. Default 16.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// Seconds for which an identity is remembered, 1 to 86400. After that the program
    /// is asked again about whoever has a session. Default 60.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 86_400))]
    pub cache_seconds: u32,
    /// Seconds for which it is remembered that nobody is known, 0 to 3600. Default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 3600))]
    pub negative_cache_seconds: u32,
    /// How many answers of each of the two kinds are remembered, 1 to 1000000. Default
    /// 10000.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub cache_entries: u32,
    /// Seconds for which remembered identities are let in while the program does not
    /// answer, 0 to 2592000. Default 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub staleness_seconds: u32,
    /// What becomes of new log-ins of remembered identities after that. Default
    /// `refuse`.
    #[serde(default)]
    pub when_stale: WhenStale,
}

/// What becomes of new log-ins once the program has not answered for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenStale {
    /// They are refused.
    #[default]
    Refuse,
    /// They go on with what is remembered.
    Serve,
}

/// The name of a Unix account.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it stands for its schema")]
struct AccountName(#[schemars(regex(pattern = ACCOUNT), extend("examples" = ["nobody"]))] String);

fn five() -> u32 {
    5
}

fn ten() -> u32 {
    10
}

fn sixteen() -> u32 {
    16
}

fn sixty() -> u32 {
    60
}

fn ten_minutes() -> u32 {
    600
}

fn ten_thousand() -> u32 {
    10_000
}

/// What is wrong with the settings, or with what they name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigFault {
    /// JSON pointer (RFC 6901) within the settings.
    pub pointer: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl LookupConfig {
    /// Checks what the schema does not. With `accounts`, the node runs beside a
    /// monitor, as an account without rights.
    pub fn faults(&self, accounts: bool) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, message: String| {
            let pointer = pointer.to_owned();
            faults.push(ConfigFault { pointer, message });
        };
        match self.command.first().map(Path::new) {
            None => fault(
                "/command",
                "expected a program and its arguments".to_owned(),
            ),
            Some(program) if !program.is_absolute() => fault(
                "/command/0",
                format!(
                    "{} is not an absolute path; write one like /usr/local/bin/who-is",
                    program.display()
                ),
            ),
            Some(program) => match program.metadata() {
                Err(error) => fault("/command/0", format!("{}: {error}", program.display())),
                Ok(found) if !found.is_file() => {
                    fault("/command/0", format!("{} is not a file", program.display()));
                }
                Ok(_) => {}
            },
        }
        for (index, argument) in self.command.iter().enumerate() {
            if argument.contains('\0') {
                let pointer = format!("/command/{index}");
                fault(&pointer, "it holds a NUL character".to_owned());
            }
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let message = format!("{name:?} cannot be a variable with this value");
                fault("/environment", message);
            }
        }
        if let Some(user) = &self.user {
            match Account::named(user) {
                Err(error) => fault("/user", format!("{user}: {error}")),
                Ok(None) => fault("/user", format!("there is no account {user:?}")),
                Ok(Some(account)) if account.is_own() && !accounts => {}
                Ok(Some(_)) if accounts => fault(
                    "/user",
                    "where peers have accounts, the node has no right to become anybody else; \
                     leave this out, and the program runs as /accounts/network_user"
                        .to_owned(),
                ),
                Ok(Some(_)) if is_privileged() => {}
                Ok(Some(_)) => fault(
                    "/user",
                    "only a node that runs as root can run the program as somebody else; leave \
                     this out"
                        .to_owned(),
                ),
            }
        }
        faults
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.command.first().map(PathBuf::from).unwrap_or_default()
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }

    pub(crate) fn cache(&self) -> Duration {
        Duration::from_secs(self.cache_seconds.into())
    }

    pub(crate) fn negative_cache(&self) -> Duration {
        Duration::from_secs(self.negative_cache_seconds.into())
    }

    pub(crate) fn staleness(&self) -> Duration {
        Duration::from_secs(self.staleness_seconds.into())
    }
}
