//! Windows, timeouts and congestion control of a connection (RFC 9000).

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::Congestion;
use crate::path_mtu::Path;

/// How a connection uses memory and time. Both ends use the defaults, which
/// were measured on loopback and on long links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportSettings {
    /// Bytes the peer may send on one stream ahead of our reading: what SSH's own
    /// window of a channel is at most. 16 MiB carry 1 Gbit/s over 134 ms.
    pub stream_receive_window: u32,
    /// Bytes the peer may send on all streams of a connection together: two
    /// full ones, so that one stream nobody reads cannot hold up the others.
    /// This is also the most a peer can make us keep.
    pub connection_receive_window: u32,
    /// Bytes of ours, over all streams of a connection, that may wait for
    /// acknowledgement; what an SSH channel's window is at most.
    pub send_window: u32,
    /// Streams the peer may have open at once. Each is an SSH connection of
    /// its own.
    pub max_streams: u32,
    /// The receive window of a connection on a node until a handler has
    /// recorded an identity for it, when
    /// [`QuicConnection`](crate::QuicConnection) widens it to
    /// `connection_receive_window`: a stranger can make the node keep no more
    /// bytes than this.
    pub receive_window_before_login: u32,
    /// The send window until then, in place of `send_window`.
    pub send_window_before_login: u32,
    /// A silent peer is asked for a sign of life at this interval: well below
    /// the timeouts of address translators for UDP, often 30 s, and below what
    /// makes a peer count as away.
    pub keep_alive_interval: Duration,
    /// A peer that somebody has logged in from and that has said nothing for
    /// so long is gone. The lesser of both ends counts (RFC 9000 section
    /// 10.1).
    pub idle_timeout: Duration,
    /// The same timeout for a connection without a recorded identity, and for
    /// one without an open stream.
    pub idle_timeout_before_login: Duration,
    /// How fast to send, given what the path loses.
    pub congestion: Congestion,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            stream_receive_window: 16 * MIB,
            connection_receive_window: 32 * MIB,
            send_window: 16 * MIB,
            max_streams: 32,
            receive_window_before_login: 64 * KIB,
            send_window_before_login: 48 * KIB,
            keep_alive_interval: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(12 * 60 * 60),
            idle_timeout_before_login: Duration::from_secs(30),
            congestion: Congestion::default(),
        }
    }
}

impl TransportSettings {
    /// The transport configuration of a client on such a path.
    pub(crate) fn to_quinn(&self, path: Path) -> Arc<TransportConfig> {
        self.with_windows(self.connection_receive_window, self.send_window, path)
    }

    /// The transport configuration with which a node begins a connection.
    pub(crate) fn before_login(&self, path: Path) -> Arc<TransportConfig> {
        self.with_windows(
            self.receive_window_before_login,
            self.send_window_before_login,
            path,
        )
    }

    fn with_windows(&self, receive: u32, send: u32, path: Path) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(self.stream_receive_window))
            .receive_window(VarInt::from_u32(receive))
            .send_window(send.into())
            .max_concurrent_bidi_streams(VarInt::from_u32(self.max_streams))
            // Unused, so that a peer cannot make us keep anything there.
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(self.keep_alive_interval))
            // More than 2^62 ms cannot be expressed and means "never" anyway.
            .max_idle_timeout(IdleTimeout::try_from(self.idle_timeout).ok());
        path.apply(&mut transport);
        self.congestion.apply(&mut transport);
        Arc::new(transport)
    }
}

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
