//! What is wrong with the part of a configuration about iroh that its schema cannot
//! tell.

use super::IrohConfig;

/// The faults, each with the JSON pointer to its place.
pub(crate) fn faults(config: &IrohConfig) -> Vec<(String, String)> {
    if !config.enabled {
        return Vec::new();
    }
    if cfg!(not(feature = "iroh")) {
        let fault = "this alknet-node was built without iroh: build it with the cargo feature \"iroh\", or set enabled = false";
        return vec![("/iroh/enabled".to_owned(), fault.to_owned())];
    }
    relay_faults(config)
}

#[cfg(feature = "iroh")]
fn relay_faults(config: &IrohConfig) -> Vec<(String, String)> {
    let relays = config.relays.iter().enumerate();
    relays
        .filter_map(|(index, url)| {
            let fault = alknet_iroh::check_relay(url).err()?;
            Some((format!("/iroh/relays/{index}"), fault.to_string()))
        })
        .collect()
}

#[cfg(not(feature = "iroh"))]
fn relay_faults(_: &IrohConfig) -> Vec<(String, String)> {
    Vec::new()
}
