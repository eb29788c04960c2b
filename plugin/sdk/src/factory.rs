//! The factory that the node calls to make a plugin's handler.

use std::sync::Arc;

use alknet_handler::{Capabilities, ConfigError, Secret};
use alknet_plugin_interface::abi_stable::erased_types::TD_Opaque;
use alknet_plugin_interface::abi_stable::std_types::RResult;
use alknet_plugin_interface::{Handler_TO, HandlerContext, HandlerObject, PluginError, guard};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::bridge::{ExportedHandler, NodeIdentities};
use crate::metrics::Metrics;
use crate::{LiveConfig, Plugin, PluginSecrets, Setup, logs};

/// The number of task polls of a worker between two looks at its sockets.
const POLLS_BETWEEN_EVENTS: u32 = 4;

/// Makes a handler. Everything that can be wrong is found here, before the
/// node routes a connection to it.
pub(crate) extern "C" fn factory<P: Plugin>(
    context: HandlerContext,
) -> RResult<HandlerObject, PluginError> {
    guard(
        || match create::<P>(context) {
            Ok(handler) => RResult::ROk(Handler_TO::from_value(handler, TD_Opaque)),
            Err(error) => RResult::RErr(error.into()),
        },
        |panic| RResult::RErr(PluginError::new(format!("the factory panicked: {panic}"))),
    )
}

fn create<P: Plugin>(context: HandlerContext) -> Result<ExportedHandler, ConfigError> {
    let config = P::parse(&context.config)?;
    let host_keys = context.host_keys.iter();
    let host_keys = host_keys.map(|key| Secret::new(key.expose().to_vec()));
    let granted: Capabilities = context
        .capabilities
        .iter()
        .map(|secret| {
            let value = Secret::new(secret.value.expose().to_vec());
            (secret.name.to_string(), value)
        })
        .collect();
    let secrets = P::Secrets::take(granted)?;
    let more: Value = serde_json::from_str(&context.more)
        .map_err(|error| ConfigError::new(format!("HandlerContext.more: {error}")))?;
    logs::install(P::NAME, &P::LOGS, context.events, &context.log_filter)
        .map_err(ConfigError::new)?;
    let workers = P::worker_threads(&config);
    let runtime = runtime(P::NAME, workers, context.generation)
        .map_err(|error| ConfigError::new(format!("cannot start the runtime: {error}")))?;
    let setup = Setup {
        config: LiveConfig::new(config),
        secrets,
        identities: Arc::new(NodeIdentities(context.identities)),
        host_keys: host_keys.collect(),
        metrics: Metrics::default(),
        generation: context.generation,
        trial: more.get("trial").and_then(Value::as_bool) == Some(true),
        more,
    };
    let handler = {
        let _inside = runtime.enter();
        P::create(setup)?
    };
    Ok(ExportedHandler::new(handler, runtime))
}

fn runtime(name: &str, workers: usize, generation: u64) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        // One poll of a session may encrypt hundreds of KiB. At tokio's 61 polls
        // between two looks at the sockets, a keystroke waits for all of them.
        .event_interval(POLLS_BETWEEN_EVENTS)
        .thread_name(format!("{name}-{generation}"))
        .on_thread_start(move || logs::work_for(generation))
        .enable_all()
        .build()
}
