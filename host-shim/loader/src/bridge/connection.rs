//! The node's connections as the FFI-stable objects that a plugin uses.

use std::future::Future;
use std::sync::Arc;

use alknet_handler::{BoxStream, Connection, StreamError};
use alknet_plugin_interface::abi_stable::erased_types::TD_Opaque;
use alknet_plugin_interface::abi_stable::std_types::{ROption, RResult, RStr, RString, RVec};
use alknet_plugin_interface::async_ffi::{FfiFuture, FutureExt};
use alknet_plugin_interface::{
    ByteStream_TO, ByteStreamObject, Connection as FfiConnection, Identity, RELAYED,
    StreamError as FfiStreamError, guard, guard_future, guarded_drop,
};
use tokio::runtime::Handle;

use super::stream::PluginStream;

/// A connection of the node, for a plugin to use.
pub(super) struct PluginConnection {
    // Taken when dropped.
    inner: Option<Arc<dyn Connection>>,
    runtime: Handle,
}

impl PluginConnection {
    pub(super) fn new(inner: Arc<dyn Connection>, runtime: Handle) -> Self {
        Self {
            inner: Some(inner),
            runtime,
        }
    }

    /// Waits for a stream on the node's own runtime: a transport's futures
    /// may need its timers and its reactor.
    fn stream<F>(
        &self,
        wait: impl FnOnce(Arc<dyn Connection>) -> F + Send + 'static,
    ) -> FfiFuture<RResult<ByteStreamObject, FfiStreamError>>
    where
        F: Future<Output = Result<BoxStream, StreamError>> + Send + 'static,
    {
        let Some(connection) = self.inner.clone() else {
            return answer(RResult::RErr(FfiStreamError::ConnectionClosed));
        };
        let runtime = self.runtime.clone();
        let waiting = wait(connection);
        let task = AbortOnDrop(self.runtime.spawn(async move {
            // Wrapped at once: a stream that nobody fetches is dropped by
            // whoever gave up waiting.
            let stream = waiting.await?;
            Ok(PluginStream::new(stream, runtime))
        }));
        let outcome = async move {
            match task.await {
                Ok(stream) => RResult::ROk(ByteStream_TO::from_value(stream, TD_Opaque)),
                Err(error) => RResult::RErr(error.into()),
            }
        };
        guard_future(outcome, |panic| RResult::RErr(panicked(panic))).into_ffi()
    }
}

impl Drop for PluginConnection {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        guarded_drop(self.inner.take());
    }
}

impl FfiConnection for PluginConnection {
    fn accept_bi(&self) -> FfiFuture<RResult<ByteStreamObject, FfiStreamError>> {
        guard(
            || self.stream(|connection| async move { connection.accept_bi().await }),
            refused,
        )
    }

    fn open_bi(&self) -> FfiFuture<RResult<ByteStreamObject, FfiStreamError>> {
        guard(
            || self.stream(|connection| async move { connection.open_bi().await }),
            refused,
        )
    }

    fn remote_alpn(&self) -> RVec<u8> {
        guard(
            || match &self.inner {
                Some(connection) => connection.remote_alpn().into(),
                None => RVec::new(),
            },
            |_| RVec::new(),
        )
    }

    fn remote_addr(&self) -> ROption<RString> {
        guard(
            || {
                let text =
                    self.inner
                        .as_ref()
                        .and_then(|connection| match connection.remote_addr() {
                            Some(addr) => Some(addr.to_string()),
                            None => connection.is_relayed().then(|| RELAYED.to_owned()),
                        });
                text.map(RString::from).into()
            },
            |_| ROption::RNone,
        )
    }

    fn set_identity(&self, identity: Identity) -> bool {
        guard(
            || match &self.inner {
                Some(connection) => connection.set_identity(identity.into()).is_ok(),
                None => false,
            },
            |_| false,
        )
    }

    fn close(&self, code: u32, reason: RStr<'_>) {
        guard(
            || {
                if let Some(connection) = &self.inner {
                    connection.close(code, reason.as_str());
                }
            },
            |_| (),
        );
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<Result<PluginStream, StreamError>>);

impl Future for AbortOnDrop {
    type Output = Result<PluginStream, StreamError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| Err(StreamError::Internal(error.to_string())))
        })
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn refused(panic: &str) -> FfiFuture<RResult<ByteStreamObject, FfiStreamError>> {
    answer(RResult::RErr(panicked(panic)))
}

fn answer(
    outcome: RResult<ByteStreamObject, FfiStreamError>,
) -> FfiFuture<RResult<ByteStreamObject, FfiStreamError>> {
    std::future::ready(outcome).into_ffi()
}

fn panicked(message: &str) -> FfiStreamError {
    FfiStreamError::Internal(format!("the node's connection panicked: {message}").into())
}
