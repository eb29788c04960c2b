//! Jobs whose channel has ended: they go on for as long as their peer may have
//! them.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use alknet_session::{Job, JobFilter};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::server::session::note::{InForce, Note, Standing};
use crate::server::state::server_state::ServerState;

/// The longest time between two looks at the clock: it may be set.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(60);
/// The time after a failure until the identity store or the monitor is asked
/// again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Judges the jobs again whenever permissions change, or the time of one runs
/// out.
pub(crate) fn watch(core: &Arc<ServerState>) {
    if core
        .launcher
        .as_ref()
        .is_some_and(|launcher| launcher.monitor().is_some())
    {
        let detached = Arc::clone(&core.detached);
        tokio::spawn(judge_again(Arc::downgrade(core), core.revision(), detached));
    }
}

/// Ends all jobs of a session.
pub(crate) async fn end_session(core: &ServerState, session: u64) {
    let filter = JobFilter {
        session: Some((core.generation(), session)),
        ..JobFilter::default()
    };
    end(core, filter).await;
}

/// Completes at that time; never without one.
pub(crate) async fn until(time: Option<SystemTime>) {
    let Some(time) = time else {
        return std::future::pending().await;
    };
    while let Ok(left) = time.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK_AT_THE_CLOCK)).await;
    }
}

/// Judges jobs until the handler ends.
async fn judge_again(
    handler: Weak<ServerState>,
    mut revision: watch::Receiver<u64>,
    detached: Arc<Notify>,
) {
    // There may be some of handlers before this one.
    let mut wait = Wait::Again;
    loop {
        tokio::select! {
            changed = revision.changed() => if changed.is_err() {
                return;
            },
            () = detached.notified() => {}
            () = wait.over() => {}
        }
        let Some(core) = handler.upgrade() else {
            return;
        };
        wait = judge(&core).await;
    }
}

/// The wait until jobs are judged again, if nothing changes.
#[derive(Clone, Copy)]
enum Wait {
    /// Without end: no job has a time that runs out.
    Nothing,
    Until(SystemTime),
    /// A short while: a store or the monitor could not be asked.
    Again,
}

impl Wait {
    async fn over(self) {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Until(time) => until(Some(time)).await,
            Self::Again => sleep(ASK_AGAIN).await,
        }
    }

    fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::Until(one), Self::Until(other)) => Self::Until(one.min(other)),
            (Self::Nothing, wait) | (wait, Self::Nothing) => wait,
        }
    }
}

async fn judge(core: &ServerState) -> Wait {
    let Some(monitor) = core
        .launcher
        .as_ref()
        .and_then(|launcher| launcher.monitor())
    else {
        return Wait::Nothing;
    };
    let filter = JobFilter {
        detached: true,
        ..JobFilter::default()
    };
    let jobs = match monitor.jobs(filter).await {
        Ok(jobs) => jobs,
        Err(error) => {
            tracing::error!(%error, "the node's monitor did not list its jobs");
            return Wait::Again;
        }
    };
    let mut wait = Wait::Nothing;
    for job in jobs {
        // Those of a later generation are that one's, and its rules.
        if job.session.0 > core.generation() {
            continue;
        }
        if let Some(note) = Note::from_json(&job.note) {
            wait = wait.sooner(judge_one(core, &job, &note).await);
        }
    }
    wait
}

async fn judge_one(core: &ServerState, job: &Job, note: &Note) -> Wait {
    let permissions = core.permissions();
    let rules = core.login_rules();
    let now = InForce {
        identities: core.identities.as_ref(),
        permissions: &permissions,
        rules: &rules,
        accounts: &core.accounts,
    };
    match note.standing(&now).await {
        Some(Standing::Granted { until: None }) => Wait::Nothing,
        Some(Standing::Granted { until: Some(time) }) => Wait::Until(time),
        None => Wait::Again,
        Some(Standing::Denied) => {
            tracing::info!(
                target: "alknet_ssh::policy",
                identity = %job.identity,
                job = job.id.0,
                "ended a job in the background: it is no longer permitted"
            );
            let filter = JobFilter {
                job: Some(job.id),
                ..JobFilter::default()
            };
            end(core, filter).await;
            Wait::Nothing
        }
    }
}

async fn end(core: &ServerState, filter: JobFilter) {
    let Some(monitor) = core
        .launcher
        .as_ref()
        .and_then(|launcher| launcher.monitor())
    else {
        return;
    };
    let exec = &core.active().config.services.exec;
    let grace = Duration::from_secs(exec.kill_grace_seconds.into());
    if let Err(error) = monitor.end(filter, grace).await {
        tracing::error!(%error, "the node's monitor did not end a job");
    }
}
