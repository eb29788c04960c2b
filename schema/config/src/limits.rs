//! Limits of an SSH connection: time, number of channels and listeners, bytes
//! of memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::range::within;
use crate::{MaxStartups, Penalties, SshConfigError};

/// Bounds on time, number and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds a peer has from its first byte's chance to a completed
    /// authentication; then the connection is closed. 1 to 600. Default 60.
    #[schemars(range(min = 1, max = 600))]
    pub login_grace_seconds: u32,
    /// Failed authentication attempts (a wrong signature, a method that is
    /// not offered) after which the connection is closed. An offer of a key
    /// the node does not know is not one of them. 1 to 100. Default 6.
    #[schemars(range(min = 1, max = 100))]
    pub max_auth_tries: u32,
    /// Public keys a peer may offer on one SSH connection before it is
    /// closed; an agent with many keys needs as many. 1 to 1000. Default 32.
    #[schemars(range(min = 1, max = 1000))]
    pub max_key_offers: u32,
    /// Open channels per SSH connection. 1 to 1000. Default 128.
    #[schemars(range(min = 1, max = 1000))]
    pub max_channels: u32,
    /// Listeners, on ports and Unix sockets together, per SSH connection.
    /// 1 to 1000. Default 128.
    #[schemars(range(min = 1, max = 1000))]
    pub max_listeners: u32,
    /// Environment requests per channel that are considered; further ones are
    /// refused. 0 to 10000. Default 256.
    #[schemars(range(min = 0, max = 10000))]
    pub max_env_requests: u32,
    /// SSH connections per QUIC connection, each on a stream of its own.
    /// 1 to 1000. Default 16.
    #[schemars(range(min = 1, max = 1000))]
    pub max_streams: u32,
    /// Seconds after which an SSH connection is ended no matter what it does.
    /// 0 means never. 0 to 31536000 (a year). Default 0.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub session_lifetime_seconds: u32,
    /// Seconds of silence from the peer after which it is asked for a sign of
    /// life. 0 means never, so that a session outlives its network. A value
    /// below `login_grace_seconds` counts as that, because a peer must not be
    /// asked before it has authenticated. 0 to 86400. Default 0.
    #[schemars(range(min = 0, max = 86_400))]
    pub client_alive_interval_seconds: u32,
    /// Unanswered signs-of-life requests after which the connection is
    /// closed. 1 to 100. Default 3.
    #[schemars(range(min = 1, max = 100))]
    pub client_alive_count_max: u32,
    /// Bytes kept for one channel whose program or target does not read its
    /// input; beyond it, and a window more, the peer may send next to nothing
    /// until it reads on. 65536 to 1073741824. Default 4194304 (4 MiB).
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub channel_buffer_bytes: u32,
    /// The same for all channels of one SSH connection together. Less than
    /// `transport.window_bytes` counts as that, since a peer may send so much
    /// unasked. 65536 to 1073741824. Default 16777216 (16 MiB).
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub session_buffer_bytes: u32,
    /// The same for all SSH connections of the handler together. 1048576 to
    /// 68719476736. Default 268435456 (256 MiB).
    #[schemars(range(min = 1_048_576_u64, max = 68_719_476_736_u64))]
    pub total_buffer_bytes: u64,
    /// Seconds for which a program or target with a full buffer may leave its
    /// input unread while other channels are open on the same SSH connection,
    /// whose uploads it slows down; then its channel is closed and the program
    /// ended. 1 to 86400. Default 10.
    #[schemars(range(min = 1, max = 86_400))]
    pub stalled_channel_seconds: u32,
    /// Connections on which nobody has logged in yet.
    pub max_startups: MaxStartups,
    /// What follows for an address from which log-ins fail.
    pub penalties: Penalties,
    /// Seconds after which an SSH connection without an open channel is
    /// closed; listeners (`ssh -R`) are not channels. 0 means never. 0 to
    /// 31536000 (a year). Default 0.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub session_idle_seconds: u32,
    /// Seconds without a byte in either direction after which a channel is
    /// closed, its command ended. 0 means never. 0 to 31536000 (a year).
    /// Default 0.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub channel_idle_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_grace_seconds: 60,
            max_auth_tries: 6,
            max_key_offers: 32,
            max_channels: 128,
            max_listeners: 128,
            max_env_requests: 256,
            max_streams: 16,
            session_lifetime_seconds: 0,
            client_alive_interval_seconds: 0,
            client_alive_count_max: 3,
            channel_buffer_bytes: 4 << 20,
            session_buffer_bytes: 16 << 20,
            total_buffer_bytes: 256 << 20,
            stalled_channel_seconds: 10,
            max_startups: MaxStartups::default(),
            penalties: Penalties::default(),
            session_idle_seconds: 0,
            channel_idle_seconds: 0,
        }
    }
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), SshConfigError> {
        let buffer = 65_536..=1_073_741_824;
        within(
            "/limits/login_grace_seconds",
            self.login_grace_seconds,
            1..=600,
        )?;
        within("/limits/max_auth_tries", self.max_auth_tries, 1..=100)?;
        within("/limits/max_key_offers", self.max_key_offers, 1..=1000)?;
        within("/limits/max_channels", self.max_channels, 1..=1000)?;
        within("/limits/max_listeners", self.max_listeners, 1..=1000)?;
        within(
            "/limits/max_env_requests",
            self.max_env_requests,
            0..=10_000,
        )?;
        within("/limits/max_streams", self.max_streams, 1..=1000)?;
        within(
            "/limits/session_lifetime_seconds",
            self.session_lifetime_seconds,
            0..=31_536_000,
        )?;
        within(
            "/limits/client_alive_interval_seconds",
            self.client_alive_interval_seconds,
            0..=86_400,
        )?;
        within(
            "/limits/client_alive_count_max",
            self.client_alive_count_max,
            1..=100,
        )?;
        within(
            "/limits/channel_buffer_bytes",
            self.channel_buffer_bytes,
            buffer.clone(),
        )?;
        within(
            "/limits/session_buffer_bytes",
            self.session_buffer_bytes,
            buffer,
        )?;
        within(
            "/limits/total_buffer_bytes",
            self.total_buffer_bytes,
            1_048_576..=68_719_476_736,
        )?;
        within(
            "/limits/stalled_channel_seconds",
            self.stalled_channel_seconds,
            1..=86_400,
        )?;
        within(
            "/limits/session_idle_seconds",
            self.session_idle_seconds,
            0..=31_536_000,
        )?;
        within(
            "/limits/channel_idle_seconds",
            self.channel_idle_seconds,
            0..=31_536_000,
        )?;
        self.max_startups.validate()?;
        self.penalties.validate()
    }
}
