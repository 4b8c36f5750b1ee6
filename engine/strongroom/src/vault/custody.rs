//! Custody: the keys of an open vault, and whether this session may still write.
//!
//! It may not if the state is older than its key copy, or if another session took the content over.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_base::Result;
use strongroom_base::component::Entropy;
use strongroom_crypto::{KeySet, PasswordPolicy, SecretKey};
use strongroom_store::commit::{Core, Ending, Fence};
use strongroom_store::state::{Sealing, Store};
use uuid::Uuid;

use super::key_copy::{KeyCopy, RollbackCheck, known_copy};
use super::owner::Owner;

/// Keys of an open vault, and its right to write.
pub(super) struct Custody {
    /// Key set of the vault. Changed only in the write turn.
    pub(super) keys: Mutex<KeySet>,
    /// Key set after the running rotation, if that happens.
    pub(super) rotating: Mutex<Option<KeySet>>,
    pub(super) password: PasswordPolicy,
    rollback_check: Mutex<RollbackCheck>,
    /// Ownership of the content, if other hosts can reach it.
    owner: Option<Arc<Owner>>,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Custody {
    pub(super) fn new(
        keys: KeySet,
        password: PasswordPolicy,
        rollback_check: RollbackCheck,
        owner: Option<Arc<Owner>>,
    ) -> Arc<Self> {
        let (keys, rollback_check) = (Mutex::new(keys), Mutex::new(rollback_check));
        Arc::new(Self { keys, rotating: Mutex::default(), password, rollback_check, owner })
    }

    /// Returns the policy for passwords.
    pub(super) fn password(&self) -> PasswordPolicy {
        self.password
    }

    /// Calls `make` with the id key.
    pub(super) fn with_id_key<T>(&self, make: impl FnOnce(&SecretKey) -> T) -> T {
        make(self.keys.lock().id_key())
    }

    /// Fails with `Conflict` if the state may be older than the key copy.
    pub(super) fn refuse_if_behind(&self, action: &'static str) -> Result<()> {
        self.rollback_check.lock().refuse(action)
    }

    /// Reads the key copy, and compares it with the keys and the state.
    fn compare_copy(&self, core: &Core) -> Result<RollbackCheck> {
        let known = known_copy(&core.store().read()?)?;
        let header = self.keys.lock().header().clone();
        let copy = KeyCopy::read(core.objects().backend(), &header)?;
        let relation = copy.compare(&self.keys.lock(), known, None);
        Ok(RollbackCheck::of(relation, known.is_some()))
    }

    /// Adopts the keys of the current state file.
    ///
    /// It runs after a rotation, and after a reopening of the state.
    ///
    /// If a rotation's outcome was uncertain, the reopening shows it.
    pub(super) fn settle_rotation(&self, core: &Core) {
        let Some(file) = core.store().file() else { return };
        let Some(next) = self.rotating.lock().take() else { return };
        if next.header().file == file {
            core.objects().set_keys(next.content_keys());
            *self.keys.lock() = next;
        }
    }
}

impl Fence for Custody {
    fn admit_commit(&self, action: &'static str) -> Result<()> {
        self.refuse_if_behind(action)?;
        self.owner.as_ref().map_or(Ok(()), |owner| owner.refuse_if_lost())
    }

    fn admit_delete(&self) -> Result<()> {
        self.owner.as_ref().map_or(Ok(()), |owner| owner.confirm())
    }

    fn admit_delete_again(&self) -> Result<()> {
        match &self.owner {
            Some(owner) if owner.is_stale() => owner.confirm(),
            Some(owner) => owner.refuse_if_lost(),
            None => Ok(()),
        }
    }

    fn seems_superseded(&self) -> bool {
        *self.rollback_check.lock() != RollbackCheck::Agrees
    }

    /// Reads the key copy, if it could not be read yet.
    fn may_be_superseded(&self, core: &Core) -> bool {
        let mut rollback_check = self.rollback_check.lock();
        if *rollback_check == RollbackCheck::Unknown
            && let Ok(found) = self.compare_copy(core)
        {
            *rollback_check = found;
        }
        *rollback_check != RollbackCheck::Agrees
    }

    fn deletes_wait(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.deletes_wait())
    }

    fn committed(&self, core: &Core, is_upkeep: bool) {
        if let Some(owner) = &self.owner {
            if !is_upkeep {
                owner.note_commit();
            }
            owner.confirm_soon(core.store_tasks());
        }
    }

    fn reopened(&self, core: &Core) {
        self.settle_rotation(core);
    }

    fn end(&self, store: &Store) -> Option<Ending> {
        let owner = Arc::clone(self.owner.as_ref()?);
        let release = owner.end(store)?;
        Some(Box::new(move |timeout| {
            release.notify_store(timeout);
            owner.refuse_lost_commits()
        }))
    }
}

/// Returns the sealing parameters of a state under `keys`.
pub(super) fn sealing(entropy: &Arc<dyn Entropy>, keys: &KeySet) -> Sealing {
    let (key, file) = (Arc::new(keys.state_key()), keys.header().file);
    Sealing { key, file, entropy: Arc::clone(entropy) }
}

/// Draws a random id.
pub(super) fn draw_id(entropy: &dyn Entropy) -> Result<Uuid> {
    Ok(uuid::Builder::from_random_bytes(entropy.draw()?).into_uuid())
}
