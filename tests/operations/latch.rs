//! A latch that blocks handlers until a test releases them.
//!
//! The test can also wait until handlers have reached the latch.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::support::group::WAIT_MAX;

/// A latch that stays closed until its release, and open afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// Number of threads that have reached the latch.
    waiters: usize,
}

impl Latch {
    /// Waits until the latch is open.
    pub(crate) fn wait(&self) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock();
        state.waiters += 1;
        changed.notify_all();
        let waited = changed.wait_while_for(&mut state, |state| !state.is_open, WAIT_MAX);
        assert!(!waited.timed_out(), "the latch is still closed");
    }

    pub(crate) fn release(&self) {
        let (state, changed) = &*self.shared;
        state.lock().is_open = true;
        changed.notify_all();
    }

    /// Waits until `count` threads have reached the latch.
    #[track_caller]
    pub(crate) fn await_waiters(&self, count: usize) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock();
        let waited = changed.wait_while_for(&mut state, |state| state.waiters < count, WAIT_MAX);
        assert!(!waited.timed_out(), "{} of {count} threads wait", state.waiters);
    }
}
