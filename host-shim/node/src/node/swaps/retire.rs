//! The retirement of replaced generations: they drain, and end when idle, late
//! or too many.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use alknet_control::ControlRequest;
use alknet_loader::Generation;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::metrics::ended;

/// The time that a handler may take to end what is left: it says goodbye and
/// waits for processes to end.
const GOODBYE: Duration = Duration::from_secs(30);

/// The generations that were replaced and have connections left.
///
/// Such a generation is not told anything at first: its connections, and the
/// sessions they begin, go on as if nothing had happened. It is drained when
/// it has none left, when its time is up, or when there are too many of its
/// kind.
#[derive(Clone, Default)]
pub(super) struct Retirement(Arc<Mutex<Vec<Leaving>>>);

struct Leaving {
    generation: Arc<Generation>,
    hurry: Arc<Notify>,
}

impl Retirement {
    /// The generations whose connections would be ended if one more were to
    /// retire, see [`begin`](Self::begin).
    pub(super) fn would_end(&self, generation: &Arc<Generation>, most: usize) -> Ended {
        self.with(|leaving| {
            let all = leaving.iter().map(|leaving| &leaving.generation);
            let too_many = too_many(all.chain([generation]), most);
            Ended(too_many.map(|one| (one.id, one.connections())).collect())
        })
    }

    /// Lets a generation end, which gains no connection any more. After
    /// `limit`, if given, or with more than `most` of its kind, what is
    /// left on it is ended; peers are told that `successor`, a version, serves
    /// in its place, or that the plugin was unloaded. Gives what is ended at
    /// once.
    pub(super) fn begin(
        &self,
        generation: Arc<Generation>,
        successor: Option<String>,
        limit: Option<Duration>,
        most: usize,
        runtime: &Handle,
    ) -> Ended {
        let until = limit.and_then(|limit| SystemTime::now().checked_add(limit));
        generation.set_draining(until);
        let hurry = Arc::new(Notify::new());
        let ended = self.with(|leaving| {
            leaving.push(Leaving {
                generation: Arc::clone(&generation),
                hurry: Arc::clone(&hurry),
            });
            let mut ended = Vec::new();
            for one in too_many(leaving.iter().map(|leaving| &leaving.generation), most) {
                let connections = one.connections();
                ended.push((one.id, connections));
                tracing::warn!(
                    plugin = one.plugin,
                    generation = one.id,
                    connections,
                    "more than {most} replaced versions have connections left (/plugins/max_draining); ending those on the oldest"
                );
                one.set_draining(Some(SystemTime::now()));
                let its = leaving.iter().find(|leaving| leaving.generation.id == one.id);
                its.inspect(|leaving| leaving.hurry.notify_one());
            }
            Ended(ended)
        });
        let all = self.clone();
        runtime.spawn(async move {
            leave(&generation, successor, limit, &hurry).await;
            all.with(|leaving| leaving.retain(|left| left.generation.id != generation.id));
        });
        ended
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Leaving>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The generations whose connections are ended: the oldest of those that have
/// any, beyond `most`.
fn too_many<'a>(
    generations: impl Iterator<Item = &'a Arc<Generation>>,
    most: usize,
) -> impl Iterator<Item = &'a Arc<Generation>> {
    let mut busy: Vec<_> = generations.filter(|one| one.connections() > 0).collect();
    busy.sort_by_key(|one| one.id);
    let too_many = busy.len().saturating_sub(most);
    busy.into_iter().take(too_many)
}

/// Generations whose connections are ended, and how many each has.
pub(super) struct Ended(Vec<(u64, usize)>);

impl Ended {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.0.iter().map(|(_, connections)| connections).sum();
        let connections = if total == 1 {
            "connection"
        } else {
            "connections"
        };
        let ids: Vec<String> = self.0.iter().map(|(id, _)| id.to_string()).collect();
        let generations = if ids.len() == 1 {
            "generation"
        } else {
            "generations"
        };
        write!(
            f,
            "{total} {connections} on {generations} {}",
            ids.join(", ")
        )
    }
}

async fn leave(
    generation: &Arc<Generation>,
    successor: Option<String>,
    limit: Option<Duration>,
    hurry: &Notify,
) {
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = generation.idle() => {}
        () = late => {}
        () = hurry.notified() => {}
    }
    let ended = generation.connections();
    if ended > 0 {
        tell(generation, successor).await;
    }
    let said = timeout(GOODBYE, async {
        generation.handler.drain(Duration::ZERO).await;
        generation.idle().await;
    });
    if said.await.is_err() {
        tracing::warn!(
            plugin = generation.plugin,
            generation = generation.id,
            connections = generation.connections(),
            "a replaced version did not end its connections in time"
        );
        generation.idle().await;
    }
    keep_counters(generation).await;
    tracing::info!(
        plugin = generation.plugin,
        version = %generation.version,
        generation = generation.id,
        ended,
        "the last connection on a replaced version has ended"
    );
}

/// Has a handler tell its peers what ends their sessions. One that knows no
/// such request says what it always says.
async fn tell(generation: &Arc<Generation>, successor: Option<String>) {
    let request = ControlRequest::Replaced { by: successor }.to_json();
    let generation = Arc::clone(generation);
    let told = tokio::task::spawn_blocking(move || generation.handler.control(&request).map(drop));
    if let Ok(Err(error)) = told.await {
        tracing::debug!(%error, "a handler does not tell its peers that it was replaced");
    }
}

/// Keeps the counters of a version that ends, so that sums never fall.
async fn keep_counters(generation: &Arc<Generation>) {
    let generation = Arc::clone(generation);
    let kept = tokio::task::spawn_blocking(move || {
        let status = serde_json::from_str(&generation.handler.status()).unwrap_or_default();
        generation.set_ended();
        ended::keep(&generation.plugin, &status);
    });
    let _ = kept.await;
}
