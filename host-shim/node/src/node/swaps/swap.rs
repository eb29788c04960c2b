//! The swap of a plugin's version: the new one is loaded and checked whole
//! before connections go to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alknet_document::Fault;
use alknet_loader::{Generation, LoadedPlugin, Registry, discover, shown};
use alknet_quic::Server;
use tokio::runtime::Handle;

use super::history::SwapHistory;
use super::report::{GenerationId, Outcome, Refused, Swapped};
use super::retire::Retirement;
use super::transfer::transfer_state;
use crate::config::draft::Draft;
use crate::config::log_filter;
use crate::config::problem::MakeHandlerError;
use crate::config::problem::{NodeError, Warning};
use crate::config::trust::configured_trust;
use crate::metrics::counters;
use crate::node::identities::Identities;
use crate::node::iroh::IrohEndpoint;
use crate::node::reload::Reloader;
use crate::plugins::{
    ConfigContext, Libraries, PlannedPlugin, Settings, TestContext, configure, make_generation,
};
use crate::secrets::handed_over::HandedOver;
use crate::secrets::keys::HostKey;
use crate::walls::Walls;

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
    pub(crate) identities: Identities,
    pub(crate) host_keys: Vec<HostKey>,
    pub(crate) listening: Listening,
    pub(crate) walls: Option<Arc<Walls>>,
    pub(crate) runtime: Handle,
    retirement: Retirement,
    pub(super) history: SwapHistory,
}

/// The listeners that connections come from.
pub(crate) struct Listening {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) server: Arc<Server>,
    /// The endpoint for iroh, if there is one.
    pub(crate) iroh: Option<IrohEndpoint>,
    /// The ALPN of connections over TCP, if the node accepts any.
    pub(crate) tcp_alpn: Option<String>,
}

/// Which plugins to reload, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The one plugin to reload; all that changed if `None`.
    pub(crate) name: Option<String>,
    /// Whether to make a new generation of what did not change as well.
    pub(crate) force: bool,
    /// Whether to leave a version alone that was rolled back from.
    pub(crate) hold: bool,
    /// Whether to refuse a swap that would end connections by `max_draining`.
    pub(crate) confirm: bool,
}

impl Wanted {
    /// The options for changes that the node noticed by itself or was told of
    /// by a signal.
    pub(crate) fn noticed() -> Self {
        Self {
            hold: true,
            ..Self::default()
        }
    }
}

impl Swapper {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the node")]
    pub(crate) fn new(
        libraries: Libraries,
        registry: Arc<Registry>,
        reloader: Arc<Reloader>,
        identities: Identities,
        host_keys: Vec<HostKey>,
        listening: Listening,
        walls: Option<Arc<Walls>>,
        warnings: &[Warning],
    ) -> Self {
        Self {
            history: SwapHistory::of_start(warnings),
            libraries,
            registry,
            reloader,
            identities,
            host_keys,
            listening,
            walls,
            runtime: Handle::current(),
            retirement: Retirement::default(),
        }
    }

    /// The reloader of the configuration.
    pub(crate) fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// A plugins directory as the configuration names it.
    pub(crate) fn dir(&self, named: &Path) -> PathBuf {
        let base = self.reloader.file().parent().unwrap_or(Path::new("."));
        base.join(named)
    }

    /// The files that were refused last time.
    pub(crate) fn refused(&self) -> Vec<Refused> {
        self.history.refused()
    }

    /// Loads what is new or has changed in the plugins directory, and has it
    /// serve. Blocks while files are read and handlers made.
    ///
    /// # Errors
    /// When the directory or the configuration cannot be read, or there is no
    /// such plugin. What is wrong with one file is in its own outcome.
    pub(crate) fn reload(&self, wanted: &Wanted) -> Result<Vec<Swapped>, Vec<NodeError>> {
        let _turn = self.reloader.turn()?;
        let outcomes = self.reload_in_turn(wanted);
        match &outcomes {
            Ok(outcomes) => outcomes.iter().for_each(Swapped::log),
            Err(problems) => problems.iter().for_each(|p| tracing::error!("{p}")),
        }
        outcomes
    }

