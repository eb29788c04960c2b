//! One connection: admitted or turned away, then each of its streams served as
//! an SSH connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{AuthContext, BoxStream, Connection, HandlerError, StreamError};
use alknet_ssh_config::AuditEvent;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::session::{self, Peer};
use crate::server::admission::{Offence, Startup};
use crate::server::auth::ConnectionIdentity;
use crate::server::display::Peer as Address;
use crate::server::metrics::AdmissionError;
use crate::server::session::endpoint::Endpoint;
use crate::server::state::server_state::ServerState;
use crate::server::status::Live;

/// The time that a peer that is turned away may take to read why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The number of streams of one connection on which nobody has logged in, at a
/// time: what strangers can make the node keep is a matter of connections,
/// which are counted. Further streams wait, unread.
const STRANGERS: usize = 1;

/// Serves every stream of a connection as an SSH connection; returns when the
/// connection accepts no more and the last of them has ended.
pub(crate) async fn serve(
    core: Arc<ServerState>,
    connection: Arc<dyn Connection>,
    auth: AuthContext,
) -> Result<(), HandlerError> {
    if core.is_draining() {
        connection.close(0, &core.drain_end().to_string());
        return Err(HandlerError::Internal(
            "refused a connection: the handler is draining".to_owned(),
        ));
    }
    let _live = Live::new(&core.counters.connections);
    let endpoint = Endpoint::of(&auth).map(Arc::new);
    let address = connection.remote_addr().or(auth.remote_addr);
    let admitted = admitted(&core, address, endpoint.is_some());
    let startup = match admitted {
        Ok(startup) => startup,
        Err(rejection) => {
            turn_away(&core, connection.as_ref(), address, rejection).await;
            return Ok(());
        }
    };
    let owner = Arc::new(ConnectionIdentity::new(auth.identity.as_ref()));
    let sessions = TaskTracker::new();
    let context = LoginContext {
        address,
        local: auth.local_addr,
        owner: &owner,
        endpoint,
    };
    let end = accept(&core, &connection, &context, startup, &sessions).await;
    sessions.close();
    sessions.wait().await;
    match end {
        AcceptEndReason::Closed | AcceptEndReason::Draining => {}
        AcceptEndReason::Idle { used } => {
            if !used {
                let limits = &core.active().config.limits;
                core.admission
                    .penalise(address, Offence::GraceExceeded, limits);
            }
            connection.close(0, "nobody logged in on this connection");
        }
        AcceptEndReason::Failed(error) => return Err(HandlerError::StreamError(error)),
    }
    if core.is_draining() {
        connection.close(0, &core.drain_end().to_string());
    }
    Ok(())
}

/// Why a connection's streams are no longer accepted.
enum AcceptEndReason {
    Closed,
    Draining,
    /// Nobody logged in in time, although sessions may have tried.
    Idle {
        used: bool,
    },
    Failed(StreamError),
}

/// What is known about a connection before it is admitted.
struct LoginContext<'a> {
    address: Option<SocketAddr>,
    local: Option<SocketAddr>,
    owner: &'a Arc<ConnectionIdentity>,
    endpoint: Option<Arc<Endpoint>>,
}

/// Lets a connection in. One that is known to be somebody's does not count
/// among those on which nobody has logged in.
fn admitted(
    core: &ServerState,
    address: Option<SocketAddr>,
    is_known: bool,
) -> Result<Option<Startup>, AdmissionError> {
    let active = core.active();
    if is_known {
        return Ok(None);
    }
    if active.config.endpoint_identity.require_bound_identity {
        return Err(AdmissionError::Unbound);
    }
    core.admission
        .admit(address, &active.config.limits)
        .map(Some)
}

/// Says why nothing will come of a connection, as far as the peer can be told.
async fn turn_away(
    core: &ServerState,
    connection: &dyn Connection,
    address: Option<SocketAddr>,
    rejection: AdmissionError,
) {
    note(core, address, rejection);
    let stream = timeout(LAST_WORDS, connection.accept_bi()).await;
    let mut stream = stream.ok().and_then(Result::ok);
    if let Some(stream) = &mut stream {
        tell(stream, rejection).await;
    }
    // Where a close has a reason, the stream must not end well before it.
    connection.close(0, rejection.words());
}

