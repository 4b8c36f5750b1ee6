//! The limit of parallel calls of a store. A call's own time begins with its permit.

use std::num::NonZeroUsize;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use strongroom_base::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Permits {
    free: Mutex<usize>,
    freed: Condvar,
}

/// The permit of one call, returned when dropped.
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self { free: Mutex::new(most.get()), freed: Condvar::new() }
    }

    /// Waits for a permit; `Unavailable` after `timeout`, and nothing was sent.
    pub(super) fn acquire(&self, operation: &'static str, timeout: Duration) -> Result<Permit<'_>> {
        let mut free = self.free.lock();
        if self.freed.wait_while_for(&mut free, |free| *free == 0, timeout).timed_out() {
            return Err(Error::new(ErrorKind::Unavailable, operation)
                .with_detail("too many requests are in progress; retry later"));
        }
        *free -= 1;
        Ok(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_never_exceed_the_limit() {
        let permits = Permits::new(NonZeroUsize::MIN);
        let held = permits.acquire("get object", Duration::ZERO).unwrap();
        let refused = permits.acquire("get object", Duration::from_millis(1));
        assert_eq!(refused.err().map(|e| e.kind()), Some(ErrorKind::Unavailable));
        std::thread::scope(|scope| {
            let waits =
                scope.spawn(|| permits.acquire("get object", Duration::from_secs(60)).is_ok());
            drop(held);
            assert!(waits.join().unwrap());
        });
    }
}
