//! The SSH server: a handler for connections, each of whose streams is an SSH
//! connection with a life-time of its own.

mod admission;
mod audit;
mod auth;
mod channel;
mod check_system;
mod control;
mod dispatch;
mod display;
mod egress;
mod exec;
mod flight;
mod forward;
mod metrics;
mod process;
mod secret;
mod session;
mod sftp;
mod state;
mod status;
mod throttle;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{
    AuthContext, BoxFuture, Capabilities, ConfigError, Connection, HandlerError, IdentityProvider,
    ProtocolHandler,
};
use alknet_ssh_config::SshConfig;
use russh::keys::PrivateKey;

pub use self::egress::resolve::{LookUpSlot, Resolver, SystemResolver};
pub use self::process::{Launcher, run_helper};
use self::state::server_state::ServerState;
use crate::connection::host_key::check_host_keys;

/// Serves SSH on the connections of an endpoint.
///
/// All tasks run on the tokio runtime that polls `handle`.
#[derive(Debug)]
pub struct SshHandler(Arc<ServerState>);

impl SshHandler {
    /// A handler that proves itself with `host_keys` and asks `identities` who
    /// its peers are. From `capabilities` it takes the credentials for an
    /// upstream proxy, where the configuration names them. Without a launcher
    /// it refuses to start processes. With one it must be made inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the configuration is out of range, a host key is missing or
    /// cannot be used, or a secret the configuration names was not granted.
    pub fn new(
        config: SshConfig,
        host_keys: Vec<PrivateKey>,
        capabilities: Capabilities,
        identities: Arc<dyn IdentityProvider>,
        launcher: Option<Launcher>,
    ) -> Result<Self, ConfigError> {
        let resolver = Arc::new(SystemResolver::default());
        Self::with_resolver(
            config,
            host_keys,
            capabilities,
            identities,
            launcher,
            resolver,
        )
    }

    /// As [`new`](Self::new), with another resolver for the names of forwards.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_resolver(
        config: SshConfig,
        host_keys: Vec<PrivateKey>,
        capabilities: Capabilities,
        identities: Arc<dyn IdentityProvider>,
        launcher: Option<Launcher>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, ConfigError> {
        check_host_keys(&host_keys)?;
        let core = ServerState::new(
            config,
            host_keys,
            capabilities,
            identities,
            launcher,
            resolver,
        )?;
        let core = Arc::new(core);
        exec::jobs::watch(&core);
        Ok(Self(core))
    }

    /// Tells the handler its generation, for the audit stream. Called once.
    pub fn set_generation(&self, generation: u64) {
        self.0.set_generation(generation);
    }
}

impl ProtocolHandler for SshHandler {
    fn handle(
        &self,
        connection: Arc<dyn Connection>,
        auth: AuthContext,
    ) -> BoxFuture<'static, Result<(), HandlerError>> {
        Box::pin(dispatch::connection::serve(
            Arc::clone(&self.0),
            connection,
            auth,
        ))
    }

    fn reconfigure(&self, config: &str) -> Result<(), ConfigError> {
        self.0.reconfigure(config)
    }

    fn drain(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let core = Arc::clone(&self.0);
        Box::pin(async move { core.drain(deadline).await })
    }

    fn status(&self) -> String {
        self.0.status()
    }

    fn control(&self, request: &str) -> Result<String, ConfigError> {
        control::answer(&self.0, request)
    }
}
