use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{ConfigError, HandlerError, ProtocolHandler, StreamError};
use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr, RString};
use alknet_plugin_interface::async_ffi::{FfiFuture, FutureExt};
use alknet_plugin_interface::{
    AuthContext, ConnectionObject, Handler, HandlerError as FfiHandlerError, PluginError,
    StreamError as FfiStreamError, guard, guard_future,
};
use alknet_ssh::SshHandler;
use tokio::runtime::Runtime;

use super::connection::{NodeConnection, auth_context};
use crate::logs;

/// The SSH handler and the runtime its sessions live on.
pub(crate) struct SshPluginHandler {
    handler: Arc<SshHandler>,
    // Taken when dropped; the sessions go on until then.
    runtime: Option<Runtime>,
}

impl SshPluginHandler {
    pub(crate) fn new(handler: SshHandler, runtime: Runtime) -> Self {
        Self {
            handler: Arc::new(handler),
            runtime: Some(runtime),
        }
    }

    fn spawn_handle(
        &self,
        connection: ConnectionObject,
        auth: AuthContext,
    ) -> FfiFuture<RResult<(), FfiHandlerError>> {
        let Some(runtime) = &self.runtime else {
            return answer(RResult::RErr(FfiHandlerError::ConnectionClosed));
        };
        let connection = Arc::new(NodeConnection(connection));
        let handled = {
            let _inside = runtime.enter();
            self.handler.handle(connection, auth_context(auth))
        };
        let task = runtime.spawn(handled);
        let outcome = async move {
            match task.await {
                Ok(Ok(())) => RResult::ROk(()),
                Ok(Err(error)) => RResult::RErr(handler_error(error)),
                Err(_) => RResult::RErr(FfiHandlerError::Internal(
                    "the connection's task ended early; a panic is in the log".into(),
                )),
            }
        };
        guard_future(outcome, |panic| RResult::RErr(panicked(panic))).into_ffi()
    }
}

impl SshPluginHandler {
    /// The handler's status, and what only the plugin can count.
    fn status(&self) -> String {
        let status = self.handler.status();
        match serde_json::from_str(&status) {
            Ok(serde_json::Value::Object(mut members)) => {
                members.insert("panics_total".to_owned(), logs::panics().into());
                serde_json::Value::Object(members).to_string()
            }
            _ => status,
        }
    }

    /// The log filter is the plugin's own; everything else is the handler's.
    fn answer(&self, request: &str) -> RResult<RString, PluginError> {
        let parsed: serde_json::Value = match serde_json::from_str(request) {
            Ok(parsed) => parsed,
            Err(error) => return RResult::RErr(PluginError::new(format!("not JSON: {error}"))),
        };
        if parsed.get("command").and_then(|command| command.as_str()) == Some("set_log_filter") {
            let filter = parsed.get("filter").and_then(|filter| filter.as_str());
            return match logs::set_filter(filter.unwrap_or_default()) {
                Ok(()) => RResult::ROk("{}".into()),
                Err(message) => RResult::RErr(PluginError::new(message)),
            };
        }
        match self.handler.control(request) {
            Ok(answer) => RResult::ROk(answer.into()),
            Err(error) => RResult::RErr(config_error(error)),
        }
    }
}

impl Handler for SshPluginHandler {
    fn handle(
        &self,
        connection: ConnectionObject,
        auth: AuthContext,
    ) -> FfiFuture<RResult<(), FfiHandlerError>> {
        guard(
            || self.spawn_handle(connection, auth),
            |panic| answer(RResult::RErr(panicked(panic))),
        )
    }

    fn reconfigure(&self, config: RStr<'_>) -> RResult<(), PluginError> {
        guard(
            || match self.handler.reconfigure(config.as_str()) {
                Ok(()) => RResult::ROk(()),
                Err(error) => RResult::RErr(config_error(error)),
            },
            |panic| RResult::RErr(PluginError::new(format!("panicked: {panic}"))),
        )
    }

    fn drain(&self, deadline_ms: u64) -> FfiFuture<()> {
        guard(
            || {
                let Some(runtime) = &self.runtime else {
                    return answer(());
                };
                let drained = {
                    let _inside = runtime.enter();
                    self.handler.drain(Duration::from_millis(deadline_ms))
                };
                let task = runtime.spawn(drained);
                guard_future(
                    async move {
                        // A panic in there is in the log; the drain is over.
                        let _ = task.await;
                    },
                    |_| (),
                )
                .into_ffi()
            },
            |_| answer(()),
        )
    }

    fn status(&self) -> RString {
        guard(
            || self.status().into(),
            |panic| {
                serde_json::json!({ "error": format!("panicked: {panic}") })
                    .to_string()
                    .into()
            },
        )
    }

    fn control(&self, request: RStr<'_>) -> RResult<RString, PluginError> {
        guard(
            || self.answer(request.as_str()),
            |panic| RResult::RErr(PluginError::new(format!("panicked: {panic}"))),
        )
    }
}

impl Drop for SshPluginHandler {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for tasks here would hold up the node's thread.
            guard(|| runtime.shutdown_background(), |_| ());
        }
    }
}

fn answer<T: Send + 'static>(value: T) -> FfiFuture<T> {
    std::future::ready(value).into_ffi()
}

fn panicked(message: &str) -> FfiHandlerError {
    FfiHandlerError::Internal(format!("panicked: {message}").into())
}

/// A configuration error to send across the boundary.
pub(crate) fn config_error(error: ConfigError) -> PluginError {
    PluginError {
        pointer: error.pointer.into(),
        message: error.message.into(),
    }
}

fn handler_error(error: HandlerError) -> FfiHandlerError {
    match error {
        HandlerError::ConnectionClosed => FfiHandlerError::ConnectionClosed,
        HandlerError::StreamError(error) => FfiHandlerError::StreamError(match error {
            StreamError::ConnectionClosed => FfiStreamError::ConnectionClosed,
            StreamError::StreamClosed => FfiStreamError::StreamClosed,
            StreamError::Timeout => FfiStreamError::Timeout,
            StreamError::Internal(message) => FfiStreamError::Internal(message.into()),
        }),
        HandlerError::AuthRequired => FfiHandlerError::AuthRequired,
        HandlerError::Internal(message) => FfiHandlerError::Internal(message.into()),
    }
}
