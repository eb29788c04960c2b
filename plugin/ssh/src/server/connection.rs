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
    // One for the whole connection: further streams gain a peer no time.
    let nobody_logs_in = nobody_logs_in(core, owner, sessions);
    tokio::pin!(nobody_logs_in);
    loop {
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            () = core.draining() => return End::Draining,
            () = &mut nobody_logs_in => return End::Idle,
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

/// Completes when nobody has logged in for as long as a login may take and no
/// session is left that could, or for twice as long whatever goes on.
async fn nobody_logs_in(core: &Core, owner: &Owner, sessions: &TaskTracker) {
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
