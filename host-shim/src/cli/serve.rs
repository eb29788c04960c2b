//! `run`, and what `up` does once there is a state folder.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failed, StateArg, existing_config, fail, fail_all, folder, print_keys, runtime};
use crate::admin::{self, AdminSocket};
use crate::logs;
use crate::node::Node;
use crate::plan::{Draft, Plan};
use crate::reload::Reloader;
use crate::stanza;
use crate::state::StateFolder;

/// Serves from a state folder.
pub(super) fn run(args: StateArg) -> Result<(), Failed> {
    serve(&folder(args)?, Listen::default(), Show::Identities)
}

/// Addresses to serve on in place of those configured.
#[derive(Default)]
pub(super) struct Listen {
    pub(super) udp: Option<SocketAddr>,
    pub(super) tcp: Option<SocketAddr>,
}

/// What a start shows its owner.
pub(super) enum Show {
    Identities,
    /// The identities and the `ssh_config` stanza, with the private key to
    /// name in it.
    Stanza(Option<PathBuf>),
}

/// Serves until a signal.
pub(super) fn serve(state: &StateFolder, listen: Listen, show: Show) -> Result<(), Failed> {
    let file = existing_config(state)?;
    let mut draft = Draft::read(&file).map_err(|problems| fail_all(&problems))?;
    if let Some(addr) = listen.udp {
        draft.config.listen = addr;
    }
    if listen.tcp.is_some() {
        draft.config.tcp_listen = listen.tcp;
    }
    let socket = AdminSocket::bind(state).map_err(fail)?;
    logs::install(&draft.config.log);
    let plan = draft.complete().map_err(|problems| {
        let failed = fail_all(&problems);
        complain!("alknet-node: the node did not start");
        failed
    })?;
    let runtime = runtime(&plan.config)?;
    let outcome = runtime.block_on(serve_until_signal(plan, socket, show));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve_until_signal(plan: Plan, socket: AdminSocket, show: Show) -> Result<(), Failed> {
    let cannot_listen = |error| fail(format_args!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let hangups = signal(SignalKind::hangup()).map_err(cannot_listen)?;
    let mut node = Node::start(plan).map_err(fail)?;
    let admin = tokio::spawn(admin::serve(socket, node.reloader()));
    let mut closed_terminal = pin!(reload_on_hangup(hangups, node.reloader()).fuse());
    announce(&node, show);
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = &mut closed_terminal => {}
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
    // Its socket goes with it.
    admin.abort();
    let _ = admin.await;
    tracing::info!("stopped");
    Ok(())
}

/// Reloads at every SIGHUP. Completes when SIGHUP means what it says: the
/// terminal that the node was started from is gone.
async fn reload_on_hangup(mut hangups: Signal, reloader: Arc<Reloader>) {
    let has_terminal = || File::open("/dev/tty").is_ok();
    let had_terminal = has_terminal();
    while hangups.recv().await.is_some() {
        if had_terminal && !has_terminal() {
            return;
        }
        let reloader = Arc::clone(&reloader);
        let reload = tokio::task::spawn_blocking(move || reloader.reload(false));
        if let Ok(Err(problems)) = reload.await {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("nothing was reloaded; the configuration stays as it was");
        }
    }
    std::future::pending().await
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
    if let Some(addr) = node.tcp_addr() {
        say!("tcp listen {addr}");
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
    notify(sd_notify::NotifyState::Ready);
}
