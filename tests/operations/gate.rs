//! Holds handlers up until a test lets them go, and lets it wait until they are there.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::support::group::PATIENCE;

/// A gate that is closed until it is opened, for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    inner: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// How many have come to it so far.
    came: usize,
}

impl Gate {
    /// Waits until it is open.
    pub(crate) fn pass(&self) {
        let (state, moved) = &*self.inner;
        let mut state = state.lock();
        state.came += 1;
        moved.notify_all();
        let waited = moved.wait_while_for(&mut state, |state| !state.open, PATIENCE);
        assert!(!waited.timed_out(), "the gate stays closed");
    }

    pub(crate) fn open(&self) {
        let (state, moved) = &*self.inner;
        state.lock().open = true;
        moved.notify_all();
    }

    /// Waits until so many have come to it.
    #[track_caller]
    pub(crate) fn await_arrivals(&self, many: usize) {
        let (state, moved) = &*self.inner;
        let mut state = state.lock();
        let waited = moved.wait_while_for(&mut state, |state| state.came < many, PATIENCE);
        assert!(!waited.timed_out(), "{} of {many} have come", state.came);
    }
}
