use std::net::{Ipv4Addr, Ipv6Addr};

/// The forms a scope can have, for messages.
const FORMS: &str = "ssh:exec, ssh:exec:<program>, ssh:forward:<host>:<port>, \
    ssh:listen:<address>:<port>, ssh:streamlocal:<path>, ssh:shell, ssh:sftp, ssh:agent, \
    ssh:env:<NAME>";

/// Checks that a scope has one of the forms the SSH handler understands, so
/// that a slip of the pen is found when the node starts and not when a peer
/// is refused.
///
/// - `ssh:exec`: any command; `ssh:exec:git-upload-pack`: that program.
/// - `ssh:forward:<host>:<port>`: the host is a name, `*.suffix`, an address,
///   a CIDR range or `*`; the port is a number, a range `8000-8010` or `*`.
///   IPv6 stands in brackets: `[2001:db8::1]`, `[2001:db8::]/32`.
/// - `ssh:listen:<address>:<port>`: the same forms; port 0 lets the peer ask
///   for any free port.
/// - `ssh:streamlocal:<absolute path>`.
/// - `ssh:shell`, `ssh:sftp`, `ssh:agent`.
/// - `ssh:env:<NAME>`.
///
/// # Errors
/// What is wrong with it, and the form it should have.
pub fn check_scope(scope: &str) -> Result<(), ScopeError> {
    let error = |expected| ScopeError::Malformed {
        scope: scope.to_owned(),
        expected,
    };
    let unknown = || ScopeError::Unknown {
        scope: scope.to_owned(),
    };
    let action = scope.strip_prefix("ssh:").ok_or_else(unknown)?;
    let (action, argument) = match action.split_once(':') {
        Some((action, argument)) => (action, Some(argument)),
        None => (action, None),
    };
    let (valid, expected) = match (action, argument) {
        ("exec" | "shell" | "sftp" | "agent", None) => (true, ""),
        ("shell", Some(_)) => (false, "ssh:shell"),
        ("sftp", Some(_)) => (false, "ssh:sftp"),
        ("agent", Some(_)) => (false, "ssh:agent"),
        ("exec", Some(program)) => (
            is_word(program),
            "ssh:exec:<program>, the program without arguments",
        ),
        ("forward", target) => (
            target.is_some_and(|target| is_target(target, 1)),
            "ssh:forward:<host>:<port>; host: name, *.suffix, address, CIDR range or *, IPv6 in \
             brackets; port: 1 to 65535, a range like 8000-8010, or *",
        ),
        ("listen", target) => (
            target.is_some_and(|target| is_target(target, 0)),
            "ssh:listen:<address>:<port>; address: name, address, CIDR range or *, IPv6 in \
             brackets; port: 0 to 65535, a range like 8000-8010, or *",
        ),
        ("streamlocal", path) => (
            path.is_some_and(|path| path.starts_with('/') && !path.contains(char::is_control)),
            "ssh:streamlocal:<path>, the path absolute",
        ),
        ("env", name) => (
            name.is_some_and(is_variable),
            "ssh:env:<NAME>, the name of letters, digits and _",
        ),
        _ => return Err(unknown()),
    };
    if valid { Ok(()) } else { Err(error(expected)) }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_target(target: &str, lowest_port: u16) -> bool {
    target
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && is_port(port, lowest_port))
}

fn is_host(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        return is_bracketed_ipv6(bracketed);
    }
    if let Some((address, prefix)) = host.split_once('/') {
        return address.parse::<Ipv4Addr>().is_ok() && is_prefix(prefix, 32);
    }
    if host == "*" || host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    is_name(host.strip_prefix("*.").unwrap_or(host))
}

/// What follows the opening bracket: `::1]`, `fd00::]/8` or `fd00::/8]`.
fn is_bracketed_ipv6(text: &str) -> bool {
    let Some((inside, after)) = text.split_once(']') else {
        return false;
    };
    let (address, prefix) = match (inside.split_once('/'), after.strip_prefix('/')) {
        (None, None) if after.is_empty() => (inside, None),
        (None, Some(prefix)) => (inside, Some(prefix)),
        (Some((address, prefix)), None) if after.is_empty() => (address, Some(prefix)),
        _ => return false,
    };
    address.parse::<Ipv6Addr>().is_ok() && prefix.is_none_or(|prefix| is_prefix(prefix, 128))
}

