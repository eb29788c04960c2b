use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::time::Instant;

/// How often a group that was asked to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A command's process group. Its number cannot be taken by another group
/// while a member of it lives or its leader has not been reaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessGroup(Pid);

impl ProcessGroup {
    /// The group a child leads.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        Pid::from_raw(id).map(Self)
    }

    /// Sends a signal to every process of the group.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        kill_process_group(self.0, signal).is_ok()
    }

    /// Ends every process of the group: asks with SIGHUP and SIGTERM, then,
    /// after `grace`, kills. Returns when none is left, the leader reaped.
    pub(crate) async fn end(self, mut child: Child, grace: Duration) {
        if !self.is_empty() {
            self.signal(Signal::HUP);
            self.signal(Signal::TERM);
            self.signal(Signal::CONT);
            self.wait_until_empty(&mut child, Instant::now() + grace)
                .await;
        }
        if !self.is_empty() {
            self.signal(Signal::KILL);
            // SIGKILL is not refused; the bound is for a process stuck in the
            // kernel, which nobody can reap before it returns.
            self.wait_until_empty(&mut child, Instant::now() + Duration::from_secs(60))
                .await;
        }
    }

    async fn wait_until_empty(self, child: &mut Child, deadline: Instant) {
        loop {
            // Reaps the leader, which counts as a member until then.
            let _ = child.try_wait();
            if self.is_empty() || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(LOOK.min(deadline.duration_since(Instant::now()))).await;
        }
    }

    fn is_empty(self) -> bool {
        test_kill_process_group(self.0) == Err(Errno::SRCH)
    }
}
