//! Puts a changed configuration in force while the node serves: all of what
//! can change live, or nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use alknet_control::{ConfigVerdict, ControlRequest, Refused};
use alknet_document::{Document, Fault};
use alknet_handler::ConfigError;
use alknet_identity::{PeerStore, PeersConfig};
use alknet_loader::{Generation, Registry};
use alknet_session::Mode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::NodeConfig;
use crate::config::cut_short::{ConfigFile, Texts, half_a_file};
use crate::config::draft::Draft;
use crate::config::log_filter;
use crate::config::problem::NodeError;
use crate::logs;
use crate::node::endpoint::Limits;
use crate::plugins::{TestContext, plugin_config, plugin_pointer};
use crate::secrets::keys::PublicKeys;
use crate::walls;

/// The JSON pointers to settings that are read at the start only.
const NEEDS_RESTART: [&str; 20] = [
    "/accounts",
    "/iroh/enabled",
    "/iroh/listen",
    "/iroh/relays",
    "/iroh/public_relays",
    "/iroh/discovery",
    "/listen",
    "/tcp_listen",
    "/tcp_alpn",
    "/mnemonic_file",
    "/passphrase_file",
    "/host_key_files",
    "/limits/offline_seconds",
    "/log/format",
    "/lookup",
    "/metrics/listen",
    "/metrics/hosts",
    "/plugins/allow_none",
    "/runtime/worker_threads",
    "/transport/congestion",
];

/// Those of them that name files with keys.
const KEY_FILES: [&str; 3] = ["/mnemonic_file", "/passphrase_file", "/host_key_files"];
/// The entry of `needs_restart` where key files have the same names and hold
/// other keys.
const OTHER_KEYS: &str = "the keys in mnemonic_file, passphrase_file or host_key_files";

/// The JSON pointers to settings that count at once and concern the node alone.
const LIVE: [&str; 7] = [
    "/connections/max",
    "/connections/max_per_address",
    "/limits/offline_buffer_bytes",
    "/plugins/watch",
    "/plugins/drain_seconds",
    "/plugins/max_draining",
    "/shutdown/drain_seconds",
];

/// The JSON pointers to settings that are read when a plugin is loaded.
const AT_NEXT_LOAD: [&str; 6] = [
    "/secrets_file",
    "/plugins/folder",
    "/plugins/allow_digests",
    "/plugins/signers",
    "/plugins/require_signature",
    "/plugins/secrets",
];

/// Those of them that the monitor reads once, at the start, in accounts mode.
const HANDED_OVER: [&str; 2] = ["/secrets_file", "/plugins/secrets"];

/// The number of the configuration that a node starts with.
pub(crate) const FIRST: u64 = 1;

/// Reloads the configuration of a running node.
pub struct Reloader {
    file: PathBuf,
    /// The public keys at the start.
    keys: PublicKeys,
    /// The configuration at the start.
    started: NodeConfig,
    /// The mode, which says whose rights peers' processes get; `None` where the
    /// node starts no processes.
    mode: Option<Mode>,
    registry: Arc<Registry>,
    peers: Arc<PeerStore>,
    limits: Limits,
    /// Held for a whole reload, of the configuration or of plugins, so that
    /// only one happens at a time.
    turn: Mutex<()>,
    current: Mutex<Current>,
    stopping: AtomicBool,
}

/// How to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadOptions {
    /// Whether to read and check everything and change nothing. Handlers are
    /// asked whether they would take it, where they can be asked.
    pub dry_run: bool,
    /// Whether to accept a file that is empty, or that ends where the one
    /// before went on.
    pub accept_empty: bool,
    /// Whether to accept such a file for the peers alone.
    pub accept_peers: bool,
}

/// The right to change what serves.
pub(crate) struct Turn<'a>(#[allow(dead_code, reason = "it is held")] MutexGuard<'a, ()>);

/// The configuration in force.
#[derive(Clone)]
struct Current {
    config: NodeConfig,
    texts: Texts,
    generation: u64,
    since: SystemTime,
}

