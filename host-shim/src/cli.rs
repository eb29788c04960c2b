//! The command line of `alknet-node`.

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use alknet_document::Document;
use alknet_identity::PeersConfig;
use alknet_loader::{LoadedPlugin, Stage};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::authorize::{OwnKeys, own_keys};
use crate::init::{
    Contents, InitError, Made, authorize_in, caller_id, init, peer_with, peers_from_files,
};
use crate::logs;
use crate::node::{Node, make_handler};
use crate::plan::{Draft, Plan, Problem};
use crate::stanza;
use crate::state::StateFolder;

/// Prints a line. Nobody may be reading; the node goes on all the same.
macro_rules! say {
    ($($part:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

/// Prints a line to standard error, as [`say`].
macro_rules! complain {
    ($($part:tt)*) => {{
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
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
    /// Make a state folder: keys, configuration, peers, plugins.
    Init(InitArgs),
    /// Serve from a state folder.
    Run(StateArg),
    /// Serve, after making a state folder if there is none that lets you in.
    Up(UpArgs),
    /// Say everything that would keep the node from starting well.
    Check(CheckArgs),
    /// Work with plugin files.
    #[command(subcommand)]
    Plugins(PluginsCommand),
}

#[derive(Args)]
struct StateArg {
    /// The state folder [default: $XDG_STATE_HOME/alknet or ~/.local/state/alknet]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Args)]
struct InitArgs {
    #[command(flatten)]
    state: StateArg,
    /// The UDP address to serve on [default: 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Public key files of those who may run commands
    #[arg(long, value_name = "KEY.pub", num_args = 1..)]
    authorize: Vec<PathBuf>,
    /// Take the mnemonic from this file (mode 0600) instead of making one
    #[arg(long, value_name = "FILE")]
    mnemonic_file: Option<PathBuf>,
}

#[derive(Args)]
struct UpArgs {
    #[command(flatten)]
    state: StateArg,
    /// The UDP address to serve on [default: as configured, at first 127.0.0.1:4433]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    state: StateArg,
    /// Check this configuration file instead of a state folder's
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum PluginsCommand {
    /// Give the loader's verdict on one file.
    Check {
        /// The library
        file: PathBuf,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Init(args) => run_init(args),
        Command::Run(args) => folder(args).and_then(|state| serve(&state, None, Show::Identities)),
        Command::Up(args) => up(args),
        Command::Check(args) => check(args),
        Command::Plugins(PluginsCommand::Check { file }) => check_plugin(&file),
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
    complain!("alknet-node: {why}");
    Failed
}

fn fail_all(problems: &[Problem]) -> Failed {
    for problem in problems {
        complain!("alknet-node: {problem}");
    }
    Failed
}

fn folder(arg: StateArg) -> Result<StateFolder, Failed> {
    match arg.state {
        Some(root) => Ok(StateFolder::new(root)),
        None => StateFolder::default_location()
            .ok_or_else(|| fail("there is no home folder; name a state folder with --state")),
    }
}

fn run_init(args: InitArgs) -> Result<(), Failed> {
    let state = folder(args.state)?;
    let peers = peers_from_files(&args.authorize).map_err(fail)?;
    let authorised = peers.len();
    let contents = Contents {
        listen: args.listen,
        mnemonic_file: args.mnemonic_file,
        peers,
        make_client_key: None,
    };
    let made = init(&state, contents).map_err(fail)?;
    report(&state, &made);
    if authorised == 0 {
        say!(
            "nobody may log in yet: add peers to {}",
            state.peers_file().display()
        );
    }
    let plan = Draft::read(&state.config_file())
        .and_then(Draft::complete)
        .map_err(|problems| fail_all(&problems))?;
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    say!(
        "start it with: alknet-node run --state '{}'",
        state.root().display()
    );
    Ok(())
}

fn report(state: &StateFolder, made: &Made) {
    say!("made the state folder {}", state.root().display());
    if made.new_mnemonic {
        say!(
            "the node's keys come from the words in {}: keep a copy where nobody finds it",
            state.root().join("mnemonic").display()
        );
    }
    match &made.plugin {
        Some(source) => say!("copied the plugin {}", source.display()),
        None => say!(
            "no plugin was copied; the folder for them is {}",
            state.root().join("plugins").display()
        ),
    }
    if let Some(key) = &made.client_key {
        say!("made you a key to log in with: {}", key.display());
    }
}

fn up(args: UpArgs) -> Result<(), Failed> {
    let state = folder(args.state)?;
    let mut identity_file = None;
    if !state.is_initialised() {
        let own = gather_own_keys();
        let mut contents = Contents {
            listen: args.listen,
            mnemonic_file: None,
            peers: Vec::new(),
            make_client_key: None,
        };
        if own.keys.is_empty() {
            contents.make_client_key = Some(caller_id());
        } else {
            contents.peers.push(peer_with(&caller_id(), &own.keys));
        }
        identity_file = own.identity_file;
        match init(&state, contents) {
            Ok(made) => report(&state, &made),
            // Somebody else's `up` was quicker: serve what it made.
            Err(InitError::AlreadyThere { .. }) => {}
            Err(error) => return Err(fail(error)),
        }
    } else if nobody_is_let_in(&state) {
        let own = gather_own_keys();
        if own.keys.is_empty() {
            say!(
                "nobody may log in, and you have no key: make one with ssh-keygen, then run this again"
            );
        } else {
            authorize_in(&state, peer_with(&caller_id(), &own.keys)).map_err(fail)?;
            identity_file = own.identity_file;
        }
    }
    let client_key = state.client_key();
    if client_key.exists() {
        identity_file = Some(client_key);
    }
    serve(&state, args.listen, Show::Stanza(identity_file))
}

/// The caller's keys; says which they are.
fn gather_own_keys() -> OwnKeys {
    let own = own_keys();
    for line in &own.left_out {
        say!("not authorised: {line}");
    }
    for key in &own.keys {
        say!(
            "authorised as {}: {} {}",
            caller_id(),
            key.fingerprint,
            key.comment
        );
    }
    own
}

/// Whether the folder's own peers file is sound and names nobody.
fn nobody_is_let_in(state: &StateFolder) -> bool {
    Document::read(&state.peers_file())
        .and_then(|document| document.deserialize::<PeersConfig>())
        .is_ok_and(|peers| peers.peers.is_empty())
}

/// The configuration of a folder that was initialised.
fn existing_config(state: &StateFolder) -> Result<PathBuf, Failed> {
    if state.is_initialised() {
        return Ok(state.config_file());
    }
    Err(fail(format_args!(
        "{} does not exist: make a node with `alknet-node init --state '{}'`",
        state.config_file().display(),
        state.root().display()
    )))
}

/// What a start shows its owner.
enum Show {
    Identities,
    /// The identities and the `ssh_config` stanza, with the private key to
    /// name in it.
    Stanza(Option<PathBuf>),
}

fn serve(state: &StateFolder, listen: Option<SocketAddr>, show: Show) -> Result<(), Failed> {
    let file = existing_config(state)?;
    let mut draft = Draft::read(&file).map_err(|problems| fail_all(&problems))?;
    if let Some(listen) = listen {
        draft.config.listen = listen;
    }
    logs::install(&draft.config.log);
    let plan = draft.complete().map_err(|problems| {
        let failed = fail_all(&problems);
        complain!("alknet-node: the node did not start");
        failed
    })?;
    let runtime = runtime(&plan)?;
    let outcome = runtime.block_on(serve_until_signal(plan, show));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn runtime(plan: &Plan) -> Result<tokio::runtime::Runtime, Failed> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = match plan.config.runtime.worker_threads {
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

async fn serve_until_signal(plan: Plan, show: Show) -> Result<(), Failed> {
    let cannot_listen = |error| fail(format_args!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let mut node = Node::start(plan).map_err(fail)?;
    announce(&node, show);
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let failed = tokio::select! {
        () = signalled() => false,
        () = node.failed() => true,
    };
    if failed {
        tracing::error!("the UDP socket failed; start the node again");
        return Err(fail("the UDP socket failed; start the node again"));
    }
    tracing::info!("stopping; a second signal ends live sessions at once");
    notify(sd_notify::NotifyState::Stopping);
    node.stop(signalled()).await;
    tracing::info!("stopped");
    Ok(())
}

/// Tells systemd, where it wants to be told (sd_notify(3)).
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

fn announce(node: &Node, show: Show) {
    say!("alknet-node {}", env!("CARGO_PKG_VERSION"));
    print_keys(&node.node_key().to_string(), node.host_keys());
    for generation in node.registry().generations() {
        say!(
            "plugin    {} {} ({})",
            generation.plugin,
            generation.version,
            generation.file.display()
        );
    }
    let peers = node.peers().config();
    say!(
        "peers     {}",
        peers.peers.iter().filter(|peer| !peer.disabled).count()
    );
    if let Show::Stanza(identity_file) = show {
        match stanza::for_node(node, identity_file.as_deref()) {
            Ok(text) => say!("\n{text}"),
            Err(why) => say!("\nno ssh_config stanza: {why}\n"),
        }
    }
    for warning in node.warnings() {
        tracing::warn!("{warning}");
    }
    let alpns = node.registry().alpns();
    if alpns.is_empty() {
        say!(
            "ready     on UDP {}, serving nothing: no plugin is loaded",
            node.addr()
        );
    } else {
        let alpns: Vec<_> = alpns
            .iter()
            .map(|alpn| String::from_utf8_lossy(alpn))
            .collect();
        say!(
            "ready     on UDP {}, serving {}",
            node.addr(),
            alpns.join(", ")
        );
    }
    notify(sd_notify::NotifyState::Ready);
}

fn print_keys(node_key: &str, host_keys: &[crate::keys::HostKey]) {
    say!("node key  {node_key}");
    for key in host_keys {
        say!("host key  {}", key.public_line);
        say!("          {}", key.fingerprint);
    }
}

fn check(args: CheckArgs) -> Result<(), Failed> {
    let file = match args.config {
        Some(file) => file,
        None => existing_config(&folder(args.state)?)?,
    };
    let plan = Draft::read(&file)
        .and_then(Draft::complete)
        .map_err(|problems| {
            let failed = fail_all(&problems);
            complain!("alknet-node: {} to mend", counted(problems.len()));
            failed
        })?;
    let mut found = 0;
    let mut say = |what: &dyn Display| {
        complain!("alknet-node: {what}");
        found += 1;
    };
    plan.warnings.iter().for_each(|warning| say(warning));
    let runtime = runtime(&plan)?;
    runtime.block_on(async {
        let filter = logs::parse_filter(&plan.config.log.filter).unwrap_or_default();
        for planned in &plan.plugins {
            let made = make_handler(planned, &plan.keys.host_keys, &plan.peers, &filter, 0);
            if let Err(refused) = made {
                say(&refused);
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if found > 0 {
        complain!("alknet-node: {} to mend", counted(found));
        return Err(Failed);
    }
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    say!("{}: fine", file.display());
    Ok(())
}

fn counted(faults: usize) -> String {
    match faults {
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    }
}

fn check_plugin(file: &Path) -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("alknet-check-{}", std::process::id()));
    let stage = Stage::open(&folder).map_err(fail)?;
    let verdict = LoadedPlugin::load(file, None, &stage);
    // Nothing is loaded after this, so the private copies may go.
    let _ = std::fs::remove_dir_all(&folder);
    let plugin = verdict.map_err(|refusal| fail(format_args!("refused: {refusal}")))?;
    let alpns: Vec<_> = plugin.alpns().map(String::from_utf8_lossy).collect();
    say!("accepted: {}", file.display());
    say!("plugin    {} {}", plugin.name(), plugin.version());
    say!("serves    {}", alpns.join(", "));
    say!("digest    {}", plugin.digest());
    say!("interface {}", plugin.interface_version());
    say!("built by  {} for {}", plugin.rustc(), plugin.target());
    Ok(())
}
