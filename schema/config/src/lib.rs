//! The SSH handler's configuration: what it may hold, what the values mean,
//! and the JSON Schema (draft 2020-12) that says the same to other programs.
//!
//! [`SshConfig::from_json`] is the only way in for text; it rejects unknown
//! fields and values out of range, and names the place as a JSON pointer
//! (RFC 6901). Everything has a default, so `{}` is a complete configuration.

#![forbid(unsafe_code)]

mod audit;
mod certificates;
mod egress;
mod endpoint_identity;
mod error;
mod forwarding;
mod limits;
mod penalties;
mod policy_test;
mod range;
mod rules;
mod runtime;
mod schema;
mod services;
mod sftp;
mod shell;
mod startups;
mod transport;

use alknet_ssh_policy::{Policy, Switches};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditEvent, AuditRecord, AuditVerdict, Destinations};
pub use certificates::Certificates;
pub use egress::{Egress, Proxy, ProxyKind};
pub use endpoint_identity::EndpointIdentity;
pub use error::SshConfigError;
pub use forwarding::Forwarding;
pub use limits::Limits;
pub use penalties::Penalties;
pub use policy_test::{Expectation, PolicyTest, TestRequest, TestRequestError};
pub use rules::{PolicyRule, RuleAction};
pub use runtime::Runtime;
pub use schema::{audit_schema, capabilities_schema, ssh_config_schema};
pub use services::{Exec, Services};
pub use sftp::Sftp;
pub use shell::{AgentForwarding, Shell};
pub use startups::MaxStartups;
pub use transport::Transport;

/// Configuration of the SSH handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshConfig {
    /// The threads that run the handler.
    pub runtime: Runtime,
    /// Bounds on time, number and size.
    pub limits: Limits,
    /// Log-ins by certificate, and revoked keys.
    pub certificates: Certificates,
    /// What an authenticated peer can be offered.
    pub services: Services,
    /// Forwarding of ports and Unix sockets.
    pub forwarding: Forwarding,
    /// Flow control and re-keying of the SSH transport.
    pub transport: Transport,
    /// What a key that was shown before SSH counts.
    pub endpoint_identity: EndpointIdentity,
    /// A record of who did what.
    pub audit: Audit,
    /// Requests with what must become of them. Where a test fails, the configuration
    /// does not come into force. At most 10000; default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub tests: Vec<PolicyTest>,
}

impl SshConfig {
    /// Reads and validates a configuration from JSON text.
    ///
    /// # Errors
    /// When the text is not JSON, holds an unknown field or a value of the
    /// wrong type or out of its range.
    pub fn from_json(text: &str) -> Result<Self, SshConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(SshConfigError::from_serde)?;
        deserializer.end().map_err(SshConfigError::trailing)?;
        refuse_arrays(text)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what types alone do not: every range the schema states, and that
    /// every rule can match.
    ///
    /// # Errors
    /// The first value found wrong.
    pub fn validate(&self) -> Result<(), SshConfigError> {
        self.runtime.validate()?;
        self.limits.validate()?;
        self.certificates.validate()?;
        self.services.validate()?;
        self.forwarding.validate()?;
        self.transport.validate()?;
        self.audit.validate()?;
        policy_test::validate(&self.tests)
    }

    /// The policy that requests are decided by. The rules of `forwarding` come
    /// first, those of `services` are numbered after them.
    ///
    /// A configuration that [`SshConfig::validate`] refuses allows nothing.
    pub fn policy(&self) -> Policy {
        let (Ok(mut rules), Ok(more)) = (self.forwarding.rules(), self.services.rules()) else {
            return Policy::default();
        };
        rules.extend(more);
        let switches = Switches {
            exec: self.services.exec.enabled,
            forward: self.forwarding.forward,
            listen: self.forwarding.listen,
            streamlocal: self.forwarding.streamlocal,
            shell: self.services.shell.enabled,
            sftp: self.services.sftp.enabled,
            agent: self.services.agent_forwarding.enabled,
        };
        Policy::new(switches, rules, self.services.exec.accept_env.clone())
    }
}