/// The outcome of a reload, or of a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the configuration in force: 1 at the start, one more
    /// with each reload.
    pub generation: u64,
    /// The changes: `peers`, or JSON pointers into the node's configuration.
    pub changed: Vec<String>,
    /// JSON pointers to what changed in the file and is not in force.
    pub needs_restart: Vec<String>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
    /// The number of tests in the configuration, which all passed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tests: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Reloader {
    pub(crate) fn new(
        file: PathBuf,
        keys: PublicKeys,
        started: NodeConfig,
        mode: Option<Mode>,
        registry: Arc<Registry>,
        peers: Arc<PeerStore>,
        limits: Limits,
    ) -> Self {
        Self {
            turn: Mutex::new(()),
            current: Mutex::new(Current {
                config: started.clone(),
                texts: texts(&file),
                generation: FIRST,
                since: SystemTime::now(),
            }),
            file,
            keys,
            started,
            mode,
            registry,
            peers,
            limits,
            stopping: AtomicBool::new(false),
        }
    }

    /// Reads the configuration again and puts it in force. Blocks while files
    /// are read and handlers asked.
    ///
    /// # Errors
    /// Everything that is wrong; the configuration stays as it was.
    pub fn reload(&self, how: ReloadOptions) -> Result<Reloaded, Vec<NodeError>> {
        let _turn = self.turn()?;
        let mut current = self.current();
        let next = self.read(how)?;
        let mut outcome = self.compare(&current, &next);
        if how.dry_run {
            let faults = would_refuse(&next);
            if !faults.is_empty() {
                return Err(faults);
            }
        }
        outcome.tests = run_tests(&next)?;
        if how.dry_run {
            return Ok(outcome);
        }
        let following = self.apply(&next, &mut outcome)?;
        current.generation += 1;
        for generation in &following {
            generation.set_config_generation(current.generation);
        }
        if next.draft.config.log.filter != current.config.log.filter {
            self.apply_filter(&next.draft.config.log.filter, &mut outcome.warnings);
        }
        self.limits.set(&next.draft.config);
        self.tell_handlers(&mut outcome);
        current.config = next.draft.config;
        current.texts = next.texts;
        current.since = SystemTime::now();
        outcome.generation = current.generation;
        self.put(current.clone());
        tracing::info!(
            generation = current.generation,
            changed = outcome.changed.join(", "),
            "configuration reloaded"
        );
        if !outcome.needs_restart.is_empty() {
            let fields = outcome.needs_restart.join(", ");
            tracing::warn!("needs a restart: {fields}");
        }
        for warning in &outcome.warnings {
            tracing::warn!("{warning}");
        }
        Ok(outcome)
    }

    /// The number of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.current().generation
    }

    /// The time since which the configuration is in force.
    pub(crate) fn since(&self) -> SystemTime {
        self.current().since
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> NodeConfig {
        self.current().config
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until nothing else is being reloaded.
    ///
    /// # Errors
    /// When the node is about to stop.
    pub(crate) fn turn(&self) -> Result<Turn<'_>, Vec<NodeError>> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopping() {
            return Err(vec![NodeError::Stopping]);
        }
        Ok(Turn(turn))
    }

    /// Whether reloads are refused because the node is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn current(&self) -> Current {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn put(&self, next: Current) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Refuses reloads from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The configuration file as it is now.
    ///
    /// # Errors
    /// The faults of the file; also when it is taken for half of a file.
    pub(crate) fn draft(&self) -> Result<Draft, Vec<NodeError>> {
        self.draft_unless(false)
    }

    fn draft_unless(&self, accept_empty: bool) -> Result<Draft, Vec<NodeError>> {
        let draft = Draft::read(&self.file)?;
        let before = self.current().texts.node;
        match half_a_file(ConfigFile::Node, &before, draft.document()) {
            Some(fault) if !accept_empty => Err(vec![NodeError::Config(fault)]),
            _ => Ok(draft),
        }
    }

    fn read(&self, how: ReloadOptions) -> Result<Next, Vec<NodeError>> {
        let draft = self.draft_unless(how.accept_empty)?;
        let mut problems = Vec::new();
        let mut texts = Texts {
            node: draft.document().text().into(),
            ..Texts::default()
        };
        let peers = match draft.read_peers_document() {
            Ok((document, peers)) => {
                let before = self.current().texts.peers;
                let half = half_a_file(ConfigFile::Peers, &before, &document);
                let half = half.filter(|_| !how.accept_empty && !how.accept_peers);
                problems.extend(half.map(NodeError::Config));
                texts.peers = document.text().into();
                peers
            }
            Err(faults) => {
                problems.extend(faults);
                PeersConfig::default()
            }
        };
        let mut plugins = Vec::new();
        for generation in self.registry.generations() {
            match config_for(&draft, &generation) {
                Ok(config) => plugins.push((generation, Arc::new(config))),
                Err(faults) => problems.extend(faults.into_iter().map(NodeError::Config)),
            }
        }
        if problems.is_empty() {
            Ok(Next {
                draft,
                texts,
                peers,
                plugins,
            })
        } else {
            Err(problems)
        }
    }

    fn compare(&self, current: &Current, next: &Next) -> Reloaded {
        let mut changed = Vec::new();
        if *self.peers.config() != next.peers {
            changed.push("peers".to_owned());
        }
        for (generation, config) in &next.plugins {
            if generation.config() != *config {
                changed.push(plugin_pointer(&generation.plugin));
            }
        }
        let config = &next.draft.config;
        if current.config.log.filter != config.log.filter {
            changed.push("/log/filter".to_owned());
        }
        changed.extend(differing(&LIVE, &current.config, config));
        let absent = config.plugins.config.keys().filter(|name| {
            !next
                .plugins
                .iter()
                .any(|(generation, _)| generation.plugin == **name)
        });
        let warnings = absent.map(|name| {
            Fault::at(
                next.draft.document(),
                &plugin_pointer(name),
                format!(
                    "the plugin {name:?} is configured but does not run, so this was not checked"
                ),
            )
            .to_string()
        });
        let mut warnings: Vec<String> = warnings.collect();
        let mut waiting = differing(&AT_NEXT_LOAD, &current.config, config);
        let mut needs_restart = differing(&NEEDS_RESTART, &self.started, config);
        if self.mode == Some(Mode::Accounts) {
            needs_restart.extend(differing(&HANDED_OVER, &self.started, config));
            waiting.retain(|field| !HANDED_OVER.contains(&field.as_str()));
        }
        if self.mode == Some(Mode::Owner) {
            warnings.extend(walls::accounts_not_served(config, &next.peers));
        }
        if !waiting.is_empty() {
            let fields = waiting.join(", ");
            warnings.push(format!(
                "{fields}: counts for plugins loaded from now on; `alknet-node plugins reload NAME --force` loads one again"
            ));
        }
        match next.draft.public_keys() {
            Ok(None) => {}
            Ok(Some(keys)) if keys == self.keys => {}
            Ok(_)
                if needs_restart
                    .iter()
                    .any(|field| KEY_FILES.contains(&field.as_str())) => {}
            Ok(_) => needs_restart.push(OTHER_KEYS.to_owned()),
            Err(problems) => {
                let problems = problems.iter();
                warnings.extend(problems.map(|problem| format!("{problem}; a restart would fail")));
            }
        }
        Reloaded {
            generation: current.generation,
            changed,
            needs_restart,
            warnings,
            tests: 0,
        }
    }

    /// Gives the handlers their configuration and the store its peers, all or
    /// none. Gives the generations for which the new configuration counts.
    fn apply(
        &self,
        next: &Next,
        outcome: &mut Reloaded,
    ) -> Result<Vec<Arc<Generation>>, Vec<NodeError>> {
        let mut undo = Undo::default();
        for (generation, config) in &next.plugins {
            let before = generation.config();
            // Also one that is the same: the files it names may have changed.
            if let Err(error) = generation.reconfigure(config) {
                undo.all();
                return Err(vec![refuses(next, generation, &error)]);
            }
            undo.0.push((Arc::clone(generation), before));
        }
        if let Err(error) = self.peers.replace(next.peers.clone()) {
            undo.all();
            return Err(vec![NodeError::Peers(error)]);
        }
        let serving = next.plugins.iter().map(|(serving, _)| Arc::clone(serving));
        let draining = self.apply_to_draining(next, &mut outcome.warnings);
        Ok(serving.chain(draining).collect())
    }

    /// Older generations of a plugin follow as far as they understand the new
    /// configuration; they are not asked whether it may be in force. Gives
    /// those that did.
    fn apply_to_draining(&self, next: &Next, warnings: &mut Vec<String>) -> Vec<Arc<Generation>> {
        let mut following = Vec::new();
        for generation in self.registry.live() {
            let serving = next
                .plugins
                .iter()
                .any(|(serving, _)| serving.id == generation.id);
            if serving {
                continue;
            }
            let applied = match config_for(&next.draft, &generation) {
                Ok(config) => generation
                    .reconfigure(&Arc::new(config))
                    .map_err(|error| error.to_string()),
                Err(_) => Err("its schema has no place for it".to_owned()),
            };
            match applied {
                Ok(()) => following.push(generation),
                Err(why) => warnings.push(format!(
                    "old sessions on {} keep the configuration they had: {why}",
                    name(&generation)
                )),
            }
        }
        following
    }

    fn apply_filter(&self, filter: &str, warnings: &mut Vec<String>) {
        // It was checked with the rest of the configuration.
        let targets = log_filter::parse_filter(filter).unwrap_or_default();
        logs::set_filter(&targets);
        for generation in self.registry.live() {
            let filter = log_filter::filter_for_plugin(&targets, &generation.plugin);
            let request = ControlRequest::SetLogFilter { filter };
            if let Err(error) = generation.handler.control(&request.to_json()) {
                warnings.push(format!(
                    "{} keeps its log filter: {error}",
                    name(&generation)
                ));
            }
        }
    }

    /// Has handlers look up the identity of every live session again.
    fn tell_handlers(&self, outcome: &mut Reloaded) {
        let concerned = outcome.changed.iter().any(|what| what == "peers");
        let request = ControlRequest::IdentitiesChanged {}.to_json();
        for generation in self.registry.live() {
            match generation.handler.control(&request) {
                Err(error) if concerned => outcome.warnings.push(format!(
                    "live connections to {} keep the rights they had: {error}",
                    name(&generation)
                )),
                _ => {}
            }
        }
    }
}

