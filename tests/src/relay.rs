//! A network between a client and a node that delays, loses and moves.

use std::collections::{BinaryHeap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::Random;

/// Carries datagrams between clients and one node, as a translator of
/// addresses does: each client has a port of the relay's towards the node. It
/// works until it is dropped.
pub struct Relay {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

/// One datagram that came to the relay, whether or not it was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The time at which it came, counted from the relay's start.
    pub at: Duration,
    /// Whether it went from the client to the node, or the other way.
    pub to_node: bool,
    /// Bytes of UDP payload.
    pub length: usize,
    /// Whether it was passed on.
    pub passed: bool,
}

struct Shared {
    started: Instant,
    /// The socket that clients send to.
    front: UdpSocket,
    state: Mutex<State>,
    due: Condvar,
}

struct State {
    node: SocketAddr,
    delay: Duration,
    /// The number of datagrams lost of 1000.
    lost_of_1000: u64,
    random: Random,
    /// Bytes a second that come out towards the client, if bounded.
    rate: Option<u64>,
    /// The longest datagram that passes, in bytes.
    longest: usize,
    /// The time at which the next datagram may leave towards the client.
    next_out: Instant,
    is_cut: bool,
    /// The socket whose address the clients' datagrams pretend to come from.
    spoofed: Option<Arc<UdpSocket>>,
    /// The relay's socket towards the node for each client.
    backs: HashMap<SocketAddr, Arc<UdpSocket>>,
    forgotten: Vec<SocketAddr>,
    log: Vec<Datagram>,
    waiting: BinaryHeap<Waiting>,
    sequence: u64,
    over: bool,
}

/// A datagram on its way.
struct Waiting {
    due: Instant,
    sequence: u64,
    bytes: Vec<u8>,
    to: To,
}

enum To {
    Node(Arc<UdpSocket>),
    Client(SocketAddr),
}

const LARGEST: usize = 65_536;
const SOCKET_BUFFER: usize = 4 << 20;
/// The interval at which the threads check whether the relay was dropped.
const LOOK: Duration = Duration::from_millis(100);
/// The time's worth of data that a bounded link holds before it drops any.
const QUEUE: Duration = Duration::from_millis(200);

impl Relay {
    /// One that passes everything on at once, to a node on 127.0.0.1.
    pub fn to(node: SocketAddr) -> Self {
        Self::delaying(node, Duration::ZERO)
    }

    /// One that takes so long in each direction.
    pub fn delaying(node: SocketAddr, one_way: Duration) -> Self {
        let front = socket(Ipv4Addr::LOCALHOST.into());
        let addr = front.local_addr().unwrap();
        let started = Instant::now();
        let shared = Arc::new(Shared {
            started,
            front,
            state: Mutex::new(State {
                node,
                delay: one_way,
                lost_of_1000: 0,
                random: Random::new(1),
                rate: None,
                longest: LARGEST,
                next_out: started,
                is_cut: false,
                spoofed: None,
                backs: HashMap::new(),
                forgotten: Vec::new(),
                log: Vec::new(),
                waiting: BinaryHeap::new(),
                sequence: 0,
                over: false,
            }),
            due: Condvar::new(),
        });
        let reader = Arc::clone(&shared);
        std::thread::spawn(move || reader.read_front());
        let sender = Arc::clone(&shared);
        std::thread::spawn(move || sender.deliver());
        Self { shared, addr }
    }

    /// Where clients find the node.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes how long each direction takes.
    pub fn delay(&self, one_way: Duration) {
        self.shared.lock().delay = one_way;
    }

    /// Loses so many of 1000 datagrams from now on, by the same dice each time.
    pub fn lose(&self, of_1000: u64) {
        self.shared.lock().lost_of_1000 = of_1000;
    }

    /// Lets no more than so many bytes a second through towards the client; what
    /// would wait longer than 200 ms is dropped.
    pub fn limit(&self, bytes_per_second: u64) {
        self.shared.lock().rate = Some(bytes_per_second);
    }

    /// Drops datagrams that are longer, as a path with an MTU of 28 bytes more
    /// does.
    pub fn narrow(&self, longest: usize) {
        self.shared.lock().longest = longest;
    }

    /// Drops everything, also what is under way, until [`mend`](Self::mend).
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.is_cut = true;
        state.waiting.clear();
    }

    /// Ends a cut.
    pub fn mend(&self) {
        self.shared.lock().is_cut = false;
    }

    /// Leads to another node from now on.
    pub fn lead_to(&self, node: SocketAddr) {
        self.shared.lock().node = node;
    }

    /// Gives every client another port towards the node; what comes to the old
    /// one is lost.
    pub fn change_ports(&self) {
        let mut state = self.shared.lock();
        let clients: Vec<_> = state.backs.keys().copied().collect();
        for client in clients {
            let back = self.shared.new_back(client);
            state.backs.insert(client, back);
        }
    }

    /// Moves every client to another address of the loopback network: from now
    /// on the node hears it from there, and reaches it there.
    pub fn move_to(&self, ip: IpAddr) {
        let mut state = self.shared.lock();
        let clients: Vec<_> = state.backs.keys().copied().collect();
        for client in clients {
            let back = self.shared.back(client, ip);
            state.backs.insert(client, back);
        }
    }

    /// Writes an address into the clients' datagrams that is not theirs: what
    /// the node sends there is lost. None ends it.
    pub fn spoof(&self, ip: Option<IpAddr>) {
        self.shared.lock().spoofed = ip.map(|ip| Arc::new(socket(ip)));
    }

    /// Knows the clients no longer and drops all that comes from the addresses
    /// they had so far: only from another port do they get through.
    pub fn forget_clients(&self) {
        let mut state = self.shared.lock();
        let clients: Vec<_> = state.backs.drain().map(|(client, _)| client).collect();
        state.forgotten.extend(clients);
    }

    /// All datagrams that came so far.
    pub fn datagrams(&self) -> Vec<Datagram> {
        self.shared.lock().log.clone()
    }

    /// How often the client waited for the node before it sent its last
    /// datagram: the longest chain of one answering the other, since what has
    /// not arrived cannot be answered. With a delay far above what either side
    /// takes to think, this is what the exchange needs, however busy the
    /// machine. The delay must have been the same all the time.
    pub fn round_trips(&self) -> usize {
        let state = self.shared.lock();
        round_trips(&state.log, state.delay)
    }

    /// From how many ports clients have been heard since the last
    /// [`forget_clients`](Self::forget_clients).
    pub fn clients(&self) -> usize {
        self.shared.lock().backs.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.due.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_front(self: Arc<Self>) {
        let mut buffer = vec![0; LARGEST];
        while !self.lock().over {
            let Some((length, client)) = receive(&self.front, &mut buffer) else {
                continue;
            };
            let mut state = self.lock();
            let known = !state.forgotten.contains(&client);
            let passed = known && state.passes(length);
            self.record(&mut state, true, length, passed);
            if !known {
                continue;
            }
            let back = match state.backs.get(&client) {
                Some(back) => Arc::clone(back),
                None => {
                    let back = self.new_back(client);
                    state.backs.insert(client, Arc::clone(&back));
                    back
                }
            };
            if passed {
                let due = Instant::now() + state.delay;
                let from = state.spoofed.clone().unwrap_or(back);
                self.put(&mut state, due, buffer[..length].to_vec(), To::Node(from));
            }
        }
    }

    /// A socket towards the node, and a thread that reads it for as long as it
    /// is the client's. The caller holds the lock until it is.
    fn new_back(self: &Arc<Self>, client: SocketAddr) -> Arc<UdpSocket> {
        self.back(client, Ipv4Addr::LOCALHOST.into())
    }

    fn back(self: &Arc<Self>, client: SocketAddr, ip: IpAddr) -> Arc<UdpSocket> {
        let back = Arc::new(socket(ip));
        let shared = Arc::clone(self);
        let socket = Arc::clone(&back);
        std::thread::spawn(move || shared.read_back(&socket, client));
        back
    }

    fn read_back(&self, back: &Arc<UdpSocket>, client: SocketAddr) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = receive(back, &mut buffer);
            let mut state = self.lock();
            let is_current = |known: &Arc<UdpSocket>| Arc::ptr_eq(known, back);
            if state.over || !state.backs.get(&client).is_some_and(is_current) {
                return;
            }
            let Some((length, _)) = received else {
                continue;
            };
            let now = Instant::now();
            let departs = match state.rate {
                Some(rate) => {
                    let departs = state.next_out.max(now);
                    let takes = length as f64 / rate as f64;
                    state.next_out = departs + Duration::from_secs_f64(takes);
                    departs
                }
                None => now,
            };
            let fits = departs - now <= QUEUE;
            if !fits {
                state.next_out = departs;
            }
            let passed = fits && state.passes(length);
            self.record(&mut state, false, length, passed);
            if passed {
                let due = departs + state.delay;
                self.put(
                    &mut state,
                    due,
                    buffer[..length].to_vec(),
                    To::Client(client),
                );
            }
        }
    }

    fn record(&self, state: &mut State, to_node: bool, length: usize, passed: bool) {
        state.log.push(Datagram {
            at: self.started.elapsed(),
            to_node,
            length,
            passed,
        });
    }

    fn put(&self, state: &mut State, due: Instant, bytes: Vec<u8>, to: To) {
        state.sequence += 1;
        let sequence = state.sequence;
        state.waiting.push(Waiting {
            due,
            sequence,
            bytes,
            to,
        });
        self.due.notify_one();
    }

    fn deliver(&self) {
        let mut state = self.lock();
        while !state.over {
            let now = Instant::now();
            let wait = match state.waiting.peek() {
                Some(next) if next.due <= now => Duration::ZERO,
                Some(next) => next.due - now,
                None => LOOK,
            };
            if !wait.is_zero() {
                let waited = self.due.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(next) = state.waiting.pop() else {
                continue;
            };
            let node = state.node;
            drop(state);
            // A full buffer or a port that is closed: lost, as on any network.
            let _ = match next.to {
                To::Node(back) => back.send_to(&next.bytes, node),
                To::Client(client) => self.front.send_to(&next.bytes, client),
            };
            state = self.lock();
        }
    }
}

