//! The handler that a plugin's factory returns, what it is given at its
//! creation, and its errors.

use abi_stable::std_types::{RBox, RResult, RStr, RString, RVec};
use abi_stable::{StableAbi, sabi_trait};
use async_ffi::FfiFuture;

use crate::connection::ConnectionObject;
use crate::{
    AuthContext, EventSinkObject, IdentityProviderObject, NamedSecret, SecretBytes, StreamError,
};

/// Everything a handler gets from the node at its creation.
#[repr(C)]
#[derive(StableAbi)]
pub struct HandlerContext {
    /// The plugin's configuration as JSON text, valid by its own schema.
    pub config: RString,
    /// The node's host keys, each an unencrypted private key in OpenSSH's
    /// format (PROTOCOL.key), preferred one first.
    pub host_keys: RVec<SecretBytes>,
    /// The secrets granted for outbound use.
    pub capabilities: RVec<NamedSecret>,
    /// Resolves what peers prove into who they are.
    pub identities: IdentityProviderObject,
    /// Where logs and other events go.
    pub events: EventSinkObject,
    /// Which events are wanted: directives `level` or `target=level`, separated
    /// by commas, the longest matching target deciding. Changed later by the
    /// control request `set_log_filter`.
    pub log_filter: RString,
    /// Identifies this handler among the generations the node has loaded.
    pub generation: u64,
    /// A JSON object with whatever later versions add; `{}` at first.
    pub more: RString,
}

/// The handler of one generation, on the FFI side of
/// `alknet_handler::ProtocolHandler`.
#[sabi_trait]
pub trait Handler: Send + Sync + 'static {
    /// Serves one connection until its last stream has ended. The work runs on
    /// the plugin's own runtime; dropping the future abandons the wait, not
    /// the connection.
    fn handle(
        &self,
        connection: ConnectionObject,
        auth: AuthContext,
    ) -> FfiFuture<RResult<(), HandlerError>>;

    /// Takes a new configuration (JSON text), whole or not at all.
    fn reconfigure(&self, config: RStr<'_>) -> RResult<(), PluginError>;

    /// Refuses new sessions, lets live ones run for `deadline_ms` milliseconds
    /// at the most, then ends them with the protocol's goodbye. A node that
    /// replaced this handler by a newer one leaves it alone first, so that its
    /// connections go on, and drains it when they have ended or must.
    fn drain(&self, deadline_ms: u64) -> FfiFuture<()>;

    /// How the handler is doing: a JSON object. The node shows all of it; the
    /// member `sessions` is the number of those that are open.
    fn status(&self) -> RString;

    /// Answers the requests that were added after version 1, as JSON text. The
    /// request is an object with the member `command`; an unknown command is an
    /// error.
    ///
    /// The commands, with their members and answers, are the types of the crate
    /// `alknet-control` and `schema/json/control.schema.json`; a handler knows those that
    /// concern it.
    ///
    /// The node gives up waiting for an answer after some seconds.
    #[sabi(last_prefix_field)]
    fn control(&self, request: RStr<'_>) -> RResult<RString, PluginError>;
}

/// An owned [`Handler`].
pub type HandlerObject = Handler_TO<RBox<()>>;

/// Why a plugin could not do what it was asked.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct PluginError {
    /// JSON pointer (RFC 6901) into the configuration; empty when the fault is
    /// not at one place of it.
    pub pointer: RString,
    /// What is wrong and what to do about it, for the operator.
    pub message: RString,
}

impl PluginError {
    /// An error that is not about one place of the configuration.
    pub fn new(message: impl Into<RString>) -> Self {
        Self {
            pointer: RString::new(),
            message: message.into(),
        }
    }
}

/// Why a handler ended a connection other than normally.
#[repr(u8)]
#[derive(StableAbi, Clone, Debug)]
pub enum HandlerError {
    /// The connection was closed under the handler.
    ConnectionClosed,
    /// A stream failed.
    StreamError(StreamError),
    /// The peer did not prove who it is.
    AuthRequired,
    /// Anything else, described for the operator.
    Internal(RString),
}
