//! Which handler serves which ALPN.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::SystemTime;

use alknet_handler::{ConfigError, ProtocolHandler};
use semver::Version;
use serde_json::Value;

use crate::digest::Digest;

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
    /// When it began to serve.
    pub since: SystemTime,
    /// The handler itself.
    pub handler: Arc<dyn ProtocolHandler>,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
    config: RwLock<Arc<Value>>,
    connections: AtomicUsize,
}

impl Generation {
    /// A generation without connections, whose handler was made with `config`.
    pub fn new(
        id: u64,
        plugin: &crate::LoadedPlugin,
        config: Value,
        handler: Arc<dyn ProtocolHandler>,
    ) -> Self {
        Self {
            id,
            plugin: plugin.name().to_owned(),
            version: plugin.version().clone(),
            file: plugin.source().to_owned(),
            digest: plugin.digest(),
            since: SystemTime::now(),
            handler,
            config_schema: plugin.config_schema().clone(),
            config: RwLock::new(Arc::new(config)),
            connections: AtomicUsize::new(0),
        }
    }

    /// The configuration its handler has.
    pub fn config(&self) -> Arc<Value> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives its handler another configuration, whole or not at all.
    ///
    /// # Errors
    /// What the handler said; it goes on with the one it had.
    pub fn reconfigure(&self, config: &Arc<Value>) -> Result<(), ConfigError> {
        self.handler.reconfigure(&config.to_string())?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(config);
        Ok(())
    }

    /// The number of connections it serves now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection for as long as the returned value lives.
    pub fn enter(self: &Arc<Self>) -> LiveConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        LiveConnection(Arc::clone(self))
    }
}

/// A connection that a generation serves.
pub struct LiveConnection(Arc<Generation>);

impl Drop for LiveConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The handlers by ALPN.
#[derive(Default)]
pub struct Registry {
    by_alpn: RwLock<BTreeMap<Vec<u8>, Arc<Generation>>>,
    /// All that ever served. One that serves no ALPN any more lives on in its
    /// connections, and ends with the last of them.
    known: Mutex<Vec<Weak<Generation>>>,
    last_id: AtomicU64,
}

impl Registry {
    /// The id for the next generation.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Routes `alpns` to `generation`, all of them or none.
    ///
    /// # Errors
    /// When another plugin serves one of them.
    pub fn insert(&self, alpns: &[Vec<u8>], generation: &Arc<Generation>) -> Result<(), AlpnTaken> {
        let mut by_alpn = self.by_alpn.write().unwrap_or_else(PoisonError::into_inner);
        for alpn in alpns {
            if let Some(holder) = by_alpn.get(alpn)
                && holder.plugin != generation.plugin
            {
                return Err(AlpnTaken {
                    alpn: alpn.clone(),
                    plugin: holder.plugin.clone(),
                    file: holder.file.clone(),
                });
            }
        }
        for alpn in alpns {
            by_alpn.insert(alpn.clone(), Arc::clone(generation));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|generation| generation.strong_count() > 0);
        known.push(Arc::downgrade(generation));
        Ok(())
    }

    /// The generation that serves an ALPN now.
    pub fn get(&self, alpn: &[u8]) -> Option<Arc<Generation>> {
        self.by_alpn
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(alpn)
            .cloned()
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

/// Another plugin serves the ALPN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the ALPN {:?} is served by the plugin {plugin:?} of {}; keep one of the two files",
    String::from_utf8_lossy(alpn), file.display()
)]
pub struct AlpnTaken {
    /// The ALPN both want.
    pub alpn: Vec<u8>,
    /// The plugin that has it.
    pub plugin: String,
    /// The file of that plugin.
    pub file: PathBuf,
}
