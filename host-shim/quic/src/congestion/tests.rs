//! Two ends of a connection and the link between them, in a time of their own:
//! how busy the machine is makes no difference.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, StreamId,
};

use super::*;
use crate::client::quinn_config;
use crate::{Client, NodeSecret, Server, TransportSettings, Trust};

/// 100 Mbit/s.
const BYTES_PER_SECOND: u64 = 12_500_000;
const NANOS_PER_BYTE: u64 = 1_000_000_000 / BYTES_PER_SECOND;
const HEADERS: u64 = 28;

#[test]
fn random_losses_do_not_slow_a_connection_down() {
    let lossy = |congestion| download(congestion, Duration::from_millis(50), 1, 5);
    let cubic = lossy(Congestion::Cubic);
    let adaptive = lossy(Congestion::Adaptive);
    // Seen: 0.4 and 9 MiB/s of 11.4.
    assert!(cubic < BYTES_PER_SECOND, "{cubic}");
    assert!(adaptive > 5 * BYTES_PER_SECOND * 2 / 5, "{adaptive}");
}

#[test]
fn a_long_path_is_filled_without_breaking_the_connection() {
    let bytes = download(Congestion::Adaptive, Duration::from_millis(200), 0, 5);
    assert!(bytes > 5 * BYTES_PER_SECOND / 2, "{bytes}");
}

/// Bytes that arrive in so many seconds, from a node whose link has a queue for
/// one bandwidth-delay product.
fn download(congestion: Congestion, round_trip: Duration, lost_percent: u64, seconds: u64) -> u64 {
    let mut net = Net::new(congestion, round_trip, lost_percent);
    let end = net.now + Duration::from_secs(seconds);
    while net.now < end {
        for side in [CLIENT, NODE] {
            net.drive(side);
        }
        net.wait(end);
    }
    net.received
}

const CLIENT: usize = 0;
const NODE: usize = 1;

/// A datagram on its way: when it arrives, in which order, and at whom.
type Arrival = (Instant, u64, usize, Vec<u8>);

struct Net {
    now: Instant,
    one_way: Duration,
    lost_percent: u64,
    random: u64,
    sides: [Side; 2],
    air: BinaryHeap<Reverse<Arrival>>,
    sent: u64,
    stream: Option<StreamId>,
    received: u64,
}

struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    /// When the link to the other side is idle, what waits for it, and how
    /// much may.
    idle_at: Instant,
    queue: VecDeque<(Instant, u64)>,
    queued: u64,
    limit: u64,
}

impl Net {
    fn new(congestion: Congestion, round_trip: Duration, lost_percent: u64) -> Self {
        let now = Instant::now();
        let settings = TransportSettings {
            congestion,
            ..TransportSettings::default()
        };
        let secret = NodeSecret::from_seed(&[1; 32]).unwrap();
        let server = Server::new(&secret, &settings).unwrap();
        let mut config = server.config(&[b"x".to_vec()]).unwrap();
        config.transport_config(settings.to_quinn());
        let client = Client {
            trust: Trust::Pinned(secret.public()),
            key: None,
            alpn: b"x".to_vec(),
            settings,
        };
        let addresses = ["192.0.2.1:1", "192.0.2.2:2"].map(|text| text.parse().unwrap());
        let limit = round_trip.as_secs_f64() * BYTES_PER_SECOND as f64;
        let side = |endpoint, address| Side {
            endpoint,
            connection: None,
            address,
            idle_at: now,
            queue: VecDeque::new(),
            queued: 0,
            limit: limit as u64,
        };
        let ours = Arc::new(EndpointConfig::default());
        let node = Arc::new(server.endpoint_config());
        let mut sides = [
            side(Endpoint::new(ours, None, true, None), addresses[CLIENT]),
            side(
                Endpoint::new(node, Some(Arc::new(config)), true, None),
                addresses[NODE],
            ),
        ];
        let config = quinn_config(&client, Arc::default()).unwrap();
        let connected = sides[CLIENT]
            .endpoint
            .connect(now, config, addresses[NODE], "x");
        sides[CLIENT].connection = Some(connected.unwrap());
        Self {
            now,
            one_way: round_trip / 2,
            lost_percent,
            random: 88_172_645_463_325_252,
            sides,
            air: BinaryHeap::new(),
            sent: 0,
            stream: None,
            received: 0,
        }
    }

