//! The trust settings of the loader, read from the node's configuration.

use std::fmt;
use std::str::FromStr;

use alknet_document::{Document, Fault};
use alknet_loader::{Signer, Trust};

use crate::config::NodeConfig;

/// The digests and signers of plugins that the configuration accepts.
pub(crate) fn configured_trust(document: &Document, config: &NodeConfig) -> Result<Trust, Fault> {
    let plugins = &config.plugins;
    let parse_digests = |listed: &Vec<String>| parse_each(document, "allow_digests", listed);
    let signers: Vec<Signer> = parse_each(document, "signers", &plugins.signers)?;
    if signers.is_empty() && plugins.require_signature == Some(true) {
        return Err(Fault::at(
            document,
            "/plugins/require_signature",
            "no signers are listed, so every plugin would be refused; list the keys in plugins.signers".to_owned(),
        ));
    }
    Ok(Trust {
        allow_digests: plugins
            .allow_digests
            .as_ref()
            .map(parse_digests)
            .transpose()?,
        signers,
        allow_unsigned: plugins.require_signature == Some(false),
    })
}

fn parse_each<T: FromStr<Err: fmt::Display>>(
    document: &Document,
    field: &str,
    listed: &[String],
) -> Result<Vec<T>, Fault> {
    let parse = |(index, text): (usize, &String)| {
        text.parse().map_err(|error: T::Err| {
            let pointer = format!("/plugins/{field}/{index}");
            Fault::at(document, &pointer, error.to_string())
        })
    };
    listed.iter().enumerate().map(parse).collect()
}
