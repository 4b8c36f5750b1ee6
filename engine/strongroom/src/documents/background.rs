//! A write in the background, on a thread of the vault.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, bounded};
use strongroom_base::{Error, ErrorKind, Result};

use super::partition::{DocumentVersion, Partition, WriteOptions, Written};
use super::text::PackedText;
use strongroom_base::CancelToken;

/// A write that runs in the background.
///
/// If it is dropped, the write continues as long as the process; only [`wait`](Self::wait) returns
/// its result. It keeps the vault open until the vault is [closed](crate::Vault::close). Then the
/// write ends and can be resumed.
pub struct BackgroundWrite {
    counts: Arc<Counts>,
    cancel: CancelToken,
    ended: Receiver<thread::Result<Result<Written>>>,
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

impl fmt::Debug for BackgroundWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackgroundWrite")
            .field("done", &self.done())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

impl BackgroundWrite {
    pub(super) fn start(
        partition: Partition,
        packed: PackedText,
        expected: Option<DocumentVersion>,
    ) -> Result<Self> {
        let (counts, cancel) = (Arc::<Counts>::default(), CancelToken::new());
        let (heard, token) = (Arc::clone(&counts), cancel.clone());
        let room = partition.room();
        let write = move || {
            let progress = move |done, total: Option<u64>| {
                heard.total.store(total.unwrap_or(0), Ordering::Release);
                heard.done.store(done, Ordering::Release);
            };
            let options = WriteOptions::new().expected(expected).progress(&progress).cancel(&token);
            partition.write_packed(packed, &options)
        };
        let (end, ended) = bounded(1);
        room.workers.spawn(Duration::ZERO, move || {
            // A waiting caller gets the panic; there may be none.
            end.send(catch_unwind(AssertUnwindSafe(write))).ok();
        })?;
        Ok(Self { counts, cancel, ended })
    }

    /// Returns the completed part, from 0 to 1. At 1 the write is being read back, or has ended.
    pub fn progress(&self) -> f64 {
        match self.total() {
            0 => 0.0,
            total => self.done() as f64 / total as f64,
        }
    }

    /// Returns the number of written objects of the new generation.
    pub fn done(&self) -> u64 {
        self.counts.done.load(Ordering::Acquire)
    }

    /// Returns the number of all objects; 0 before it begins.
    pub fn total(&self) -> u64 {
        self.counts.total.load(Ordering::Acquire)
    }

    /// Requests its end. It returns `Cancelled` and discards its work, unless it was published.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Returns whether it has ended, with or without success.
    pub fn is_finished(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Waits for its end and returns its result. A panic is propagated.
    pub fn wait(self) -> Result<Written> {
        match self.ended.recv() {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvError) => Err(Error::new(ErrorKind::Closed, "wait for update")),
        }
    }
}
