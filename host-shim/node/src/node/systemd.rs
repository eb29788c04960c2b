//! What systemd is told, where it wants to be told (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::node::AcceptProbe;

/// Tells systemd that the node serves.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the node ends and takes no longer than `limit` for it.
pub(crate) fn stopping(limit: Duration) {
    let extended = format!("EXTEND_TIMEOUT_USEC={}", limit.as_micros());
    notify(&[NotifyState::Stopping, NotifyState::Custom(&extended)]);
}

/// Tells systemd that a reload begins; [`ready`] says that it is over, however
/// it ended.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell systemd"),
    }
}

/// Gives signs of life for as long as the probe answers, if systemd watches this
/// process (`WatchdogSec=` in systemd.service(5)). Ends when it does not.
pub(crate) async fn watchdog(probe: AcceptProbe) {
    let mut microseconds = 0;
    if sd_notify::watchdog_enabled(false, &mut microseconds) {
        let interval = Duration::from_micros(microseconds) / 2;
        signs_of_life(probe, interval, || notify(&[NotifyState::Watchdog])).await;
    }
}

async fn signs_of_life(probe: AcceptProbe, interval: Duration, give: impl Fn()) {
    while probe.answers().await {
        give();
        tokio::time::sleep(interval).await;
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_sign_of_life_needs_one_who_accepts_connections() {
        let (accepting, mut probes) = mpsc::channel(1);
        let given = AtomicUsize::new(0);
        let count = || given.load(Ordering::SeqCst);
        let signs = signs_of_life(AcceptProbe::of(accepting), Duration::from_millis(1), || {
            given.fetch_add(1, Ordering::SeqCst);
        });
        let accepting = async {
            for answered in 0..3 {
                let probe = probes.recv().await.unwrap();
                // For as long as nobody answers, none is given.
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(count(), answered);
                probe.send(()).unwrap();
            }
            drop(probes);
        };
        tokio::join!(signs, accepting);
        assert_eq!(count(), 3);
    }
}
