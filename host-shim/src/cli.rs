//! The command line of `alknet-node`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use alknet_loader::{LoadedPlugin, Stage};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::authorize::own_keys;
use crate::init::{Contents, InitError, Made, caller_id, init, peer_with, peers_from_files};
use crate::logs;
use crate::node::{Node, make_handler};
use crate::plan::{Draft, Plan, Problem};
use crate::stanza;
use crate::state::StateFolder;

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
    eprintln!("alknet-node: {why}");
    Failed
}

fn fail_all(problems: &[Problem]) -> Failed {
    for problem in problems {
        eprintln!("alknet-node: {problem}");
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
        println!(
            "nobody may log in yet: add peers to {}",
            state.root().join("peers.toml").display()
        );
    }
    let plan = Draft::read(&state.config_file())
        .and_then(Draft::complete)
        .map_err(|problems| fail_all(&problems))?;
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    println!(
        "start it with: alknet-node run --state '{}'",
        state.root().display()
    );
    Ok(())
}

fn report(state: &StateFolder, made: &Made) {
    println!("made the state folder {}", state.root().display());
    if made.new_mnemonic {
        println!(
            "the node's keys come from the words in {}: keep a copy where nobody finds it",
            state.root().join("mnemonic").display()
        );
    }
    match &made.plugin {
        Some(source) => println!("copied the plugin {}", source.display()),
        None => println!(
            "no plugin was copied; the folder for them is {}",
            state.root().join("plugins").display()
        ),
    }
    if let Some(key) = &made.client_key {
        println!("made you a key to log in with: {}", key.display());
    }
}

fn up(args: UpArgs) -> Result<(), Failed> {
    let state = folder(args.state)?;
    let mut identity_file = None;
    if !state.is_initialised() {
        let own = own_keys();
        for line in &own.left_out {
            println!("not authorised: {line}");
        }
        let id = caller_id();
        let mut contents = Contents {
            listen: args.listen,
            mnemonic_file: None,
            peers: Vec::new(),
            make_client_key: None,
        };
        if own.keys.is_empty() {
            contents.make_client_key = Some(id);
        } else {
            for key in &own.keys {
                println!("authorised as {id}: {} {}", key.fingerprint, key.comment);
            }
            contents.peers.push(peer_with(&id, &own.keys));
        }
        identity_file = own.identity_file;
        let made = match init(&state, contents) {
            // Somebody else's `up` was quicker: serve what it made.
            Err(InitError::AlreadyThere { .. }) => Made::default(),
            made => made.map_err(fail)?,
        };
        report(&state, &made);
    }
    let client_key = state.client_key();
    if client_key.exists() {
        identity_file = Some(client_key);
    }
    serve(&state, args.listen, Show::Stanza(identity_file))
}

/// What a start shows its owner.
enum Show {
    Identities,
    /// The identities and the `ssh_config` stanza, with the private key to
    /// name in it.
    Stanza(Option<PathBuf>),
}

fn serve(state: &StateFolder, listen: Option<SocketAddr>, show: Show) -> Result<(), Failed> {
    let file = state.config_file();
    if !file.exists() {
        return Err(fail(format_args!(
            "{} does not exist: make a node with `alknet-node init --state '{}'`",
            file.display(),
            state.root().display()
        )));
    }
    let mut draft = Draft::read(&file).map_err(|problems| fail_all(&problems))?;
    if let Some(listen) = listen {
        draft.config.listen = listen;
    }
    // The filter was checked with the rest of the configuration.
    let _ = logs::install(&draft.config.log);
    let plan = draft.complete().map_err(|problems| {
        let failed = fail_all(&problems);
        eprintln!("alknet-node: the node did not start");
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
    let node = Node::start(plan).map_err(fail)?;
    announce(&node, show);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        () = node.stop() => tracing::info!("stopped"),
        _ = terminate.recv() => tracing::warn!("stopped at once, by a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped at once, by a second signal"),
    }
    Ok(())
}

fn announce(node: &Node, show: Show) {
    println!("alknet-node {}", env!("CARGO_PKG_VERSION"));
    print_keys(&node.node_key().to_string(), node.host_keys());
    for generation in node.registry().generations() {
        println!(
            "plugin    {} {} ({})",
            generation.plugin,
            generation.version,
            generation.file.display()
        );
    }
    let peers = node.peers().config();
    println!(
        "peers     {}",
        peers.peers.iter().filter(|peer| !peer.disabled).count()
    );
    if let Show::Stanza(identity_file) = show {
        match stanza::for_node(node, identity_file.as_deref()) {
            Ok(text) => println!("\n{text}"),
            Err(why) => println!("\nno ssh_config stanza: {why}\n"),
        }
    }
    for warning in node.warnings() {
        tracing::warn!("{warning}");
    }
    let alpns = node.registry().alpns();
    if alpns.is_empty() {
        println!(
            "ready     on UDP {}, serving nothing: no plugin is loaded",
            node.addr()
        );
    } else {
        let alpns: Vec<_> = alpns
            .iter()
            .map(|alpn| String::from_utf8_lossy(alpn))
            .collect();
        println!(
            "ready     on UDP {}, serving {}",
            node.addr(),
            alpns.join(", ")
        );
    }
    // Does nothing where NOTIFY_SOCKET is not set.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
}

fn print_keys(node_key: &str, host_keys: &[crate::keys::HostKey]) {
    println!("node key  {node_key}");
    for key in host_keys {
        println!("host key  {}", key.public_line);
        println!("          {}", key.fingerprint);
    }
}

fn check(args: CheckArgs) -> Result<(), Failed> {
    let file = match args.config {
        Some(file) => file,
        None => folder(args.state)?.config_file(),
    };
    let plan = Draft::read(&file)
        .and_then(Draft::complete)
        .map_err(|problems| {
            let failed = fail_all(&problems);
            eprintln!(
                "alknet-node: {} to mend in {}",
                counted(problems.len()),
                file.display()
            );
            failed
        })?;
    let mut found = 0;
    let mut say = |what: &dyn Display| {
        eprintln!("alknet-node: {what}");
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
        eprintln!("alknet-node: {} to mend", counted(found));
        return Err(Failed);
    }
    print_keys(&plan.keys.node_key().to_string(), &plan.keys.host_keys);
    println!("{}: fine", file.display());
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
    println!("accepted: {}", file.display());
    println!("plugin    {} {}", plugin.name(), plugin.version());
    println!("serves    {}", alpns.join(", "));
    println!("digest    {}", plugin.digest());
    println!("interface {}", plugin.interface_version());
    println!("built by  {} for {}", plugin.rustc(), plugin.target());
    Ok(())
}
