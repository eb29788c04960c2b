//! The SSH client: one authenticated connection over a stream, on which
//! commands are run.

mod error;
mod handler;
mod process;

use std::sync::Arc;
use std::time::Duration;

use alknet_handler::ByteStream;
use alknet_ssh_config::Transport as TransportConfig;
use russh::client::{AuthResult, Config, Handle};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{Limits, SshId};
use tokio::time::timeout;

pub use error::ClientError;
use handler::ClientHandler;
pub use process::{Exit, RemoteInput, RemoteOutput, RemoteProcess};

use crate::queue::Budget;
use crate::transport::{Control, Transport};
use crate::{SSH_ID, algorithms};

/// Messages russh keeps for one channel.
const CHANNEL_MESSAGES: usize = 64;
/// Bytes kept of output nobody reads, for one stream of a command and for all
/// of the connection, before the whole connection is held back: russh's client
/// asks nobody before it grants the server more.
const UNREAD_OUTPUT: usize = 16 << 20;
const ALL_UNREAD_OUTPUT: usize = 64 << 20;
/// Bytes the server may have under way beside what is kept of it.
const READ_AHEAD: usize = 64 << 20;
/// How long an orderly goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Time for key exchange and for each authentication. Default 30 s.
    pub timeout: Duration,
    /// Flow control and re-keying. Default as the server's, except that new keys
    /// are left to the server: they are proposed after 64 GiB or a day only.
    pub transport: TransportConfig,
    /// Silence after which the server is asked for a sign of life; after three
    /// without an answer the connection fails. Default none.
    pub keep_alive: Option<Duration>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            transport: TransportConfig {
                rekey_bytes: 64 << 30,
                rekey_seconds: 86_400,
                ..TransportConfig::default()
            },
            keep_alive: None,
        }
    }
}

/// An SSH connection to a server. Dropping it cuts the connection and with it
/// all its commands; [`disconnect`](Self::disconnect) ends it in order.
pub struct Client {
    handle: Handle<ClientHandler>,
    control: Arc<dyn Control>,
    budget: Budget,
    timeout: Duration,
}

impl Client {
    /// Agrees on keys with the server at the other end of `stream`, and asks
    /// `verify` whether its host key is the one expected.
    ///
    /// # Errors
    /// When `verify` says no, there is no common algorithm, or the stream
    /// fails or takes too long.
    pub async fn connect<S: ByteStream>(
        stream: S,
        options: &ClientOptions,
        verify: impl FnMut(&PublicKey) -> bool + Send + 'static,
    ) -> Result<Self, ClientError> {
        let (transport, control) = Transport::new(stream, READ_AHEAD, None);
        let cut = Cut {
            control,
            armed: true,
        };
        let handler = ClientHandler::new(verify);
        let config = Arc::new(config(options));
        let setup = russh::client::connect_stream(config, transport, handler);
        let handle = timeout(options.timeout, setup)
            .await
            .map_err(|_| ClientError::Timeout("key exchange"))??;
        Ok(Self {
            handle,
            control: cut.keep(),
            budget: Budget::new(ALL_UNREAD_OUTPUT),
            timeout: options.timeout,
        })
    }

    /// Logs in as `user` with a key. May be called again with another key
    /// after [`ClientError::AuthenticationFailed`].
    ///
    /// # Errors
    /// When the server refuses the key, or the connection fails.
    pub async fn authenticate(
        &mut self,
        user: &str,
        key: Arc<PrivateKey>,
    ) -> Result<(), ClientError> {
        let hash = match key.algorithm() {
            Algorithm::Rsa { .. } => Some(self.rsa_hash().await?),
            _ => None,
        };
        let login = self
            .handle
            .authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash));
        match timeout(self.timeout, login).await {
            Err(_) => Err(ClientError::Timeout("authentication")),
            Ok(Ok(AuthResult::Success)) => Ok(()),
            Ok(Ok(AuthResult::Failure { .. })) => Err(ClientError::AuthenticationFailed),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Runs a command; `environment` is asked for before it, and it is up to
    /// the server what of it is set.
    ///
    /// # Errors
    /// When the server refuses the channel or the command, or the connection
    /// fails.
    pub async fn exec(
        &self,
        command: impl Into<Vec<u8>>,
        environment: &[(&str, &str)],
    ) -> Result<RemoteProcess, ClientError> {
        let channel = self.handle.channel_open_session().await?;
        process::start(channel, command.into(), environment, &self.budget).await
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye and waits, a short while, until the connection is closed.
    pub async fn disconnect(mut self) {
        let goodbye = async {
            let reason = russh::Disconnect::ByApplication;
            let _ = self.handle.disconnect(reason, "", "").await;
            let _ = (&mut self.handle).await;
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }

    /// The strongest SHA-2 the server takes with RSA; never SHA-1.
    async fn rsa_hash(&self) -> Result<HashAlg, ClientError> {
        let best = self.handle.best_supported_rsa_hash().await?;
        Ok(best.flatten().unwrap_or(HashAlg::Sha512))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.control.trip();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Asks the server at the other end of `stream` for its host key, and lets go.
/// The key exchange proves that the server holds it; whether it is the right
/// server is for the caller to find out.
///
/// # Errors
/// When there is no common algorithm, or the stream fails or takes too long.
pub async fn fetch_host_key<S: ByteStream>(
    stream: S,
    options: &ClientOptions,
) -> Result<PublicKey, ClientError> {
    let (seen, key) = tokio::sync::oneshot::channel();
    let mut seen = Some(seen);
    let refused = Client::connect(stream, options, move |key| {
        if let Some(seen) = seen.take() {
            let _ = seen.send(key.clone());
        }
        false
    })
    .await;
    match (key.await, refused) {
        (Ok(key), _) => Ok(key),
        (Err(_), Err(error)) => Err(error),
        (Err(_), Ok(_)) => Err(ClientError::HostKeyRefused),
    }
}

fn config(options: &ClientOptions) -> Config {
    let transport = &options.transport;
    let rekey_bytes = usize::try_from(transport.rekey_bytes).unwrap_or(usize::MAX);
    Config {
        client_id: SshId::Standard(SSH_ID.into()),
        limits: Limits {
            rekey_write_limit: rekey_bytes,
            rekey_read_limit: rekey_bytes,
            rekey_time_limit: Duration::from_secs(transport.rekey_seconds.into()),
        },
        window_size: transport.window_bytes,
        maximum_packet_size: transport.max_packet_bytes,
        channel_buffer_size: CHANNEL_MESSAGES,
        preferred: algorithms::for_client(),
        keepalive_interval: options.keep_alive,
        keepalive_max: 3,
        ..Config::default()
    }
}

/// Cuts a stream whose connection did not come about.
struct Cut {
    control: Arc<dyn Control>,
    armed: bool,
}

impl Cut {
    fn keep(mut self) -> Arc<dyn Control> {
        self.armed = false;
        Arc::clone(&self.control)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if self.armed {
            self.control.trip();
        }
    }
}
