//! The gathering of all metrics for one answer: the node's counters, the
//! process, every handler.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alknet_loader::{Generation, Registry};
use alknet_lookup::Lookup;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::text::{Kind, Number, Page, sample};
use super::{counters, ended, handlers, lookup, process};

/// The time that a handler has to answer a request for its status.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(2);

/// Gathers all metrics of a node.
pub(crate) struct Collector {
    registry: Arc<Registry>,
    lookup: Option<Lookup>,
    /// Generations that were asked and have not answered. They are not asked
    /// again, so that a handler that hangs keeps one thread.
    asked: Arc<Mutex<BTreeSet<u64>>>,
}

impl Collector {
    pub(crate) fn new(registry: Arc<Registry>, lookup: Option<Lookup>) -> Self {
        process::started();
        Self {
            registry,
            lookup,
            asked: Arc::default(),
        }
    }

    /// The metrics as they are now.
    pub(super) async fn text(&self) -> String {
        let mut page = Page::default();
        page.add(
            "alknet_node_info",
            Kind::Gauge,
            "The version of the node; always 1.",
            [sample(
                [("version", env!("CARGO_PKG_VERSION"))],
                Number::Whole(1),
            )],
        );
        process::collect(&mut page);
        counters::collect(&mut page);
        if let Some(program) = &self.lookup {
            lookup::collect(&mut page, &program.status());
        }
        let serving: BTreeSet<u64> = self.registry.generations().iter().map(|g| g.id).collect();
        for generation in self.registry.live() {
            if generation.has_ended() {
                continue;
            }
            self.generation(&mut page, &generation, serving.contains(&generation.id))
                .await;
        }
        for (plugin, sums) in ended::all() {
            handlers::collect(&mut page, &plugin, "ended", sums);
        }
        page.to_text()
    }

    async fn generation(&self, page: &mut Page, generation: &Arc<Generation>, serves: bool) {
        let id = generation.id.to_string();
        let plugin = generation.plugin.as_str();
        let here = [("plugin", plugin), ("generation", &*id)];
        let version = generation.version.to_string();
        let digest = generation.digest.to_string();
        let state = if serves { "serving" } else { "draining" };
        page.add(
            "alknet_generation_info",
            Kind::Gauge,
            "A loaded version of a plugin that serves, or drains; always 1.",
            [sample(
                [
                    ("plugin", plugin),
                    ("generation", &id),
                    ("version", &version),
                    ("digest", &digest),
                    ("state", state),
                ],
                Number::Whole(1),
            )],
        );
        page.add(
            "alknet_generation_connections",
            Kind::Gauge,
            "Live connections of a loaded version of a plugin.",
            [sample(here, Number::Whole(generation.connections() as u64))],
        );
        let status = self.status(generation).await;
        page.add(
            "alknet_generation_up",
            Kind::Gauge,
            "Whether the handler said how it is doing: 1 or 0.",
            [sample(here, Number::Whole(status.is_some().into()))],
        );
        let left_out = handlers::collect(page, plugin, &id, status.unwrap_or_default());
        page.add(
            "alknet_generation_metrics_left_out",
            Kind::Gauge,
            "Metrics that the handler declared and that are not shown.",
            [sample(here, Number::Whole(left_out as u64))],
        );
    }

    async fn status(&self, generation: &Arc<Generation>) -> Option<Map<String, Value>> {
        let id = generation.id;
        if !lock(&self.asked).insert(id) {
            return None;
        }
        let (handler, asked) = (Arc::clone(&generation.handler), Arc::clone(&self.asked));
        let answer = tokio::task::spawn_blocking(move || {
            let status = handler.status();
            lock(&asked).remove(&id);
            status
        });
        let status = timeout(HANDLER_TIMEOUT, answer).await.ok()?.ok()?;
        serde_json::from_str(&status).ok()
    }
}

fn lock(asked: &Mutex<BTreeSet<u64>>) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
