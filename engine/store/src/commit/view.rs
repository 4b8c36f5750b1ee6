//! A consistent read of the whole state.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use crate::objects::Pin;
use crate::state::StateRead;

/// The state as it was when the view was taken. Cheap to clone; takes no lock.
#[derive(Clone)]
pub struct View {
    inner: Arc<Inner>,
}

struct Inner {
    // Fields drop in order: the read ends before its pin does.
    state: StateRead,
    pin: Arc<Pin>,
    core: Arc<Core>,
}

impl View {
    pub(super) fn new(state: StateRead, pin: Arc<Pin>, core: Arc<Core>) -> Self {
        Self { inner: Arc::new(Inner { state, pin, core }) }
    }

    /// Returns the tables.
    pub fn state(&self) -> &StateRead {
        &self.inner.state
    }

    /// Returns the pin, which keeps all that the view can reach.
    pub fn pin(&self) -> &Arc<Pin> {
        &self.inner.pin
    }

    /// Returns the core that it is of.
    pub fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("pin", &self.inner.pin).finish_non_exhaustive()
    }
}
