use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use alknet_loader::Generation;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a handler may take to end what is left: it says goodbye and waits
/// for processes to end.
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
    /// Lets a generation end, which gains no connection any more. After
    /// `patience`, if given, or with more than `most` of its kind, what is
    /// left on it is ended.
    pub(super) fn begin(
        &self,
        generation: Arc<Generation>,
        patience: Option<Duration>,
        most: usize,
        runtime: &Handle,
    ) {
        let until = patience.and_then(|patience| SystemTime::now().checked_add(patience));
        generation.set_draining(until);
        let hurry = Arc::new(Notify::new());
        self.with(|leaving| {
            leaving.push(Leaving {
                generation: Arc::clone(&generation),
                hurry: Arc::clone(&hurry),
            });
            let mut busy: Vec<&Leaving> = leaving
                .iter()
                .filter(|leaving| leaving.generation.connections() > 0)
                .collect();
            busy.sort_by_key(|leaving| leaving.generation.id);
            let too_many = busy.len().saturating_sub(most);
            for leaving in busy.into_iter().take(too_many) {
                tracing::warn!(
                    plugin = leaving.generation.plugin,
                    generation = leaving.generation.id,
                    connections = leaving.generation.connections(),
                    "more than {most} replaced versions have connections left (/plugins/max_draining); ending those on the oldest"
                );
                leaving.generation.set_draining(Some(SystemTime::now()));
                leaving.hurry.notify_one();
            }
        });
        let all = self.clone();
        runtime.spawn(async move {
            leave(&generation, patience, &hurry).await;
            all.with(|leaving| leaving.retain(|left| left.generation.id != generation.id));
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Leaving>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn leave(generation: &Generation, patience: Option<Duration>, hurry: &Notify) {
    let late = async {
        match patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = generation.idle() => {}
        () = late => {}
        () = hurry.notified() => {}
    }
    let ended = generation.connections();
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
    tracing::info!(
        plugin = generation.plugin,
        version = %generation.version,
        generation = generation.id,
        ended,
        "the last connection on a replaced version has ended"
    );
}