/// A configuration that was read and found valid.
struct Next {
    draft: Draft,
    texts: Texts,
    peers: PeersConfig,
    plugins: Vec<(Arc<Generation>, Arc<Value>)>,
}

/// Handlers that have a new configuration, and the one they had.
#[derive(Default)]
struct Undo(Vec<(Arc<Generation>, Arc<Value>)>);

impl Undo {
    fn all(self) {
        for (generation, before) in self.0.into_iter().rev() {
            if let Err(error) = generation.reconfigure(&before) {
                tracing::error!(
                    plugin = generation.plugin,
                    generation = generation.id,
                    %error,
                    "a handler would not take back the configuration it had; restart the node"
                );
            }
        }
    }
}

/// The texts of the files as they are now. A file that cannot be read counts as
/// empty.
fn texts(file: &Path) -> Texts {
    let Ok(draft) = Draft::read(file) else {
        return Texts::default();
    };
    let peers = draft.read_peers_document();
    Texts {
        node: draft.document().text().into(),
        peers: peers.map_or_else(|_| "".into(), |(document, _)| document.text().into()),
    }
}

/// The faults for which serving handlers would refuse the configuration, as far
/// as they can be asked.
fn would_refuse(next: &Next) -> Vec<NodeError> {
    let mut faults = Vec::new();
    for (generation, config) in &next.plugins {
        let config = Value::clone(config);
        let request = ControlRequest::CheckConfig { config }.to_json();
        let Ok(answer) = generation.handler.control(&request) else {
            continue;
        };
        let answer: ConfigVerdict = serde_json::from_str(&answer).unwrap_or_default();
        if let Some(Refused { pointer, message }) = answer.refused {
            faults.push(refuses(next, generation, &ConfigError { pointer, message }));
        }
    }
    faults
}

