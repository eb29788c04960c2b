use std::sync::Arc;
use std::time::Duration;

use alknet_handler::{AuthContext, Connection, HandlerError, StreamError};
use tokio_util::task::TaskTracker;

use super::core::Core;
use super::session::{self, Peer};
use crate::auth::Owner;
use crate::status::Live;

/// Serves every stream of a connection as an SSH connection; returns when the
/// connection accepts no more and the last of them has ended.
pub(super) async fn serve(
    core: Arc<Core>,
    connection: Arc<dyn Connection>,
    auth: AuthContext,
) -> Result<(), HandlerError> {
    if core.is_draining() {
        connection.close(0, "the server is about to stop; connect again");
        return Err(HandlerError::Internal(
            "refused a connection: the handler is draining".to_owned(),
        ));
    }
    let _live = Live::new(&core.counters.connections);
    let owner = Arc::new(Owner::new(auth.identity.as_ref()));
    let sessions = TaskTracker::new();
    let end = accept(&core, &connection, &auth, &owner, &sessions).await;
    sessions.close();
    sessions.wait().await;
    match end {
        End::Closed | End::Draining => {}
        End::Idle => connection.close(0, "nobody logged in on this connection"),
        End::Failed(error) => return Err(HandlerError::StreamError(error)),
    }
    if core.is_draining() {
        connection.close(0, "the server is about to stop; connect again");
    }
    Ok(())
}

/// Why a connection's streams are no longer accepted.
enum End {
    Closed,
    Draining,
    Idle,
    Failed(StreamError),
}

async fn accept(
    core: &Arc<Core>,
    connection: &Arc<dyn Connection>,
    auth: &AuthContext,
    owner: &Arc<Owner>,
    sessions: &TaskTracker,
) -> End {
    loop {
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            () = core.draining() => return End::Draining,
            () = nobody_logs_in(core, owner, sessions) => return End::Idle,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(StreamError::ConnectionClosed) => return End::Closed,
            Err(StreamError::StreamClosed) => continue,
            Err(error) => return End::Failed(error),
        };
        let active = core.active();
        if sessions.len() >= active.config.limits.max_streams as usize {
            tracing::warn!(
                limit = active.config.limits.max_streams,
                "refused a stream: the connection has as many as /limits/max_streams allows"
            );
            continue;
        }
        let peer = Peer {
            address: connection.remote_addr().or(auth.remote_addr),
            connection: Arc::clone(connection),
            owner: Arc::clone(owner),
        };
        let task = session::serve(Arc::clone(core), active, stream, peer);
        sessions.spawn(core.sessions.track_future(task));
    }
}

/// Completes when a connection has stood without a session and without ever
/// having had a login for as long as a login may take.
async fn nobody_logs_in(core: &Core, owner: &Owner, sessions: &TaskTracker) {
    let grace = core.active().config.limits.login_grace_seconds;
    loop {
        tokio::time::sleep(Duration::from_secs(grace.into())).await;
        if sessions.is_empty() && !owner.is_known() {
            return;
        }
    }
}
