//! What a process executes: its file, arguments and environment.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use alknet_session::{Program, Start};

use crate::account::Account;

/// The default search path for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The account, its temporary directory and its search path, from which the
/// environment is made.
pub(crate) struct Base<'a> {
    pub(crate) account: &'a Account,
    pub(crate) home: &'a Path,
    /// The private temporary directory of a confined process.
    pub(crate) temporary: Option<PathBuf>,
    /// The search path of login.defs(5), in accounts mode.
    pub(crate) path: Option<String>,
    pub(crate) more: Vec<(OsString, OsString)>,
}

/// The environment of a process, in the form of execve(2).
pub(crate) fn environment(base: &Base<'_>, start: &Start) -> (Vec<CString>, OsString) {
    let account = base.account;
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    let mut set = |name: &str, value: &OsStr| variables.insert(name.into(), value.to_owned());
    set("HOME", base.home.as_os_str());
    set("USER", OsStr::new(&account.name));
    set("LOGNAME", OsStr::new(&account.name));
    set("SHELL", shell(start, account).as_os_str());
    set("PATH", OsStr::new(base.path.as_deref().unwrap_or(PATH)));
    if let Some(zone) = std::env::var_os("TZ") {
        set("TZ", &zone);
    }
    if let Some(temporary) = &base.temporary {
        set("TMPDIR", temporary.as_os_str());
    }
    variables.extend(base.more.iter().cloned());
    variables.extend(start.environment.iter().cloned());
    let path = variables.get(OsStr::new("PATH")).cloned();
    let texts = variables.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    (
        texts.filter_map(c_string).collect(),
        path.unwrap_or_default(),
    )
}

/// The files that execve(2) is tried with, in this order, and the arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The files; an empty list stands for the program of the monitor itself.
    pub(crate) files: Vec<CString>,
    pub(crate) arguments: Vec<CString>,
}

/// The command for a program that is not a helper.
pub(crate) fn command(start: &Start, account: &Account, path: &OsStr) -> Command {
    let shell = shell(start, account);
    let name = shell.file_name().unwrap_or(shell.as_os_str());
    let (files, arguments) = match &start.program {
        Program::Shell(_) => {
            // By the dash a shell knows that it is a login shell (login(1)).
            let mut login = OsString::from("-");
            login.push(name);
            (vec![shell.into_os_string()], vec![login])
        }
        Program::CommandLine { line, .. } => {
            let arguments = vec![name.to_owned(), "-c".into(), line.clone()];
            (vec![shell.into_os_string()], arguments)
        }
        Program::Direct { program, arguments } => {
            let mut all = vec![program.clone()];
            all.extend(arguments.iter().cloned());
            (candidates(program, path), all)
        }
        Program::Helper { .. } => (Vec::new(), Vec::new()),
    };
    Command {
        files: files.into_iter().filter_map(c_string).collect(),
        arguments: arguments.into_iter().filter_map(c_string).collect(),
    }
}

fn shell(start: &Start, account: &Account) -> PathBuf {
    match &start.program {
        Program::Shell(Some(shell))
        | Program::CommandLine {
            shell: Some(shell), ..
        } => shell.clone(),
        _ => account.shell.clone(),
    }
}

/// The files that execvp(3) would try.
fn candidates(program: &OsStr, path: &OsStr) -> Vec<OsString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    std::env::split_paths(path)
        // A relative entry would be one of the peer's own directory.
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program).into_os_string())
        .collect()
}

/// A text for execve(2). Messages with a NUL in a text were refused before.
fn c_string(text: OsString) -> Option<CString> {
    CString::new(text.into_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(program: Program) -> Start {
        Start {
            identity: "a".into(),
            generation: 0,
            session: 0,
            account: None,
            program,
            terminal: false,
            environment: vec![("PATH".into(), "/a:b:/c".into())],
            umask: None,
            confinement: None,
            remote: None,
            note: String::new(),
        }
    }

    fn account() -> Account {
        Account {
            shell: "/bin/zsh".into(),
            ..Account::current()
        }
    }

    fn texts(strings: &[CString]) -> Vec<&str> {
        strings.iter().map(|text| text.to_str().unwrap()).collect()
    }

    #[test]
    fn a_program_is_searched_for_where_the_environment_says() {
        let program = Program::Direct {
            program: "git".into(),
            arguments: vec!["status".into()],
        };
        let start = start(program);
        let account = account();
        let base = Base {
            account: &account,
            home: Path::new("/home/x"),
            temporary: None,
            path: None,
            more: Vec::new(),
        };
        let (variables, path) = environment(&base, &start);
        assert!(texts(&variables).contains(&"HOME=/home/x"));
        let command = command(&start, &account, &path);
        assert_eq!(texts(&command.files), ["/a/git", "/c/git"]);
        assert_eq!(texts(&command.arguments), ["git", "status"]);
    }

    #[test]
    fn a_shell_is_the_accounts_unless_another_is_named() {
        let login = command(&start(Program::Shell(None)), &account(), OsStr::new(""));
        assert_eq!(texts(&login.files), ["/bin/zsh"]);
        assert_eq!(texts(&login.arguments), ["-zsh"]);
        let line = Program::CommandLine {
            shell: Some("/bin/sh".into()),
            line: "true".into(),
        };
        let line = command(&start(line), &account(), OsStr::new(""));
        assert_eq!(texts(&line.files), ["/bin/sh"]);
        assert_eq!(texts(&line.arguments), ["sh", "-c", "true"]);
    }
}
