//! The programs that a channel can run, in the form that the monitor takes.

use std::ffi::OsString;
use std::path::Path;

use alknet_session::Program as Started;
use alknet_ssh_config::Services;
use alknet_ssh_policy::Command;

/// A program to run.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A command that was granted.
    Command(Command),
    /// A login shell.
    Shell,
    /// File transfer, by our own helper.
    Files(super::helper::Request),
}

impl Program {
    /// The program in the form that the monitor takes.
    pub(super) fn for_monitor(&self, services: &Services) -> Started {
        match self {
            Self::Shell => Started::Shell(services.shell.program.as_deref().map(Into::into)),
            Self::Command(Command::Shell(line)) => Started::CommandLine {
                shell: services.exec.shell.as_deref().map(Into::into),
                line: line.clone(),
            },
            Self::Command(Command::Direct { program, arguments }) => Started::Direct {
                program: program.clone(),
                arguments: arguments.clone(),
            },
            Self::Files(request) => Started::Helper {
                request: request.to_json(),
            },
        }
    }

    /// The shell that the configuration names in place of the account's own.
    pub(super) fn shell<'a>(&self, services: &'a Services) -> Option<&'a Path> {
        let shell = match self {
            Self::Shell => services.shell.program.as_deref(),
            Self::Command(_) | Self::Files(_) => services.exec.shell.as_deref(),
        };
        shell.map(Path::new)
    }
}

/// The name by which a shell knows that it is a login shell (login(1)).
pub(super) fn login_name(shell: &Path) -> OsString {
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    name
}
