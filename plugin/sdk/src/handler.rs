//! The trait that a protocol implements: how a connection is served.

use std::sync::Arc;

use alknet_handler::{AuthContext, ConfigError, Connection, HandlerError};
use serde_json::{Map, Value};

use crate::{NoConfig, NoSecrets, Setup};

/// The connection to a peer.
pub type Peer = Arc<dyn Connection>;

/// Members of a status: names to JSON values.
pub type Status = Map<String, Value>;

/// What an author writes: how one connection is served. Connections are counted,
/// listed, drained and ended by the SDK; a panic ends one of them and is in the
/// log.
pub trait Handler<C = NoConfig, S = NoSecrets>: Sized + Send + Sync + 'static {
    /// Makes the handler. Everything that can be wrong is to be found here: the
    /// version before this one serves on then.
    ///
    /// # Errors
    /// What the operator has to change; with a pointer, the message names the
    /// line.
    fn new(setup: Setup<C, S>) -> Result<Self, ConfigError>;

    /// Checks what the schema cannot say of a configuration. Called before
    /// [`new`](Self::new), and before another configuration is put in force.
    ///
    /// # Errors
    /// What the operator has to change.
    fn check(_config: &C) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Serves one connection. It ends with the future; a drain that has waited
    /// long enough drops the future and closes the connection.
    fn serve(
        self: Arc<Self>,
        peer: Peer,
        auth: AuthContext,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Members for the status, beside those of the SDK. Numbers among them are
    /// exported as metrics.
    fn status(&self) -> Status {
        Status::new()
    }

    /// Called when what identities were granted may have changed: whatever the
    /// handler remembers of them is to be looked up again.
    fn identities_changed(&self) {}

    /// Answers a request of the node that the SDK does not know.
    ///
    /// # Errors
    /// [`unknown_command`], or why it cannot be carried out.
    fn control(&self, _command: &str, _request: &Value) -> Result<Value, ConfigError> {
        Err(unknown_command())
    }
}

/// The answer to a command that a handler does not know.
pub fn unknown_command() -> ConfigError {
    ConfigError::at("/command", "unknown command")
}
