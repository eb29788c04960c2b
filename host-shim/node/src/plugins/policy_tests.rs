//! Has a plugin run the tests of its configuration. What a test asks for only
//! the plugin knows; the node knows whom each is about.

use std::collections::BTreeSet;

use alknet_control::{
    ControlRequest, ExplainIdentity, FailedTest, RunTests, TestAccounts, TestIdentity, TestReport,
};
use alknet_document::{Document, Fault, did_you_mean};
use alknet_handler::ProtocolHandler;
use alknet_identity::PeersConfig;
use serde_json::Value;

use super::configure::plugin_pointer;
use crate::config::NodeConfig;
use crate::walls::has_accounts;

/// The member of a plugin's configuration that lists its tests, and the member
/// of a test that says whom it is about.
const TESTS: &str = "tests";
const IDENTITY: &str = "identity";

/// What the tests of a plugin are run against.
pub(crate) struct TestContext<'a> {
    /// The text of the node's configuration.
    pub(crate) document: &'a Document,
    /// The node's configuration.
    pub(crate) config: &'a NodeConfig,
    /// The peers.
    pub(crate) peers: &'a PeersConfig,
}

impl TestContext<'_> {
    /// Has the handler of a plugin run the tests in `config`, which need not be
    /// in force. Gives the number of tests.
    ///
    /// # Errors
    /// A fault for each test that fails, with its place and that of the rule
    /// that decided.
    pub(crate) fn run(
        &self,
        handler: &dyn ProtocolHandler,
        plugin: &str,
        config: &Value,
    ) -> Result<u64, Vec<Fault>> {
        let tests = config.get(TESTS).and_then(Value::as_array);
        let Some(tests) = tests.filter(|tests| !tests.is_empty()) else {
            return Ok(0);
        };
        let place = |pointer: &str| format!("{}{pointer}", plugin_pointer(plugin));
        let request = ControlRequest::RunTests(RunTests {
            config: config.clone(),
            identities: self.identities(tests),
            accounts: has_accounts(self.config, self.peers).then(|| TestAccounts {
                default: (self.config.accounts.as_ref())
                    .and_then(|accounts| accounts.default_account.clone()),
            }),
        });
        let answer = handler.control(&request.to_json()).map_err(|error| {
            let pointer = match error.pointer.as_str() {
                // It does not know the request.
                "" | "/command" => format!("/{TESTS}"),
                pointer => pointer.to_owned(),
            };
            let message = format!("the plugin {plugin:?} refuses this: {}", error.message);
            vec![Fault::at(self.document, &place(&pointer), message)]
        })?;
        let report: TestReport = serde_json::from_str(&answer).map_err(|error| {
            let message = format!("the plugin {plugin:?} did not say what became of them: {error}");
            vec![Fault::at(
                self.document,
                &place(&format!("/{TESTS}")),
                message,
            )]
        })?;
        if report.failed.is_empty() {
            return Ok(report.passed);
        }
        Err(report
            .failed
            .iter()
            .map(|failed| self.fault(failed, &place, config))
            .collect())
    }

    fn fault(&self, failed: &FailedTest, place: &dyn Fn(&str) -> String, config: &Value) -> Fault {
        let mut message = failed.message.clone();
        if let Some(rule) = &failed.rule {
            let line = self.document.locate(&place(rule)).line;
            message.push_str(&format!(" ({}:{line})", self.document.name()));
        }
        let fault = Fault::at(self.document, &place(&failed.pointer), message);
        // Who is not there was perhaps misspelt.
        let named = config.pointer(&failed.pointer).and_then(Value::as_str);
        let ids = self.peers.peers.iter().map(|peer| peer.id.as_str());
        let meant = named
            .filter(|_| failed.pointer.ends_with(&format!("/{IDENTITY}")))
            .and_then(|named| did_you_mean(named, ids));
        match meant {
            Some(meant) => fault.with_hint(meant),
            None => fault,
        }
    }

    /// The peers that the tests name.
    fn identities(&self, tests: &[Value]) -> Vec<TestIdentity> {
        let named = tests.iter().filter_map(|test| test.get(IDENTITY)?.as_str());
        let named: BTreeSet<&str> = named.collect();
        let peers = self.peers.peers.iter();
        peers
            .filter(|peer| named.contains(peer.id.as_str()))
            .map(|peer| {
                let identity = peer.identity();
                TestIdentity {
                    identity: ExplainIdentity {
                        id: identity.id,
                        scopes: identity.scopes,
                        resources: identity.resources,
                    },
                    disabled: peer.disabled,
                }
            })
            .collect()
    }
}
