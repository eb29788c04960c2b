//! `run`, and what `up` does once there is a state directory.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alknet_identity::PeersConfig;
use alknet_loader::shown;
use alknet_monitor::NodeLink;
use alknet_session::Mode;
use clap::Args;
use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::{Failed, StateArg, dir, existing_config, fail, fail_all, print_keys, runtime};
use crate::admin::{self, AdminService, AdminSocket, Ending, SocketError};
use crate::cli::setup::owner::summary;
use crate::cli::setup::stanza::{self, ALIAS, ClientConfig};
use crate::config::draft::Draft;
use crate::logs;
use crate::node::admission::raise_descriptor_limit;
use crate::node::reload::ReloadOptions;
use crate::node::swaps::{Swapper, Wanted};
use crate::node::systemd;
use crate::node::{AcceptGate, Node, StartError};
use crate::secrets::handed_over::{HandedOver, StartOptions};
use crate::startup::accounts;
use crate::startup::editors::write_schemas;
use crate::startup::plan::Plan;
use crate::state::StateDir;
use crate::state::last_logins;
use crate::walls::{ROOT_IS_OWNER, Walls, close_memory, has_accounts, is_root, unconfined};

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    state: StateArg,
    /// Run peers' processes as Unix accounts even if the configuration names
    /// none yet; the node is started as root
    #[arg(long)]
    accounts: bool,
}

/// Serves from a state directory.
pub(super) fn run(args: RunArgs) -> Result<ExitCode, Failed> {
    let state = dir(args.state)?;
    match NodeLink::inherited().map_err(fail)? {
        Some((link, secrets)) => serve_beside_monitor(&state, link, &secrets),
        None if args.accounts && !is_root() => Err(fail(
            "--accounts: only root can run processes as other accounts; start the node as root, or without it",
        )),
        None => serve(&state, Listen::default(), Show::Identities, args.accounts),
    }
}

/// Addresses to serve on in place of those configured.
#[derive(Default)]
pub(super) struct Listen {
    pub(super) udp: Option<SocketAddr>,
    pub(super) tcp: Option<SocketAddr>,
}

impl Listen {
    fn put_into(&self, draft: &mut Draft) {
        if let Some(addr) = self.udp {
            draft.config.listen = addr;
        }
        if self.tcp.is_some() {
            draft.config.tcp_listen = self.tcp;
        }
    }
}

/// What the node prints when it has started.
pub(super) enum Show {
    Identities,
    /// The identities, what is on and for whom, and the `ssh_config` stanza,
    /// with the private key to name in it.
    Owner {
        identity_file: Option<PathBuf>,
        /// Whether the owner's clients are told of the node.
        client_config: bool,
    },
}

/// Serves until a signal. With `accounts`, in accounts mode whatever the
/// configuration says.
pub(super) fn serve(
    state: &StateDir,
    listen: Listen,
    show: Show,
    accounts: bool,
) -> Result<ExitCode, Failed> {
    let mut draft = read_draft(state)?;
    listen.put_into(&mut draft);
    if is_root() {
        let peers = draft.read_peers().map_err(|problems| fail_all(&problems))?;
        if accounts || has_accounts(&draft.config, &peers) {
            return become_monitor(state, &draft, &peers, &listen, show);
        }
    }
    // Before there is a thread, and before there is anything to inherit.
    close_memory();
    let walls = Walls::start_owner(&draft)
        .map_err(|error| fail(format_args!("cannot start the monitor: {error}")))?;
    serve_with(draft, state, state, walls, show)
}

/// Starts the node as a user without rights, beside this process.
fn become_monitor(
    state: &StateDir,
    draft: &Draft,
    peers: &PeersConfig,
    listen: &Listen,
    show: Show,
) -> Result<ExitCode, Failed> {
    if admin::is_served(state) {
        return Err(fail(SocketError::Served {
            dir: state.root().to_owned(),
        }));
    }
    let (stanza, identity_file) = match show {
        Show::Identities => (false, None),
        Show::Owner { identity_file, .. } => (true, identity_file),
    };
    let start = StartOptions {
        udp: listen.udp,
        tcp: listen.tcp,
        stanza,
        identity_file,
    };
    let prepared = accounts::prepare(state, draft, peers, start).map_err(|faults| {
        for fault in faults {
            complain!("alknet-node: {fault}");
        }
        complain!("alknet-node: the node did not start");
        Failed
    })?;
    prepared
        .start()
        .map_err(|error| fail(format_args!("cannot start the node: {error}")))
}

