//! The lock of a root: first among threads of this handle, then among handles and processes.
//!
//! The kernel lock belongs to the open file. It excludes other handles, but not threads of the same
//! handle, which queue on a mutex first. The kernel releases it when its holder dies. A wait for it
//! cannot have a bound, so it is polled.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use strongroom_base::backoff::{Backoff, Pauses};
use strongroom_base::component::Clock;
use strongroom_base::fs::File;
use strongroom_base::{Error, ErrorKind, Result};

/// Longest wait for the threads and for the kernel lock.
///
/// Holders keep it for one comparison and one rename. A longer wait means that a holder was
/// stopped.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The pauses between two tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_micros(100), 2.0, Duration::from_millis(10));

#[derive(Debug)]
pub(super) struct RootLock {
    threads: Mutex<()>,
    /// Kept open with the handle.
    ///
    /// Opening it for each call would cost more than locking.
    file: Box<dyn File>,
    clock: Arc<dyn Clock>,
}

impl RootLock {
    pub(super) fn new(file: Box<dyn File>, clock: Arc<dyn Clock>) -> Self {
        Self { threads: Mutex::new(()), file, clock }
    }

    /// Waits for the lock; `Locked` after [`LOCK_WAIT`].
    pub(super) fn acquire(&self) -> Result<LockGuard<'_>> {
        let mut pauses = Pauses::new(BACKOFF, &*self.clock).last_try_at(LOCK_WAIT);
        let Some(turn) = self.threads.try_lock_for(LOCK_WAIT) else {
            return Err(locked("another thread of this process has the lock"));
        };
        while !self.file.try_lock().map_err(|e| Error::io("lock disk store", e))? {
            if !pauses.sleep()? {
                return Err(locked("another handle or process has the lock"));
            }
        }
        Ok(LockGuard { file: &*self.file, _turn: turn })
    }
}

fn locked(holder: &str) -> Error {
    Error::new(ErrorKind::Locked, "lock disk store")
        .with_detail(format!("{holder}, waited {} s", LOCK_WAIT.as_secs()))
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct LockGuard<'a> {
    file: &'a dyn File,
    // Dropped after the kernel lock is released, so that the next thread finds it free.
    _turn: MutexGuard<'a, ()>,
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            // This handle can lock again; others wait until it is closed.
            tracing::warn!(%error, "could not unlock disk store");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_base::component::ManualClock;
    use strongroom_base::fs::{Access, FileSystem, Os};

    #[test]
    fn wait_for_other_handle_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let holder = Os.open(&path, Access::OpenOrCreate).unwrap();
        assert!(holder.try_lock().unwrap());

        let clock = Arc::new(ManualClock::new());
        let file = Os.open(&path, Access::OpenOrCreate).unwrap();
        let lock = RootLock::new(file, clock.clone());
        let error = lock.acquire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(clock.monotonic(), LOCK_WAIT);

        drop(holder);
        drop(lock.acquire().expect("the lock is free"));
        drop(lock.acquire().expect("a lock that was released is had again"));
    }
}
