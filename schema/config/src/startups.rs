//! Settings for the number of connections that have not logged in yet
//! (`MaxStartups`, sshd_config(5)).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::SshConfigError;
use crate::range::within;

/// How many connections may be there on which nobody has logged in yet
/// (`MaxStartups`, sshd_config(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaxStartups {
    /// From so many on, some of the new connections are dropped. 1 to 100000.
    /// Default 100.
    #[schemars(range(min = 1, max = 100_000))]
    pub start: u32,
    /// How many per cent are dropped at `start`; their share rises evenly to
    /// all of them at `full`. 0 to 100. Default 30.
    #[schemars(range(min = 0, max = 100))]
    pub rate: u32,
    /// From so many on, all are dropped. Not less than `start`; 1 to 100000.
    /// Default 400.
    #[schemars(range(min = 1, max = 100_000))]
    pub full: u32,
    /// How many of them may come from one address (IPv6: from one /64). The
    /// addresses in `penalties.exempt` may have any number. 0 means any
    /// number. 0 to 100000. Default 40.
    #[schemars(range(min = 0, max = 100_000))]
    pub per_source: u32,
}

impl Default for MaxStartups {
    fn default() -> Self {
        Self {
            start: 100,
            rate: 30,
            full: 400,
            per_source: 40,
        }
    }
}

impl MaxStartups {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        within("/limits/max_startups/start", self.start, 1..=100_000)?;
        within("/limits/max_startups/rate", self.rate, 0..=100)?;
        within("/limits/max_startups/full", self.full, 1..=100_000)?;
        within(
            "/limits/max_startups/per_source",
            self.per_source,
            0..=100_000,
        )?;
        if self.full < self.start {
            return Err(SshConfigError::at(
                "/limits/max_startups/full",
                format!(
                    "{} is below `start`, which is {}; dropping begins at `start` and is total at `full`",
                    self.full, self.start
                ),
            ));
        }
        Ok(())
    }
}
