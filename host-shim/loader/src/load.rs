//! Opens a staged library and reads what it says of itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use alknet_plugin_interface::abi_stable::library::{LibraryError, lib_header_from_path};
use alknet_plugin_interface::abi_stable::std_types::RResult;
use alknet_plugin_interface::{
    HandlerContext, HandlerObject, INTERFACE_VERSION, PluginError, PluginModuleRef,
    RegistrationBundle,
};
use semver::Version;
use serde_json::Value;

use crate::bind::open_bound;
use crate::digest::Digest;
use crate::elf;
use crate::memory;
use crate::refusal::Refusal;
use crate::stage::{Stage, Staged};
use crate::text::{one_line, shown};
use crate::trust::{Trust, TrustedFile};

/// The longest version of a plugin, in bytes.
const MAX_VERSION: usize = 100;

/// A library that was loaded and speaks our interface. It stays loaded for the
/// life of the process.
pub struct LoadedPlugin {
    source: PathBuf,
    digest: Digest,
    bundle: RegistrationBundle,
    version: Version,
    config_schema: Value,
    capabilities_schema: Value,
    /// The private copy that was opened: for debuggers, and for processes that
    /// a handler starts. `None` once nobody uses the library.
    copy: Mutex<Option<Staged>>,
    /// The copy that its code is mapped from, there or not.
    mapped: PathBuf,
}

impl LoadedPlugin {
    /// Checks the library at `path`, stages a private copy and opens that.
    ///
    /// # Errors
    /// The first check that says no. Nothing of the library ran unless all
    /// checks of the file had passed.
    pub fn load(path: &Path, trust: &Trust, stage: &Stage) -> Result<Self, Refusal> {
        let file = TrustedFile::read_library(path, trust)?;
        Prepared::new(&file, stage)?.load()
    }

    /// The file that the library came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// A path by which this process can open the private copy that was opened,
    /// or one like it, even where somebody has removed it. `None` after
    /// [`release`](Self::release).
    pub fn copy(&self) -> Option<PathBuf> {
        let copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        copy.as_ref().map(Staged::reachable_path)
    }

    /// Makes a private copy of the library's contents again, which are those of
    /// `file`, before somebody uses the library again.
    ///
    /// # Errors
    /// When it cannot be staged.
    pub fn restore_copy(&self, file: &TrustedFile, stage: &Stage) -> Result<(), Refusal> {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        if copy.as_ref().is_none_or(|copy| !copy.path().exists()) {
            *copy = Some(stage.place(file)?);
        }
        Ok(())
    }

    /// Removes the private copy of a library that nobody uses any more, closes
    /// its descriptor, and lets the system take back the memory of its code,
    /// which is read again should somebody use it after all. Returns whether
    /// there was a copy.
    pub fn release(&self) -> bool {
        let copy = self
            .copy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if copy.is_none() {
            return false;
        }
        memory::page_out(&self.mapped);
        true
    }

    /// Lets the system take back the memory of the library's code, for when
    /// fewer use it than did. What is used again is read again.
    pub fn page_out(&self) {
        memory::page_out(&self.mapped);
    }

    /// The digest of that file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The plugin's name, by which the configuration refers to it.
    pub fn name(&self) -> &str {
        &self.bundle.name
    }

    /// The plugin's own version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The interface it was built for.
    pub fn interface_version(&self) -> u32 {
        self.bundle.interface_version
    }

    /// The compiler that built it, in one line.
    pub fn rustc(&self) -> String {
        one_line(&self.bundle.rustc)
    }

    /// The target triple it was built for, in one line.
    pub fn target(&self) -> String {
        one_line(&self.bundle.target)
    }

    /// The ALPNs it serves; at least one, each of 1 to 255 bytes.
    pub fn alpns(&self) -> impl Iterator<Item = &[u8]> {
        self.bundle.alpns.iter().map(|alpn| alpn.as_slice())
    }

    /// JSON Schema of its configuration.
    pub fn config_schema(&self) -> &Value {
        &self.config_schema
    }

    /// JSON Schema of the secrets it may be granted.
    pub fn capabilities_schema(&self) -> &Value {
        &self.capabilities_schema
    }

    pub(crate) fn call_factory(
        &self,
        context: HandlerContext,
    ) -> RResult<HandlerObject, PluginError> {
        (self.bundle.factory)(context)
    }
}

/// A library that passed every check of its file and has its private copy.
/// No code of it has run yet.
#[derive(Debug)]
pub struct Prepared {
    source: PathBuf,
    staged: Staged,
}

impl Prepared {
    /// Stages a copy of a file and checks its structure.
    ///
    /// # Errors
    /// When it is not a library for this machine, or cannot be staged.
    pub fn new(file: &TrustedFile, stage: &Stage) -> Result<Self, Refusal> {
        Self::checked(file, stage.place(file)?)
    }

    /// As [`new`](Self::new), with a copy in memory: for a process that loads
    /// one library and ends. A debugger finds no file there.
    ///
    /// # Errors
    /// When it is not a library for this machine, or there is no memory for it.
    pub fn in_memory(file: &TrustedFile) -> Result<Self, Refusal> {
        Self::checked(file, Staged::in_memory(file)?)
    }

