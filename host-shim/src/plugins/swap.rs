use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use alknet_document::Fault;
use alknet_identity::PeerStore;
use alknet_loader::{Digest, Generation, LoadedPlugin, Registry, discover};
use alknet_quic::Server;
use serde_json::Value;
use tokio::runtime::Handle;

use super::configure::{Place, configure};
use super::libraries::Libraries;
use super::make::make_generation;
use super::report::{Kept, Outcome, Refused, Swapped};
use super::retire::Retirement;
use crate::keys::HostKey;
use crate::logs;
use crate::metrics::counters;
use crate::node::HandlerRefused;
use crate::plan::{Draft, PlannedPlugin, Problem, Warning};
use crate::reload::Reloader;
use crate::trust::configured_trust;

/// Replaces plugins while the node serves.
///
/// A new version goes the whole way before anything changes: trusted, staged,
/// tried out in another process, loaded, its configuration checked against its
/// own schema, its handler made. Whatever fails on that way leaves the old
/// version serving. Then new connections land on the new version, and those
/// there are stay with the old one until they end.
pub(crate) struct Swapper {
    pub(crate) libraries: Libraries,
    pub(crate) registry: Arc<Registry>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) peers: Arc<PeerStore>,
    pub(crate) host_keys: Vec<HostKey>,
    pub(crate) listening: Listening,
    pub(crate) runtime: Handle,
    retirement: Retirement,
    memory: Mutex<Memory>,
}

/// Where connections come from.
pub(crate) struct Listening {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) server: Server,
    /// The ALPN of connections over TCP, if the node accepts any.
    pub(crate) tcp_alpn: Option<String>,
}

/// What is remembered between reloads.
#[derive(Default)]
struct Memory {
    /// What each plugin was before its last swap.
    previous: BTreeMap<String, Previous>,
    /// What was rolled back from, or unloaded, by plugin.
    left: BTreeMap<String, Digest>,
    /// Files that were refused last time.
    refused: BTreeMap<PathBuf, Refused>,
}

#[derive(Clone)]
struct Previous {
    library: Arc<LoadedPlugin>,
    file: PathBuf,
    config: Arc<Value>,
}

/// What to reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// One plugin alone, by its name.
    pub(crate) name: Option<String>,
    /// Make a new generation of what did not change as well.
    pub(crate) force: bool,
    /// Leave what was rolled back from alone.
    pub(crate) hold: bool,
}

impl Wanted {
    /// What changed, as the node noticed by itself or was told by a signal.
    pub(crate) fn noticed() -> Self {
        Self {
            hold: true,
            ..Self::default()
        }
    }
}

impl Swapper {
    pub(crate) fn new(
        libraries: Libraries,
        registry: Arc<Registry>,
        reloader: Arc<Reloader>,
        peers: Arc<PeerStore>,
        host_keys: Vec<HostKey>,
        listening: Listening,
        warnings: &[Warning],
    ) -> Self {
        let refused = warnings.iter().filter_map(refused_at_start);
        let refused = refused.map(|refused| (refused.file.clone(), refused));
        Self {
            memory: Mutex::new(Memory {
                refused: refused.collect(),
                ..Memory::default()
            }),
            libraries,
            registry,
            reloader,
            peers,
            host_keys,
            listening,
            runtime: Handle::current(),
            retirement: Retirement::default(),
        }
    }

    /// What reloads the configuration.
    pub(crate) fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// A plugins folder as the configuration names it.
    pub(crate) fn folder(&self, named: &Path) -> PathBuf {
        let base = self.reloader.file().parent().unwrap_or(Path::new("."));
        base.join(named)
    }

