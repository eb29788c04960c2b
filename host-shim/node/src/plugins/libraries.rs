//! The libraries that this process has loaded, each of them once and for good.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alknet_loader::{
    Digest, LoadedPlugin, Prepared, Refusal, Signer, Stage, Trust, TrustedFile, shown,
};

use super::trial::{Settings, try_out};
use crate::metrics::counters;

/// The libraries this process has loaded. A library stays loaded for good, so
/// a file with the same contents does not load it once more.
pub(crate) struct Libraries {
    stage: Stage,
    loaded: Mutex<BTreeMap<Digest, Known>>,
}

/// A library that is loaded.
struct Known {
    library: Arc<LoadedPlugin>,
    /// The signer of the library when its file was looked at last.
    signer: Option<Signer>,
}

impl Libraries {
    /// Opens the set of libraries, with their private copies in `staging`.
    pub(crate) fn open(staging: &Path) -> Result<Self, Refusal> {
        Ok(Self {
            stage: Stage::open(staging)?,
            loaded: Mutex::default(),
        })
    }

    /// Removes the copies that ended processes left behind.
    pub(crate) fn sweep(&self) -> Result<(), Refusal> {
        self.stage.sweep().map(drop)
    }

    /// The library at `path`: trusted, checked, staged, tried out in a process
    /// of its own with those settings, and only then loaded here.
    pub(crate) fn load(
        &self,
        path: &Path,
        trust: &Trust,
        settings: &Settings,
    ) -> Result<Arc<LoadedPlugin>, Refusal> {
        let loaded = self.try_load(path, trust, settings);
        loaded.inspect_err(|refusal| counters::load_failure(refusal.kind()))
    }

    fn try_load(
        &self,
        path: &Path,
        trust: &Trust,
        settings: &Settings,
    ) -> Result<Arc<LoadedPlugin>, Refusal> {
        let file = TrustedFile::read_library(path, trust)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = file.digest();
        let signer = file.signer().cloned();
        if let Some(known) = loaded.get_mut(&digest) {
            known.signer = signer;
            known.library.restore_copy(&file, &self.stage)?;
            return Ok(Arc::clone(&known.library));
        }
        let prepared = Prepared::new(&file, &self.stage)?;
        // Its bytes are in the copy now.
        drop(file);
        tracing::debug!(file = shown(path), %digest, "trying out a library in a process of its own");
        try_out(&prepared, settings)?;
        let library = Arc::new(prepared.load()?);
        let known = Known {
            library: Arc::clone(&library),
            signer,
        };
        loaded.insert(digest, known);
        Ok(library)
    }

    /// Whether a library that was loaded from that file may still serve.
    pub(crate) fn still_trusted(
        &self,
        file: &Path,
        library: &LoadedPlugin,
        trust: &Trust,
    ) -> Result<(), Refusal> {
        let digest = library.digest();
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = loaded.get(&digest).and_then(|known| known.signer.as_ref());
        let trusted = trust.still_accepts(file, digest, signer);
        trusted.inspect_err(|refusal| counters::load_failure(refusal.kind()))
    }

    /// Releases copies and memory of libraries that nobody uses any more; the
    /// libraries themselves stay loaded.
    pub(crate) fn release_unused(&self) {
        // Held while a library is tried out; there is a next time.
        let Ok(loaded) = self.loaded.try_lock() else {
            return;
        };
        for known in loaded.values() {
            if Arc::strong_count(&known.library) == 1 && known.library.release() {
                tracing::debug!(
                    plugin = known.library.name(),
                    version = %known.library.version(),
                    "nobody uses this version any more; its private copy is removed"
                );
            }
        }
    }

    /// Makes the staging directory again if it is gone.
    pub(crate) fn restore_staging(&self) -> Result<bool, Refusal> {
        self.stage.restore()
    }

    /// The number of loaded libraries; 0 while one is being tried out.
    pub(crate) fn count(&self) -> usize {
        // Held while a library is tried out, which takes its time.
        self.loaded.try_lock().map_or(0, |loaded| loaded.len())
    }
}
