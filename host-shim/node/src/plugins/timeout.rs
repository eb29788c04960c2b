//! Calls into plugins that are given up after a time, so that a handler that
//! hangs does not hold up the node.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use alknet_handler::{
    AuthContext, BoxFuture, ConfigError, Connection, HandlerError, ProtocolHandler,
};
use serde_json::json;

/// The time that a handler may take for a configuration or a request.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of calls that never came back after which a handler is no longer
/// asked.
const MAX_STUCK: usize = 4;

/// Runs a function on a thread of its own and waits for its result. A result
/// that comes later is given to `late`, on that thread.
///
/// # Errors
/// When it takes longer, or panics.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    act: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> Result<T, NoAnswer> {
    let (send, receive) = sync_channel(0);
    let thread = thread::Builder::new().name("plugin-call".to_owned());
    let spawned = thread.spawn(move || {
        if let Ok(done) = catch_unwind(AssertUnwindSafe(act))
            // A rendezvous: it fails only when nobody waits any more.
            && let Err(unwanted) = send.send(done)
        {
            late(unwanted.0);
        }
    });
    if spawned.is_err() {
        return Err(NoAnswer::Failed);
    }
    receive.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => NoAnswer::Late,
        RecvTimeoutError::Disconnected => NoAnswer::Failed,
    })
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The call takes too long.
    #[error("took too long")]
    Late,
    /// The call panicked, or no thread could be started for it.
    #[error("ended early; a panic is in the log")]
    Failed,
}

/// A handler that answers in time, or with an error: one that hangs must not
/// hold up the node.
pub(super) struct TimeoutHandler {
    // Taken when dropped.
    inner: Option<Arc<dyn ProtocolHandler>>,
    /// The configuration that the handler has.
    config: Arc<Mutex<String>>,
    /// Calls that were given up and have not come back.
    stuck: Arc<AtomicUsize>,
}

impl TimeoutHandler {
    /// A handler that was made with `config`.
    pub(super) fn new(inner: Arc<dyn ProtocolHandler>, config: String) -> Self {
        Self {
            inner: Some(inner),
            config: Arc::new(Mutex::new(config)),
            stuck: Arc::default(),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn ProtocolHandler) -> T + Send + 'static,
        late: impl FnOnce(&dyn ProtocolHandler, T) + Send + 'static,
    ) -> Result<T, String> {
        let no_answer = |why: &str| format!("the plugin does not answer: it {why}");
        let Some(inner) = self.inner.clone() else {
            return Err(no_answer("is gone"));
        };
        if self.stuck.load(Ordering::Acquire) >= MAX_STUCK {
            return Err(no_answer("is still at earlier requests"));
        }
        let stuck = Arc::clone(&self.stuck);
        // Counted while it is under way; what is given up stays counted until
        // it comes back.
        stuck.fetch_add(1, Ordering::AcqRel);
        let counted = Stuck(stuck);
        let asked = Arc::clone(&inner);
        within(
            CALL_TIMEOUT,
            move || {
                let _counted = counted;
                act(&*asked)
            },
            move |unwanted| late(&*inner, unwanted),
        )
        .map_err(|why| no_answer(&why.to_string()))
    }
}

/// Counts a call for as long as it lives.
struct Stuck(Arc<AtomicUsize>);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl ProtocolHandler for TimeoutHandler {
    fn handle(
        &self,
        connection: Arc<dyn Connection>,
        auth: AuthContext,
    ) -> BoxFuture<'static, Result<(), HandlerError>> {
        match &self.inner {
            Some(inner) => inner.handle(connection, auth),
            None => Box::pin(std::future::ready(Err(HandlerError::ConnectionClosed))),
        }
    }

    fn reconfigure(&self, config: &str) -> Result<(), ConfigError> {
        let given = config.to_owned();
        let known = Arc::clone(&self.config);
        let has_it = *known.lock().unwrap_or_else(PoisonError::into_inner) == config;
        let taken = self.ask(
            move |handler| handler.reconfigure(&given),
            // Nobody believes any more that it has this configuration.
            move |handler, taken| {
                if taken.is_ok() {
                    let before = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Err(error) = handler.reconfigure(&before) {
                        tracing::error!(%error, "a handler took a configuration too late and would not give it back; restart the node");
                    }
                }
            },
        );
        match taken {
            // It keeps what it has, which is what was asked for.
            Err(why) if has_it => {
                tracing::warn!("what a configuration names was not read again: {why}");
                return Ok(());
            }
            taken => taken.map_err(silent)??,
        }
        let mut known = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone_into(&mut known);
        Ok(())
    }

    fn drain(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        match &self.inner {
            Some(inner) => inner.drain(deadline),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn status(&self) -> String {
        self.ask(|handler| handler.status(), |_, _| ())
            .unwrap_or_else(|error| json!({ "error": error }).to_string())
    }

    fn control(&self, request: &str) -> Result<String, ConfigError> {
        let request = request.to_owned();
        self.ask(move |handler| handler.control(&request), |_, _| ())
            .map_err(silent)?
    }
}

impl Drop for TimeoutHandler {
    fn drop(&mut self) {
        let inner = self.inner.take();
        // Ending a handler is the plugin's code as well. Without a thread for
        // it, it happens here.
        let _ = thread::Builder::new().spawn(move || drop(inner));
    }
}

fn silent(message: String) -> ConfigError {
    ConfigError {
        pointer: String::new(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_done_in_time_is_given_back() {
        let done = within(Duration::from_secs(60), || 7, |_| ());
        assert_eq!(done, Ok(7));
    }

    #[test]
    fn what_hangs_is_given_up_and_what_comes_late_handed_on() {
        let (go, wait) = channel::<()>();
        let (tell, told) = channel();
        let act = move || {
            let _ = wait.recv();
            8
        };
        let late = move |value| tell.send(value).unwrap();
        let done = within(Duration::from_millis(10), act, late);
        assert_eq!(done, Err(NoAnswer::Late));
        go.send(()).unwrap();
        assert_eq!(told.recv(), Ok(8));
    }

    #[test]
    fn what_panics_has_failed() {
        let done = within(Duration::from_secs(60), || panic!("no"), |(): ()| ());
        assert_eq!(done, Err(NoAnswer::Failed));
    }
}
