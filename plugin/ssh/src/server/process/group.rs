//! The process group or session of a child, and its end with all members.

use std::collections::HashSet;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::time::Instant;

use super::session;

/// The interval at which processes that were asked to end are looked at, at
/// first and later.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_LATER: Duration = Duration::from_millis(200);

/// A command's processes. The number of a group or session cannot be taken by
/// another while a member of it lives or its leader has not been reaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessGroup {
    leader: Pid,
    /// Whether the leader leads a session (setsid(2)), with a group for each
    /// job of its shell.
    session: bool,
}

impl ProcessGroup {
    /// The group a child leads.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        let leader = Pid::from_raw(id)?;
        Some(Self {
            leader,
            session: false,
        })
    }

    /// The groups of the session a child leads.
    pub(crate) fn of_session(child: &Child) -> Option<Self> {
        let group = Self::of(child)?;
        Some(Self {
            session: true,
            ..group
        })
    }

    /// Sends a signal to every process of the leader's group.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        kill_process_group(self.leader, signal).is_ok()
    }

    /// Ends every process of the group, or of the session: asks with SIGHUP
    /// and SIGTERM, then, after `grace`, kills. Returns when none is left, the
    /// leader reaped.
    pub(crate) async fn end(self, mut child: Child, grace: Duration) {
        // Reaps the leader, if it is what has ended already.
        let _ = child.try_wait();
        if !self.is_empty() {
            self.signal_all(&[Signal::HUP, Signal::TERM, Signal::CONT]);
            self.wait_until_empty(&mut child, Instant::now() + grace)
                .await;
        }
        if !self.is_empty() {
            self.signal_all(&[Signal::KILL]);
            // SIGKILL is not refused; the bound is for a process stuck in the
            // kernel, which nobody can reap before it returns.
            self.wait_until_empty(&mut child, Instant::now() + Duration::from_secs(60))
                .await;
        }
    }

    fn signal_all(self, signals: &[Signal]) {
        for group in self.groups() {
            for signal in signals {
                let _ = kill_process_group(group, *signal);
            }
        }
    }

    async fn wait_until_empty(self, child: &mut Child, deadline: Instant) {
        let mut pause = LOOK;
        loop {
            // Reaps the leader, which counts as a member until then.
            let _ = child.try_wait();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_empty() || left.is_zero() {
                return;
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LOOK_LATER);
        }
    }

    fn is_empty(self) -> bool {
        test_kill_process_group(self.leader) == Err(Errno::SRCH)
            && (!self.session || session::groups(self.leader).is_empty())
    }

    fn groups(self) -> HashSet<Pid> {
        let mut groups = HashSet::from([self.leader]);
        if self.session {
            groups.extend(session::groups(self.leader));
        }
        groups
    }
}
