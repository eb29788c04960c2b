//! The table of handlers by ALPN, with the versions of a plugin that still
//! have connections.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use alknet_handler::{ConfigError, ProtocolHandler};
use semver::Version;
use serde_json::Value;
use tokio::sync::watch;

use crate::digest::Digest;
use crate::load::LoadedPlugin;
use crate::text::shown;

/// One loaded version of a plugin with one handler: what new connections land
/// on and old ones stay with.
pub struct Generation {
    /// Unique in this process, in the order of loading, from 1.
    pub id: u64,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: Version,
    /// The file it came from.
    pub file: PathBuf,
    /// The digest of that file.
    pub digest: Digest,
    /// The time at which it began to serve.
    pub since: SystemTime,
    /// The handler itself.
    pub handler: Arc<dyn ProtocolHandler>,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
    /// The library, to make another handler from.
    pub library: Arc<LoadedPlugin>,
    config: RwLock<Arc<Value>>,
    config_generation: Arc<AtomicU64>,
    connections: watch::Sender<usize>,
    draining: Mutex<Option<Draining>>,
    ended: AtomicBool,
}

/// The drain of a generation that new connections no longer land on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// The time at which it began to drain.
    pub since: SystemTime,
    /// The time at which connections that are left are ended; `None` if they
    /// end by themselves.
    pub until: Option<SystemTime>,
}

impl Generation {
    /// A generation without connections, whose handler was made with `config`
    /// from a library that was found at `file`. `config_generation` is the
    /// number that the handler tells with its log records.
    pub fn new(
        id: u64,
        library: &Arc<LoadedPlugin>,
        file: PathBuf,
        config: Value,
        handler: Arc<dyn ProtocolHandler>,
        config_generation: Arc<AtomicU64>,
    ) -> Self {
        Self {
            id,
            plugin: library.name().to_owned(),
            version: library.version().clone(),
            file,
            digest: library.digest(),
            since: SystemTime::now(),
            handler,
            config_schema: library.config_schema().clone(),
            library: Arc::clone(library),
            config: RwLock::new(Arc::new(config)),
            config_generation,
            connections: watch::Sender::new(0),
            draining: Mutex::new(None),
            ended: AtomicBool::new(false),
        }
    }

    /// The configuration that the generation's handler has.
    pub fn config(&self) -> Arc<Value> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the generation's handler another configuration, whole or not at all.
    ///
    /// # Errors
    /// The handler's error; it goes on with the configuration it had.
    pub fn reconfigure(&self, config: &Arc<Value>) -> Result<(), ConfigError> {
        self.handler.reconfigure(&config.to_string())?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(config);
        Ok(())
    }

    /// The number of the node's configuration under which the generation accepts
    /// connections.
    pub fn config_generation(&self) -> u64 {
        self.config_generation.load(Ordering::Relaxed)
    }

    /// Records that another configuration of the node is in force.
    pub fn set_config_generation(&self, number: u64) {
        self.config_generation.store(number, Ordering::Relaxed);
    }

    /// The number of connections that the generation serves now.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Completes when the generation serves no connection.
    pub async fn idle(&self) {
        // The sender is part of `self`, so it cannot be gone.
        let _ = self.connections.subscribe().wait_for(|n| *n == 0).await;
    }

