//! `alknet keys`: lists the keys to log in with, or adds one to the agent.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use alknet_ssh::client::{Agent, AgentError, KeyFile, KeyFileError, fingerprint};
use alknet_text::visible;

use crate::connection::session::{agent, usual_identity_files};
use crate::console::terminal::Terminal;
use crate::failure::Failure;
use crate::options::args::{KeysArgs, KeysCommand};
use crate::options::ssh_options::Options;

/// `alknet keys`: lists the keys to log in with, or adds one to the agent.
pub(crate) async fn run(args: &KeysArgs, terminal: Terminal) -> Result<(), Failure> {
    match &args.command {
        None | Some(KeysCommand::List) => list(terminal).await,
        Some(KeysCommand::Add { files }) => add(files, terminal).await,
    }
}

async fn list(terminal: Terminal) -> Result<(), Failure> {
    let mut text = String::new();
    for path in usual_identity_files() {
        match KeyFile::read(&path) {
            Ok(file) => text.push_str(&file_line(&file)),
            Err(error) => terminal.error(&format_args!("{}: {error}", path.display())),
        }
    }
    if let Some(socket) = agent(&Options::from_args(&[])) {
        match Agent::connect(&socket).await {
            Ok(agent) => {
                for held in agent.keys() {
                    let kind = if held.is_certificate {
                        "certificate in agent"
                    } else {
                        "agent"
                    };
                    let key = &held.key;
                    text.push_str(&format!(
                        "{} {} {} ({kind})\n",
                        fingerprint(key),
                        key.algorithm(),
                        visible(&held.comment),
                    ));
                }
            }
            Err(error) => terminal.error(&format_args!("agent at {}: {error}", socket.display())),
        }
    }
    if text.is_empty() {
        return Err(KeysError::None.into());
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::stdio)
}

fn file_line(file: &KeyFile) -> String {
    let shown = match file.public_key() {
        Some(key) => format!("{} {}", fingerprint(key), key.algorithm()),
        None => "(hidden by its passphrase)".to_owned(),
    };
    let mut notes = Vec::new();
    if file.is_encrypted() {
        notes.push("encrypted");
    }
    if file.certificate().is_some() {
        notes.push("with certificate");
    }
    let notes = if notes.is_empty() {
        String::new()
    } else {
        format!(" ({})", notes.join(", "))
    };
    format!(
        "{shown} {}{notes}\n",
        visible(&file.path().display().to_string())
    )
}

async fn add(files: &[PathBuf], terminal: Terminal) -> Result<(), Failure> {
    let options = Options::from_args(&[]);
    let socket = agent(&options).ok_or(KeysError::NoAgent)?;
    let mut agent = Agent::connect(&socket).await.map_err(KeysError::Agent)?;
    let files = if files.is_empty() {
        usual_identity_files()
    } else {
        files.to_vec()
    };
    for path in &files {
        let fault = |error| KeysError::File {
            path: path.clone(),
            error,
        };
        let mut file = KeyFile::read(path).map_err(fault)?;
        let key = file.unlock(&options.prompt()).await.map_err(fault)?;
        agent.add(&key).await.map_err(KeysError::Agent)?;
        terminal.notice(&format_args!(
            "the agent has {} now ({})",
            shown(path),
            fingerprint(key.public_key())
        ));
    }
    Ok(())
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}

/// Why keys cannot be listed or added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("there is no key in ~/.ssh or in an agent; make one with ssh-keygen -t ed25519")]
    None,
    #[error("there is no agent: SSH_AUTH_SOCK is not set. Start one with: eval $(ssh-agent)")]
    NoAgent,
    #[error("the agent: {0}")]
    Agent(#[source] AgentError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: KeyFileError },
}
