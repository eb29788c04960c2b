//! A plugin's handler behind the plain `ProtocolHandler` trait, and what the
//! node gives it at its creation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alknet_handler::{
    AuthContext, BoxFuture, Capabilities, ConfigError, Connection, HandlerError, IdentityProvider,
    ProtocolHandler, Secret,
};
use alknet_plugin_interface::abi_stable::erased_types::TD_Opaque;
use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr};
use alknet_plugin_interface::{
    AuthContext as FfiAuthContext, Connection_TO, EventSink_TO, HandlerContext, HandlerObject,
    IdentityProvider_TO, NamedSecret, PluginError, SecretBytes, guard_future,
};
use tokio::runtime::Handle;

use super::connection::PluginConnection;
use super::events::NodeEvents;
use super::identities::PluginIdentities;
use crate::load::LoadedPlugin;
use crate::text::one_line;

/// What the node injects into a handler.
pub struct HandlerInputs {
    /// The plugin's configuration, already valid by its own schema.
    pub config: serde_json::Value,
    /// The node's host keys in OpenSSH's private key format, preferred first.
    pub host_keys: Vec<Secret>,
    /// The secrets granted for outbound use.
    pub capabilities: Capabilities,
    /// The store that resolves peers' keys and certificates to identities.
    pub identities: Arc<dyn IdentityProvider>,
    /// Which log events the plugin shall send: `level` or `target=level`,
    /// separated by commas; targets as the plugin has them.
    pub log_filter: String,
    /// The id of the generation this handler belongs to.
    pub generation: u64,
    /// The number of the node's configuration that the handler has; told with
    /// each of its log records.
    pub config_generation: Arc<AtomicU64>,
    /// The object for `HandlerContext::more`, with what later versions added.
    pub more: serde_json::Value,
}

/// A plugin's handler behind the plain trait.
pub struct PluginHandler {
    object: HandlerObject,
    runtime: Handle,
}

impl PluginHandler {
    /// Calls the plugin's factory. The handler's connections are polled from
    /// the plugin's runtime; what they need of ours runs on `runtime`.
    ///
    /// # Errors
    /// What the factory said.
    pub fn create(
        plugin: &LoadedPlugin,
        inputs: HandlerInputs,
        runtime: Handle,
    ) -> Result<Self, PluginFault> {
        let identities = PluginIdentities::new(inputs.identities, runtime.clone());
        let context = HandlerContext {
            config: inputs.config.to_string().into(),
            host_keys: inputs
                .host_keys
                .iter()
                .map(|key| SecretBytes::new(key.expose().to_vec()))
                .collect(),
            capabilities: inputs
                .capabilities
                .names()
                .filter_map(|name| {
                    let secret = inputs.capabilities.get(name)?;
                    Some(NamedSecret {
                        name: name.into(),
                        value: SecretBytes::new(secret.expose().to_vec()),
                    })
                })
                .collect(),
            identities: IdentityProvider_TO::from_value(identities, TD_Opaque),
            events: EventSink_TO::from_value(
                NodeEvents::new(plugin.name(), inputs.generation, inputs.config_generation),
                TD_Opaque,
            ),
            log_filter: inputs.log_filter.into(),
            generation: inputs.generation,
            more: inputs.more.to_string().into(),
        };
        match plugin.call_factory(context) {
            RResult::ROk(object) => Ok(Self { object, runtime }),
            RResult::RErr(error) => Err(error.into()),
        }
    }
}

impl ProtocolHandler for PluginHandler {
    fn handle(
        &self,
        connection: Arc<dyn Connection>,
        auth: AuthContext,
    ) -> BoxFuture<'static, Result<(), HandlerError>> {
        let connection = PluginConnection::new(connection, self.runtime.clone());
        let handled = self.object.handle(
            Connection_TO::from_value(connection, TD_Opaque),
            FfiAuthContext {
                identity: auth.identity.map(Into::into).into(),
                alpn: auth.alpn.into(),
                remote_addr: auth.remote_addr.map(|addr| addr.to_string().into()).into(),
                tls_client_fingerprint: auth.tls_client_fingerprint.map(Into::into).into(),
                more: match auth.local_addr {
                    Some(address) => serde_json::json!({ "local_addr": address.to_string() }),
                    None => serde_json::json!({}),
                }
                .to_string()
                .into(),
            },
        );
        // A plugin that forgot its own guard panics here, when polled.
        Box::pin(guard_future(
            async move {
                match handled.await {
                    RResult::ROk(()) => Ok(()),
                    RResult::RErr(error) => Err(error.into()),
                }
            },
            |panic| Err(HandlerError::Internal(format!("panicked: {panic}"))),
        ))
    }

    fn reconfigure(&self, config: &str) -> Result<(), ConfigError> {
        match self.object.reconfigure(RStr::from_str(config)) {
            RResult::ROk(()) => Ok(()),
            RResult::RErr(error) => Err(config_error(error)),
        }
    }

    fn drain(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Box::pin(guard_future(self.object.drain(deadline_ms), |_| ()))
    }

    fn status(&self) -> String {
        self.object.status().into()
    }

    fn control(&self, request: &str) -> Result<String, ConfigError> {
        match self.object.control(RStr::from_str(request)) {
            RResult::ROk(answer) => Ok(answer.into()),
            RResult::RErr(error) => Err(config_error(error)),
        }
    }
}

fn config_error(error: PluginError) -> ConfigError {
    ConfigError {
        pointer: one_line(&error.pointer),
        message: one_line(&error.message),
    }
}

/// Why a plugin did not do what it was asked, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PluginFault {
    /// JSON pointer (RFC 6901) into the plugin's configuration; empty when the
    /// fault is not at one place of it.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PluginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

impl From<PluginError> for PluginFault {
    fn from(error: PluginError) -> Self {
        Self {
            pointer: one_line(&error.pointer),
            message: one_line(&error.message),
        }
    }
}