    /// The generation's drain; `None` while it serves.
    pub fn draining(&self) -> Option<Draining> {
        *self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the generation drains, or another deadline for its drain.
    pub fn set_draining(&self, until: Option<SystemTime>) {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        let since = draining.map_or_else(SystemTime::now, |draining| draining.since);
        *draining = Some(Draining { since, until });
    }

    /// Whether the generation has ended and will do nothing any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Records that the generation has ended.
    pub fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Counts a connection for as long as the returned value lives.
    fn enter(self: Arc<Self>) -> LiveConnection {
        self.connections.send_modify(|n| *n += 1);
        LiveConnection(self)
    }
}

/// A connection that a generation serves.
pub struct LiveConnection(Arc<Generation>);

impl Deref for LiveConnection {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.0
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.0.connections.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// The handlers by ALPN.
#[derive(Default)]
pub struct Registry {
    by_alpn: RwLock<BTreeMap<Vec<u8>, Arc<Generation>>>,
    /// All generations that ever served. One that serves no ALPN any more lives
    /// on in its connections, and ends with the last of them.
    known: Mutex<Vec<Weak<Generation>>>,
    last_id: AtomicU64,
}

impl Registry {
    /// The id for the next generation.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Routes the ALPNs of `generation` to it, and no other ALPN to its plugin
    /// any more: all of that at once, or nothing. Gives the generation that
    /// served before.
    ///
    /// # Errors
    /// When another plugin serves one of the ALPNs.
    pub fn insert(
        &self,
        generation: &Arc<Generation>,
    ) -> Result<Option<Arc<Generation>>, AlpnTaken> {
        let alpns: Vec<&[u8]> = generation.library.alpns().collect();
        let mut by_alpn = self.by_alpn.write().unwrap_or_else(PoisonError::into_inner);
        taken(&by_alpn, &generation.plugin, &alpns)?;
        let before = take_out(&mut by_alpn, &generation.plugin);
        for alpn in alpns {
            by_alpn.insert(alpn.to_vec(), Arc::clone(generation));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|generation| generation.strong_count() > 0);
        known.push(Arc::downgrade(generation));
        Ok(before)
    }

    /// Whether a plugin may have these ALPNs.
    ///
    /// # Errors
    /// When another plugin serves one of the ALPNs.
    pub fn free_for(&self, plugin: &str, alpns: &[&[u8]]) -> Result<(), AlpnTaken> {
        let by_alpn = self.by_alpn.read().unwrap_or_else(PoisonError::into_inner);
        taken(&by_alpn, plugin, alpns)
    }

    /// Routes nothing to a plugin any more. Gives the generation that served.
    pub fn remove(&self, plugin: &str) -> Option<Arc<Generation>> {
        let mut by_alpn = self.by_alpn.write().unwrap_or_else(PoisonError::into_inner);
        take_out(&mut by_alpn, plugin)
    }

    /// Hands a connection to the generation that serves its ALPN now. From
    /// then on that generation counts it.
    pub fn enter(&self, alpn: &[u8]) -> Option<LiveConnection> {
        // Counted under the lock: once `insert` or `remove` returns, the
        // generation before gains no more.
        let by_alpn = self.by_alpn.read().unwrap_or_else(PoisonError::into_inner);
        by_alpn
            .get(alpn)
            .map(|generation| Arc::clone(generation).enter())
    }

    /// All ALPNs that are served.
    pub fn alpns(&self) -> Vec<Vec<u8>> {
        self.by_alpn
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// All generations that new connections can land on or old ones stay with,
    /// in the order of loading.
    pub fn live(&self) -> Vec<Arc<Generation>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(Weak::upgrade).collect()
    }

    /// All generations that serve, in the order of loading.
    pub fn generations(&self) -> Vec<Arc<Generation>> {
        let mut all: Vec<_> = self
            .by_alpn
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        all.sort_by_key(|generation| generation.id);
        all.dedup_by_key(|generation| generation.id);
        all
    }
}

fn taken(
    by_alpn: &BTreeMap<Vec<u8>, Arc<Generation>>,
    plugin: &str,
    alpns: &[&[u8]],
) -> Result<(), AlpnTaken> {
    for alpn in alpns {
        if let Some(holder) = by_alpn.get(*alpn)
            && holder.plugin != plugin
        {
            return Err(AlpnTaken {
                alpn: alpn.to_vec(),
                plugin: holder.plugin.clone(),
                file: holder.file.clone(),
            });
        }
    }
    Ok(())
}

fn take_out(
    by_alpn: &mut BTreeMap<Vec<u8>, Arc<Generation>>,
    plugin: &str,
) -> Option<Arc<Generation>> {
    let before = by_alpn.values().find(|held| held.plugin == plugin).cloned();
    by_alpn.retain(|_, held| held.plugin != plugin);
    before
}

/// Another plugin serves the ALPN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ALPN {:?} is served by the plugin {plugin:?} of {}, and who serves keeps it; keep one of the two files",
    String::from_utf8_lossy(alpn),
    shown(file)
)]
pub struct AlpnTaken {
    /// The ALPN both want.
    pub alpn: Vec<u8>,
    /// The plugin that serves it.
    pub plugin: String,
    /// The file of that plugin.
    pub file: PathBuf,
}
