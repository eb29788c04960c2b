//! Policy rules as text of a node's configuration.

/// Rules of the SSH configuration as a TOML list: action, target, principals.
pub fn rules(rules: &[(&str, &str, &[&str])]) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|(action, target, principals)| {
            format!("{{ action = {action:?}, target = {target:?}, principals = {principals:?} }}")
        })
        .collect();
    format!("[{}]", rules.join(", "))
}
