//! Two ends of a connection and the link between them, in a time of their own:
//! how busy the machine is makes no difference, and an hour takes no time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, StreamId, VarInt,
};

use crate::client::quinn_config;
use crate::congestion::ask;
use crate::{
    Client, Congestion, NodeSecret, Server, Silence, Step, Traffic, TransportSettings, Trust,
};

/// 100 Mbit/s.
pub(crate) const BYTES_PER_SECOND: u64 = 12_500_000;
const NANOS_PER_BYTE: u64 = 1_000_000_000 / BYTES_PER_SECOND;
const HEADERS: u64 = 28;

pub(crate) const CLIENT: usize = 0;
pub(crate) const NODE: usize = 1;

/// A datagram on its way: when it arrives, in which order, at whom, from where
/// and to where.
type Arrival = (Instant, u64, usize, [SocketAddr; 2], Vec<u8>);

/// A client, a node, and a link that has a queue for one bandwidth-delay
/// product.
pub(crate) struct Net {
    pub(crate) now: Instant,
    /// Whether nothing gets through.
    pub(crate) is_cut: bool,
    one_way: Duration,
    lost_percent: u64,
    random: u64,
    pub(crate) sides: [Side; 2],
    air: BinaryHeap<Reverse<Arrival>>,
    sent: u64,
    stream: Option<StreamId>,
    receive_window: u32,
    silence: Silence,
    look: Instant,
    last_of_client: Vec<u8>,
}

/// One end.
pub(crate) struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    /// Bytes that wait to be written to the stream.
    pub(crate) to_write: u64,
    /// Bytes that were read from it.
    pub(crate) received: u64,
    /// When the link to the other side is idle, what waits for it, and how
    /// much may.
    idle_at: Instant,
    queue: VecDeque<(Instant, u64)>,
    queued: u64,
    limit: u64,
}

