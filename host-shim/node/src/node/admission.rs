//! How many connections there may be, looked at before a handler sees one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ConnectionsConfig;
use crate::metrics::counters::{self, AdmissionError};

/// Log lines about rejected connections that are written in any [`EVERY`].
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(1);

/// Counts the connections of a node.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
    /// TCP connections take a descriptor each, and must leave some.
    most_tcp: usize,
}

#[derive(Debug)]
struct State {
    limits: ConnectionsConfig,
    all: usize,
    tcp: usize,
    by_source: HashMap<IpAddr, usize>,
    log: Log,
}

/// A connection that was let in; counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    source: IpAddr,
    transport: Transport,
}

/// The transport that carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Quic,
    Tcp,
    #[cfg_attr(not(feature = "iroh"), allow(dead_code, reason = "built without iroh"))]
    Iroh,
}

impl Admission {
    pub(crate) fn new(limits: ConnectionsConfig) -> Arc<Self> {
        let descriptors = getrlimit(Resource::Nofile).current;
        let descriptors = descriptors.and_then(|most| usize::try_from(most).ok());
        Arc::new(Self {
            state: Mutex::new(State {
                limits,
                all: 0,
                tcp: 0,
                by_source: HashMap::new(),
                log: Log::default(),
            }),
            most_tcp: descriptors.map_or(usize::MAX, |most| most / 2),
        })
    }

    /// Puts other limits in force; connections there are stay.
    pub(crate) fn set(&self, limits: ConnectionsConfig) {
        self.lock().limits = limits;
    }

    /// Checks whether one more connection from an address would be admitted.
    /// Where it would not, that counts as a rejection.
    pub(crate) fn check(
        &self,
        from: Option<SocketAddr>,
        transport: Transport,
    ) -> Result<(), AdmissionError> {
        self.lock().check(from, transport, self.most_tcp)
    }

    /// Lets a connection in. Those of peers that have no address, since they
    /// come through a relay, count as those of one.
    ///
    /// # Errors
    /// The reason for which it is not admitted; that is counted and logged.
    pub(crate) fn admit(
        self: &Arc<Self>,
        from: Option<SocketAddr>,
        transport: Transport,
    ) -> Result<Admitted, AdmissionError> {
        let mut state = self.lock();
        state.check(from, transport, self.most_tcp)?;
        let source = source(from);
        state.all += 1;
        state.tcp += usize::from(transport == Transport::Tcp);
        *state.by_source.entry(source).or_default() += 1;
        Ok(Admitted {
            admission: Arc::clone(self),
            source,
            transport,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(
        &mut self,
        from: Option<SocketAddr>,
        transport: Transport,
        most_tcp: usize,
    ) -> Result<(), AdmissionError> {
        self.room(source(from), transport, most_tcp)
            .inspect_err(|rejected| self.note(*rejected, from, transport))
    }

    fn room(
        &self,
        source: IpAddr,
        transport: Transport,
        most_tcp: usize,
    ) -> Result<(), AdmissionError> {
        let of_source = self.by_source.get(&source).copied().unwrap_or_default();
        if self.all >= self.limits.max as usize {
            Err(AdmissionError::All)
        } else if of_source >= self.limits.max_per_address as usize {
            Err(AdmissionError::Address)
        } else if transport == Transport::Tcp && self.tcp >= most_tcp {
            Err(AdmissionError::Descriptors)
        } else {
            Ok(())
        }
    }

    fn note(
        &mut self,
        rejected: AdmissionError,
        remote_addr: Option<SocketAddr>,
        transport: Transport,
    ) {
        counters::rejected(rejected);
        if let Some(left_out) = self.log.pass(Instant::now()) {
            tracing::info!(
                remote_addr = remote_addr.map(tracing::field::display),
                transport = transport.name(),
                reason = %rejected,
                left_out,
                "connection rejected"
            );
        }
    }
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Iroh => "iroh",
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.all = state.all.saturating_sub(1);
        if self.transport == Transport::Tcp {
            state.tcp = state.tcp.saturating_sub(1);
        }
        if let Some(count) = state.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.by_source.remove(&self.source);
            }
        }
    }
}

/// The address that connections are counted by: the /64 of an IPv6 address,
/// since whoever has one address of it has all of them. The unspecified one for
/// a peer without.
fn source(address: Option<SocketAddr>) -> IpAddr {
    let Some(address) = address else {
        return Ipv6Addr::UNSPECIFIED.into();
    };
    match address.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Keeps rejections from filling the log.
#[derive(Debug, Default)]
struct Log {
    /// The time at which counting of lines began, and their number since.
    window: Option<(Instant, u32)>,
    left_out: u64,
}

impl Log {
    /// Returns, if a line may be written, how many were left out before it.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let (since, lines) = match self.window {
            Some((since, lines)) if now < since + EVERY => (since, lines),
            _ => (now, 0),
        };
        if lines >= BURST {
            self.left_out += 1;
            return None;
        }
        self.window = Some((since, lines + 1));
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Lets this process have as many descriptors as the system lets it: the usual
/// 1024 are for programs that use select(2).
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of descriptors; it stays as it was");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max: u32, max_per_address: u32) -> Arc<Admission> {
        Admission::new(ConnectionsConfig {
            max,
            max_per_address,
        })
    }

    fn from(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn an_address_has_its_part_and_all_have_theirs() {
        let node = admission(4, 2);
        let admit = |address| node.admit(from(address), Transport::Quic);
        let one = admit("192.0.2.1").unwrap();
        let _two = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), AdmissionError::Address);
        let _three = admit("2001:db8::1").unwrap();
        let _four = admit("2001:db8::2").unwrap();
        assert_eq!(admit("192.0.2.2").unwrap_err(), AdmissionError::All);
        drop(one);
        assert_eq!(admit("2001:db8::3").unwrap_err(), AdmissionError::Address);
        let _five = admit("192.0.2.1").unwrap();
        node.set(ConnectionsConfig {
            max: 10,
            max_per_address: 10,
        });
        let _six = admit("192.0.2.1").unwrap();
    }

    #[test]
    fn peers_without_an_address_have_the_part_of_one() {
        let node = admission(4, 2);
        let relayed = || node.admit(None, Transport::Iroh);
        let (_one, _two) = (relayed().unwrap(), relayed().unwrap());
        assert_eq!(relayed().unwrap_err(), AdmissionError::Address);
        node.admit(from("192.0.2.1"), Transport::Quic).unwrap();
    }

    #[test]
    fn what_ended_leaves_nothing_behind() {
        let node = admission(100, 100);
        for last in 0..100 {
            let address = format!("192.0.2.{last}");
            drop(node.admit(from(&address), Transport::Tcp));
        }
        let state = node.lock();
        assert_eq!((state.all, state.tcp, state.by_source.len()), (0, 0, 0));
    }

    #[test]
    fn a_flood_is_cut_and_its_size_told_afterwards() {
        let mut log = Log::default();
        let now = Instant::now();
        let written = (0..1000).filter(|_| log.pass(now).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(log.pass(now + EVERY), Some(1000 - u64::from(BURST)));
    }
}
