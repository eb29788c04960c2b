//! Asks a silent peer with new packets, however full the congestion window is.
//!
//! What QUIC repeats itself comes twice as late each time, and the
//! acknowledgement of a packet that was sent before an absence counts the
//! absence as a round trip: what is sent afterwards is paced as if every round
//! trip took minutes.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::VarInt;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

/// Has a connection send one packet now that its peer must acknowledge, with
/// data where some waits. `receive_window` is what the connection has, in
/// bytes; it stays.
pub fn probe(connection: &quinn::Connection, receive_window: u32) {
    let asked = ask(connection.congestion_state());
    if asked {
        // This has a MAX_DATA frame sent, and wakes the connection.
        connection.set_receive_window(VarInt::from_u32(receive_window.saturating_add(1)));
        connection.set_receive_window(VarInt::from_u32(receive_window));
    }
}

/// Lets one packet pass, given a copy of the connection's controller. Whether
/// it is one of those made here.
pub(crate) fn ask(controller: Box<dyn Controller>) -> bool {
    let probing = controller.into_any().downcast::<Probing>();
    probing.is_ok_and(|probing| {
        probing.ask.store(true, Ordering::Relaxed);
        true
    })
}

/// Makes controllers that can let one packet more pass.
pub(super) struct ProbingFactory(pub(super) Arc<dyn ControllerFactory + Send + Sync>);

impl ControllerFactory for ProbingFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Probing {
            inner: Arc::clone(&self.0).build(now, current_mtu),
            ask: Arc::default(),
            in_flight: 0,
            mtu: current_mtu,
        })
    }
}

struct Probing {
    inner: Box<dyn Controller>,
    /// Whether a packet is to be sent beyond the window; shared by the copies.
    ask: Arc<AtomicBool>,
    /// Bytes, about.
    in_flight: u64,
    mtu: u16,
}

impl Controller for Probing {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.ask.store(false, Ordering::Relaxed);
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.in_flight = in_flight;
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let window = self.inner.window();
        if self.ask.load(Ordering::Relaxed) {
            // Room for one datagram: a second one would have to fit in as well.
            window.max(self.in_flight.saturating_add(2 * u64::from(self.mtu)))
        } else {
            window
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            ask: Arc::clone(&self.ask),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
