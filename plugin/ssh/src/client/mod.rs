//! The SSH client: one authenticated connection over a stream, on which
//! commands are run and streams forwarded.

mod agent;
mod channel;
mod error;
mod files;
mod forwards;
mod handler;
mod key_file;
mod known_hosts;
mod login;
mod login_certificate;
mod process;
mod server_opened_channel;
mod tried;
mod trust;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use alknet_handler::ByteStream;
use alknet_ssh_config::Transport as TransportConfig;
use russh::client::{AuthResult, Config, Handle, Msg};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{Channel, Limits, Preferred, SshId};
use tokio::time::timeout;

pub use agent::{Agent, AgentError, AgentKey};
pub use channel::ChannelStream;
pub use error::{ClientError, OpenRefusal};
pub use files::{
    DirectoryEntry, FileAttributes, FileKind, Files, FilesError, Limits as FileLimits,
    ListingLimit, OpenHow, Pending, RemoteFile, Status as FileStatus,
};
use forwards::Forwards;
pub use forwards::{Incoming, RemoteForward, RemoteListener};
use handler::{Check, ClientHandler, ConnectionInfo};
pub use key_file::{AskPassphrase, KeyFile, KeyFileError};
pub use known_hosts::{FileLine, HostName, KnownHostsError, record_authority, record_host};
pub use login::Identities;
pub use login_certificate::{LoginCertificate, LoginCertificateError, fresh_key};
pub use process::{
    Exit, Program, RemoteControl, RemoteEnd, RemoteInput, RemoteOutput, RemoteProcess,
    SessionChannel, SessionRequest, Terminal, TerminalSize,
};
use server_opened_channel::ServerOpenedChannel;
pub use tried::{Tried, TriedOutcome};
pub use trust::{CertificateError, HostKeyError, HostTrust, fingerprint};

use crate::connection::queue::Budget;
use crate::connection::server_opened_channel::ASKED;
use crate::connection::transport::{Control, Transport};
use crate::connection::{SSH_ID, algorithms};

/// The number of messages that russh keeps for one channel.
const CHANNEL_MESSAGES: usize = 64;
/// Bytes kept of output nobody reads, of all the streams of a connection together: as
/// [`unread::UNREAD_OUTPUT`].
const ALL_UNREAD_OUTPUT: usize = 64 << 20;
/// Bytes the server may have under way beside what is kept of it.
const READ_AHEAD: usize = 64 << 20;
/// The originator of a forwarded connection that the server is told. RFC 4254
/// asks for one; the true one is kept private.
const ORIGINATOR: (&str, u32) = ("127.0.0.1", 0);
/// The time that an orderly disconnect may take.
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
    /// The log-in is for a command, which [`Client::start`] is to run. A server
    /// of ours then opens the channel for it by itself, which saves a round
    /// trip; to others this means nothing. Default false.
    pub for_command: bool,
}

/// The rate that a channel's window is made for, in bytes a second: 1 Gbit/s.
const RATE: u128 = 125_000_000;

impl ClientOptions {
    /// Adapts the options to a path with this round trip: windows of twice what
    /// the path holds at 1 Gbit/s, since half of one is granted at a time.
    /// Never less than `transport.window_bytes`, never more than
    /// `transport.max_window_bytes`.
    ///
    /// russh's client asks nobody how large a window shall become, so it must be
    /// known before the connection begins (ADR 68).
    #[must_use]
    pub fn for_round_trip(mut self, round_trip: Duration) -> Self {
        let transport = &mut self.transport;
        let twice = 2 * round_trip.as_nanos().saturating_mul(RATE) / 1_000_000_000;
        let wanted = u32::try_from(twice).unwrap_or(u32::MAX);
        transport.window_bytes = wanted
            .min(transport.max_window_bytes)
            .max(transport.window_bytes);
        self
    }
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
            for_command: false,
        }
    }
}

/// An SSH connection to a server. Dropping it cuts the connection and with it
/// all its commands; [`disconnect`](Self::disconnect) ends it in order.
pub struct Client {
    handle: Handle<ClientHandler>,
    control: Arc<dyn Control>,
    budget: Budget,
    forwards: Forwards,
    server_opened: ServerOpenedChannel,
    info: ConnectionInfo,
    timeout: Duration,
}

