//! A consistent read of the whole vault.

use std::fmt;
use std::sync::Arc;

use strongroom_content::{Content, Pinned};
use strongroom_store::commit::{Core, View};
use strongroom_store::state::StateRead;

use super::read::NamespaceCache;

/// The vault at the time when the snapshot was taken: records, operations and content.
///
/// It takes no lock, never waits for a writer, and no writer disturbs it. Cheap to clone. While a
/// clone, or a value read from it, lives, nothing that it can reach is removed, so drop it early.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<SnapshotInner>,
}

struct SnapshotInner {
    // Fields drop in order: the tables close before the view.
    namespaces: NamespaceCache,
    view: View,
    content: Content,
}

impl Snapshot {
    pub(crate) fn new(view: View, content: Content) -> Self {
        let namespaces = NamespaceCache::default();
        Self { inner: Arc::new(SnapshotInner { namespaces, view, content }) }
    }

    pub(crate) fn state(&self) -> &StateRead {
        self.inner.view.state()
    }

    /// Returns whether the snapshot belongs to `core`.
    pub(crate) fn is_of(&self, core: &Arc<Core>) -> bool {
        Arc::ptr_eq(self.inner.view.core(), core)
    }

    /// Keeps everything that it can reach, for a reader that outlives it.
    pub(super) fn pinned(&self) -> Pinned {
        self.inner.content.pinned(&self.inner.view)
    }

    pub(super) fn namespace_cache(&self) -> &NamespaceCache {
        &self.inner.namespaces
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("view", &self.inner.view).finish_non_exhaustive()
    }
}
