//! The check of a scope when the configuration is read.

use alknet_ssh_policy::Scope;
pub use alknet_ssh_policy::ScopeError;

/// Checks that a scope is one the SSH handler understands and that could
/// match, so that a slip of the pen is found when the node starts and not when
/// a peer is refused. [`alknet_ssh_policy`] says how scopes are written.
///
/// # Errors
/// What is wrong with it, and the form it should have.
pub fn check_scope(scope: &str) -> Result<(), ScopeError> {
    Scope::parse(scope).map(drop)
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
            "ssh:listen:127.0.0.1:0",
            "ssh:listen:*:8000-8010",
            "ssh:listen:[::1]:0-65535",
            "ssh:streamlocal:/run/app.sock",
            "ssh:shell",
            "ssh:sftp",
            "ssh:agent",
            "ssh:env:LANG",
            "ssh:env:LC_ALL",
            "ssh:unconfined",
        ] {
            assert_eq!(check_scope(scope), Ok(()), "{scope}");
        }
    }

    #[test]
    fn slips_are_found_and_the_remedy_is_named() {
        for (scope, remedy) in [
            ("", "there are ssh:exec, "),
            ("exec", "there are ssh:exec, "),
            ("ssh:exce", "ssh:forward:<host>:<port>"),
            ("SSH:exec", "there are ssh:exec, "),
            ("ssh:exec:", "expected ssh:exec or ssh:exec:<program>"),
            ("ssh:exec:rm -rf", "the program without arguments"),
            ("ssh:forward", "expected ssh:forward:<host>:<port>"),
            ("ssh:forward:db.internal", "write <host>:<port>"),
            ("ssh:forward:db:0", "ports are 1 to 65535"),
            ("ssh:forward:db:65536", "a number up to 65535"),
            ("ssh:forward:db:90-80", "write 80-90"),
            ("ssh:forward:::1:22", "write [::1]"),
            ("ssh:forward:[fd00::/8]:22", "write [fd00::]/8"),
            ("ssh:forward:10.1.2.3/8:22", "write 10.0.0.0/8"),
            ("ssh:forward:10.0.0.0/33:22", "at most 32 bits"),
            ("ssh:forward:300.1.1.1:22", "write a name, *.suffix"),
            ("ssh:listen:127.0.0.1", "write <host>:<port>"),
            ("ssh:listen:db.internal:80", "localhost or *"),
            ("ssh:streamlocal:run/app.sock", "not absolute"),
            ("ssh:shell:bash", "expected ssh:shell"),
            ("ssh:env:LC_*", "expected ssh:env:<NAME>"),
        ] {
            let error = check_scope(scope).unwrap_err();
            assert!(error.to_string().contains(remedy), "{scope}: {error}");
        }
    }
}