fn is_prefix(text: &str, longest: u16) -> bool {
    number(text).is_some_and(|length| length <= longest)
}

/// A host name; digits and dots alone would be a broken address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    name.len() <= 253
        && name.split('.').all(is_label)
        && !name.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn is_port(port: &str, lowest: u16) -> bool {
    if port == "*" {
        return true;
    }
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    match (number(first), number(last)) {
        (Some(first), Some(last)) => lowest <= first && first <= last,
        _ => false,
    }
}

/// Digits only: `str::parse` would let a plus sign pass.
fn number(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// There is no such scope.
    #[error("{scope:?} is no known scope; there are {FORMS}")]
    Unknown {
        /// The text.
        scope: String,
    },
    /// The scope exists, but what follows it is wrong.
    #[error("the scope {scope:?} is malformed; expected {expected}")]
    Malformed {
        /// The text.
        scope: String,
        /// The form it should have.
        expected: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_known() {
        for scope in [
            "ssh:exec",
            "ssh:exec:git-upload-pack",
            "ssh:exec:/usr/bin/rsync",
            "ssh:forward:db.internal:5432",
            "ssh:forward:localhost:80",
            "ssh:forward:*.internal:443",
            "ssh:forward:10.0.0.0/8:1-1024",
            "ssh:forward:192.168.1.7:*",
            "ssh:forward:*:*",
            "ssh:forward:[::1]:22",
            "ssh:forward:[fd00::]/8:22",
            "ssh:forward:[fd00::/8]:22",
            "ssh:listen:127.0.0.1:0",
            "ssh:listen:*:8000-8010",
            "ssh:listen:[::1]:0-65535",
            "ssh:streamlocal:/run/app.sock",
            "ssh:shell",
            "ssh:sftp",
            "ssh:agent",
            "ssh:env:LANG",
            "ssh:env:LC_ALL",
        ] {
            assert_eq!(check_scope(scope), Ok(()), "{scope}");
        }
    }

    #[test]
    fn slips_are_found() {
        for scope in [
            "ssh:exec:",
            "ssh:exec:rm -rf",
            "ssh:forward",
            "ssh:forward:db.internal",
            "ssh:forward::22",
            "ssh:forward:db:0",
            "ssh:forward:db:65536",
            "ssh:forward:db:+22",
            "ssh:forward:db:90-80",
            "ssh:forward:db:1-2-3",
            "ssh:forward:::1:22",
            "ssh:forward:[::1:22",
            "ssh:forward:[::1]x:22",
            "ssh:forward:[fd00::/8]/8:22",
            "ssh:forward:[fd00::]/129:22",
            "ssh:forward:[fd00::]/:22",
            "ssh:forward:10.0.0.0/33:22",
            "ssh:forward:300.1.1.1:22",
            "ssh:forward:a*b:22",
            "ssh:forward:*.:22",
            "ssh:forward:-x:22",
            "ssh:listen:127.0.0.1",
            "ssh:streamlocal:run/app.sock",
            "ssh:streamlocal",
            "ssh:shell:bash",
            "ssh:env",
            "ssh:env:",
            "ssh:env:1A",
            "ssh:env:LC_*",
        ] {
            let error = check_scope(scope).unwrap_err();
            assert!(
                matches!(error, ScopeError::Malformed { .. }),
                "{scope}: {error}"
            );
            assert!(error.to_string().contains("expected ssh:"), "{error}");
        }
        for scope in [
            "",
            "exec",
            "ssh",
            "ssh:",
            "ssh:exce",
            "SSH:exec",
            " ssh:exec",
            "ssh:exec ",
        ] {
            let error = check_scope(scope).unwrap_err();
            assert!(
                matches!(error, ScopeError::Unknown { .. }),
                "{scope}: {error}"
            );
            assert!(
                error.to_string().contains("ssh:forward:<host>:<port>"),
                "{error}"
            );
        }
    }
}
