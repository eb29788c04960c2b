//! The command line of `alknet-node`.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use alknet_manual::{CompletionsArgs, ManArgs, complete_if_asked};
use alknet_session::Mode;
use alknet_text::visible_json;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::{AskError, Request, Status, ask};
use crate::config::NodeConfig;
use crate::config::problem::NodeError;
use crate::logs::{self, FlushAtEnd};
use crate::plugins::run_if_asked;
use crate::secrets::keys::HostKey;
use crate::state::StateDir;

/// Prints a line, with what others wrote in it made [visible](alknet_text).
/// Nobody may be reading; the node goes on all the same.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let text = format!($($part)*);
        let _ = writeln!(std::io::stdout(), "{}", alknet_text::visible_page(&text));
    }};
}

/// Prints a line to standard error, as [`say`].
macro_rules! complain {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let text = format!($($part)*);
        let _ = writeln!(std::io::stderr(), "{}", alknet_text::visible_lines(&text));
    }};
}

mod ca;
mod check;
mod complete;
mod conformance;
mod fit;
mod import;
mod manual;
mod new_plugin;
mod peers;
mod policy;
mod reload;
mod schema;
mod secret;
mod serve;
mod sessions;
mod setup;
mod status;
mod stop;
mod swap;
mod table;

/// The mode of the node that serves a state directory, which says whose rights
/// the processes of peers get; `None` where no node runs or it does not tell.
fn running_mode(state: &StateDir) -> Option<Mode> {
    let status: Status = ask(state, &Request::Status {}).ok()?;
    status.node.processes
}

/// A node that serves SSH and other protocols over QUIC, each from a plugin.
#[derive(Parser)]
#[command(name = "alknet-node", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a state directory: keys, configuration, peers, plugins.
    Init(setup::InitArgs),
    /// Serve from a state directory.
    Run(serve::RunArgs),
    /// Serve, after making a state directory if there is none that lets you in.
    Up(setup::UpArgs),
    /// Say everything that would keep the node from starting well.
    Check(check::CheckArgs),
    /// Say how the running node is doing.
    Status(status::StatusArgs),
    /// Have the running node put its changed configuration in force.
    Reload(reload::ReloadArgs),
    /// List peers, and change who may connect.
    #[command(subcommand)]
    Peers(peers::PeersCommand),
    /// See the sessions of the running node, or end one.
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Have the running node accept no more, and end with its last connection.
    Drain(stop::DrainArgs),
    /// Stop the running node.
    Stop(stop::StopArgs),
    /// Keep secrets for plugins, encrypted.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Ask what the policy says.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Work with plugins: check a file, swap versions while the node serves.
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Sign certificates and revoke them, or trust who does.
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Print the JSON Schema of a configuration.
    Schema(schema::SchemaArgs),
    /// Print what makes a shell complete these commands.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(ManArgs),
    /// Use a plugin, for the check that asks.
    #[command(hide = true)]
    Conformance(conformance::ConformanceArgs),
}

