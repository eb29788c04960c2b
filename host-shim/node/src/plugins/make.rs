//! The making of a handler: the factory is called with everything that the
//! node injects.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alknet_handler::{IdentityProvider, ProtocolHandler, Secret};
use alknet_loader::{Generation, HandlerInputs, PluginHandler};
use serde_json::json;
use tokio::runtime::Handle;
use tracing_subscriber::filter::Targets;

use super::configure::plugin_pointer;
use super::timeout::{NoAnswer, TimeoutHandler, within};
use crate::config::log_filter;
use crate::config::problem::MakeHandlerError;
use crate::plugins::PlannedPlugin;
use crate::secrets::keys::HostKey;
use crate::walls::Walls;

/// The time that a factory may take.
const FACTORY_TIMEOUT: Duration = Duration::from_secs(20);

/// The numbers that each log record of a handler carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// The handler's generation.
    pub(crate) generation: u64,
    /// The number of the node's configuration that the handler has.
    pub(crate) config: Arc<AtomicU64>,
}

/// Makes the handler of a plugin and its generation, under the configuration
/// with this number. Must be called inside a tokio runtime.
///
/// # Errors
/// As for [`make_handler`].
pub(crate) fn make_generation(
    id: u64,
    planned: &PlannedPlugin,
    host_keys: &[HostKey],
    identities: &Arc<dyn IdentityProvider>,
    filter: &Targets,
    config_generation: u64,
    walls: Option<&Walls>,
) -> Result<Arc<Generation>, MakeHandlerError> {
    let config_generation = Arc::new(AtomicU64::new(config_generation));
    let numbers = Numbers {
        generation: id,
        config: Arc::clone(&config_generation),
    };
    let handler = make_handler(planned, host_keys, identities, filter, numbers, walls)?;
    Ok(Arc::new(Generation::new(
        id,
        &planned.plugin,
        planned.file.clone(),
        planned.config.clone(),
        handler,
        config_generation,
    )))
}

/// Calls the factory of a plugin with all that the node injects. Must be
/// called inside a tokio runtime. Without walls the handler starts no process.
///
/// # Errors
/// The factory's error, or that it took too long. A handler that it makes later
/// is dropped.
pub(crate) fn make_handler(
    planned: &PlannedPlugin,
    host_keys: &[HostKey],
    identities: &Arc<dyn IdentityProvider>,
    filter: &Targets,
    numbers: Numbers,
    walls: Option<&Walls>,
) -> Result<Arc<dyn ProtocolHandler>, MakeHandlerError> {
    let refused = |why: &dyn std::fmt::Display| MakeHandlerError {
        file: planned.file.clone(),
        reason: format!(
            "the plugin {:?} could not make its handler: {why}",
            planned.plugin.name()
        ),
        pointer: None,
    };
    let (socket, more) = match walls {
        None => (None, json!({})),
        Some(walls) => {
            let told = walls.for_handler(&planned.plugin.copy().unwrap_or_default());
            let (socket, more) = told.map_err(|error| refused(&error))?;
            (Some(socket), more)
        }
    };
    let inputs = HandlerInputs {
        config: planned.config.clone(),
        host_keys: host_keys
            .iter()
            .map(|key| Secret::new(key.private.expose().to_vec()))
            .collect(),
        capabilities: planned.capabilities.clone(),
        identities: Arc::clone(identities),
        log_filter: log_filter::filter_for_plugin(filter, planned.plugin.name()),
        generation: numbers.generation,
        config_generation: numbers.config,
        more,
    };
    let plugin = Arc::clone(&planned.plugin);
    let runtime = Handle::current();
    let (name, generation) = (plugin.name().to_owned(), numbers.generation);
    let made = within(
        FACTORY_TIMEOUT,
        move || {
            // The factory has made the socket its own.
            let _socket = socket;
            PluginHandler::create(&plugin, inputs, runtime)
        },
        move |_| {
            tracing::warn!(
                plugin = name,
                generation,
                "a factory came back too late; its handler was dropped"
            );
        },
    );
    match made {
        Ok(Ok(handler)) => Ok(Arc::new(TimeoutHandler::new(
            Arc::new(handler),
            planned.config.to_string(),
        ))),
        Ok(Err(fault)) if !fault.pointer.is_empty() => Err(MakeHandlerError {
            pointer: Some(format!(
                "{}{}",
                plugin_pointer(planned.plugin.name()),
                fault.pointer
            )),
            reason: fault.message,
            file: planned.file.clone(),
        }),
        Ok(Err(fault)) => Err(refused(&fault)),
        Err(NoAnswer::Late) => Err(refused(&format_args!(
            "its factory did not return within {} s and was given up",
            FACTORY_TIMEOUT.as_secs()
        ))),
        Err(NoAnswer::Failed) => Err(refused(
            &"its factory ended early; a panic is in the node's log",
        )),
    }
}
