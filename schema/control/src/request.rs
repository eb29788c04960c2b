//! What a node asks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a node asks of a handler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Which log events are wanted from now on. Answered by `{}`.
    SetLogFilter {
        /// Directives `level` or `target=level`, separated by commas; the longest
        /// matching target decides.
        filter: String,
    },
    /// The node's identity store changed, so what was resolved before may no longer
    /// hold: live sessions are looked up again. Answered by `{}`.
    IdentitiesChanged {},
    /// Whether a configuration would be taken in the place of the one in force, which
    /// stays. Answered by a [`ConfigVerdict`](crate::ConfigVerdict).
    CheckConfig {
        /// The configuration.
        config: Value,
    },
    /// What the machine lacks of what the configuration in force names. Answered by a
    /// [`SystemReport`](crate::SystemReport).
    CheckSystem {},
    /// What would be decided, without doing it. Answered by `{"allowed": bool,
    /// "reason": "one sentence"}`, and by whatever else the plugin has to say.
    Explain(Explain),
    /// Whether the tests of a configuration pass, which need not be in force. A plugin
    /// whose configuration has a list `tests` runs them, and every entry names whom it
    /// is about in its member `identity`. Answered by a
    /// [`TestReport`](crate::TestReport).
    RunTests(RunTests),
    /// Which sessions are open. Answered by a [`SessionList`](crate::SessionList).
    Sessions {},
    /// End a session; its peer is told that the operator did so. Answered by `{}`.
    CloseSession {
        /// The id, as listed.
        id: u64,
    },
    /// What the handler that takes this one's place should know. Answered by a
    /// [`HandedOver`](crate::HandedOver).
    HandOver {},
    /// What the handler before this one knew, of the same plugin and perhaps of
    /// another version. Answered by `{}`.
    TakeOver {
        /// As that one put it.
        state: Value,
    },
    /// Another version took this one's place, or the plugin was unloaded: what is left
    /// of its sessions is about to be ended. Answered by `{}`.
    Replaced {
        /// The version, or none where the plugin was unloaded.
        #[serde(default)]
        by: Option<String>,
    },
}

impl ControlRequest {
    /// The request as it crosses the boundary.
    pub fn to_json(&self) -> String {
        // Types without maps of other keys than text are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is to be decided. The words of the question are the plugin's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explain {
    /// Who would ask.
    pub identity: ExplainIdentity,
    /// For what, as the plugin that is asked has it.
    pub request: Value,
    /// How that one is thought to have logged in, likewise.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub log_in: Value,
}

/// Who would ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainIdentity {
    /// The id of the identity.
    pub id: String,
    /// What it was granted.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further attributes by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, Vec<String>>,
}

/// The tests to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunTests {
    /// The configuration with its tests, and with what they are about.
    pub config: Value,
    /// Those of the identities that the tests name which exist.
    #[serde(default)]
    pub identities: Vec<TestIdentity>,
    /// How user names stand for accounts of the system, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<TestAccounts>,
}

/// An identity that a test names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestIdentity {
    /// The identity.
    #[serde(flatten)]
    pub identity: ExplainIdentity,
    /// Whether it is not let in.
    #[serde(default)]
    pub disabled: bool,
}

/// How user names stand for accounts of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestAccounts {
    /// The account that stands for every name that is not among the identity's.
    #[serde(default)]
    pub default: Option<String>,
}
