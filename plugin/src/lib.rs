//! The SSH handler as a plugin. SSH itself is in `alknet-ssh`; everything that
//! plugins have in common is in `alknet-plugin`.

#![forbid(unsafe_code)]

mod sessions;

use std::sync::Arc;

use alknet_plugin::{
    Capabilities, ConfigError, Extension, ExtensionCall, LogRules, Plugin, PluginSecrets,
    ProtocolHandler, Setup,
};
use alknet_ssh::{SshHandler, parse_host_keys, run_helper};
use alknet_ssh_config::{Audit, SshConfig, capabilities_schema};
use serde_json::{Value, json};

alknet_plugin::export_plugin!(Ssh);

struct Ssh;

impl Plugin for Ssh {
    const NAME: &'static str = "ssh";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ALPNS: &'static [&'static str] = &["alknet/ssh"];
    // russh tells of every rekey at `info`, and from `debug` on what is forwarded where.
    const LOGS: LogRules = LogRules {
        own_crate: "alknet_ssh",
        quiet_crates: &["russh"],
    };
    type Config = SshConfig;
    type Secrets = Granted;

    fn parse(text: &str) -> Result<SshConfig, ConfigError> {
        SshConfig::from_json(text).map_err(|error| ConfigError::at(error.pointer, error.message))
    }

    fn create(setup: Setup<SshConfig, Granted>) -> Result<Arc<dyn ProtocolHandler>, ConfigError> {
        let mut config = SshConfig::clone(&setup.config.get());
        if setup.trial {
            // What is only tried out leaves no records.
            config.audit = Audit::default();
        }
        let host_keys = parse_host_keys(&setup.host_keys)?;
        let launcher = sessions::launcher(&setup)?;
        let Granted(secrets) = setup.secrets;
        let handler = SshHandler::new(config, host_keys, secrets, setup.identities, launcher)?;
        handler.set_generation(setup.generation);
        Ok(Arc::new(handler))
    }

    fn worker_threads(config: &SshConfig) -> usize {
        usize::try_from(config.runtime.worker_threads).unwrap_or(1)
    }

    fn extension(id: &str) -> Option<Extension> {
        (id == "alknet.helper/1").then(Helper::extension)
    }
}

/// The secrets of the plugin, whose names the configuration chooses.
struct Granted(Capabilities);

impl PluginSecrets for Granted {
    fn schema() -> Value {
        capabilities_schema()
    }

    fn take(granted: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self(granted))
    }
}

/// What the node's monitor enters in a process of its own, with the rights of a
/// peer. Does what the text of `Program::Helper` asks, over the standard input and
/// output of this process, and blocks until that is done. Answers
/// `{"status": number}`, the status to exit with.
struct Helper;

impl ExtensionCall for Helper {
    fn call(request: &str) -> Result<String, ConfigError> {
        let status = run_helper(request).map_err(|error| ConfigError::new(error.to_string()))?;
        Ok(json!({ "status": status }).to_string())
    }
}