/// Has the serving handlers run the tests of the configuration against it and the
/// peers that come with it. Gives the number of tests.
fn run_tests(next: &Next) -> Result<u64, Vec<NodeError>> {
    let context = TestContext {
        document: next.draft.document(),
        config: &next.draft.config,
        peers: &next.peers,
    };
    let (mut passed, mut failed) = (0, Vec::new());
    for (generation, config) in &next.plugins {
        match context.run(&*generation.handler, &generation.plugin, config) {
            Ok(number) => passed += number,
            Err(faults) => failed.extend(faults.into_iter().map(NodeError::Config)),
        }
    }
    match failed.is_empty() {
        true => Ok(passed),
        false => Err(failed),
    }
}

fn refuses(next: &Next, generation: &Generation, error: &ConfigError) -> NodeError {
    let pointer = format!("{}{}", plugin_pointer(&generation.plugin), error.pointer);
    let message = format!(
        "the plugin {:?} refuses this: {}",
        generation.plugin, error.message
    );
    let fault = Fault::at(next.draft.document(), &pointer, message);
    let granted = next.draft.config.plugins.secrets.get(&generation.plugin);
    let lacks_a_secret = error.message.contains("granted no secret");
    NodeError::Config(match granted {
        // It has those that were granted when it was loaded.
        Some(granted) if lacks_a_secret && !granted.is_empty() => fault.with_hint(format!(
            "secrets that were granted since reach the plugin by `alknet-node plugins reload {} --force`",
            generation.plugin
        )),
        _ => fault,
    })
}