impl Net {
    pub(crate) fn new(congestion: Congestion, round_trip: Duration, lost_percent: u64) -> Self {
        let now = Instant::now();
        let settings = TransportSettings {
            congestion,
            ..TransportSettings::default()
        };
        let receive_window = settings.connection_receive_window;
        let secret = NodeSecret::from_seed(&[1; 32]).unwrap();
        let server = Server::new(&secret, &settings).unwrap();
        let mut config = server.config(&[b"x".to_vec()]).unwrap();
        config.transport_config(settings.to_quinn(crate::path_mtu::Path::Ethernet));
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
            to_write: 0,
            received: 0,
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
        let config =
            quinn_config(&client, crate::path_mtu::Path::Ethernet, Arc::default()).unwrap();
        let connected = sides[CLIENT]
            .endpoint
            .connect(now, config, addresses[NODE], "x");
        sides[CLIENT].connection = Some(connected.unwrap());
        // By which the node sees the stream.
        sides[CLIENT].to_write = 1;
        Self {
            now,
            is_cut: false,
            one_way: round_trip / 2,
            lost_percent,
            random: 88_172_645_463_325_252,
            sides,
            air: BinaryHeap::new(),
            sent: 0,
            stream: None,
            receive_window,
            silence: Silence::default(),
            look: now,
            last_of_client: Vec::new(),
        }
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// The same until something holds; how long that took, if it did.
    pub(crate) fn run_until(
        &mut self,
        time: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        let end = start + time;
        while self.now < end {
            for side in [CLIENT, NODE] {
                self.drive(side);
            }
            self.look();
            if holds(self) {
                return Some(self.now - start);
            }
            self.wait(end);
        }
        None
    }

    /// Lets one side do what there is to do now.
    fn drive(&mut self, side: usize) {
        let now = self.now;
        let mut buffer = Vec::new();
        loop {
            let Side {
                endpoint,
                connection,
                to_write,
                received,
                ..
            } = &mut self.sides[side];
            let Some((handle, connection)) = connection else {
                return;
            };
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            while connection.poll().is_some() {}
            if side == NODE {
                let _ = connection.streams().accept(Dir::Bi);
            } else if self.stream.is_none() && !connection.is_handshaking() {
                self.stream = connection.streams().open(Dir::Bi);
            }
            if let Some(stream) = self.stream {
                read(connection, stream, received);
                write(connection, stream, to_write);
            }
            buffer.clear();
            // What is to be sent goes before what is due, as in quinn.
            let Some(transmit) = connection.poll_transmit(now, 10, &mut buffer) else {
                if connection.poll_timeout().is_none_or(|at| at > now) {
                    return;
                }
                connection.handle_timeout(now);
                continue;
            };
            let size = transmit.segment_size.unwrap_or(transmit.size);
            for datagram in buffer[..transmit.size].chunks(size) {
                self.send(side, transmit.destination, datagram);
            }
            if side == CLIENT {
                self.last_of_client.clear();
                let first = &buffer[..size.min(transmit.size)];
                self.last_of_client.extend_from_slice(first);
            }
        }
    }

    /// What a client does while its node is silent.
    fn look(&mut self) {
        if self.now < self.look {
            return;
        }
        self.look = self.now + Silence::LOOK;
        let Some((_, connection)) = &mut self.sides[CLIENT].connection else {
            return;
        };
        let traffic = Traffic::of(&connection.stats());
        match self.silence.next(&traffic, self.now, connection.rtt()) {
            Step::Wait => {}
            Step::Ask => {
                let last = self.last_of_client.clone();
                let node = self.sides[NODE].address;
                self.send(CLIENT, node, &last);
            }
            Step::Move => {
                assert!(ask(connection.congestion_state().clone_box()));
                connection.set_receive_window(VarInt::from_u32(self.receive_window + 1));
                connection.set_receive_window(VarInt::from_u32(self.receive_window));
                self.move_client();
            }
            Step::GoOn(_) => {
                connection.local_address_changed();
                self.move_client();
            }
        }
        self.drive(CLIENT);
    }

    fn move_client(&mut self) {
        let address = &mut self.sides[CLIENT].address;
        address.set_port(address.port() % 60_000 + 1);
    }

    fn send(&mut self, side: usize, to: SocketAddr, datagram: &[u8]) {
        let link = &mut self.sides[side];
        while let Some((_, length)) = link.queue.pop_front_if(|(gone, _)| *gone <= self.now) {
            link.queued -= length;
        }
        let length = datagram.len() as u64 + HEADERS;
        if self.is_cut || link.queued + length > link.limit {
            return;
        }
        link.idle_at = link.idle_at.max(self.now) + Duration::from_nanos(length * NANOS_PER_BYTE);
        link.queued += length;
        link.queue.push_back((link.idle_at, length));
        let arrives = link.idle_at + self.one_way;
        let way = [link.address, to];
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if (self.random >> 33) % 100 >= self.lost_percent {
            self.sent += 1;
            let arrival = (arrives, self.sent, 1 - side, way, datagram.to_vec());
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
        self.now = next.min(self.look).max(self.now);
        while let Some(Reverse((at, ..))) = self.air.peek()
            && *at <= self.now
        {
            let Some(Reverse((_, _, side, way, datagram))) = self.air.pop() else {
                return;
            };
            self.arrived(side, way, &datagram);
        }
    }

    fn arrived(&mut self, at: usize, [from, to]: [SocketAddr; 2], datagram: &[u8]) {
        let side = &mut self.sides[at];
        if self.is_cut || to != side.address {
            return;
        }
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

fn read(connection: &mut Connection, stream: StreamId, received: &mut u64) {
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
fn write(connection: &mut Connection, stream: StreamId, left: &mut u64) {
    let zeros = Bytes::from_static(&[0; 64 << 10]);
    while *left > 0 {
        let some = zeros.slice(..zeros.len().min(usize::try_from(*left).unwrap()));
        let Ok(taken) = connection.send_stream(stream).write(&some) else {
            return;
        };
        *left -= taken as u64;
    }
}
