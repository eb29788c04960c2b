//! Guards that turn a panic into an error value before it reaches the
//! boundary, where it would end the process.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The one panic guard: runs `body` and turns a panic into the value that
/// `on_panic` makes of its message.
///
/// A panic that reaches an `extern "C"` boundary ends the process, whatever
/// the caller does; so every function of this interface, on both sides, has
/// its body in here. State that `body` was changing stays as the panic left
/// it: `on_panic` must answer with an error that ends what was going on.
pub fn guard<T>(body: impl FnOnce() -> T, on_panic: impl FnOnce(&str) -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            let value = on_panic(panic_message(&*payload));
            // Dropping a payload may panic in turn; leaking one is harmless.
            std::mem::forget(payload);
            value
        }
    }
}

/// Drops a value; a panic in its drop goes no further. For what the other side
/// of the boundary may drop: there, too, a panic would end the process.
pub fn guarded_drop<T>(value: T) {
    guard(|| drop(value), |_| ());
}

/// [`guard`] for a future: a panic in any poll ends it with the value that
/// `on_panic` makes of its message.
pub fn guard_future<F, P>(future: F, on_panic: P) -> impl Future<Output = F::Output> + Send
where
    F: Future + Send,
    P: FnOnce(&str) -> F::Output + Send,
{
    Guarded {
        state: Some((Box::pin(future), on_panic)),
    }
}

/// The text of a panic's payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(message) = payload.downcast_ref::<&'static str>() {
        message
    } else if let Some(message) = payload.downcast_ref::<String>() {
        message
    } else {
        "panic without a message"
    }
}

struct Guarded<F, P> {
    state: Option<(Pin<Box<F>>, P)>,
}

impl<F, P> Unpin for Guarded<F, P> {}

impl<F, P> Future for Guarded<F, P>
where
    F: Future,
    P: FnOnce(&str) -> F::Output,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Polled again after its end, it stays pending like a fused future.
        let Some((future, _)) = self.state.as_mut() else {
            return Poll::Pending;
        };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                guarded_drop(self.state.take());
                Poll::Ready(value)
            }
            Err(payload) => match self.state.take() {
                Some((future, on_panic)) => {
                    // What a panicked future holds may panic again.
                    guarded_drop(future);
                    let value = on_panic(panic_message(&*payload));
                    std::mem::forget(payload);
                    Poll::Ready(value)
                }
                None => Poll::Pending,
            },
        }
    }
}

impl<F, P> Drop for Guarded<F, P> {
    fn drop(&mut self) {
        guarded_drop(self.state.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[test]
    fn a_panic_becomes_a_value() {
        assert_eq!(guard(|| 1, |_| 2), 1);
        let said = guard(|| panic!("with {}", "words"), |message| message.to_owned());
        assert_eq!(said, "with words");
        let odd = guard(
            || std::panic::panic_any(PanicsOnDrop),
            |message| message.to_owned(),
        );
        assert_eq!(odd, "panic without a message");
    }

    #[test]
    fn a_panic_in_a_drop_goes_no_further() {
        guarded_drop(PanicsOnDrop);
        drop(guard_future(
            async {
                let _held = PanicsOnDrop;
                std::future::pending::<()>().await;
            },
            |_| (),
        ));
        let held = PanicsOnDrop;
        let mut polled = Box::pin(guard_future(
            async move {
                let _held = &held;
                std::future::pending::<()>().await;
            },
            |_| (),
        ));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(polled.as_mut().poll(&mut cx).is_pending());
        drop(polled);
    }

    #[test]
    fn a_panicking_future_ends_with_a_value() {
        let waker = std::task::Waker::noop();
        let mut cx = Context::from_waker(waker);
        let mut future = Box::pin(guard_future(
            async {
                let _held = PanicsOnDrop;
                std::future::ready(()).await;
                if true {
                    std::mem::forget(_held);
                    panic!("at poll");
                }
                String::new()
            },
            |message| message.to_owned(),
        ));
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(said) => assert_eq!(said, "at poll"),
            Poll::Pending => panic!("still pending"),
        }
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
}