fn config_for(draft: &Draft, generation: &Generation) -> Result<Value, Vec<Fault>> {
    let document: &Document = draft.document();
    plugin_config(
        document,
        &draft.config,
        &generation.plugin,
        &generation.config_schema,
    )
}

fn name(generation: &Generation) -> String {
    format!(
        "the plugin {:?} {} (generation {})",
        generation.plugin, generation.version, generation.id
    )
}

/// The pointers whose values differ between two configurations.
fn differing(pointers: &[&str], before: &NodeConfig, after: &NodeConfig) -> Vec<String> {
    // A configuration always has a JSON form; without one nothing is named.
    let as_json = |config| serde_json::to_value(config).unwrap_or_default();
    let (before, after) = (as_json(before), as_json(after));
    pointers
        .iter()
        .filter(|pointer| before.pointer(pointer) != after.pointer(pointer))
        .map(|&pointer| pointer.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_either_changes_live_or_needs_a_restart() {
        let own = ["/peers_file", "/plugins/config", "/log/filter"];
        let live = [&own[..], &LIVE, &AT_NEXT_LOAD].concat();
        let config = serde_json::to_value(NodeConfig::default()).unwrap();
        let mut fields = Vec::new();
        for (name, value) in config.as_object().unwrap() {
            match value {
                Value::Object(inner) => {
                    fields.extend(inner.keys().map(|inner| format!("/{name}/{inner}")));
                }
                _ => fields.push(format!("/{name}")),
            }
        }
        for field in &fields {
            let known = live.contains(&field.as_str()) != NEEDS_RESTART.contains(&field.as_str());
            assert!(known, "{field}");
        }
        assert_eq!(fields.len(), live.len() + NEEDS_RESTART.len());
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let started = NodeConfig::default();
        let mut next = started.clone();
        assert!(differing(&NEEDS_RESTART, &started, &next).is_empty());
        next.listen.set_port(1);
        next.log.filter = "debug".to_owned();
        next.runtime.worker_threads = Some(3);
        assert_eq!(
            differing(&NEEDS_RESTART, &started, &next),
            ["/listen", "/runtime/worker_threads"]
        );
    }
}
