//! A plugin's handler as the FFI-stable object that the node calls.

use std::sync::Arc;
use std::time::Duration;

use alknet_control::ControlRequest;
use alknet_handler::ProtocolHandler;
use alknet_plugin_interface::abi_stable::std_types::{RResult, RStr, RString};
use alknet_plugin_interface::async_ffi::{FfiFuture, FutureExt};
use alknet_plugin_interface::{
    AuthContext, ConnectionObject, Handler, HandlerError as FfiHandlerError, PluginError, guard,
    guard_future,
};
use tokio::runtime::Runtime;

use super::connection::{NodeConnection, auth_context};
use crate::logs;

/// A handler, and the runtime that its work lives on.
pub(crate) struct ExportedHandler {
    handler: Arc<dyn ProtocolHandler>,
    // Taken when dropped; the work goes on until then.
    runtime: Option<Runtime>,
}

impl ExportedHandler {
    pub(crate) fn new(handler: Arc<dyn ProtocolHandler>, runtime: Runtime) -> Self {
        Self {
            handler,
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
                Ok(Err(error)) => RResult::RErr(error.into()),
                Err(_) => RResult::RErr(FfiHandlerError::Internal(
                    "the connection's task ended early; a panic is in the log".into(),
                )),
            }
        };
        guard_future(outcome, |panic| RResult::RErr(panicked(panic))).into_ffi()
    }
}

impl ExportedHandler {
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

    /// Answers a control request: the log filter here, everything else by the
    /// handler.
    fn answer(&self, request: &str) -> RResult<RString, PluginError> {
        if let Ok(ControlRequest::SetLogFilter { filter }) = serde_json::from_str(request) {
            return match logs::set_filter(&filter) {
                Ok(()) => RResult::ROk("{}".into()),
                Err(message) => RResult::RErr(PluginError::new(message)),
            };
        }
        match self.handler.control(request) {
            Ok(answer) => RResult::ROk(answer.into()),
            Err(error) => RResult::RErr(error.into()),
        }
    }
}

impl Handler for ExportedHandler {
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
                Err(error) => RResult::RErr(error.into()),
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

impl Drop for ExportedHandler {
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
