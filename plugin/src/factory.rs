use std::fmt::Display;
use std::sync::Arc;

use alknet_handler::{Capabilities, Secret};
use alknet_plugin_interface::abi_stable::erased_types::TD_Opaque;
use alknet_plugin_interface::abi_stable::std_types::RResult;
use alknet_plugin_interface::{Handler_TO, HandlerContext, HandlerObject, PluginError, guard};
use alknet_ssh::{SshHandler, parse_host_keys};
use alknet_ssh_config::{Audit, SshConfig};
use tokio::runtime::{Builder, Runtime};

use crate::bridge::{NodeIdentities, SshPluginHandler, config_error};
use crate::logs;
use crate::sessions;

/// Task polls of a worker between two looks at what the network has for it.
const POLLS_BETWEEN_EVENTS: u32 = 4;

/// Makes a handler. Everything that can be wrong is found here, before the
/// node routes a connection to it.
pub(crate) extern "C" fn factory(context: HandlerContext) -> RResult<HandlerObject, PluginError> {
    guard(
        || match create(context) {
            Ok(handler) => RResult::ROk(Handler_TO::from_value(handler, TD_Opaque)),
            Err(error) => RResult::RErr(error),
        },
        |panic| RResult::RErr(PluginError::new(format!("the factory panicked: {panic}"))),
    )
}

fn create(context: HandlerContext) -> Result<SshPluginHandler, PluginError> {
    let mut config = SshConfig::from_json(&context.config).map_err(|error| PluginError {
        pointer: error.pointer.into(),
        message: error.message.into(),
    })?;
    if is_trial(&context.more) {
        // What is only tried out leaves no records.
        config.audit = Audit::default();
    }
    let host_keys: Vec<Secret> = context
        .host_keys
        .iter()
        .map(|key| Secret::new(key.expose().to_vec()))
        .collect();
    let host_keys = parse_host_keys(&host_keys).map_err(config_error)?;
    let capabilities: Capabilities = context
        .capabilities
        .iter()
        .map(|secret| {
            let value = Secret::new(secret.value.expose().to_vec());
            (secret.name.to_string(), value)
        })
        .collect();
    logs::install(context.events, &context.log_filter).map_err(PluginError::new)?;
    let runtime = runtime(&config, context.generation)?;
    let identities = Arc::new(NodeIdentities(context.identities));
    let handler = {
        let _inside = runtime.enter();
        let launcher = sessions::launcher(&context.more)?;
        SshHandler::new(config, host_keys, capabilities, identities, launcher)
            .map_err(config_error)?
    };
    handler.set_generation(context.generation);
    Ok(SshPluginHandler::new(handler, runtime))
}

/// Whether the handler is only tried out.
fn is_trial(more: &str) -> bool {
    let more: serde_json::Value = serde_json::from_str(more).unwrap_or_default();
    more.get("trial").and_then(serde_json::Value::as_bool) == Some(true)
}

fn runtime(config: &SshConfig, generation: u64) -> Result<Runtime, PluginError> {
    let failed =
        |error: &dyn Display| PluginError::new(format!("cannot start the runtime: {error}"));
    let workers = usize::try_from(config.runtime.worker_threads).map_err(|error| failed(&error))?;
    Builder::new_multi_thread()
        .worker_threads(workers)
        // One poll of a session may encrypt hundreds of KiB. At tokio's 61 polls
        // between two looks at the sockets, a keystroke waits for all of them.
        .event_interval(POLLS_BETWEEN_EVENTS)
        .thread_name(format!("ssh-{generation}"))
        .on_thread_start(move || logs::work_for(generation))
        .enable_all()
        .build()
        .map_err(|error| failed(&error))
}
