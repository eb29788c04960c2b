//! The extensions of a user certificate that are alknet's own.

/// What the names of our extensions end with. Each of them narrows; a node refuses
/// a certificate that has one it does not know.
pub const NAMESPACE: &str = "@alknet";

/// The extension that lists the scopes that a certificate is limited to.
pub const SCOPES: &str = "scopes@alknet";

/// The extension that lists the Unix accounts that a certificate is limited to.
pub const ACCOUNTS: &str = "accounts@alknet";

/// The value of an extension that lists texts: one a line. An empty list is an
/// empty value.
///
/// # Errors
/// When an entry is empty or holds a line break, which could not be read back.
pub fn write_list(entries: &[String]) -> Result<String, ListError> {
    match entries
        .iter()
        .find(|entry| entry.is_empty() || entry.contains(char::is_control))
    {
        Some(entry) => Err(ListError {
            entry: entry.clone(),
        }),
        None => Ok(entries.join("\n")),
    }
}

/// The texts that such a value lists.
pub fn read_list(value: &str) -> Vec<String> {
    value.lines().map(str::to_owned).collect()
}

/// An entry cannot stand in a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} cannot stand in a certificate: it is empty or holds a control character")]
pub struct ListError {
    /// The entry.
    pub entry: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_were_written() {
        for entries in [
            &[][..],
            &["ssh:exec"],
            &["ssh:streamlocal:/a b", "ssh:exec:x"],
        ] {
            let entries: Vec<_> = entries.iter().map(|&entry| entry.to_owned()).collect();
            assert_eq!(read_list(&write_list(&entries).unwrap()), entries);
        }
        assert!(write_list(&["ssh:exec\nssh:shell".to_owned()]).is_err());
        assert!(write_list(&[String::new()]).is_err());
    }
}
