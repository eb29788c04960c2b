//! The plugins of a start: all files of the plugins directory, loaded and
//! configured.

use std::path::PathBuf;

use alknet_document::{Fault, did_you_mean, join_pointer};
use alknet_loader::{LoadedPlugin, discover, shown, shown_alpn};

use super::configure::{ConfigContext, ConfigureError, configure, plugin_pointer};
use super::libraries::Libraries;
use super::trial::Settings;
use crate::config::problem::{NodeError, Warning};
use crate::config::trust::configured_trust;
use crate::plugins::PlannedPlugin;

/// Loads the plugins of a directory for a start, each with its configuration.
pub(crate) fn gather(
    context: ConfigContext<'_>,
    dir: PathBuf,
    libraries: &Libraries,
    problems: &mut Vec<NodeError>,
    warnings: &mut Vec<Warning>,
) -> Vec<PlannedPlugin> {
    let ConfigContext { config, granter } = context;
    let document = granter.document;
    let trust = match configured_trust(document, config) {
        Ok(trust) => trust,
        Err(fault) => {
            problems.push(NodeError::Config(fault));
            return Vec::new();
        }
    };
    let candidates = match discover(&dir) {
        Ok(candidates) => candidates,
        Err(error) => {
            let fault = Fault::at(document, "/plugins/folder", error.to_string());
            problems.push(NodeError::Config(fault));
            return Vec::new();
        }
    };
    if let Err(refusal) = libraries.sweep() {
        warnings.push(Warning::Plugin(refusal));
    }
    let settings = Settings::from(&config.plugins);
    let mut planned: Vec<PlannedPlugin> = Vec::new();
    for candidate in &candidates {
        let file = candidate.path();
        let plugin = match libraries.load(file, &trust, &settings) {
            Ok(plugin) => plugin,
            Err(refusal) => {
                warnings.push(Warning::Plugin(refusal));
                continue;
            }
        };
        if let Some(first) = planned.iter().find(|p| p.plugin.name() == plugin.name()) {
            warnings.push(Warning::SamePlugin {
                name: plugin.name().to_owned(),
                first: first.file.clone(),
                second: file.to_owned(),
            });
        } else if let Some((alpn, first)) = rival(&planned, &plugin) {
            warnings.push(Warning::SameAlpn {
                alpn,
                first,
                second: file.to_owned(),
            });
        } else {
            match configure(context, file, plugin) {
                Ok(plugin) => planned.push(plugin),
                Err(ConfigureError::Schema(refused)) => warnings.push(Warning::Handler(refused)),
                Err(ConfigureError::Config(faults)) => {
                    problems.extend(faults.into_iter().map(NodeError::Config));
                }
            }
        }
    }
    if candidates.is_empty() {
        warnings.push(Warning::NoPlugins { dir: dir.clone() });
    }
    let configured = config
        .plugins
        .config
        .keys()
        .map(|name| (name, plugin_pointer(name)));
    let granted = config.plugins.secrets.keys();
    let granted = granted.map(|name| (name, join_pointer("/plugins/secrets", name)));
    for (name, pointer) in configured.chain(granted) {
        let loaded = planned.iter().any(|p| p.plugin.name() == name);
        // A plugin that was refused has been named already.
        if !loaded && planned.len() == candidates.len() {
            let message = format!("the plugin {name:?} is configured but was not loaded");
            let loaded: Vec<_> = planned.iter().map(|p| p.plugin.name()).collect();
            let hint = did_you_mean(name, loaded.iter().copied()).unwrap_or_else(|| {
                match loaded.is_empty() {
                    true => format!("put it into {}, or take this out", shown(&dir)),
                    false => format!(
                        "loaded were {}: correct the name, put the plugin into {}, or take this out",
                        loaded.join(", "),
                        shown(&dir)
                    ),
                }
            });
            let fault = Fault::at(document, &pointer, message).with_hint(hint);
            warnings.push(Warning::ConfiguredButAbsent(fault));
        }
    }
    planned
}

/// An ALPN of `plugin` that a planned one serves, and the file of that one.
fn rival(planned: &[PlannedPlugin], plugin: &LoadedPlugin) -> Option<(String, PathBuf)> {
    planned.iter().find_map(|other| {
        let shared = plugin
            .alpns()
            .find(|alpn| other.plugin.alpns().any(|taken| taken == *alpn))?;
        let alpn = shown_alpn(shared);
        Some((alpn, other.file.clone()))
    })
}