#[derive(Args, Clone)]
struct StateArg {
    /// The state directory [default: $ALKNET_STATE, $XDG_STATE_HOME/alknet or
    /// ~/.local/state/alknet, or /var/lib/alknet if the package's node is there
    /// and you have none]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum PluginsCommand {
    /// Give the loader's verdict on one file. Digests and signers count as the
    /// node in the state directory has them, if there is one.
    Check {
        /// The library
        file: PathBuf,
        #[command(flatten)]
        state: StateArg,
        /// Use the plugin as a node would, in a process of its own, and say
        /// whether it keeps to the interface
        #[arg(long, conflicts_with = "state")]
        deep: bool,
        /// The plugin's configuration for that, in JSON or TOML; empty without
        #[arg(long, value_name = "FILE", requires = "deep")]
        config: Option<PathBuf>,
    },
    /// Write the crate of a plugin, ready to build.
    New(new_plugin::NewArgs),
    /// Show the versions that serve or have connections left.
    List(swap::ListArgs),
    /// Have the running node load what changed in its plugins directory. Live
    /// sessions stay with the version they began on.
    Reload(swap::ReloadArgs),
    /// Have the version before the last swap serve again, at once.
    Rollback(swap::RollbackArgs),
    /// Have a plugin serve no more. Live sessions go on.
    Unload(swap::UnloadArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some(code) = run_if_asked() {
        return code;
    }
    complete_if_asked(Cli::command);
    let _flush = FlushAtEnd;
    let outcome = match Cli::parse().command {
        Command::Init(args) => setup::init(args),
        Command::Run(args) => return serve::run(args).unwrap_or(ExitCode::FAILURE),
        Command::Up(args) => return setup::up(args).unwrap_or(ExitCode::FAILURE),
        Command::Check(args) => check::check(args),
        Command::Reload(args) => reload::reload(args),
        Command::Secret(command) => secret::secret(command),
        Command::Policy(command) => return policy::policy(command),
        Command::Status(args) => status::status(args),
        Command::Peers(command) => peers::peers(command),
        Command::Ca(command) => ca::ca(command),
        Command::Sessions(command) => sessions::sessions(command),
        Command::Drain(args) => stop::drain(args),
        Command::Stop(args) => stop::stop(args),
        Command::Schema(args) => schema::schema(args),
        Command::Completions(args) => args.print(Cli::command()).map_err(fail),
        Command::Man(args) => args.write(Cli::command(), &manual::MANUAL).map_err(fail),
        Command::Plugins(PluginsCommand::New(args)) => new_plugin::new(args),
        Command::Plugins(PluginsCommand::List(args)) => swap::list(args),
        Command::Plugins(PluginsCommand::Reload(args)) => swap::reload(args),
        Command::Plugins(PluginsCommand::Rollback(args)) => swap::rollback(args),
        Command::Plugins(PluginsCommand::Unload(args)) => swap::unload(args),
        Command::Conformance(args) => return conformance::conformance(&args),
        Command::Plugins(PluginsCommand::Check {
            file,
            state,
            deep,
            config,
        }) => match deep {
            false => check::plugin(&file, state),
            true => conformance::check_deep(&file, config.as_deref()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

/// The command failed and has said why.
struct Failed;

/// Says why the command fails.
fn fail(why: impl Display) -> Failed {
    // What led to it comes first.
    logs::flush();
    complain!("alknet-node: {why}");
    Failed
}

fn fail_all(problems: &[NodeError]) -> Failed {
    logs::flush();
    for problem in problems {
        complain!("alknet-node: {problem}");
    }
    Failed
}

/// Asks the running node. A refusal is printed, with `hence` after it.
fn asked<T: DeserializeOwned>(
    state: &StateDir,
    request: &Request,
    hence: &str,
) -> Result<T, Failed> {
    ask(state, request).map_err(|error| refused(error, hence))
}

fn refused(error: AskError, hence: &str) -> Failed {
    let AskError::Refused(faults) = error else {
        return fail(error);
    };
    for fault in &faults {
        complain!("alknet-node: {}", fault.message);
    }
    if !hence.is_empty() {
        complain!("alknet-node: {}; {hence}", counted(faults.len()));
    }
    Failed
}

fn print_json(value: &impl Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string_pretty(value).map_err(fail)?;
    say!("{}", visible_json(&text));
    Ok(())
}

/// The state directory that a command is about: the one that was named, the
/// caller's own if there is a node in it, else that of the packaged node for
/// those who can work with it.
fn dir(arg: StateArg) -> Result<StateDir, Failed> {
    if let Some(named) = named(&arg) {
        return Ok(named);
    }
    let own = own_dir(arg);
    if own.as_ref().is_ok_and(StateDir::is_initialised) {
        return own;
    }
    let packaged = StateDir::packaged();
    match packaged.is_initialised() {
        true => Ok(packaged),
        false => own,
    }
}

/// The state directory that was named, or the caller's own.
fn own_dir(arg: StateArg) -> Result<StateDir, Failed> {
    named(&arg)
        .or_else(StateDir::default_location)
        .ok_or_else(|| {
            fail("there is no home directory; name a state directory with --state or ALKNET_STATE")
        })
}

/// The state directory named by `--state`, or else by `ALKNET_STATE`.
fn named(arg: &StateArg) -> Option<StateDir> {
    let variable = || std::env::var_os("ALKNET_STATE").filter(|value| !value.is_empty());
    let named = arg.state.clone().or_else(|| variable().map(PathBuf::from));
    named.map(StateDir::new)
}

/// The configuration of a directory that was initialised.
fn existing_config(state: &StateDir) -> Result<PathBuf, Failed> {
    let file = state.config_file();
    match std::fs::metadata(&file) {
        Ok(_) => return Ok(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // A permission that is missing is not a file that is missing.
        Err(error) => {
            return Err(fail(format_args!(
                "cannot look at {}: {error}; run this as the node's user or as root",
                file.display()
            )));
        }
    }
    Err(fail(format_args!(
        "{} does not exist: make a node with `alknet-node init --state '{}'`",
        state.config_file().display(),
        state.root().display()
    )))
}

fn runtime(config: &NodeConfig) -> Result<tokio::runtime::Runtime, Failed> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = match config.runtime.worker_threads {
        Some(count) => count.into(),
        // The plugins' threads need their share.
        None => (processors / 2).max(1),
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("node")
        .enable_all()
        .build()
        .map_err(|error| fail(format_args!("cannot start the runtime: {error}")))
}

fn print_keys(node_key: &str, host_keys: &[HostKey]) {
    say!("node key  {node_key}");
    for key in host_keys {
        say!("host key  {}", key.public_line);
        say!("          {}", key.fingerprint);
    }
}

fn counted(faults: usize) -> String {
    match faults {
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    }
}
