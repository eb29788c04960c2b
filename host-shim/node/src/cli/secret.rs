//! `alknet-node secret set|list|remove`: keeps the secrets that a node gives
//! to its plugins.

use alknet_session::Mode;
use clap::Subcommand;

use super::{Failed, StateArg, dir, existing_config, fail, fail_all, running_mode};
use crate::config::draft::Draft;
use crate::secrets::{MAX_VALUE, SecretsError, is_name, read_value};
use crate::state::StateDir;

#[derive(Subcommand)]
pub(super) enum SecretCommand {
    /// Store a secret. Its value is read from standard input, less one line
    /// end; at a terminal it is asked for and not shown. A running node has it
    /// when the plugin is loaded next, or, with accounts, from its next start
    /// on.
    Set {
        /// Lower-case letters, digits and `. _ -`
        name: String,
        #[command(flatten)]
        state: StateArg,
    },
    /// Print the names of all secrets.
    List {
        #[command(flatten)]
        state: StateArg,
    },
    /// Forget a secret. A running node keeps what it has until it stops.
    Remove {
        /// The secret
        #[arg(add = super::complete::secrets())]
        name: String,
        #[command(flatten)]
        state: StateArg,
    },
}

/// Keeps the secrets of a node.
pub(super) fn secret(command: SecretCommand) -> Result<(), Failed> {
    match command {
        SecretCommand::Set { name, state } => set(state, &name),
        SecretCommand::List { state } => {
            let names = draft(&dir(state)?)?.secrets_file().names().map_err(fail)?;
            names.iter().for_each(|name| say!("{name}"));
            Ok(())
        }
        SecretCommand::Remove { name, state } => {
            let draft = draft(&dir(state)?)?;
            draft.secrets_file().remove(&name).map_err(fail)?;
            say!("removed {name}");
            for plugin in draft.granted_to(&name) {
                say!(
                    "{} still grants it to the plugin {plugin:?}, so the next start will fail",
                    draft.file().display()
                );
            }
            Ok(())
        }
    }
}

fn set(state: StateArg, name: &str) -> Result<(), Failed> {
    if !is_name(name) {
        let name = name.to_owned();
        return Err(fail(SecretsError::Name { name }));
    }
    let state = dir(state)?;
    let draft = draft(&state)?;
    // Asked for last: nobody types for nothing.
    let key = draft
        .secrets_key()
        .map_err(|problems| fail_all(&problems))?;
    let file = draft.secrets_file();
    file.names().map_err(fail)?;
    let value =
        read_value(|| complain!("the value of {name}, at most {MAX_VALUE} bytes (not shown):"))
            .map_err(fail)?;
    let replaced = file.set(&key, name, &value).map_err(fail)?;
    let verb = if replaced { "replaced" } else { "stored" };
    say!("{verb} {name} in {}", file.path().display());
    if draft.granted_to(name).next().is_none() {
        say!(
            "no plugin is given it yet: add to {} under [plugins.secrets]: <plugin> = [\"{name}\"]",
            draft.file().display()
        );
    }
    match running_mode(&state) {
        // Its monitor reads secrets, and does so once.
        Some(Mode::Accounts) => say!("the running node has it after its next start"),
        Some(Mode::Owner) => say!(
            "the running node has it after `alknet-node plugins reload PLUGIN --force`, or its next start"
        ),
        None => say!("the node has it from its next start on"),
    }
    Ok(())
}

fn draft(state: &StateDir) -> Result<Draft, Failed> {
    let file = existing_config(state)?;
    Draft::read(&file).map_err(|problems| fail_all(&problems))
}