/// Serves with what the monitor, which is root, hands over.
fn serve_beside_monitor(
    state: &StateDir,
    link: NodeLink,
    secrets: &[u8],
) -> Result<ExitCode, Failed> {
    close_memory();
    let handed_over = HandedOver::from_bytes(secrets)
        .ok_or_else(|| fail("what the monitor handed over is not of this version"))?;
    let start = handed_over.start.clone();
    let mut draft = read_draft(state)?;
    let listen = Listen {
        udp: start.udp,
        tcp: start.tcp,
    };
    listen.put_into(&mut draft);
    let walls = Walls::of_accounts(link, &draft, handed_over);
    let show = match start.stanza {
        // The owner's files are out of this account's reach.
        true => Show::Owner {
            identity_file: start.identity_file,
            client_config: false,
        },
        false => Show::Identities,
    };
    let run = StateDir::new(state.run_directory());
    serve_with(draft, state, &run, walls, show)
}

fn read_draft(state: &StateDir) -> Result<Draft, Failed> {
    let file = existing_config(state)?;
    Draft::read(&file).map_err(|problems| fail_all(&problems))
}

/// Serves, with the admin socket in the directory `run`.
fn serve_with(
    draft: Draft,
    state: &StateDir,
    run: &StateDir,
    walls: Walls,
    show: Show,
) -> Result<ExitCode, Failed> {
    let walls = Arc::new(walls);
    let socket = AdminSocket::bind(run).map_err(fail)?;
    logs::install(&draft.config.log);
    raise_descriptor_limit();
    // Before there are threads; each would have an arena of its own.
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    alknet_loader::memory::limit_arenas(processors.clamp(2, 8));
    let plan = Plan::complete(draft, walls.handed_over()).map_err(|problems| {
        let failed = fail_all(&problems);
        complain!("alknet-node: the node did not start");
        failed
    })?;
    // In accounts mode the state directory is root's.
    if walls.mode() == Mode::Owner
        && let Err(error) = write_schemas(state, &plan)
    {
        tracing::warn!("{error}");
    }
    let runtime = runtime(&plan.config)?;
    let outcome = runtime.block_on(serve_until_signal(
        plan,
        state,
        run.clone(),
        walls,
        socket,
        show,
    ));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve_until_signal(
    plan: Plan,
    home: &StateDir,
    state: StateDir,
    walls: Arc<Walls>,
    socket: AdminSocket,
    show: Show,
) -> Result<(), Failed> {
    let cannot_listen = |error| fail(format_args!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let hangups = signal(SignalKind::hangup()).map_err(cannot_listen)?;
    last_logins::open(state.root());
    let started = Node::start(plan, Some(Arc::clone(&walls))).await;
    let mut node = started.map_err(|error| {
        if let StartError::Tests(faults) = &error {
            faults
                .iter()
                .for_each(|fault| complain!("alknet-node: {fault}"));
        }
        fail(error)
    })?;
    if node.registry().alpns().is_empty() && !node.reloader().config().plugins.allow_none {
        node.warnings()
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        return Err(fail(
            "no plugin serves, so the node does not start; what is wrong with each is said above. With `allow_none = true` under [plugins] it starts and waits for one",
        ));
    }
    let service = Arc::new(AdminService::new(&node));
    let mut asked = service.ending();
    let admin = tokio::spawn(admin::serve(socket, state, Arc::clone(&service)));
    let mut closed_terminal = pin!(reload_on_hangup(hangups, node.swapper()).fuse());
    announce(&node, home, show);
    let watchdog = tokio::spawn(systemd::watchdog(node.probe()));
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = &mut closed_terminal => {}
        }
    };
    let gate = node.gate();
    let failed = tokio::select! {
        () = signalled() => None,
        () = asked_to_end(&mut asked, &gate) => None,
        () = node.failed() => Some("the UDP socket failed; start the node again"),
        () = walls.ended() => Some(
            "the monitor, which starts peers' processes, has ended; start the node again",
        ),
    };
    if let Some(why) = failed {
        tracing::error!("{why}");
        return Err(fail(why));
    }
    tracing::info!("stopping; a second signal ends live sessions at once");
    systemd::stopping(node.stop_timeout());
    let hurry = async {
        tokio::select! {
            () = signalled() => {}
            () = asked_for(&mut asked, Ending::Now) => {}
        }
    };
    node.stop(hurry).await;
    last_logins::save();
    watchdog.abort();
    // Its socket goes with it.
    admin.abort();
    let _ = admin.await;
    tracing::info!("stopped");
    Ok(())
}

