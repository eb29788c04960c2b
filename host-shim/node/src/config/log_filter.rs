//! What of the logs is written.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The form of a filter, for messages.
pub(crate) const FILTER_FORM: &str = "a level (error, warn, info, debug, trace, off), then \
                                      `target=level` for parts, separated by commas, as in \
                                      `info,plugin::ssh=debug`";

/// Parses a filter: `level` or `target=level`, separated by commas. `None` for
/// anything else; a bare word that is not a level would otherwise be a target,
/// and silence the rest.
pub(crate) fn parse_filter(filter: &str) -> Option<Targets> {
    let sound = |directive: &str| {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
        !level.is_empty()
            && LevelFilter::from_str(level).is_ok()
            && target.is_none_or(|target| !target.is_empty() && target.chars().all(word))
    };
    let directives: Vec<&str> = filter.split(',').map(str::trim).collect();
    if !directives.iter().all(|directive| sound(directive)) {
        return None;
    }
    Targets::from_str(&directives.join(",")).ok()
}

/// The part of the node's filter that concerns one plugin, in the plugin's own
/// targets: `plugin::ssh::auth=debug` is `auth=debug` to the plugin `ssh`. It
/// is given to the plugin, so that events nobody wants are not even made.
pub(crate) fn filter_for_plugin(targets: &Targets, plugin: &str) -> String {
    let own = format!("plugin::{plugin}");
    let inner = format!("{own}::");
    let mut default = targets.default_level();
    let mut directives = Vec::new();
    // Shorter targets come later in this order and are overridden by longer
    // ones, as in the node's own filter.
    let mut sorted: Vec<_> = targets.iter().collect();
    sorted.sort_by_key(|(target, _)| target.len());
    for (target, level) in sorted {
        if let Some(rest) = target.strip_prefix(&inner) {
            directives.push(format!("{rest}={level}"));
        } else if own.starts_with(target) {
            default = Some(level);
        }
    }
    let default = default.map_or_else(|| "off".to_owned(), |level| level.to_string());
    directives.insert(0, default);
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(filter: &str) -> String {
        filter_for_plugin(&parse_filter(filter).unwrap(), "ssh")
    }

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for filter in [
            "inof",
            "info,",
            "plugin::ssh=loud",
            "[span]=info",
            "=info",
            "",
        ] {
            assert!(parse_filter(filter).is_none(), "{filter}");
        }
        for filter in ["info", "off", "warn, plugin::ssh=debug", "INFO"] {
            assert!(parse_filter(filter).is_some(), "{filter}");
        }
    }

    #[test]
    fn the_part_for_a_plugin_is_pushed_down_in_its_own_targets() {
        assert_eq!(pushed("info"), "info");
        assert_eq!(pushed("warn,alknet_node=debug"), "warn");
        assert_eq!(pushed("warn,plugin=info"), "info");
        assert_eq!(pushed("warn,plugin::ssh=debug"), "debug");
        assert_eq!(
            pushed("warn,plugin::ssh=info,plugin::ssh::auth=trace,plugin::web=debug"),
            "info,auth=trace"
        );
        assert_eq!(pushed("alknet_node=debug"), "off");
    }
}
