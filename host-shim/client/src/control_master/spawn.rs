//! The start of a master, which logs in before it goes to the background.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::ShareError;
use super::lock::Lock;
use crate::console::stdio::Input;
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::SessionArgs;
use crate::options::target::Target;

/// The line that a master writes when it is ready.
pub(crate) const READY: &[u8] = b"ready\n";

/// Starts the process that is to keep the connection, and waits until it is
/// logged in. Until then it has our terminal and our standard error, so that it
/// can ask and tell as we would; its standard input is the lock and its standard
/// output our waiting for it: it ends when we do.
pub(crate) async fn spawn(
    lock: Lock,
    args: &SessionArgs,
    terminal: Terminal,
) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::own_path)?;
    let child = command(&program, args, terminal)
        .stdin(Stdio::from(lock.hand_on()))
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.map_err(ShareError::Spawn)?;
    let said = child.stdout.take().map(Input::of).transpose();
    let mut starting = Starting {
        said: said.map_err(Failure::stdio)?,
        child,
        is_ready: false,
    };
    let said = match &starting.said {
        Some(said) => said.read().await.map_err(Failure::stdio)?,
        None => Bytes::new(),
    };
    if said.is_empty() {
        let status = starting.status();
        return Err(Failure::quiet(ShareError::Told).with_status(status));
    }
    // It goes its own way.
    starting.is_ready = true;
    Ok(())
}

/// A master that is not yet ready. When this is dropped the master ends, and
/// puts the terminal right if it has just asked something there: only then may
/// the user's shell have it back.
struct Starting {
    said: Option<Input>,
    child: Child,
    is_ready: bool,
}

/// The time that it may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

impl Starting {
    /// The status it ends with, now that nobody waits for it any more.
    fn status(&mut self) -> u8 {
        self.said = None;
        let since = Instant::now();
        while since.elapsed() < ENDS_WITHIN {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(LOOK),
                Ok(Some(status)) => {
                    let code = status.code().and_then(|code| u8::try_from(code).ok());
                    return code.unwrap_or(u8::MAX);
                }
                Err(_) => break,
            }
        }
        u8::MAX
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.is_ready {
            self.status();
        }
    }
}

fn command(program: &Path, args: &SessionArgs, terminal: Terminal) -> Command {
    let mut command = Command::new(program);
    command
        .args(terminal.options())
        .arg("connection-master")
        .args(words(args));
    command
}

/// The arguments turned back into words.
fn words(args: &SessionArgs) -> Vec<OsString> {
    // The value in the word of its option: it may begin with a hyphen.
    let word = |option: &str, value: OsString| {
        let mut word = OsString::from(option);
        word.push(value);
        word
    };
    let SessionArgs { node, login } = args;
    let mut words = vec![word(
        "--timeout=",
        node.reach.timeout.as_secs().to_string().into(),
    )];
    let text = [
        ("--port=", node.port.map(|port| port.to_string())),
        (
            "--node-key=",
            node.reach.node_key.map(|key| key.to_string()),
        ),
        (
            "--offline-seconds=",
            node.reach
                .offline_seconds
                .map(|seconds| seconds.to_string()),
        ),
        ("--tcp=", node.reach.tcp.as_ref().map(Target::to_string)),
        ("--host-key=", login.host_key.clone()),
        ("--congestion=", Some(node.reach.congestion.to_string())),
        ("-l", login.user.clone()),
    ];
    for (option, value) in text {
        words.extend(value.map(|value| word(option, value.into())));
    }
    let files = [
        ("--known-nodes=", &node.reach.known_nodes),
        ("--identity-key=", &node.reach.identity_key),
    ];
    for (option, file) in files {
        words.extend(file.as_ref().map(|file| word(option, file.into())));
    }
    for file in &login.identity_files {
        words.push(word("-i", file.into()));
    }
    for option in &login.options {
        words.push(word("-o", (&option.text).into()));
    }
    words.push("--".into());
    words.push(node.node.whole().into());
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::options::args::{Args, Command as Subcommand};

    #[test]
    fn the_master_is_told_what_exec_was_told() {
        let key = format!("ed25519:{}", "07".repeat(32));
        let given = [
            "alknet",
            "exec",
            "-p5",
            "--node-key",
            &key,
            "--known-nodes=/k n",
            "--identity-key=-k",
            "--timeout=7",
            "--offline-seconds=60",
            "--tcp=[::1]:22",
            "-i=a",
            "-i-b",
            "-l",
            "me",
            "--host-key=ssh-ed25519 AAAA",
            "-oBatchMode=yes",
            "-o",
            "ControlPath ~/%C",
            "-oControlMaster=auto",
            "you@home",
            "true",
        ];
        let Subcommand::Exec(exec) = Args::parse_from(given).command else {
            panic!("exec");
        };
        let start = ["alknet", "connection-master"].map(OsString::from);
        let master = start.into_iter().chain(words(&exec.session));
        let Subcommand::ConnectionMaster(args) = Args::parse_from(master).command else {
            panic!("connection-master");
        };
        assert_eq!(format!("{args:?}"), format!("{:?}", exec.session));
    }
}