impl State {
    fn passes(&mut self, length: usize) -> bool {
        let unlucky = self.lost_of_1000 > 0 && self.random.number() % 1000 < self.lost_of_1000;
        !self.is_cut && !unlucky && length <= self.longest
    }
}

/// See [`Relay::round_trips`].
fn round_trips(log: &[Datagram], one_way: Duration) -> usize {
    // In which round each was sent: the client's first is of round 1, so is the
    // node's answer, and what answers that is of round 2.
    let mut rounds: Vec<usize> = Vec::new();
    for datagram in log {
        let heard = log.iter().zip(&rounds).filter(|(earlier, _)| {
            earlier.passed
                && earlier.to_node != datagram.to_node
                && earlier.at + one_way <= datagram.at
        });
        let last = heard.map(|(_, round)| *round).max().unwrap_or(0);
        rounds.push(last + usize::from(datagram.to_node));
    }
    let clients = log.iter().zip(&rounds).filter(|(sent, _)| sent.to_node);
    let last = clients.map(|(_, round)| *round).max().unwrap_or(0);
    last.saturating_sub(1)
}

impl Ord for Waiting {
    /// The one that is due first is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Waiting {}

fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    // The kernel may give less.
    let _ = set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
    let _ = set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    socket
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok(received) => Some(received),
        Err(error) => {
            // A closed port at the other end shows as an error here.
            let expected = [
                ErrorKind::WouldBlock,
                ErrorKind::TimedOut,
                ErrorKind::ConnectionRefused,
                ErrorKind::Interrupted,
            ];
            assert!(expected.contains(&error.kind()), "{error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_a_wait_for_the_other_side() {
        let log = |sent: &[(u64, bool)]| -> Vec<Datagram> {
            let datagram = |&(at, to_node)| Datagram {
                at: Duration::from_millis(at),
                to_node,
                length: 100,
                passed: true,
            };
            sent.iter().map(datagram).collect()
        };
        let count = |sent: &[_]| round_trips(&log(sent), Duration::from_millis(10));
        assert_eq!(count(&[]), 0);
        // Two in one go, and the goodbye after the answer.
        let (there, back) = (true, false);
        let one = [(0, there), (1, there), (12, back), (13, back), (24, there)];
        assert_eq!(count(&one), 1);
        // What crosses an answer on the way does not wait for it.
        let crossing = [(0, there), (12, back), (15, there), (26, back), (30, there)];
        assert_eq!(count(&crossing), 1);
        // A pause is not a round trip.
        let pause = [(0, there), (500, back), (900, there), (911, back)];
        assert_eq!(count(&pause), 1);
    }
}