/// Counts, records and logs a connection that was turned away.
fn note(core: &ServerState, address: Option<SocketAddr>, rejection: AdmissionError) {
    core.counters.metrics.rejected(rejection);
    let Some(left_out) = core.rejections.pass() else {
        return;
    };
    core.active().audit.record(
        core.generation(),
        0,
        address.map(|address| address.to_string()),
        None,
        AuditEvent::SessionRejected {
            reason: rejection.to_string(),
        },
    );
    tracing::info!(
        target: "alknet_ssh::auth",
        remote_addr = %Address(address),
        reason = %rejection,
        left_out,
        "connection rejected"
    );
}

/// Sends the reason as a line before the identification, which clients may show
/// (RFC 4253 section 4.2).
async fn tell(stream: &mut BoxStream, rejection: AdmissionError) {
    let words = format!("{}\r\n", rejection.words());
    let _ = timeout(LAST_WORDS, stream.write_all(words.as_bytes())).await;
}

/// Says why nothing will come of one of several streams.
async fn turn_away_stream(mut stream: BoxStream, rejection: AdmissionError) {
    tell(&mut stream, rejection).await;
    let _ = timeout(LAST_WORDS, stream.shutdown()).await;
}

async fn accept(
    core: &Arc<ServerState>,
    connection: &Arc<dyn Connection>,
    context: &LoginContext<'_>,
    mut startup: Option<Startup>,
    sessions: &TaskTracker,
) -> AcceptEndReason {
    let owner = context.owner;
    let mut used = false;
    // One for the whole connection: further streams gain a peer no time.
    let nobody_logs_in = nobody_logs_in(core, owner, sessions);
    tokio::pin!(nobody_logs_in);
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let place = tokio::select! {
            place = place(&strangers, owner) => place,
            () = core.draining() => return AcceptEndReason::Draining,
            () = &mut nobody_logs_in => return AcceptEndReason::Idle { used },
        };
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            () = core.draining() => return AcceptEndReason::Draining,
            () = &mut nobody_logs_in => return AcceptEndReason::Idle { used },
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(StreamError::ConnectionClosed) => return AcceptEndReason::Closed,
            Err(StreamError::StreamClosed) => continue,
            Err(error) => return AcceptEndReason::Failed(error),
        };
        let active = core.active();
        if sessions.len() >= active.config.limits.max_streams as usize {
            tracing::warn!(
                limit = active.config.limits.max_streams,
                "refused a stream: the connection has as many as /limits/max_streams allows"
            );
            continue;
        }
        let address = match connection.remote_addr() {
            None if connection.is_relayed() => None,
            address => address.or(context.address),
        };
        let startup = match startup.take() {
            Some(startup) => Some(startup),
            None => match admitted(core, address, owner.is_known()) {
                Ok(startup) => startup,
                Err(rejection) => {
                    note(core, address, rejection);
                    sessions.spawn(turn_away_stream(stream, rejection));
                    continue;
                }
            },
        };
        used = true;
        let peer = Peer {
            address,
            local: context.local,
            connection: Arc::clone(connection),
            owner: Arc::clone(owner),
            endpoint: context.endpoint.clone(),
            startup: startup.map(|startup| startup.with_place(place)),
        };
        let task = session::serve(Arc::clone(core), active, stream, peer);
        sessions.spawn(core.sessions.track_future(task));
    }
}

/// Waits for a place for a stream on which nobody has logged in; `None` where
/// no place is needed because the connection already belongs to an identity.
async fn place(
    strangers: &Arc<Semaphore>,
    owner: &ConnectionIdentity,
) -> Option<OwnedSemaphorePermit> {
    if owner.is_known() {
        return None;
    }
    Arc::clone(strangers).acquire_owned().await.ok()
}

/// Completes when nobody has logged in for as long as a login may take and no
/// session is left that could, or for twice as long whatever goes on.
async fn nobody_logs_in(core: &ServerState, owner: &ConnectionIdentity, sessions: &TaskTracker) {
    let grace = Duration::from_secs(core.active().config.limits.login_grace_seconds.into());
    tokio::time::sleep(grace).await;
    if sessions.is_empty() && !owner.is_known() {
        return;
    }
    tokio::time::sleep(grace).await;
    if owner.is_known() {
        std::future::pending::<()>().await;
    }
}