    /// Lets one side do what there is to do now.
    fn drive(&mut self, side: usize) {
        let now = self.now;
        let mut buffer = Vec::new();
        loop {
            let Side {
                endpoint,
                connection,
                ..
            } = &mut self.sides[side];
            let Some((handle, connection)) = connection else {
                return;
            };
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            while connection.poll().is_some() {}
            if side == CLIENT {
                read(connection, &mut self.stream, &mut self.received);
            } else if let Some(stream) = self.stream {
                write(connection, stream);
            }
            buffer.clear();
            let Some(transmit) = connection.poll_transmit(now, 10, &mut buffer) else {
                return;
            };
            let size = transmit.segment_size.unwrap_or(transmit.size);
            for datagram in buffer[..transmit.size].chunks(size) {
                self.send(side, datagram);
            }
        }
    }

    fn send(&mut self, side: usize, datagram: &[u8]) {
        let link = &mut self.sides[side];
        while let Some((_, length)) = link.queue.pop_front_if(|(gone, _)| *gone <= self.now) {
            link.queued -= length;
        }
        let length = datagram.len() as u64 + HEADERS;
        if link.queued + length > link.limit {
            return;
        }
        link.idle_at = link.idle_at.max(self.now) + Duration::from_nanos(length * NANOS_PER_BYTE);
        link.queued += length;
        link.queue.push_back((link.idle_at, length));
        let arrives = link.idle_at + self.one_way;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if (self.random >> 33) % 100 >= self.lost_percent {
            self.sent += 1;
            let arrival = (arrives, self.sent, 1 - side, datagram.to_vec());
            self.air.push(Reverse(arrival));
        }
    }

    /// Goes on to when something happens next.
    fn wait(&mut self, end: Instant) {
        let timers = self.sides.iter_mut().filter_map(|side| {
            let (_, connection) = side.connection.as_mut()?;
            connection.poll_timeout()
        });
        let arrival = self.air.peek().map(|Reverse((at, ..))| *at);
        let next = timers.chain(arrival).min().unwrap_or(end);
        self.now = next.max(self.now);
        while let Some(Reverse((at, ..))) = self.air.peek()
            && *at <= self.now
        {
            let Some(Reverse((_, _, side, datagram))) = self.air.pop() else {
                return;
            };
            self.arrived(side, &datagram);
        }
    }

    fn arrived(&mut self, at: usize, datagram: &[u8]) {
        let from = self.sides[1 - at].address;
        let side = &mut self.sides[at];
        let mut answer = Vec::new();
        let event = side.endpoint.handle(
            self.now,
            from,
            None,
            None,
            BytesMut::from(datagram),
            &mut answer,
        );
        match event {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut side.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = side.endpoint.accept(incoming, self.now, &mut answer, None);
                side.connection = Some(accepted.ok().unwrap());
            }
            _ => {}
        }
    }
}

/// Opens a stream and takes what comes on it.
fn read(connection: &mut Connection, stream: &mut Option<StreamId>, received: &mut u64) {
    if stream.is_none() && !connection.is_handshaking() {
        let opened = connection.streams().open(Dir::Bi).unwrap();
        connection.send_stream(opened).write(b"x").unwrap();
        *stream = Some(opened);
    }
    let Some(stream) = *stream else { return };
    let mut half = connection.recv_stream(stream);
    let Ok(mut chunks) = half.read(true) else {
        return;
    };
    while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
        *received += chunk.bytes.len() as u64;
    }
    let _ = chunks.finalize();
}

/// Writes as much as is taken.
fn write(connection: &mut Connection, stream: StreamId) {
    let _ = connection.streams().accept(Dir::Bi);
    let zeros = Bytes::from_static(&[0; 64 << 10]);
    while connection.send_stream(stream).write(&zeros).is_ok() {}
}