/// Refuses arrays in place of objects: serde takes an array of the values for
/// a struct, the schema does not.
fn refuse_arrays(text: &str) -> Result<(), SshConfigError> {
    let document: serde_json::Value =
        serde_json::from_str(text).map_err(SshConfigError::trailing)?;
    let objects = [
        "",
        "/runtime",
        "/limits",
        "/certificates",
        "/limits/max_startups",
        "/limits/penalties",
        "/services",
        "/services/exec",
        "/services/sftp",
        "/services/shell",
        "/services/agent_forwarding",
        "/forwarding",
        "/forwarding/egress",
        "/transport",
        "/endpoint_identity",
        "/audit",
    ];
    let rules = ["/services/rules", "/forwarding/rules", "/tests"]
        .into_iter()
        .flat_map(|list| {
            let rules = document.pointer(list).and_then(|rules| rules.as_array());
            (0..rules.map_or(0, Vec::len)).map(move |index| format!("{list}/{index}"))
        });
    for pointer in objects.map(str::to_owned).into_iter().chain(rules) {
        if document
            .pointer(&pointer)
            .is_some_and(serde_json::Value::is_array)
        {
            return Err(SshConfigError::at(
                &pointer,
                "an array was found where an object is expected".to_owned(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_the_default_configuration() {
        assert_eq!(SshConfig::from_json("{}").unwrap(), SshConfig::default());
    }

    #[test]
    fn the_default_configuration_is_valid_and_survives_a_round_trip() {
        let config = SshConfig::default();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(SshConfig::from_json(&text).unwrap(), config);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let error = SshConfig::from_json(r#"{"limits":{"max_chanels":3}}"#).unwrap_err();
        assert_eq!(error.pointer, "/limits/max_chanels");
        assert!(error.message.contains("max_chanels"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let error = SshConfig::from_json(r#"{"services":{"exec":{"enabled":"yes"}}}"#).unwrap_err();
        assert_eq!(error.pointer, "/services/exec/enabled");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_place_and_the_range() {
        let error = SshConfig::from_json(r#"{"runtime":{"worker_threads":65}}"#).unwrap_err();
        assert_eq!(error.pointer, "/runtime/worker_threads");
        assert!(error.message.contains("from 1 to 64"), "{error}");
        let error = SshConfig::from_json(r#"{"limits":{"max_channels":0}}"#).unwrap_err();
        assert_eq!(error.pointer, "/limits/max_channels");
    }

    #[test]
    fn text_after_the_object_is_refused() {
        assert!(SshConfig::from_json("{} {}").is_err());
    }

    #[test]
    fn a_broken_rule_is_named_with_its_place_and_the_remedy() {
        for (document, pointer, remedy) in [
            (
                r#"{"forwarding":{"rules":[{"target":"db:22","action":"allow"},{"target":"10.1.0.0/8:22","action":"deny"}]}}"#,
                "/forwarding/rules/1/target",
                "write 10.0.0.0/8",
            ),
            (
                r#"{"forwarding":{"rules":[{"target":"exec","action":"deny"}]}}"#,
                "/forwarding/rules/0/target",
                "belong into /services/rules",
            ),
            (
                r#"{"services":{"rules":[{"target":"db:22","action":"deny"}]}}"#,
                "/services/rules/0/target",
                "belong into /forwarding/rules",
            ),
            (
                r#"{"services":{"rules":[{"target":"exec:rm","action":"deny"}]}}"#,
                "/services/rules/0/target",
                "allow the programs that are wanted",
            ),
            (
                r#"{"services":{"rules":[{"target":"shell","action":"deny","principals":["bob","ssh:exce"]}]}}"#,
                "/services/rules/0/principals/1",
                "not a known scope",
            ),
            (
                r#"{"forwarding":{"rules":[{"target":"db:22","action":"deny","principals":["a b"]}]}}"#,
                "/forwarding/rules/0/principals/0",
                "neither the id of an identity nor a scope",
            ),
            (
                r#"{"forwarding":{"rules":[{"target":"db:22","action":"alow"}]}}"#,
                "/forwarding/rules/0/action",
                "`allow` or `deny`",
            ),
            (
                r#"{"forwarding":{"rules":[{"action":"allow"}]}}"#,
                "/forwarding/rules/0",
                "missing field `target`",
            ),
            (
                r#"{"forwarding":{"rules":[["db:22","allow",[]]]}}"#,
                "/forwarding/rules/0",
                "an array was found where an object is expected",
            ),
        ] {
            let error = SshConfig::from_json(document).unwrap_err();
            assert_eq!(error.pointer, pointer, "{document}");
            assert!(error.message.contains(remedy), "{error}");
        }
    }

    #[test]
    fn the_nodes_own_subsystem_cannot_be_given_a_command() {
        let error =
            SshConfig::from_json(r#"{"services":{"subsystems":{"sftp":"cat"}}}"#).unwrap_err();
        assert_eq!(error.pointer, "/services/subsystems/sftp");
        assert!(error.message.contains("see /services/sftp"), "{error}");
    }

    #[test]
    fn credentials_need_a_name_and_a_proxy() {
        let credentials = |document: &str| {
            let error = SshConfig::from_json(document).unwrap_err();
            assert_eq!(error.pointer, "/forwarding/egress/credentials");
            error.message
        };
        let message = credentials(
            r#"{"forwarding":{"egress":{"proxy":"http://p:1","credentials":"me:hunter2"}}}"#,
        );
        assert!(!message.contains("hunter2"), "{message}");
        let message = credentials(r#"{"forwarding":{"egress":{"credentials":"p"}}}"#);
        assert!(message.contains("no proxy"), "{message}");
    }

    #[test]
    fn every_service_that_scopes_gate_is_on() {
        let config = SshConfig::default();
        let services = &config.services;
        assert!(services.exec.enabled && services.shell.enabled && services.sftp.enabled);
        assert!(services.agent_forwarding.enabled);
        let forwarding = &config.forwarding;
        assert!(forwarding.forward && forwarding.listen && forwarding.streamlocal);
    }

    #[test]
    fn the_policy_follows_switches_and_rules() {
        use alknet_ssh_policy::{Basis, Denied, Host, Restrictions, Service, Subject};

        let config = SshConfig::from_json(
            r#"{"forwarding":{"rules":[{"target":"db:22","action":"allow","principals":["alice"]}],
                              "listen":false},
                "services":{"shell":{"enabled":false},
                            "rules":[{"target":"exec","action":"deny"}]}}"#,
        )
        .unwrap();
        let policy = config.policy();
        let scopes = ["ssh:exec".to_owned(), "ssh:shell".to_owned()];
        let alice = Subject {
            id: "alice",
            scopes: &scopes,
            restrictions: Restrictions::none(),
        };
        let address = [10, 0, 0, 5].into();
        let db = Host::parse("db").unwrap();
        assert_eq!(
            policy.forward(&alice, &db, 22, address),
            Ok(Basis::Rule { index: 0 })
        );
        assert_eq!(policy.exec(&alice, b"id"), Err(Denied::Rule { index: 1 }));
        for (verdict, service) in [
            (
                policy.listen(&alice, "10.0.0.5", 80, address),
                Service::Listen,
            ),
            (policy.shell(&alice), Service::Shell),
        ] {
            assert_eq!(verdict, Err(Denied::ServiceOff { service }));
        }

        let mut broken = config;
        broken.forwarding.rules[0].target = "nonsense".to_owned();
        assert!(broken.policy().forward(&alice, &db, 22, address).is_err());
    }
}
