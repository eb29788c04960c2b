//! Any text as the SSH configuration: no panic, what is accepted is what the
//! published schema accepts, and it reads back as written.
#![no_main]

use std::sync::LazyLock;

use alknet_ssh_config::{SshConfig, ssh_config_schema};
use jsonschema::Validator;
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&ssh_config_schema()).unwrap());

fuzz_target!(|text: &str| {
    match SshConfig::from_json(text) {
        Ok(config) => {
            let document = serde_json::from_str(text).unwrap();
            assert!(SCHEMA.is_valid(&document), "the schema refuses it");
            assert_eq!(config.validate(), Ok(()));
            let written = serde_json::to_string(&config).unwrap();
            assert_eq!(SshConfig::from_json(&written).as_ref(), Ok(&config));
            if let Some(url) = &config.forwarding.egress.proxy {
                assert!(config.forwarding.egress.proxy().is_some(), "{url}");
            }
            config.policy();
        }
        Err(error) => {
            assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
            assert!(!error.message.is_empty());
        }
    }
});
