use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alknet_loader::{Digest, LoadedPlugin, Prepared, Refusal, Signer, Stage, Trust, TrustedFile};

use super::probe::probe;
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
    /// Whose signature it had when it was looked at last.
    signer: Option<Signer>,
}

impl Libraries {
    /// With private copies in that folder.
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
    /// of its own, and only then loaded here.
    pub(crate) fn load(&self, path: &Path, trust: &Trust) -> Result<Arc<LoadedPlugin>, Refusal> {
        let loaded = self.try_load(path, trust);
        loaded.inspect_err(|refusal| counters::load_failure(refusal.kind()))
    }

    fn try_load(&self, path: &Path, trust: &Trust) -> Result<Arc<LoadedPlugin>, Refusal> {
        let file = TrustedFile::read(path, trust)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = file.digest();
        let signer = file.signer().cloned();
        if let Some(known) = loaded.get_mut(&digest) {
            known.signer = signer;
            return Ok(Arc::clone(&known.library));
        }
        let prepared = Prepared::new(&file, &self.stage)?;
        // Its bytes are in the copy now.
        drop(file);
        tracing::debug!(file = %path.display(), %digest, "trying out a library in a process of its own");
        probe(&prepared)?;
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

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        // Held while a library is tried out, which takes its time.
        self.loaded.try_lock().map_or(0, |loaded| loaded.len())
    }
}
