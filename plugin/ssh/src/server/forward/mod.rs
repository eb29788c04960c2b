//! Port forwarding (RFC 4254 section 7) and its counterpart for Unix sockets
//! (OpenSSH PROTOCOL section 2.4).
//!
//! A channel towards a destination is answered when the outcome of the connect
//! is known, in a task of its own. So is everything that may take time: the
//! session's loop never waits for a name server or a target.

mod by_monitor;
mod connect;
mod listen;
mod pump;
mod socket;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use russh::ChannelOpenFailure;
use russh::server::{ChannelOpenHandle, Msg};

use self::connect::ForwardError;
pub(super) use self::listen::{ListenError, Listeners};
use self::pump::ForwardEndReason;
use super::audit::About;
use super::channel::input::Input;
use super::egress::way_out::ConnectError;
use super::metrics::{ChannelKind, Verdict};
use super::session::context::{ChannelSlot, SessionContext};
use super::session::denial::Asked;
use super::state::access::Grant;
use super::status::{Live, count};
use crate::connection::queue::ByteQueue;

/// A channel that the peer asked for and that is not answered yet.
pub(super) struct Opening {
    pub(super) channel: russh::Channel<Msg>,
    pub(super) queue: ByteQueue,
    pub(super) reply: ChannelOpenHandle,
    pub(super) shared: Arc<SessionContext>,
    pub(super) place: ChannelSlot,
}

/// Serves a `direct-tcpip` channel (RFC 4254 section 7.2).
pub(super) async fn direct_tcpip(opening: Opening, host: String, port: u32) {
    let shared = Arc::clone(&opening.shared);
    let connected = tokio::select! {
        connected = connect::tcp(&shared, &host, port) => connected,
        () = shared.over.cancelled() => return,
    };
    let about = About {
        kind: ChannelKind::DirectTcpip,
        destination: Some(&|| host_and_port(&host, port)),
    };
    let asked = Asked::Forward { host: &host, port };
    opening.conclude(&about, asked, connected).await;
}

/// Serves a `direct-streamlocal@openssh.com` channel.
pub(super) async fn direct_streamlocal(opening: Opening, path: String) {
    let shared = Arc::clone(&opening.shared);
    let connected = tokio::select! {
        connected = connect::unix(&shared, path.clone()) => connected,
        () = shared.over.cancelled() => return,
    };
    let about = About {
        kind: ChannelKind::DirectStreamLocal,
        destination: Some(&|| path.clone()),
    };
    let asked = Asked::StreamLocal { path: &path };
    opening.conclude(&about, asked, connected).await;
}

/// A destination as the audit stream names it.
fn host_and_port(host: &str, port: u32) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl Opening {
    /// Answers with the outcome of the connect, and carries the bytes if it
    /// succeeded.
    async fn conclude(
        self,
        about: &About<'_>,
        asked: Asked<'_>,
        connected: Result<(socket::Socket, Grant), ForwardError>,
    ) {
        let Self {
            channel,
            queue,
            reply,
            shared,
            place: _place,
        } = self;
        let kind = about.kind;
        match connected {
            Ok((socket, grant)) => {
                reply.accept().await;
                count(&shared.counters.forwards_total);
                shared.counters.metrics.channel(kind, Verdict::Granted);
                let _live = Live::new(&shared.counters.forwards);
                let (reader, writer) = channel.split();
                let input = Input::new(writer.id(), reader, queue, Arc::clone(&shared), about);
                let end = pump::run(input, &writer, socket, grant.token(), &shared).await;
                say_how_it_ended(&shared, kind, &end);
            }
            Err(refusal) => {
                queue.close();
                say_why_not(&shared, about, &refusal);
                let ours = shared.our_client.load(Ordering::Relaxed);
                let answer = refusal.answer(ours, asked, &shared.identity());
                reply.reject(answer).await;
            }
        }
    }
}

/// The name of a kind of channel in the log.
fn name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Session => "session",
        ChannelKind::DirectTcpip => "forward",
        ChannelKind::DirectStreamLocal => "streamlocal",
        ChannelKind::ForwardedTcpip => "listen",
        ChannelKind::ForwardedStreamLocal => "streamlocal listen",
        ChannelKind::Agent => "agent",
    }
}

/// Logs why a channel was not opened; the destination is left out.
fn say_why_not(shared: &SessionContext, about: &About<'_>, refusal: &ForwardError) {
    let kind = about.kind;
    if refusal.code() == ChannelOpenFailure::AdministrativelyProhibited {
        shared.counters.metrics.channel(kind, Verdict::Denied);
        shared.audit.not_opened(about, Verdict::Denied, refusal);
        shared.log_denied(name(kind), refusal);
    } else {
        shared.audit.not_opened(about, Verdict::Failed, refusal);
        count(&shared.counters.forwards_failed);
        shared.counters.metrics.channel(kind, Verdict::Failed);
        if let ForwardError::Connect(ConnectError::Proxy(error)) = refusal {
            shared.core.active().egress.complain(error);
        }
        tracing::debug!(
            target: "alknet_ssh::forward",
            request = name(kind),
            reason = %refusal,
            "not connected"
        );
    }
}

fn say_how_it_ended(shared: &SessionContext, kind: ChannelKind, end: &ForwardEndReason) {
    match end {
        ForwardEndReason::Stalled => {
            count(&shared.counters.stalled);
            tracing::warn!(
                target: "alknet_ssh::forward",
                remote_addr = %super::display::Peer(shared.origin.peer),
                request = name(kind),
                seconds = shared.active.config.limits.stalled_channel_seconds,
                "closed a channel: its target took nothing while it held up other channels"
            );
        }
        ForwardEndReason::Idle => {
            tracing::info!(
                target: "alknet_ssh::forward",
                remote_addr = %super::display::Peer(shared.origin.peer),
                request = name(kind),
                "closed a channel: nothing went through it for too long"
            );
        }
        ForwardEndReason::Revoked => {
            tracing::info!(
                target: "alknet_ssh::policy",
                remote_addr = %super::display::Peer(shared.origin.peer),
                request = name(kind),
                "closed a channel: it is no longer permitted"
            );
        }
        ForwardEndReason::Finished | ForwardEndReason::Closed | ForwardEndReason::Broken(_) => {
            tracing::debug!(
                target: "alknet_ssh::forward",
                request = name(kind),
                ?end,
                "channel closed"
            );
        }
    }
}