    fn reload_in_turn(&self, wanted: &Wanted) -> Result<Vec<Swapped>, Vec<NodeError>> {
        let draft = self.reloader.draft()?;
        let config_fault = |fault| vec![NodeError::Config(fault)];
        let trust = configured_trust(draft.document(), &draft.config).map_err(config_fault)?;
        let candidates = discover(&draft.plugins_dir()).map_err(|error| {
            let message = error.to_string();
            config_fault(Fault::at(draft.document(), "/plugins/folder", message))
        })?;
        let files: BTreeSet<&Path> = candidates.iter().map(|found| found.path()).collect();
        let serving = self.registry.generations();
        let own_file = wanted.name.as_deref().and_then(|name| {
            let own = serving.iter().find(|serving| serving.plugin == name)?;
            files.get(&*own.file).copied()
        });
        let settings = Settings::from(&draft.config.plugins);
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
            let mut outcome = match self.libraries.load(file, &trust, &settings) {
                Ok(library) => {
                    let other = wanted.name.as_deref().is_some_and(|n| n != library.name());
                    if other && own_file.is_none() {
                        continue;
                    }
                    self.consider(&draft, file, library, &files, wanted)
                }
                Err(refusal) => {
                    let plugin = holder.map(|holder| holder.plugin.as_str());
                    let problems = [NodeError::Plugin(refusal)];
                    Swapped::refused(plugin, file, &problems, holder.map(|h| &**h))
                }
            };
            self.history.file(&outcome);
            if let (Outcome::Serves { warnings, .. }, Some(warning)) =
                (&mut outcome.outcome, self.tcp_unserved())
            {
                warnings.push(warning);
            }
            outcomes.push(outcome);
        }
        self.history.only_files(&files);
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
            Some(name) if outcomes.is_empty() => Err(vec![NodeError::Absent(format!(
                "no plugin {name:?} serves, and no file in {} holds one; {}",
                shown(&draft.plugins_dir()),
                self.names()
            ))]),
            _ => Ok(outcomes),
        }
    }

    /// Decides what to do with a library that is fit to serve.
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
                let problems = [NodeError::Warning(twice)];
                return Swapped::refused(Some(&name), file, &problems, Some(serving));
            }
            if serving.digest == library.digest() && serving.file == file && !wanted.force {
                return outcome(Outcome::Unchanged {
                    generation: serving.id,
                });
            }
        }
        if let (true, Some(serving)) = (wanted.confirm, &serving)
            && let Err(problems) = self.ends_nothing(serving, "swapping", "reload")
        {
            return Swapped::refused(Some(&name), file, &problems, Some(serving));
        }
        if wanted.hold && self.history.was_left(&name, library.digest()) {
            return outcome(Outcome::Held);
        }
        match self
            .plan(draft, file, library)
            .and_then(|planned| self.switch(draft, &planned))
        {
            Ok(Switched { now, before, ended }) => {
                self.history.came_back(&name);
                outcome(Outcome::Serves {
                    now: GenerationId::from(&*now),
                    replaced: before.as_deref().map(GenerationId::from),
                    warnings: ended.into_iter().collect(),
                })
            }
            Err(problems) => Swapped::refused(Some(&name), file, &problems, serving.as_deref()),
        }
    }

    /// The keys and secrets that the monitor handed over, where it has them.
    pub(super) fn handed_over(&self) -> Option<&HandedOver> {
        self.walls.as_deref()?.handed_over()
    }

    pub(super) fn plan(
        &self,
        draft: &Draft,
        file: &Path,
        library: Arc<LoadedPlugin>,
    ) -> Result<PlannedPlugin, Vec<NodeError>> {
        let granter = draft.granter_for(library.name(), self.handed_over())?;
        let context = ConfigContext {
            config: &draft.config,
            granter: &granter,
        };
        configure(context, file, library).map_err(Vec::from)
    }

    /// Makes the handler of a plugin, has it run its tests, has new connections
    /// land on it, and retires what served before.
    pub(super) fn switch(
        &self,
        draft: &Draft,
        planned: &PlannedPlugin,
    ) -> Result<Switched, Vec<NodeError>> {
        let file = &planned.file;
        let refused = |reason: &dyn std::fmt::Display| {
            vec![NodeError::Handler(MakeHandlerError {
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
        let filter = log_filter::parse_filter(filter).unwrap_or_default();
        let id = self.registry.next_id();
        let config = self.reloader.generation();
        let _inside = self.runtime.enter();
        let walls = self.walls.as_deref();
        let made = make_generation(
            id,
            planned,
            &self.host_keys,
            &self.identities.provider(),
            &filter,
            config,
            walls,
        );
        let now = made.map_err(|refused| {
            counters::load_failure("handler");
            vec![NodeError::Handler(refused)]
        })?;
        let tests = TestContext {
            document: draft.document(),
            config: &draft.config,
            peers: &self.identities.peers.config(),
        };
        tests
            .run(&*now.handler, name, &planned.config)
            .map_err(|faults| {
                faults
                    .into_iter()
                    .map(NodeError::Config)
                    .collect::<Vec<_>>()
            })?;
        if self.reloader.is_stopping() {
            return Err(vec![NodeError::Stopping]);
        }
        if let Some(before) = self.serving(name) {
            transfer_state(&before, &now);
        }
        let alpns = self.registry.alpns();
        let before = self
            .registry
            .insert(&now)
            .map_err(|taken| refused(&taken))?;
        self.announce_alpns(&alpns);
        let ended = before.as_ref().and_then(|before| {
            self.history.replaced(before);
            self.retire(Arc::clone(before), Some(now.version.to_string()))
        });
        Ok(Switched { now, before, ended })
    }

    /// Has the endpoint speak the ALPNs that are served, where they changed.
    pub(super) fn announce_alpns(&self, before: &[Vec<u8>]) {
        let now = self.registry.alpns();
        if now == before {
            return;
        }
        if let Some(iroh) = &self.listening.iroh {
            iroh.set_alpns(now.clone());
        }
        match self.listening.server.config(&now) {
            Ok(config) => self.listening.endpoint.set_server_config(Some(config)),
            // The loader has looked at each of them.
            Err(error) => tracing::error!(%error, "the list of ALPNs stays as it was"),
        }
    }

    /// Retires a generation. Returns a sentence about connections that are
    /// ended for that, if any are.
    pub(super) fn retire(
        &self,
        generation: Arc<Generation>,
        successor: Option<String>,
    ) -> Option<String> {
        let plugins = self.reloader.config().plugins;
        let limit = plugins.drain_seconds.map(u64::from);
        let ended = self.retirement.begin(
            generation,
            successor,
            limit.map(Duration::from_secs),
            plugins.max_draining.into(),
            &self.runtime,
        );
        (!ended.is_empty()).then(|| format!("ends {ended} (/plugins/max_draining)"))
    }

    /// Whether a generation can be replaced without the end of any connection.
    ///
    /// # Errors
    /// A fault that says how many connections it would end, and how to go on.
    pub(super) fn ends_nothing(
        &self,
        serving: &Arc<Generation>,
        doing: &str,
        command: &str,
    ) -> Result<(), Vec<NodeError>> {
        let most = self.reloader.config().plugins.max_draining.into();
        let ended = self.retirement.would_end(serving, most);
        if ended.is_empty() {
            return Ok(());
        }
        Err(vec![NodeError::EndsSessions(format!(
            "{}: {doing} the plugin {:?} would end {ended}: more than {most} replaced versions would have connections left (/plugins/max_draining); `alknet-node plugins {command} --yes` goes on",
            shown(&serving.file),
            serving.plugin
        ))])
    }

    pub(super) fn tcp_unserved(&self) -> Option<String> {
        let alpn = self.listening.tcp_alpn.as_deref()?;
        let served = self.registry.alpns().iter().any(|a| a == alpn.as_bytes());
        (!served).then(|| {
            format!(
                "no plugin serves {alpn:?}, which TCP connections are for (/tcp_alpn); they are closed at once"
            )
        })
    }

    pub(super) fn serving(&self, plugin: &str) -> Option<Arc<Generation>> {
        let mut serving = self.registry.generations().into_iter();
        serving.find(|serving| serving.plugin == plugin)
    }

    pub(super) fn names(&self) -> String {
        let serving = self.registry.generations();
        let names: Vec<&str> = serving.iter().map(|s| s.plugin.as_str()).collect();
        match names.is_empty() {
            true => "none serves".to_owned(),
            false => format!("these serve: {}", names.join(", ")),
        }
    }
}

/// A plugin whose new connections land on another generation.
pub(super) struct Switched {
    /// What serves now.
    pub(super) now: Arc<Generation>,
    /// The generation that served before.
    pub(super) before: Option<Arc<Generation>>,
    /// A sentence about connections that are ended for that, if any are.
    pub(super) ended: Option<String>,
}