    /// The files that were refused last time.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        self.with_memory(|memory| memory.refused.values().cloned().collect())
    }

    /// Loads what is new or has changed in the plugins folder, and has it
    /// serve. Blocks while files are read and handlers made.
    ///
    /// # Errors
    /// When the folder or the configuration cannot be read, or there is no
    /// such plugin. What is wrong with one file is in its own outcome.
    pub(crate) fn reload(&self, wanted: &Wanted) -> Result<Vec<Swapped>, Vec<Problem>> {
        let _turn = self.reloader.turn()?;
        let outcomes = self.reload_in_turn(wanted);
        match &outcomes {
            Ok(outcomes) => outcomes.iter().for_each(log),
            Err(problems) => problems.iter().for_each(|p| tracing::error!("{p}")),
        }
        outcomes
    }

    fn reload_in_turn(&self, wanted: &Wanted) -> Result<Vec<Swapped>, Vec<Problem>> {
        let draft = Draft::read(self.reloader.file())?;
        let config_fault = |fault| vec![Problem::Config(fault)];
        let trust = configured_trust(draft.document(), &draft.config).map_err(config_fault)?;
        let candidates = discover(&draft.plugins_folder()).map_err(|error| {
            let message = error.to_string();
            config_fault(Fault::at(draft.document(), "/plugins/folder", message))
        })?;
        let files: BTreeSet<&Path> = candidates.iter().map(|found| found.path()).collect();
        let serving = self.registry.generations();
        let own_file = wanted.name.as_deref().and_then(|name| {
            let own = serving.iter().find(|serving| serving.plugin == name)?;
            files.get(&*own.file).copied()
        });
        let mut outcomes = Vec::new();
        for &file in &files {
            let holder = serving.iter().find(|serving| serving.file == file);
            let concerned = match (&wanted.name, own_file) {
                (None, _) => true,
                (Some(_), Some(own)) => file == own,
                // It may hold the plugin under another name.
                (Some(_), None) => holder.is_none(),
            };
            if !concerned {
                continue;
            }
            let mut outcome = match self.libraries.load(file, &trust) {
                Ok(library) => {
                    let other = wanted.name.as_deref().is_some_and(|n| n != library.name());
                    if other && own_file.is_none() {
                        continue;
                    }
                    self.consider(&draft, file, library, &files, wanted)
                }
                Err(refusal) => {
                    let plugin = holder.map(|holder| holder.plugin.as_str());
                    let problems = [Problem::Plugin(refusal)];
                    Swapped::refused(plugin, file, &problems, holder.map(|h| &**h))
                }
            };
            self.remember(&outcome);
            if let (Outcome::Serves { warnings, .. }, Some(warning)) =
                (&mut outcome.outcome, self.tcp_unserved())
            {
                warnings.push(warning);
            }
            outcomes.push(outcome);
        }
        self.forget_absent(&files);
        for gone in self.registry.generations() {
            let concerned = wanted.name.as_ref().is_none_or(|name| *name == gone.plugin);
            if concerned && !files.contains(&*gone.file) {
                outcomes.push(Swapped {
                    plugin: Some(gone.plugin.clone()),
                    file: gone.file.clone(),
                    outcome: Outcome::FileGone {
                        generation: gone.id,
                    },
                });
            }
        }
        match &wanted.name {
            Some(name) if outcomes.is_empty() => Err(vec![Problem::Absent(format!(
                "no plugin {name:?} serves, and no file in {} holds one; {}",
                draft.plugins_folder().display(),
                self.names()
            ))]),
            _ => Ok(outcomes),
        }
    }

    /// What is to be done with a library that is fit to serve.
    fn consider(
        &self,
        draft: &Draft,
        file: &Path,
        library: Arc<LoadedPlugin>,
        files: &BTreeSet<&Path>,
        wanted: &Wanted,
    ) -> Swapped {
        let name = library.name().to_owned();
        let serving = self.serving(&name);
        let outcome = |outcome| Swapped {
            plugin: Some(name.clone()),
            file: file.to_owned(),
            outcome,
        };
        if let Some(serving) = &serving {
            if serving.file != file && files.contains(&*serving.file) {
                let twice = Warning::SamePlugin {
                    name: name.clone(),
                    first: serving.file.clone(),
                    second: file.to_owned(),
                };
                let problems = [Problem::Warning(twice)];
                return Swapped::refused(Some(&name), file, &problems, Some(serving));
            }
            if serving.digest == library.digest() && serving.file == file && !wanted.force {
                return outcome(Outcome::Unchanged {
                    generation: serving.id,
                });
            }
        }
        let left = self.with_memory(|memory| memory.left.get(&name).copied());
        if wanted.hold && left == Some(library.digest()) {
            return outcome(Outcome::Held);
        }
        match self
            .plan(draft, file, library)
            .and_then(|planned| self.switch(&planned))
        {
            Ok((now, before)) => {
                self.with_memory(|memory| memory.left.remove(&name));
                outcome(Outcome::Serves {
                    now: Kept::from(&*now),
                    replaced: before.as_deref().map(Kept::from),
                    warnings: Vec::new(),
                })
            }
            Err(problems) => Swapped::refused(Some(&name), file, &problems, serving.as_deref()),
        }
    }

    /// Has the version before the last swap of a plugin serve again, or, where
    /// it was rolled back already, the one that was rolled back from.
    ///
    /// # Errors
    /// When there is none, or it cannot serve any more.
    pub(crate) fn rollback(&self, name: Option<&str>) -> Result<Swapped, Vec<Problem>> {
        let _turn = self.reloader.turn()?;
        let (name, previous) = self
            .previous(name)
            .map_err(|why| vec![Problem::Absent(why)])?;
        let draft = Draft::read(self.reloader.file())?;
        let config_fault = |fault| vec![Problem::Config(fault)];
        let trust = configured_trust(draft.document(), &draft.config).map_err(config_fault)?;
        let digest = previous.library.digest();
        trust
            .accepts(&previous.file, digest)
            .map_err(|refusal| vec![Problem::Plugin(refusal)])?;
        let mut warnings = Vec::new();
        let planned = match self.plan(&draft, &previous.file, Arc::clone(&previous.library)) {
            Ok(planned) => planned,
            Err(problems) => {
                warnings.extend(problems.iter().map(|problem| {
                    format!("it serves with the configuration it had, since: {problem}")
                }));
                self.plan_as_before(&draft, &previous)?
            }
        };
        let (now, before) = self.switch(&planned)?;
        if let Some(before) = &before {
            self.with_memory(|memory| memory.left.insert(name.clone(), before.digest));
        }
        warnings.extend(self.tcp_unserved());
        let outcome = Swapped {
            plugin: Some(name),
            file: planned.file,
            outcome: Outcome::Serves {
                now: Kept::from(&*now),
                replaced: before.as_deref().map(Kept::from),
                warnings,
            },
        };
        log(&outcome);
        Ok(outcome)
    }

    /// Has a plugin serve no more. Connections there are go on.
    ///
    /// # Errors
    /// When it does not serve.
    pub(crate) fn unload(&self, name: &str) -> Result<Swapped, Vec<Problem>> {
        let _turn = self.reloader.turn()?;
        let alpns = self.registry.alpns();
        let Some(before) = self.registry.remove(name) else {
            let why = format!("no plugin {name:?} serves; {}", self.names());
            return Err(vec![Problem::Absent(why)]);
        };
        self.announce_alpns(&alpns);
        let outcome = Swapped {
            plugin: Some(name.to_owned()),
            file: before.file.clone(),
            outcome: Outcome::Unloaded {
                before: Kept::from(&*before),
            },
        };
        self.with_memory(|memory| memory.left.insert(name.to_owned(), before.digest));
        self.retire(before);
        log(&outcome);
        Ok(outcome)
    }

    fn previous(&self, name: Option<&str>) -> Result<(String, Previous), String> {
        self.with_memory(|memory| {
            let mut known = memory.previous.iter();
            let found = match name {
                Some(name) => memory.previous.get_key_value(name),
                None => known.next().filter(|_| known.next().is_none()),
            };
            let found = found.map(|(name, previous)| (name.clone(), previous.clone()));
            found.ok_or_else(|| {
                let swapped: Vec<&str> = memory.previous.keys().map(String::as_str).collect();
                match (name, swapped.is_empty()) {
                    (Some(name), _) => format!(
                        "the plugin {name:?} has no version to go back to: it was not swapped since the node started"
                    ),
                    (None, true) => {
                        "there is no version to go back to: no plugin was swapped since the node started".to_owned()
                    }
                    (None, false) => format!("name the plugin to roll back: {}", swapped.join(", ")),
                }
            })
        })
    }

    fn plan(
        &self,
        draft: &Draft,
        file: &Path,
        library: Arc<LoadedPlugin>,
    ) -> Result<PlannedPlugin, Vec<Problem>> {
        let granter = draft.granter_for(library.name())?;
        let place = Place {
            config: &draft.config,
            granter: &granter,
        };
        configure(place, file, library).map_err(Vec::from)
    }

    /// A version with the configuration it had when it was replaced, for want
    /// of one that fits it.
    fn plan_as_before(
        &self,
        draft: &Draft,
        previous: &Previous,
    ) -> Result<PlannedPlugin, Vec<Problem>> {
        let name = previous.library.name();
        let names = draft.config.plugins.secrets.get(name);
        let names = names.map(Vec::as_slice).unwrap_or_default();
        let granter = draft.granter_for(name)?;
        let capabilities = granter
            .grant(name, names, previous.library.capabilities_schema())
            .map_err(|faults| faults.into_iter().map(Problem::Config).collect::<Vec<_>>())?;
        Ok(PlannedPlugin {
            plugin: Arc::clone(&previous.library),
            file: previous.file.clone(),
            config: (*previous.config).clone(),
            capabilities,
        })
    }

    /// Makes the handler of a plugin, has new connections land on it, and
    /// retires what served before.
    fn switch(&self, planned: &PlannedPlugin) -> Result<Switched, Vec<Problem>> {
        let file = &planned.file;
        let refused = |reason: &dyn std::fmt::Display| {
            vec![Problem::Handler(HandlerRefused {
                file: file.clone(),
                reason: reason.to_string(),
                pointer: None,
            })]
        };
        let name = planned.plugin.name();
        let alpns: Vec<&[u8]> = planned.plugin.alpns().collect();
        self.registry
            .free_for(name, &alpns)
            .map_err(|taken| refused(&taken))?;
        let filter = &self.reloader.config().log.filter;
        let filter = logs::parse_filter(filter).unwrap_or_default();
        let id = self.registry.next_id();
        let _inside = self.runtime.enter();
        let now = make_generation(id, planned, &self.host_keys, &self.peers, &filter).map_err(
            |refused| {
                counters::load_failure("handler");
                vec![Problem::Handler(refused)]
            },
        )?;
        now.set_config_generation(self.reloader.generation());
        if self.reloader.is_stopping() {
            return Err(vec![Problem::Stopping]);
        }
        let alpns = self.registry.alpns();
        let before = self
            .registry
            .insert(&now)
            .map_err(|taken| refused(&taken))?;
        self.announce_alpns(&alpns);
        if let Some(before) = &before {
            let previous = Previous {
                library: Arc::clone(&before.library),
                file: before.file.clone(),
                config: before.config(),
            };
            self.with_memory(|memory| memory.previous.insert(name.to_owned(), previous));
            self.retire(Arc::clone(before));
        }
        Ok((now, before))
    }

    /// Has the endpoint speak the ALPNs that are served, where they changed.
    fn announce_alpns(&self, before: &[Vec<u8>]) {
        let now = self.registry.alpns();
        if now == before {
            return;
        }
        match self.listening.server.config(&now) {
            Ok(config) => self.listening.endpoint.set_server_config(Some(config)),
            // The loader has looked at each of them.
            Err(error) => tracing::error!(%error, "the list of ALPNs stays as it was"),
        }
    }

    fn retire(&self, generation: Arc<Generation>) {
        let plugins = self.reloader.config().plugins;
        let patience = plugins.drain_seconds.map(u64::from);
        self.retirement.begin(
            generation,
            patience.map(Duration::from_secs),
            plugins.max_draining.into(),
            &self.runtime,
        );
    }

    fn tcp_unserved(&self) -> Option<String> {
        let alpn = self.listening.tcp_alpn.as_deref()?;
        let served = self.registry.alpns().iter().any(|a| a == alpn.as_bytes());
        (!served).then(|| {
            format!(
                "no plugin serves {alpn:?}, which TCP connections are for (/tcp_alpn); they are closed at once"
            )
        })
    }

    fn serving(&self, plugin: &str) -> Option<Arc<Generation>> {
        let mut serving = self.registry.generations().into_iter();
        serving.find(|serving| serving.plugin == plugin)
    }

    fn names(&self) -> String {
        let serving = self.registry.generations();
        let names: Vec<&str> = serving.iter().map(|s| s.plugin.as_str()).collect();
        match names.is_empty() {
            true => "none serves".to_owned(),
            false => format!("these serve: {}", names.join(", ")),
        }
    }

    fn remember(&self, outcome: &Swapped) {
        self.with_memory(|memory| match &outcome.outcome {
            Outcome::Refused { faults, .. } => {
                let refused = Refused {
                    file: outcome.file.clone(),
                    at: SystemTime::now(),
                    reasons: faults.iter().map(|fault| fault.message.clone()).collect(),
                };
                memory.refused.insert(outcome.file.clone(), refused);
            }
            _ => {
                memory.refused.remove(&outcome.file);
            }
        });
    }

    fn forget_absent(&self, files: &BTreeSet<&Path>) {
        self.with_memory(|memory| memory.refused.retain(|file, _| files.contains(&**file)));
    }

    fn with_memory<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
        act(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What serves now, and what did before.
type Switched = (Arc<Generation>, Option<Arc<Generation>>);

fn refused_at_start(warning: &Warning) -> Option<Refused> {
    let file = match warning {
        Warning::Plugin(refusal) => refusal.path().to_owned(),
        Warning::Handler(refused) => refused.file.clone(),
        Warning::SamePlugin { second, .. } | Warning::SameAlpn { second, .. } => second.clone(),
        _ => return None,
    };
    Some(Refused {
        file,
        at: SystemTime::now(),
        reasons: vec![warning.to_string()],
    })
}

fn log(swapped: &Swapped) {
    let plugin = swapped.plugin.as_deref();
    let file = swapped.file.display();
    match &swapped.outcome {
        Outcome::Unchanged { generation } => {
            tracing::debug!(plugin, %file, generation, "plugin unchanged");
        }
        Outcome::Serves {
            now,
            replaced,
            warnings,
        } => {
            let replaced = replaced.as_ref();
            tracing::info!(
                plugin,
                version = now.version,
                generation = now.generation,
                digest = now.digest,
                %file,
                replaced_generation = replaced.map(|replaced| replaced.generation),
                replaced_version = replaced.map(|replaced| replaced.version.as_str()),
                "plugin serves"
            );
            warnings
                .iter()
                .for_each(|warning| tracing::warn!("{warning}"));
        }
        Outcome::Unloaded { before } => {
            tracing::info!(plugin, generation = before.generation, "plugin unloaded");
        }
        Outcome::Held => tracing::info!(
            plugin,
            %file,
            "left alone: it is what was rolled back from or unloaded; `alknet-node plugins reload` loads it"
        ),
        Outcome::FileGone { generation } => tracing::warn!(
            plugin,
            generation,
            "{file}: the file is gone; the plugin serves on until it is unloaded or the node ends"
        ),
        Outcome::Refused { faults, serving } => {
            for fault in faults {
                tracing::error!(plugin, "{}", fault.message);
            }
            if let Some(serving) = serving {
                tracing::warn!(
                    plugin,
                    version = serving.version,
                    generation = serving.generation,
                    "nothing was swapped; the version that serves goes on"
                );
            }
        }
    }
}
