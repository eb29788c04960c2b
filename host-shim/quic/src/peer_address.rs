//! Where a peer is known to be.
//!
//! quinn sends to, and names, the address of the newest packet. That is only a
//! claim until the peer has answered a PATH_CHALLENGE from there (RFC 9000
//! section 9.3): whoever can write a source address into one datagram could
//! make it any. quinn does not tell when a path is validated, but it puts the
//! challenge into every packet that it sends on one that is not. So a packet
//! that leaves without a challenge proves the path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, VarInt};
use tokio::time::sleep;

/// The interval at which a connection is looked at, and so the time that a move
/// may go unnoticed.
const LOOK: Duration = Duration::from_secs(1);
/// The interval at which it is checked whether a packet has left, and the
/// number of checks.
const SENT: Duration = Duration::from_millis(20);
const SENT_LOOKS: usize = 25;
/// Packets in a row that must leave without a challenge. One proves the path
/// unless the socket was full in that moment; a second leaves no doubt.
const PACKETS: usize = 2;

/// The address at which a peer has proven to receive: that of the handshake,
/// and later that of a path it answered a challenge on.
#[derive(Debug)]
pub(crate) struct PeerAddress {
    proven: Mutex<SocketAddr>,
    /// The connection's receive window.
    window: Mutex<u32>,
}

impl PeerAddress {
    pub(crate) fn new(handshake: SocketAddr, window: u32) -> Self {
        Self {
            proven: Mutex::new(handshake),
            window: Mutex::new(window),
        }
    }

    pub(crate) fn proven(&self) -> SocketAddr {
        *lock(&self.proven)
    }

    /// Sets the connection's receive window, which belongs here because asking
    /// for a packet moves it.
    pub(crate) fn set_window(&self, connection: &Connection, window: u32) {
        let mut current = lock(&self.window);
        *current = window;
        connection.set_receive_window(VarInt::from_u32(window));
    }

    /// Takes note of every address that the peer proves. Never completes.
    pub(crate) async fn follow(&self, connection: &Connection) -> Infallible {
        loop {
            sleep(LOOK).await;
            let present = connection.remote_address();
            if present != self.proven() && self.is_validated(connection, present).await {
                *lock(&self.proven) = present;
            }
        }
    }

    /// Whether `address` is that of the connection's path, and validated.
    ///
    /// Every move to another path gets a challenge of its own, sent before
    /// anybody else can look at the connection. So while their number stays the
    /// same the path has not changed, unless back to one validated before; and
    /// a packet without one leaves only where the path is validated.
    async fn is_validated(&self, connection: &Connection, address: SocketAddr) -> bool {
        let challenges = || connection.stats().frame_tx.path_challenge;
        let before = challenges();
        if connection.remote_address() != address {
            return false;
        }
        for _ in 0..PACKETS {
            if !self.packet_left(connection).await
                || connection.remote_address() != address
                || challenges() != before
            {
                return false;
            }
        }
        true
    }

    /// Has a packet sent that would carry a challenge if one were open. Where
    /// its MAX_DATA fits, a challenge, which comes first, does as well.
    async fn packet_left(&self, connection: &Connection) -> bool {
        let sent = || connection.stats().frame_tx.max_data;
        let before = sent();
        {
            let window = lock(&self.window);
            connection.set_receive_window(VarInt::from_u32(window.saturating_add(1)));
            connection.set_receive_window(VarInt::from_u32(*window));
        }
        for _ in 0..SENT_LOOKS {
            if sent() > before {
                return true;
            }
            sleep(SENT).await;
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
