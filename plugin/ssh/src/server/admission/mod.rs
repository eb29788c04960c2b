//! Which connections are let as far as a log-in: not those from addresses that
//! misbehaved a moment ago, and not more at a time than the configuration has.

mod penalties;
mod source;
mod startups;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alknet_ssh_config::Limits;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub(super) use self::penalties::Offence;
use self::penalties::Penalties;
use self::source::Source;
use self::startups::Startups;
use super::metrics::AdmissionError;

/// The most penalised addresses that `status` names.
const SHOWN: usize = 20;

/// What is known of the addresses that connections come from.
#[derive(Default)]
pub(super) struct Admission(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    penalties: Penalties,
    startups: Startups,
}

/// A connection on which nobody has logged in yet; it counts as one until it
/// is dropped.
pub(super) struct Startup {
    state: Arc<Mutex<State>>,
    source: Option<Source>,
    /// The connection's only place for a stream without a log-in.
    place: Option<OwnedSemaphorePermit>,
}

impl Startup {
    /// Has it hold a place for a stream as well.
    pub(super) fn with_place(mut self, place: Option<OwnedSemaphorePermit>) -> Self {
        self.place = place;
        self
    }
}

impl Admission {
    /// Lets a connection in, as one on which nobody has logged in.
    ///
    /// # Errors
    /// The reason for which it is turned away.
    pub(super) fn admit(
        &self,
        peer: Option<SocketAddr>,
        limits: &Limits,
    ) -> Result<Startup, AdmissionError> {
        let source = peer.map(|peer| Source::of(peer.ip()));
        let exempt = source.is_some_and(|source| source.is_exempt(limits));
        let mut state = self.lock();
        if let Some(source) = source
            && limits.penalties.enabled
            && !exempt
            && state.penalties.refuses(source, Instant::now())
        {
            return Err(AdmissionError::Penalised);
        }
        state
            .startups
            .begin(source, exempt, &limits.max_startups, percentile())?;
        Ok(Startup {
            state: Arc::clone(&self.0),
            source,
            place: None,
        })
    }

    /// Penalises an address for a connection that ended as it should not.
    pub(super) fn penalise(&self, peer: Option<SocketAddr>, offence: Offence, limits: &Limits) {
        let Some(source) = peer.map(|peer| Source::of(peer.ip())) else {
            return;
        };
        if !limits.penalties.enabled || source.is_exempt(limits) {
            return;
        }
        let now = Instant::now();
        let penalties = &limits.penalties;
        let refused = self.lock().penalties.add(source, offence, penalties, now);
        if let Some(refused) = refused {
            tracing::info!(
                target: "alknet_ssh::auth",
                source = %source,
                seconds = refused.as_secs(),
                reason = offence.name(),
                "address penalised"
            );
        }
    }

    /// The number of connections on which nobody has logged in.
    pub(super) fn startups(&self) -> usize {
        self.lock().startups.total()
    }

    /// The addresses that are refused now: how many, and some of them with
    /// the seconds they have left.
    pub(super) fn penalised(&self) -> (usize, Value) {
        let refused = self.lock().penalties.refused(Instant::now());
        let shown = refused.iter().take(SHOWN);
        let shown = shown.map(
            |(source, left)| json!({ "source": source.to_string(), "seconds": left.as_secs() }),
        );
        (refused.len(), shown.collect())
    }

    /// All penalties, for a handler that takes over.
    pub(super) fn hand_over(&self) -> Value {
        self.lock().penalties.to_json(Instant::now())
    }

    /// Takes over the penalties that another handler handed over; what is not
    /// understood is left out.
    pub(super) fn take_over(&self, handed: &Value, limits: &Limits) {
        let now = Instant::now();
        self.lock().penalties.extend(handed, &limits.penalties, now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        lock(&self.state).startups.end(self.source);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from 0 to 99 that nobody can guess.
fn percentile() -> u32 {
    let mut random = [0; 4];
    // Without randomness the connection cannot be served anyway.
    let _ = getrandom::fill(&mut random);
    u32::from_le_bytes(random) % 100
}
