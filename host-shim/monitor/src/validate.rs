//! What is refused before anything is done with a message: the monitor takes
//! nothing on trust that it can check.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use alknet_session::{Confinement, JobFilter, MAX_ARGUMENT, Program, Start, UnixTarget};

/// Limits, in bytes or numbers.
const MAX_IDENTITY: usize = 256;
const MAX_ACCOUNT: usize = 256;
const MAX_REMOTE: usize = 256;
const MAX_NOTE: usize = 16 * 1024;
const MAX_ENVIRONMENT: usize = 1024;
const MAX_ARGUMENTS: usize = 4096;
const MAX_TREES: usize = 64;
/// The longest path with its NUL (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// Why a message is refused, in a few words.
type Checked = Result<(), &'static str>;

/// Checks a request to start a process.
pub(crate) fn start(start: &Start) -> Checked {
    owner(&start.identity, start.account.as_deref())?;
    let remote = start.remote.as_deref().unwrap_or_default();
    ensure(
        is_word(remote, MAX_REMOTE),
        "the peer's address is malformed",
    )?;
    ensure(start.note.len() <= MAX_NOTE, "the note is too long")?;
    ensure(
        start.umask.is_none_or(|mask| mask <= 0o777),
        "the umask is malformed",
    )?;
    program(&start.program)?;
    ensure(
        start.environment.len() <= MAX_ENVIRONMENT,
        "too many variables",
    )?;
    for (name, value) in &start.environment {
        let name = name.as_bytes();
        ensure(
            !name.is_empty() && !name.contains(&b'=') && !name.contains(&0),
            "the name of a variable is malformed",
        )?;
        ensure(has_no_nul(value), "the value of a variable is malformed")?;
        ensure(
            name.len() + 1 + value.len() <= MAX_ARGUMENT,
            "a variable is longer than 131071 bytes, the most that the system takes",
        )?;
    }
    start.confinement.as_ref().map_or(Ok(()), confinement)
}

/// Checks a request to open or bind a Unix socket.
pub(crate) fn unix_target(target: &UnixTarget) -> Checked {
    owner(&target.identity, target.account.as_deref())?;
    path(&target.path)?;
    if let Some(beneath) = &target.beneath {
        path(beneath)?;
        ensure(
            target.path.starts_with(beneath) && target.path != *beneath,
            "the path is not in the granted directory",
        )?;
    }
    target.confinement.as_ref().map_or(Ok(()), confinement)
}

/// Checks the filter of a request about jobs.
pub(crate) fn filter(filter: &JobFilter) -> Checked {
    let identity = filter.identity.as_deref().unwrap_or("any");
    owner(identity, None)
}

fn owner(identity: &str, account: Option<&str>) -> Checked {
    let named = !identity.is_empty() && is_word(identity, MAX_IDENTITY);
    ensure(named, "the identity is malformed")?;
    let Some(account) = account else {
        return Ok(());
    };
    // What useradd(8) takes and more; never what could be read as an option,
    // a path or another field of passwd(5).
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/');
    let named = !account.is_empty()
        && account.len() <= MAX_ACCOUNT
        && !account.starts_with('-')
        && account.bytes().all(plain);
    ensure(named, "the account's name is malformed")
}

fn program(program: &Program) -> Checked {
    match program {
        Program::Shell(shell) => shell.as_deref().map_or(Ok(()), path),
        Program::CommandLine { shell, line } => {
            shell.as_deref().map_or(Ok(()), path)?;
            ensure(has_no_nul(line), "the command line holds a NUL")?;
            argument(line)
        }
        Program::Direct { program, arguments } => {
            ensure(
                !program.is_empty() && program.len() < MAX_PATH && has_no_nul(program),
                "the program is malformed",
            )?;
            ensure(arguments.len() <= MAX_ARGUMENTS, "too many arguments")?;
            ensure(
                arguments.iter().all(|argument| has_no_nul(argument)),
                "an argument holds a NUL",
            )?;
            arguments.iter().try_for_each(|text| argument(text))
        }
        Program::Helper { request: _ } => Ok(()),
    }
}