/// Completes when the admin socket was asked for the node's end, and, where it
/// was to drain, the last connection has ended.
async fn asked_to_end(asked: &mut watch::Receiver<Ending>, gate: &AcceptGate) {
    asked_for(asked, Ending::Drain).await;
    if *asked.borrow() == Ending::Drain {
        tracing::info!("draining: no connection is accepted, and the node ends with the last");
        gate.close();
        tokio::select! {
            () = gate.empty() => {}
            () = asked_for(asked, Ending::Stop) => {}
        }
    }
}

/// Completes when the node was asked to go that far.
async fn asked_for(asked: &mut watch::Receiver<Ending>, ending: Ending) {
    if asked.wait_for(|asked| *asked >= ending).await.is_err() {
        std::future::pending().await
    }
}

/// Reloads at every SIGHUP. Completes when SIGHUP means what it says: the
/// terminal that the node was started from is gone.
///
/// Plugin files come first: a new version may know settings that the old one
/// does not, and the configuration is checked by the versions that serve.
async fn reload_on_hangup(mut hangups: Signal, swapper: Arc<Swapper>) {
    let has_terminal = || File::open("/dev/tty").is_ok();
    let had_terminal = has_terminal();
    while hangups.recv().await.is_some() {
        if had_terminal && !has_terminal() {
            return;
        }
        systemd::reloading();
        let swapper = Arc::clone(&swapper);
        let reload = tokio::task::spawn_blocking(move || {
            // What went wrong with plugins is in the log.
            let _ = swapper.reload(&Wanted::noticed());
            swapper.reloader().reload(ReloadOptions::default())
        });
        if let Ok(Err(problems)) = reload.await {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("nothing was reloaded; the configuration stays as it was");
        }
        systemd::ready();
    }
    std::future::pending().await
}

fn announce(node: &Node, state: &StateDir, show: Show) {
    say!("alknet-node {}", env!("CARGO_PKG_VERSION"));
    print_keys(&node.node_key().to_string(), node.host_keys());
    for generation in node.registry().generations() {
        say!(
            "plugin    {} {} ({})",
            generation.plugin,
            generation.version,
            shown(&generation.file)
        );
    }
    let peers = node.peers().config();
    say!(
        "peers     {}",
        peers.peers.iter().filter(|peer| !peer.disabled).count()
    );
    let unconfined = unconfined(&peers);
    if !unconfined.is_empty() {
        say!("unconfined {}", unconfined.join(", "));
    }
    if let Show::Owner {
        identity_file,
        client_config,
    } = show
    {
        show_owner(node, state, identity_file.as_deref(), client_config);
    }
    for warning in node.warnings() {
        tracing::warn!("{warning}");
    }
    if let Some(walls) = node.walls() {
        if walls.mode() == Mode::Owner && is_root() {
            tracing::warn!("{ROOT_IS_OWNER}");
        }
        if let Some(why) = walls.no_confinement() {
            let whom = match walls.mode() {
                Mode::Owner => "without ssh:unconfined",
                Mode::Accounts => "with `files`",
            };
            tracing::warn!("{why}; commands, shells and sftp of peers {whom} are refused");
        }
    }
    if let Some(addr) = node.tcp_addr() {
        say!("tcp listen {addr}");
    }
    if let Some(iroh) = node.iroh() {
        say!("iroh      {}", iroh.address());
    }
    if let Some(addr) = node.metrics_addr() {
        say!("metrics   http://{addr}/metrics");
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
    systemd::ready();
}

/// What `up` says: what is on and for whom, and how to reach the node.
fn show_owner(node: &Node, state: &StateDir, identity_file: Option<&Path>, client_config: bool) {
    let generations = node.registry().generations();
    let ssh = generations.iter().find(|it| it.plugin == "ssh");
    let ssh = ssh.map(|ssh| ssh.config());
    for line in summary(&node.peers().config(), ssh.as_deref()) {
        say!("{line}");
    }
    let stanza = match stanza::for_node(node, identity_file) {
        Ok(stanza) => stanza,
        Err(why) => return say!("\nno ssh_config stanza: {why}\n"),
    };
    let mut included = None;
    if client_config {
        match ClientConfig::of_caller() {
            Some(config) => {
                let (lines, file) = config.put(node, state, identity_file, &stanza);
                lines.iter().for_each(|line| say!("{line}"));
                included = file;
            }
            None => say!("try       not written for your clients: there is no home directory"),
        }
    }
    match included {
        Some(file) => say!(
            "\n# In {}, which ssh reads already:\n{stanza}",
            file.display()
        ),
        None => say!("\n# For ~/.ssh/config; then: ssh {ALIAS}\n{stanza}"),
    }
}