    /// Checks the structure of the copy, which nobody changes any more.
    fn checked(file: &TrustedFile, staged: Staged) -> Result<Self, Refusal> {
        let mapped = File::open(staged.path()).and_then(|copy| memory::Mapped::new(&copy));
        let mapped = mapped.map_err(|source| Refusal::Io {
            path: file.path().to_owned(),
            action: "look at a copy of the file",
            source,
        })?;
        elf::check(file.path(), &mapped)?;
        Ok(Self {
            source: file.path().to_owned(),
            staged,
        })
    }

    /// The file that the library came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The private copy, which [`try_out`] may open in another process first.
    pub fn copy(&self) -> &Path {
        self.staged.path()
    }

    /// Opens the copy in this process, for good.
    ///
    /// # Errors
    /// When the library does not speak our interface.
    pub fn load(self) -> Result<LoadedPlugin, Refusal> {
        let mut plugin = open(&self.source, self.staged.path(), self.staged.digest())?;
        plugin.copy = Mutex::new(Some(self.staged));
        Ok(plugin)
    }
}

/// Opens a [private copy](Prepared::copy) that another process staged, to see
/// whether that goes well; `source` is where it came from, for messages. Meant
/// for a process that may be lost. The digest of what it gives is not that of
/// the file.
///
/// # Errors
/// When the library does not speak our interface.
pub fn try_out(copy: &Path, source: &Path) -> Result<LoadedPlugin, Refusal> {
    open(source, copy, Digest::of(b""))
}

/// Whether a plugin can have this name: 1 to 64 lower-case letters, digits and `-`.
pub fn is_plugin_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

fn open(path: &Path, copy: &Path, digest: Digest) -> Result<LoadedPlugin, Refusal> {
    open_bound(copy).map_err(|error| Refusal::Open {
        path: path.to_owned(),
        problem: one_line(&source_text(&error)),
    })?;
    // Not RootModule::load_from_file: that caches the first library per type
    // for the life of the process.
    let module = lib_header_from_path(copy)
        .and_then(|header| header.init_root_module::<PluginModuleRef>())
        .map_err(|error| explain(path, error))?;
    let bundle = module.registration()();
    let unusable = |problem: String| Refusal::Registration {
        path: path.to_owned(),
        problem,
    };
    if bundle.interface_version != INTERFACE_VERSION {
        return Err(Refusal::Interface {
            path: path.to_owned(),
            found: bundle.interface_version.to_string(),
            expected: INTERFACE_VERSION.to_string(),
        });
    }
    if !is_plugin_name(&bundle.name) {
        return Err(unusable(format!(
            "its name \"{}\" is not 1 to 64 lower-case letters, digits and '-'",
            one_line(&bundle.name)
        )));
    }
    let version = Version::parse(&bundle.version).map_err(|error| {
        unusable(format!(
            "its version \"{}\" is not semantic versioning: {error}",
            one_line(&bundle.version)
        ))
    })?;
    if bundle.version.len() > MAX_VERSION {
        return Err(unusable(format!(
            "its version is longer than {MAX_VERSION} characters"
        )));
    }
    if bundle.alpns.is_empty() {
        return Err(unusable("it names no ALPN to serve".to_owned()));
    }
    if bundle
        .alpns
        .iter()
        .any(|alpn| alpn.is_empty() || alpn.len() > 255)
    {
        return Err(unusable("an ALPN of it is not 1 to 255 bytes".to_owned()));
    }
    let schema = |text: &str, which: &str| {
        serde_json::from_str::<Value>(text)
            .map_err(|error| unusable(format!("its {which} schema is not JSON: {error}")))
    };
    Ok(LoadedPlugin {
        source: path.to_owned(),
        digest,
        config_schema: schema(&bundle.config_schema, "config")?,
        capabilities_schema: schema(&bundle.capabilities_schema, "capabilities")?,
        copy: Mutex::new(None),
        mapped: copy.to_owned(),
        version,
        bundle,
    })
}

/// A refusal of one line for the operator; abi_stable's reports run to
/// hundreds of lines, which go to the debug log.
fn explain(path: &Path, error: LibraryError) -> Refusal {
    tracing::debug!(file = shown(path), report = %error, "the library was refused");
    let path = path.to_owned();
    match error {
        LibraryError::OpenError { err, .. } => Refusal::Open {
            path,
            problem: one_line(&source_text(&*err)),
        },
        LibraryError::IncompatibleVersionNumber {
            expected_version,
            actual_version,
            ..
        } => Refusal::Interface {
            path,
            found: actual_version.to_string(),
            expected: expected_version.to_string(),
        },
        LibraryError::InvalidAbiHeader(_) | LibraryError::InvalidCAbi { .. } => Refusal::Abi {
            path,
            problem: "it was built with another version of abi_stable",
        },
        LibraryError::AbiInstability(_) => Refusal::Abi {
            path,
            problem: "the layout of its interface is another one",
        },
        other => Refusal::Open {
            path,
            problem: one_line(&other.to_string()),
        },
    }
}

fn source_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}