fn argument(text: &OsStr) -> Checked {
    ensure(
        text.len() <= MAX_ARGUMENT,
        "the command is longer than 131071 bytes, the most that the system takes as one argument",
    )
}

fn confinement(confinement: &Confinement) -> Checked {
    path(&confinement.home)?;
    ensure(confinement.trees.len() <= MAX_TREES, "too many trees")?;
    confinement
        .trees
        .iter()
        .try_for_each(|tree| path(&tree.path))
}

/// Checks that a path is absolute, of a length the system takes, and without
/// `..`.
fn path(path: &Path) -> Checked {
    let plain = path.is_absolute()
        && path.as_os_str().len() < MAX_PATH
        && has_no_nul(path.as_os_str())
        && !path.components().any(|part| part == Component::ParentDir);
    ensure(plain, "a path is malformed")
}

fn has_no_nul(text: &OsStr) -> bool {
    !text.as_bytes().contains(&0)
}

fn is_word(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.chars().any(char::is_control)
}

fn ensure(holds: bool, otherwise: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use alknet_session::Tree;

    use super::*;

    fn good() -> Start {
        Start {
            identity: "alice".into(),
            generation: 1,
            session: 1,
            account: None,
            program: Program::Shell(None),
            terminal: false,
            environment: vec![("A".into(), "b=c".into())],
            umask: Some(0o22),
            confinement: None,
            remote: Some("192.0.2.1 port 22".into()),
            note: String::new(),
        }
    }

    #[test]
    fn a_request_that_says_too_much_is_refused() {
        assert_eq!(start(&good()), Ok(()));
        type Spoil = fn(&mut Start);
        let spoils: [Spoil; 18] = [
            |start| start.identity.clear(),
            |start| start.identity = "a\nb".into(),
            |start| start.identity = "x".repeat(MAX_IDENTITY + 1),
            |start| start.account = Some("-x".into()),
            |start| start.account = Some("a:b".into()),
            |start| start.account = Some(String::new()),
            |start| start.remote = Some("\x1b[2J".into()),
            |start| start.note = "x".repeat(MAX_NOTE + 1),
            |start| start.umask = Some(0o1000),
            |start| start.environment.push(("A=B".into(), "c".into())),
            |start| start.environment.push((OsString::new(), "c".into())),
            |start| start.environment.push(("A".into(), "b\0c".into())),
            |start| start.program = Program::Shell(Some("sh".into())),
            |start| {
                let line = "a\0b".into();
                start.program = Program::CommandLine { shell: None, line };
            },
            |start| {
                let line = "x".repeat(MAX_ARGUMENT + 1).into();
                start.program = Program::CommandLine { shell: None, line };
            },
            |start| {
                let value = "x".repeat(MAX_ARGUMENT - 1).into();
                start.environment.push(("A".into(), value));
            },
            |start| {
                let (program, arguments) = (OsString::new(), Vec::new());
                start.program = Program::Direct { program, arguments };
            },
            |start| {
                let path = PathBuf::from("/srv/../etc");
                start.confinement = Some(Confinement {
                    home: "/home/g".into(),
                    trees: vec![Tree { path, write: true }],
                    network: false,
                });
            },
        ];
        for (number, spoil) in spoils.iter().enumerate() {
            let mut spoiled = good();
            spoil(&mut spoiled);
            assert!(start(&spoiled).is_err(), "{number}");
        }
    }

    #[test]
    fn a_socket_lies_in_the_granted_directory() {
        let target = |path: &str, beneath: Option<&str>| UnixTarget {
            identity: "alice".into(),
            account: None,
            confinement: None,
            path: path.into(),
            beneath: beneath.map(PathBuf::from),
        };
        assert_eq!(unix_target(&target("/run/a", None)), Ok(()));
        assert_eq!(unix_target(&target("/run/a", Some("/run"))), Ok(()));
        for (path, beneath) in [
            ("run/a", None),
            ("/run/a", Some("/run/a")),
            ("/run/a", Some("/srv")),
            ("/run/../etc/a", Some("/run")),
        ] {
            assert!(unix_target(&target(path, beneath)).is_err(), "{path}");
        }
    }
}
