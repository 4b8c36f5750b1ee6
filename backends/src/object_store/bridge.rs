//! The bridge from synchronous to asynchronous calls: the only file that names tokio.
//!
//! The runtime belongs to the adapter. A call passes its future to the runtime and waits on a
//! channel for the result. So it works from a plain thread, and from inside any other runtime,
//! where `block_on` panics.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use strongroom_base::{Error, ErrorKind, Reason, Result};

/// Threads of the runtime: they wait for the network and encrypt its traffic.
const THREADS: usize = 2;

/// Extra time that a caller waits beyond the runtime's limit.
///
/// It matters if a client blocks the runtime's threads.
const GRACE: Duration = Duration::from_secs(1);

/// Returns the result of `call`; `Unavailable` after `timeout`. For a part of a call on a bridge.
pub(super) async fn within<T>(
    operation: &'static str,
    timeout: Duration,
    call: impl Future<Output = T>,
) -> Result<T> {
    tokio::time::timeout(timeout, call)
        .await
        .map_err(|_| late(ErrorKind::Unavailable, operation, timeout))
}

fn late(kind: ErrorKind, operation: &'static str, timeout: Duration) -> Error {
    Error::new(kind, operation)
        .with_reason(Reason::StoreUnreachable)
        .with_detail(format!("no answer within {} s", timeout.as_secs_f32()))
}

#[derive(Debug)]
pub(super) struct Bridge {
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

impl Bridge {
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("strongroom-store")
            .enable_all()
            .build()
            .map_err(|e| Error::io("start runtime of object store", e))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Returns the result of `call`; an error of the given kind after `timeout`.
    pub(super) fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        timeout: Duration,
        kind: ErrorKind,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let too_late = move || Err(late(kind, operation, timeout));
        let (sender, outcome) = sync_channel(1);
        let runtime = self.runtime.as_ref().expect("taken only when dropped");
        runtime.spawn(async move {
            let outcome = tokio::time::timeout(timeout, call).await;
            let outcome = outcome.unwrap_or_else(|_| too_late());
            // The caller may have ended its wait.
            let _ = sender.send(outcome);
        });
        outcome.recv_timeout(timeout.saturating_add(GRACE)).unwrap_or_else(|e| match e {
            RecvTimeoutError::Timeout => too_late(),
            RecvTimeoutError::Disconnected => {
                Err(Error::new(kind, operation).with_detail("the request's task panicked"))
            }
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Safe in async code too, where dropping a runtime that waits for its tasks panics.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
