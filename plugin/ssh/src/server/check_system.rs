//! Whether the machine has what the configuration names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use alknet_ssh_config::Services;

use super::process::Account;

/// The directories in which programs without a path are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// The faults of the machine: a JSON pointer into the configuration, and what
/// is missing for the value there.
pub(super) fn faults(services: &Services) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut program = |pointer: &str, path: &str| {
        if !is_program(Path::new(path)) {
            let message = format!("{path:?} is not a program on this machine");
            faults.push((pointer.to_owned(), message));
        }
    };
    if let Some(shell) = services
        .exec
        .shell
        .as_deref()
        .filter(|_| services.exec.enabled)
    {
        program("/services/exec/shell", shell);
    }
    if let Some(shell) = services
        .shell
        .program
        .as_deref()
        .filter(|_| services.shell.enabled)
    {
        program("/services/shell/program", shell);
    }
    if services.exec.enabled && services.exec.shell.is_none() {
        let account = Account::current();
        if account.shell.ends_with("nologin") || account.shell.ends_with("false") {
            faults.push((
                "/services/exec".to_owned(),
                format!(
                    "the account {} has the login shell {}, which ends every command; set `shell = \"/bin/sh\"` here, or give the account a shell (chsh)",
                    account.name.to_string_lossy(),
                    account.shell.display()
                ),
            ));
        }
    }
    for (name, command) in &services.subsystems {
        let words = shlex::split(command).unwrap_or_default();
        let first = words.iter().find(|word| !is_assignment(word));
        let Some(first) = first.filter(|first| !is_found(first)) else {
            continue;
        };
        let token = name.replace('~', "~0").replace('/', "~1");
        faults.push((
            format!("/services/subsystems/{token}"),
            format!("there is no program {first:?} on this machine to serve it"),
        ));
    }
    if let Some(root) = services
        .sftp
        .root
        .as_deref()
        .filter(|_| services.sftp.enabled)
    {
        let what = match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(_) => Some("is not a directory".to_owned()),
            Err(error) => Some(format!("cannot be used: {error}")),
        };
        if let Some(what) = what {
            let message = format!("{root:?} {what}; make it, or name another");
            faults.push(("/services/sftp/root".to_owned(), message));
        }
    }
    faults
}

/// Whether a word is an assignment before a program, `NAME=value`.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn is_found(program: &str) -> bool {
    /// The words of the shell itself (POSIX.1-2017, section 2.14) that a
    /// subsystem's command may begin with.
    const OF_THE_SHELL: [&str; 6] = ["exec", "cd", "set", "umask", "if", "{"];
    match program.contains('/') {
        // Relative to a home directory, or made by the shell.
        _ if program.contains(['$', '~', '`', '(', ';']) => true,
        true => !program.starts_with('/') || is_program(Path::new(program)),
        false => {
            OF_THE_SHELL.contains(&program)
                || PATH
                    .split(':')
                    .any(|at| is_program(&Path::new(at).join(program)))
        }
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let mut services = Services::default();
        services.exec.shell = Some("/no/such/shell".to_owned());
        services.sftp.root = Some("/no/such/directory".to_owned());
        for (name, command) in [
            ("a", "/no/such/program x"),
            ("b", "no-such-program"),
            ("c", "LC_ALL=C sh -c true"),
            ("d", "$HOME/x"),
            ("e", "exec cat"),
        ] {
            services
                .subsystems
                .insert(name.to_owned(), command.to_owned());
        }
        let faults = faults(&services);
        let pointers: Vec<_> = faults.iter().map(|(pointer, _)| &**pointer).collect();
        assert_eq!(
            pointers,
            [
                "/services/exec/shell",
                "/services/subsystems/a",
                "/services/subsystems/b",
                "/services/sftp/root"
            ]
        );
        services.exec.enabled = false;
        services.sftp.enabled = false;
        services.subsystems.clear();
        assert_eq!(super::faults(&services), []);
    }
}
