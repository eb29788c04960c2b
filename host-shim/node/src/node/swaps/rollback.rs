//! `plugins rollback` and `plugins unload` on the running node.

use std::sync::Arc;

use super::history::Previous;
use super::report::{GenerationId, Outcome, Swapped};
use super::swap::{Swapper, Switched};
use crate::config::draft::Draft;
use crate::config::problem::NodeError;
use crate::config::trust::configured_trust;
use crate::plugins::PlannedPlugin;

impl Swapper {
    /// Has the version before the last swap of a plugin serve again, or, where
    /// it was rolled back already, the one that was rolled back from.
    ///
    /// # Errors
    /// When no such version is known, or it can no longer serve; with `confirm`
    /// also when that would end connections by `max_draining`.
    pub(crate) fn rollback(
        &self,
        name: Option<&str>,
        confirm: bool,
    ) -> Result<Swapped, Vec<NodeError>> {
        let _turn = self.reloader.turn()?;
        let previous = self
            .history
            .previous(name)
            .map_err(|why| vec![NodeError::Absent(why)])?;
        let draft = self.reloader.draft()?;
        let config_fault = |fault| vec![NodeError::Config(fault)];
        let trust = configured_trust(draft.document(), &draft.config).map_err(config_fault)?;
        self.libraries
            .still_trusted(&previous.file, &previous.library, &trust)
            .map_err(|refusal| vec![NodeError::Plugin(refusal)])?;
        self.confirmed(previous.library.name(), confirm, "rolling back", "rollback")?;
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
        let Switched { now, before, ended } = self.switch(&draft, &planned)?;
        warnings.extend(ended);
        if let Some(before) = &before {
            self.history.left(&before.plugin, before.digest);
        }
        warnings.extend(self.tcp_unserved());
        let outcome = Swapped {
            plugin: Some(now.plugin.clone()),
            file: planned.file,
            outcome: Outcome::Serves {
                now: GenerationId::from(&*now),
                replaced: before.as_deref().map(GenerationId::from),
                warnings,
            },
        };
        outcome.log();
        Ok(outcome)
    }

    /// Has a plugin serve no more. Connections there are go on.
    ///
    /// # Errors
    /// When it does not serve; with `confirm` also when that would end
    /// connections by `max_draining`.
    pub(crate) fn unload(&self, name: &str, confirm: bool) -> Result<Swapped, Vec<NodeError>> {
        let _turn = self.reloader.turn()?;
        self.confirmed(name, confirm, "unloading", "unload")?;
        let alpns = self.registry.alpns();
        let Some(before) = self.registry.remove(name) else {
            let why = format!("no plugin {name:?} serves; {}", self.names());
            return Err(vec![NodeError::Absent(why)]);
        };
        self.announce_alpns(&alpns);
        let outcome = Swapped {
            plugin: Some(name.to_owned()),
            file: before.file.clone(),
            outcome: Outcome::Unloaded {
                before: GenerationId::from(&*before),
            },
        };
        self.history.left(name, before.digest);
        let _ = self.retire(before, None);
        outcome.log();
        Ok(outcome)
    }

    fn confirmed(
        &self,
        name: &str,
        confirm: bool,
        doing: &str,
        command: &str,
    ) -> Result<(), Vec<NodeError>> {
        match self.serving(name) {
            Some(serving) if confirm => self.ends_nothing(&serving, doing, command),
            _ => Ok(()),
        }
    }

    /// Plans a version with the configuration it had when it was replaced,
    /// where the present one does not fit it.
    fn plan_as_before(
        &self,
        draft: &Draft,
        previous: &Previous,
    ) -> Result<PlannedPlugin, Vec<NodeError>> {
        let name = previous.library.name();
        let names = draft.config.plugins.secrets.get(name);
        let names = names.map(Vec::as_slice).unwrap_or_default();
        let granter = draft.granter_for(name, self.handed_over())?;
        let capabilities = granter
            .grant(name, names, previous.library.capabilities_schema())
            .map_err(|faults| {
                faults
                    .into_iter()
                    .map(NodeError::Config)
                    .collect::<Vec<_>>()
            })?;
        Ok(PlannedPlugin {
            plugin: Arc::clone(&previous.library),
            file: previous.file.clone(),
            config: (*previous.config).clone(),
            capabilities,
        })
    }
}
