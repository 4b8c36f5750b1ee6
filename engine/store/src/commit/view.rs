//! A consistent read of the whole state.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use crate::objects::ReadEpoch;
use crate::state::StateRead;

/// The state at the time when the view was taken. Cheap to clone; takes no lock.
#[derive(Clone)]
pub struct View {
    inner: Arc<ViewInner>,
}

struct ViewInner {
    // Fields drop in order: the read ends before its read epoch.
    state: StateRead,
    read_epoch: Arc<ReadEpoch>,
    core: Arc<Core>,
}

impl View {
    pub(super) fn new(state: StateRead, read_epoch: Arc<ReadEpoch>, core: Arc<Core>) -> Self {
        Self { inner: Arc::new(ViewInner { state, read_epoch, core }) }
    }

    /// Returns the tables.
    pub fn state(&self) -> &StateRead {
        &self.inner.state
    }

    /// Returns the read epoch, which keeps everything that the view can reach.
    pub fn enter_epoch(&self) -> &Arc<ReadEpoch> {
        &self.inner.read_epoch
    }

    /// Returns the core.
    pub fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("read_epoch", &self.inner.read_epoch).finish_non_exhaustive()
    }
}
