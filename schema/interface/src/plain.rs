//! For authors of plugins: a handler in plain Rust types, and what makes it an
//! FFI-stable object with every entry point in its panic guard. Nothing here
//! is part of the layout; a plugin may do without it.

use std::sync::Arc;
use std::time::Duration;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::std_types::{RNone, ROption, RResult, RStr, RString, RVec};
use async_ffi::{FfiFuture, FutureExt};

use crate::{
    AuthContext, ConnectionObject, EventSinkObject, Extension, Handler, Handler_TO, HandlerContext,
    HandlerError, HandlerObject, INTERFACE_VERSION, Level, PluginError, PluginModule,
    RegistrationBundle, built_with, guard, guard_future, guarded_drop,
};

/// [`Handler`] in plain types. The methods may panic: the node gets an error.
///
/// The futures are polled by the node, from a runtime that is not the
/// plugin's: what needs a reactor or timers is spawned on the plugin's own
/// runtime, and the future waits for it.
pub trait PlainHandler: Send + Sync + 'static {
    /// As [`Handler::handle`].
    fn handle(self: &Arc<Self>, connection: ConnectionObject, auth: AuthContext) -> Handled;

    /// As [`Handler::reconfigure`].
    ///
    /// # Errors
    /// When the configuration cannot be used; the old one stays in force.
    fn reconfigure(self: &Arc<Self>, config: &str) -> Result<(), PluginError>;

    /// As [`Handler::drain`].
    fn drain(self: &Arc<Self>, deadline: Duration) -> FfiFuture<()>;

    /// As [`Handler::status`].
    fn status(self: &Arc<Self>) -> String;

    /// As [`Handler::control`].
    ///
    /// # Errors
    /// When the command is unknown or cannot be carried out.
    fn control(self: &Arc<Self>, _request: &str) -> Result<String, PluginError> {
        Err(unknown_command())
    }
}

/// What [`PlainHandler::handle`] gives.
pub type Handled = FfiFuture<Outcome>;

/// How the handling of a connection ended.
pub type Outcome = Result<(), HandlerError>;

/// Sends a record to the node's log; `fields` is a JSON object.
pub fn log(events: &EventSinkObject, level: Level, target: &str, message: &str, fields: &str) {
    events.log(level, target.into(), message.into(), fields.into());
}

/// The answer to a command that a handler does not know.
pub fn unknown_command() -> PluginError {
    PluginError::at("/command", "unknown command")
}

/// The body of a plugin's factory: makes a handler, guarded.
pub fn create<H: PlainHandler>(
    context: HandlerContext,
    make: impl FnOnce(HandlerContext) -> Result<H, PluginError>,
) -> RResult<HandlerObject, PluginError> {
    guard(
        || match make(context) {
            Ok(handler) => {
                let handler = Guarded(Some(Arc::new(handler)));
                RResult::ROk(Handler_TO::from_value(handler, TD_Opaque))
            }
            Err(error) => RResult::RErr(error),
        },
        |panic| RResult::RErr(panicked(panic)),
    )
}

/// A bundle of this interface version for one ALPN, without configuration or
/// capabilities of its own: for the rest of a struct expression.
pub fn registration(
    name: &str,
    version: &str,
    alpn: &str,
    factory: extern "C" fn(HandlerContext) -> RResult<HandlerObject, PluginError>,
) -> RegistrationBundle {
    let nothing = r#"{"type":"object","additionalProperties":false}"#;
    let alpn: RVec<u8> = alpn.as_bytes().into();
    RegistrationBundle {
        name: name.into(),
        version: version.into(),
        interface_version: INTERFACE_VERSION,
        rustc: built_with::RUSTC.into(),
        target: built_with::TARGET.into(),
        alpns: [alpn].into_iter().collect(),
        config_schema: nothing.into(),
        capabilities_schema: nothing.into(),
        factory,
        more: "{}".into(),
    }
}

/// The root module of a plugin without extensions.
pub fn module(registration: extern "C" fn() -> RegistrationBundle) -> PluginModule {
    PluginModule {
        registration,
        extension: no_extension,
    }
}

extern "C" fn no_extension(_id: RStr<'_>) -> ROption<Extension> {
    RNone
}

// Taken when dropped.
struct Guarded<H>(Option<Arc<H>>);

impl<H: PlainHandler> Guarded<H> {
    fn call<T>(&self, body: impl FnOnce(&Arc<H>) -> T, on_panic: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Some(handler) => guard(|| body(handler), on_panic),
            None => on_panic("the handler is gone"),
        }
    }
}

impl<H> Drop for Guarded<H> {
    fn drop(&mut self) {
        guarded_drop(self.0.take());
    }
}

impl<H: PlainHandler> Handler for Guarded<H> {
    fn handle(
        &self,
        connection: ConnectionObject,
        auth: AuthContext,
    ) -> FfiFuture<RResult<(), HandlerError>> {
        let failed = |panic: &str| {
            RResult::RErr(HandlerError::Internal(format!("panicked: {panic}").into()))
        };
        self.call(
            |handler| {
                let handled = handler.handle(connection, auth);
                guard_future(async move { handled.await.into() }, failed).into_ffi()
            },
            |panic| std::future::ready(failed(panic)).into_ffi(),
        )
    }

    fn reconfigure(&self, config: RStr<'_>) -> RResult<(), PluginError> {
        self.call(
            |handler| handler.reconfigure(config.as_str()).into(),
            |panic| RResult::RErr(panicked(panic)),
        )
    }

    fn drain(&self, deadline_ms: u64) -> FfiFuture<()> {
        let deadline = Duration::from_millis(deadline_ms);
        self.call(
            |handler| guard_future(handler.drain(deadline), |_| ()).into_ffi(),
            |_| std::future::ready(()).into_ffi(),
        )
    }

    fn status(&self) -> RString {
        self.call(
            |handler| handler.status().into(),
            |_| r#"{"error":"panicked"}"#.into(),
        )
    }

    fn control(&self, request: RStr<'_>) -> RResult<RString, PluginError> {
        self.call(
            |handler| handler.control(request.as_str()).map(RString::from).into(),
            |panic| RResult::RErr(panicked(panic)),
        )
    }
}

fn panicked(message: &str) -> PluginError {
    PluginError::new(format!("panicked: {message}"))
}
