//! A consistent read of the whole vault.

use std::fmt;
use std::sync::Arc;

use crate::chunks::PinnedVault;
use crate::records::NamespaceCache;
use crate::vault::VaultInner;
use strongroom_store::objects::Pin;
use strongroom_store::state::StateRead;

/// The vault as it was when the snapshot was taken: records, operations and content.
///
/// It takes no lock, never waits for a writer, and is not disturbed by one. Cheap to clone;
/// while a clone or a value read from it lives, nothing that it can reach is removed, so do not
/// keep it for longer than it is needed.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

struct Inner {
    // Fields drop in order: the read ends before its pin does.
    state: StateRead,
    namespaces: NamespaceCache,
    pin: Arc<Pin>,
    vault: Arc<VaultInner>,
}

impl Snapshot {
    pub(crate) fn new(state: StateRead, pin: Arc<Pin>, vault: Arc<VaultInner>) -> Self {
        let namespaces = NamespaceCache::default();
        Self { inner: Arc::new(Inner { state, namespaces, pin, vault }) }
    }

    pub(crate) fn state(&self) -> &StateRead {
        &self.inner.state
    }

    /// Whether it is of that vault.
    pub(crate) fn is_of(&self, vault: &Arc<VaultInner>) -> bool {
        Arc::ptr_eq(&self.inner.vault, vault)
    }

    /// What outlives it: the vault, as far as it is seen by it.
    pub(crate) fn pinned(&self) -> PinnedVault {
        PinnedVault::new(&self.inner.vault, &self.inner.pin)
    }

    pub(crate) fn namespace_cache(&self) -> &NamespaceCache {
        &self.inner.namespaces
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("pin", &self.inner.pin).finish_non_exhaustive()
    }
}
