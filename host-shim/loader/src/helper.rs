//! Entering a plugin's helper, in a process of its own.

use std::error::Error as _;
use std::path::Path;

use alknet_plugin_interface::PluginModuleRef;
use alknet_plugin_interface::abi_stable::library::lib_header_from_path;
use alknet_plugin_interface::abi_stable::std_types::{ROption, RResult, RStr};
use serde::Deserialize;

use crate::bind::open_bound;
use crate::text::one_line;

/// The id of the extension by which a plugin's helper is entered.
const HELPER: &str = "alknet.helper/1";

/// The answer of a helper.
#[derive(Deserialize)]
struct Answer {
    /// The status to exit with.
    status: u8,
}

/// Loads a library, which another process has found fit, as the node loads it: with all that it calls bound. Has its helper do
/// what `request` (JSON text) says, with this process's standard input and
/// output. Blocks until that is done, and gives the status to exit with.
///
/// # Errors
/// The reason for which the helper did not do it, in one line.
pub fn enter_helper(library: &Path, request: &str) -> Result<u8, String> {
    open_bound(library).map_err(|error| {
        let cause = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        format!("the plugin cannot be loaded: {}", one_line(&cause))
    })?;
    let module = lib_header_from_path(library)
        .and_then(|header| header.init_root_module::<PluginModuleRef>())
        .map_err(|error| {
            let text = error.to_string();
            let line = text.lines().find(|line| !line.trim().is_empty());
            format!(
                "the plugin cannot be loaded: {}",
                line.unwrap_or_default().trim()
            )
        })?;
    let ROption::RSome(helper) = module.extension()(RStr::from_str(HELPER)) else {
        return Err("the plugin has no helper".to_owned());
    };
    let answer = match (helper.call)(RStr::from_str(request)) {
        RResult::ROk(answer) => answer,
        RResult::RErr(error) => return Err(error.message.into()),
    };
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|error| format!("the plugin's helper gave no answer: {error}"))?;
    Ok(answer.status)
}