impl Client {
    /// Agrees on keys with the server at the other end of `stream`, which must
    /// prove to be the one that `trust` is about.
    ///
    /// # Errors
    /// When it is not ([`ClientError::HostKey`]), there is no common algorithm,
    /// or the stream fails or takes too long.
    pub async fn connect_to<S: ByteStream>(
        stream: S,
        options: &ClientOptions,
        trust: HostTrust,
    ) -> Result<Self, ClientError> {
        let preferred =
            algorithms::for_client_of(|all| trust.order(all), trust.takes_certificates());
        let check = Check::Trust(Box::new(trust));
        Self::establish(stream, options, preferred, check).await
    }

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
        let check = Check::Caller(Box::new(verify));
        Self::establish(stream, options, algorithms::for_client(), check).await
    }

    async fn establish<S: ByteStream>(
        stream: S,
        options: &ClientOptions,
        preferred: Preferred,
        check: Check,
    ) -> Result<Self, ClientError> {
        let (transport, control) = Transport::new(stream, READ_AHEAD, None);
        let cut = Cut {
            control,
            armed: true,
        };
        let budget = Budget::new(ALL_UNREAD_OUTPUT);
        let forwards = Forwards::new(budget.clone());
        let info = ConnectionInfo::default();
        let server_opened = ServerOpenedChannel::new(options.for_command);
        let handler =
            ClientHandler::new(check, forwards.clone(), server_opened.clone(), info.clone());
        let config = Arc::new(config(options, preferred));
        let setup = russh::client::connect_stream(config, transport, handler);
        let handle = timeout(options.timeout, setup)
            .await
            .map_err(|_| ClientError::Timeout("key exchange"))??;
        Ok(Self {
            handle,
            control: cut.keep(),
            budget,
            forwards,
            server_opened,
            info,
            timeout: options.timeout,
        })
    }

    /// Logs in as `user` with the first key that the server accepts. A
    /// passphrase is asked for only once the server has accepted its key.
    ///
    /// # Errors
    /// When it accepts none, with what was tried, or the connection fails.
    pub async fn log_in(
        &mut self,
        user: &str,
        identities: &mut Identities,
        ask: &dyn AskPassphrase,
    ) -> Result<(), ClientError> {
        login::run(&mut self.handle, user, identities, ask, self.timeout).await
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
        self.start(SessionRequest {
            program: Program::Command(command.into()),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            terminal: None,
        })
        .await
    }

    /// Runs a command, a shell or a subsystem, on a terminal if one is asked
    /// for. Whether it has got the terminal is told by
    /// [`RemoteProcess::has_terminal`].
    ///
    /// # Errors
    /// When the server refuses the channel or the program, or the connection
    /// fails.
    pub async fn start(&self, request: SessionRequest) -> Result<RemoteProcess, ClientError> {
        self.session().await?.start(request).await
    }

    /// Opens the channel that a program is to run on. Until it is started, the
    /// server has been told nothing of it.
    ///
    /// # Errors
    /// When the server refuses the channel, or the connection fails.
    pub async fn session(&self) -> Result<SessionChannel, ClientError> {
        let channel = match self.take_server_opened().await {
            Some(channel) => channel,
            None => self.handle.channel_open_session().await?,
        };
        Ok(SessionChannel::new(channel, &self.budget))
    }

    /// The channel that the server has opened, if it promised one.
    async fn take_server_opened(&self) -> Option<Channel<Msg>> {
        timeout(self.timeout, self.server_opened.take()?)
            .await
            .ok()?
            .ok()
    }

    /// Has the server connect to a TCP target, whose name it resolves. The
    /// target is connected when this returns.
    ///
    /// # Errors
    /// [`ClientError::ChannelRefused`] with the server's reason, or when the
    /// connection fails.
    ///
    /// Let it complete, in a task of its own if need be: what is opened for a
    /// caller that has gone stays open until the SSH connection ends.
    pub async fn direct_tcpip(&self, host: &str, port: u16) -> Result<ChannelStream, ClientError> {
        let (from, from_port) = ORIGINATOR;
        let opening = self
            .handle
            .channel_open_direct_tcpip(host, port.into(), from, from_port);
        Ok(ChannelStream::new(opening.await?, &self.budget))
    }

    /// Has the server connect to a Unix socket at its end.
    ///
    /// # Errors
    /// [`ClientError::ChannelRefused`] with the server's reason, or when the
    /// connection fails.
    pub async fn direct_streamlocal(&self, path: &str) -> Result<ChannelStream, ClientError> {
        let channel = self.handle.channel_open_direct_streamlocal(path).await?;
        Ok(ChannelStream::new(channel, &self.budget))
    }

    /// Has the server listen for us, on a port of its choice if that is 0.
    ///
    /// # Errors
    /// [`ClientError::ForwardRefused`], or when the connection fails.
    pub async fn forward(&self, listener: RemoteListener) -> Result<RemoteForward, ClientError> {
        match listener {
            RemoteListener::Tcp { address, port: 0 } => {
                let _open = self.forwards.request();
                let port = self.handle.tcpip_forward(address.as_str(), 0).await?;
                Ok(self.forwards.add(RemoteListener::Tcp { address, port }))
            }
            // Connections may come before the answer has been looked at.
            RemoteListener::Tcp { ref address, port } => {
                let forward = self.forwards.add(listener.clone());
                self.handle.tcpip_forward(address.as_str(), port).await?;
                Ok(forward)
            }
            RemoteListener::Unix(ref path) => {
                let forward = self.forwards.add(listener.clone());
                self.handle.streamlocal_forward(path.as_str()).await?;
                Ok(forward)
            }
        }
    }

    /// Has the server stop listening. What was accepted goes on.
    ///
    /// # Errors
    /// [`ClientError::ForwardRefused`] when it does not listen there, or when
    /// the connection fails.
    pub async fn cancel_forward(&self, listener: &RemoteListener) -> Result<(), ClientError> {
        match listener {
            RemoteListener::Tcp { address, port } => {
                self.handle
                    .cancel_tcpip_forward(address.as_str(), *port)
                    .await?;
            }
            RemoteListener::Unix(path) => {
                self.handle
                    .cancel_streamlocal_forward(path.as_str())
                    .await?;
            }
        }
        Ok(())
    }

    /// Asks the server for a sign of life, and waits for it.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.handle.send_ping().await?;
        if self.is_closed() {
            return Err(ClientError::Closed);
        }
        Ok(())
    }

    /// The server's version line (RFC 4253 section 4.2).
    pub fn server_version(&self) -> String {
        self.info.version()
    }

    /// How the connection ended, if it has: what the server said, or what
    /// failed.
    pub fn end(&self) -> Option<String> {
        self.info.end()
    }

    /// Completes when the connection has ended.
    pub async fn closed(&self) {
        self.forwards.ended().await;
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

    /// Says goodbye without waiting until it is heard: the stream has taken all
    /// of it, and is told to end, when this returns.
    pub async fn leave(self) {
        let goodbye = async {
            let reason = russh::Disconnect::ByApplication;
            if self.handle.disconnect(reason, "", "").await.is_ok() {
                self.control.shut_down().await;
            }
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

fn config(options: &ClientOptions, preferred: Preferred) -> Config {
    let transport = &options.transport;
    let rekey_bytes = usize::try_from(transport.rekey_bytes).unwrap_or(usize::MAX);
    let client_id = if options.for_command {
        format!("{SSH_ID} {ASKED}").into()
    } else {
        SSH_ID.into()
    };
    Config {
        client_id: SshId::Standard(client_id),
        limits: Limits {
            rekey_write_limit: rekey_bytes,
            rekey_read_limit: rekey_bytes,
            rekey_time_limit: Duration::from_secs(transport.rekey_seconds.into()),
        },
        window_size: transport.window_bytes,
        maximum_packet_size: transport.max_packet_bytes,
        channel_buffer_size: CHANNEL_MESSAGES,
        preferred,
        keepalive_interval: options.keep_alive,
        keepalive_max: 3,
        ..Config::default()
    }
}

/// Cuts the stream when dropped, unless the connection was established.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_round_trip_within_its_bounds() {
        let window = |millis| {
            let options = ClientOptions::default();
            let options = options.for_round_trip(Duration::from_millis(millis));
            options.transport.window_bytes
        };
        assert_eq!(window(0), 2 << 20);
        assert_eq!(window(50), 12_500_000);
        assert_eq!(window(200), 16 << 20);
        assert_eq!(window(u64::MAX), 16 << 20);
    }
}
