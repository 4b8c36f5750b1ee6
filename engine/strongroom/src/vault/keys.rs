//! Who may open the vault: the calls that change it, and where they write.
//!
//! The header of the state file is authoritative. A change writes both of its copies, each
//! durable before the other, and then the copy on the backend, which serves recovery. Open brings
//! a copy up that fell behind; a copy that is *ahead* means that an older state file was put back,
//! and then nothing is written until the host adopts it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::handle::{Vault, VaultInner};
use super::key_copy::{KeyCopy, Standing, Witness};
use strongroom_base::{CancelToken, NoProgress, Progress};
use strongroom_crypto::{KeyId, KeyInfo, KeySet, KeySource, NewSlot, Unlock, Wrapping, find};
use strongroom_format::{
    DoomedKey, Header, ObjectName, ObjectRef, PackRow, RecordRow, SPACE, SPACE_UPDATE, SpaceRow,
    UpdateRow,
};
use strongroom_store::state::{Copying, KeySpan, Table};

/// A key to be added, and what it is called.
#[derive(Clone, Copy)]
pub struct NewKey<'a> {
    source: &'a dyn KeySource,
    label: &'a str,
}

impl<'a> NewKey<'a> {
    /// The key that `source` gives, without a label.
    pub fn new(source: &'a dyn KeySource) -> Self {
        Self { source, label: "" }
    }

    /// What it shall be called: one line of at most
    /// [`KEY_LABEL_BYTES_MAX`](crate::KEY_LABEL_BYTES_MAX) bytes. It lies sealed in the header.
    pub fn label(self, label: &'a str) -> Self {
        Self { label, ..self }
    }
}

impl fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("label", &self.label).finish_non_exhaustive()
    }
}

/// What a [compaction](Vault::compact) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Size of the state before, in bytes.
    pub bytes_before: u64,
    /// Its size now.
    pub bytes_after: u64,
}

/// Who may open a vault. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    vault: Vault,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// What opens the vault, in the order in which it was added.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.vault.inner().keys.lock().keys()
    }

    /// Which key of the vault `source` gives; `Denied` if none. Takes as long as opening.
    pub fn find(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        let inner = self.vault.inner();
        // Not under the lock: each password slot takes its time.
        let header = inner.keys.lock().header().clone();
        find(&header, &unlock, inner.password.bounds)
    }

    /// Adds a key; durable on return. Like every change of keys it wants the backend: if that
    /// cannot be reached its error comes, and nothing has changed.
    ///
    /// `Full` if there are [`KEYS_MAX`](crate::KEYS_MAX), `AlreadyExists` if it opens the vault
    /// already. `Uncertain` as told at [`remove`](Self::remove).
    pub fn add(&self, key: &NewKey<'_>) -> Result<KeyId> {
        let unlock = key.source.unlock()?;
        let mut added = None;
        self.vault.inner().change_keys("add key", |keys, with| {
            let next = keys.with_key(&NewSlot { unlock: &unlock, label: key.label }, with)?;
            added = next.keys().last().map(|key| key.id);
            Ok(next)
        })?;
        Ok(added.expect("it was added last"))
    }

    /// Puts another secret in the place of the key `id`, which keeps its id and label: a change of
    /// password. The old secret opens the vault no more; older copies of the vault's files it
    /// still does.
    ///
    /// `NotFound` if there is no such key, `AlreadyExists` if the secret is that of another one.
    pub fn replace(&self, id: KeyId, source: &dyn KeySource) -> Result<()> {
        let unlock = source.unlock()?;
        self.vault
            .inner()
            .change_keys("replace key", |keys, with| keys.with_replaced(id, &unlock, with))
    }

    /// Wraps the key that `source` gives anew, at the costs that the vault was opened with:
    /// how the costs of a password are raised. `Denied` if it is no key of the vault.
    pub fn rewrap(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        let mut found = None;
        self.vault.inner().change_keys("rewrap key", |keys, with| {
            let id = *found.insert(keys.find(&unlock, with.bounds)?);
            keys.with_replaced(id, &unlock, with)
        })?;
        Ok(found.expect("found before it was replaced"))
    }

    /// Removes a key; durable on return. It opens the vault no more. But whoever has it and an older
    /// copy of the header, 4 KiB, still reads all that the vault holds, later writes included: only
    /// [`rotate`](Self::rotate) draws new keys.
    ///
    /// `NotFound` if there is no such key, `Invalid` if it is the last one. `Uncertain`: it may
    /// have happened, or its copy on the backend may still be the one of before; [`list`](Self::list) tells,
    /// and the next change or open completes it.
    pub fn remove(&self, id: KeyId) -> Result<()> {
        self.vault
            .inner()
            .change_keys("remove key", |keys, with| keys.without_key(id, with.entropy))
    }

    /// Draws new keys and seals the whole state under them, in a new file; from then on `keys`
    /// open the vault and nothing else does. See [`rotate_with`](Self::rotate_with).
    pub fn rotate(&self, keys: &[NewKey<'_>]) -> Result<()> {
        self.rotate_with(keys, &NoProgress, &CancelToken::new())
    }

    /// As [`rotate`](Self::rotate), telling `progress` the rows copied so far, and ending with
    /// `Cancelled` when `cancel` is cancelled.
    ///
    /// Takes as much room again as the state has, and time by its size; writes wait meanwhile, at
    /// most their timeout. Reads go on, except for a moment at the end, when it waits for those
    /// that are under way: `Locked` if they take longer than the write timeout, and nothing has
    /// changed. A crash at any moment leaves the old state under the old keys or the new one under
    /// the new; `Uncertain` says so of an error, and [`find`](Self::find) tells. Content objects keep the keys that they were sealed under, which the new keys
    /// protect; what is staged from now on is sealed under a new one.
    pub fn rotate_with(
        &self,
        keys: &[NewKey<'_>],
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<()> {
        let _span = tracing::debug_span!("rotate").entered();
        let unlocks: Vec<Unlock> =
            keys.iter().map(|key| key.source.unlock()).collect::<Result<_>>()?;
        let slots: Vec<NewSlot<'_>> = unlocks
            .iter()
            .zip(keys)
            .map(|(unlock, key)| NewSlot { unlock, label: key.label })
            .collect();
        self.vault.inner().rotate(&slots, progress, cancel)
    }
}

impl Vault {
    /// Gives space of the state file that nothing uses back to the file system. Reads and writes
    /// wait meanwhile; `Locked` if reads under way take longer than the write timeout.
    pub fn compact(&self) -> Result<CompactReport> {
        let _span = tracing::debug_span!("compact").entered();
        let inner = self.inner();
        let _turn = inner.writer.acquire("compact state")?;
        inner.reopen_if_failed()?;
        inner.refuse_if_behind("compact state")?;
        let bytes_before = inner.store.bytes();
        inner.store.compact(inner.writer.timeout())?;
        Ok(CompactReport { bytes_before, bytes_after: inner.store.bytes() })
    }
}

impl VaultInner {
    fn wrapping(&self) -> Wrapping<'_> {
        Wrapping {
            vault: self.vault_id(),
            entropy: &*self.components.entropy,
            now_unix_millis: self.components.clock.unix_millis(),
            costs: self.password.costs,
            bounds: self.password.bounds,
        }
    }

    /// One change of the key set: header, then copy.
    fn change_keys(
        &self,
        operation: &'static str,
        change: impl FnOnce(&KeySet, &Wrapping<'_>) -> Result<KeySet>,
    ) -> Result<()> {
        let _span = tracing::debug_span!("change keys").entered();
        let _turn = self.writer.acquire(operation)?;
        self.reopen_if_failed()?;
        self.refuse_if_behind(operation)?;
        let current = self.reread_keys()?;
        let copy = self.key_copy_to_replace(current.header(), operation)?;
        let next = change(&current, &self.wrapping())?;
        if let Err(error) = self.store.write_header(next.header()) {
            // What is there now is what counts, whichever it is.
            if let Ok(found) = self.reread_keys() {
                *self.keys.lock() = found;
            }
            return Err(error);
        }
        let header = next.header().clone();
        *self.keys.lock() = next;
        self.write_key_copy(copy, &header, operation)
    }

    fn rotate(
        &self,
        slots: &[NewSlot<'_>],
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<()> {
        const ROTATE: &str = "rotate keys";
        let _turn = self.writer.acquire(ROTATE)?;
        self.reopen_if_failed()?;
        self.refuse_if_behind(ROTATE)?;
        let current = self.reread_keys()?;
        let copy = self.key_copy_to_replace(current.header(), ROTATE)?;
        let in_use = self.epochs_in_use()?;
        let next = current.rotated(slots, in_use.as_ref(), &self.wrapping())?;
        let with = Copying { progress, cancel, timeout: self.writer.timeout() };
        let (header, sealing) = (next.header().clone(), self.sealing(&next));
        *self.rotating.lock() = Some(next);
        let replaced = self.store.replace(&header, sealing, &with);
        self.settle_rotation();
        replaced?;
        self.write_key_copy(copy, &header, ROTATE)
    }

    /// The epochs of all objects that a record, the share space or a chunk refers to; `None` if there may be
    /// others: of a staging, a reader, or an object that no row names, whose row may be lost. The caller has
    /// the writer's turn.
    fn epochs_in_use(&self) -> Result<Option<BTreeSet<u32>>> {
        const ALL: KeySpan<'_> = (Bound::Unbounded, Bound::Unbounded);
        let state = self.store.read()?;
        if self.pins.live() > 0 || state.len(Table::Pending)? > 0 {
            return Ok(None);
        }
        let (mut epochs, mut named) = (BTreeSet::new(), HashSet::new());
        let mut refer = |object: &ObjectRef| {
            epochs.insert(object.epoch);
            named.insert(object.name);
        };
        for number in state.record_tables()? {
            for entry in state.range(Table::Records(number), ALL)? {
                if let RecordRow::Objects(row) = RecordRow::decode(entry?.row.as_slice())? {
                    row.objects().iter().for_each(&mut refer);
                }
            }
        }
        if let Some(row) = state.get(Table::Space, SPACE)? {
            let row = SpaceRow::decode(row.as_slice())?;
            row.generation().objects.iter().for_each(&mut refer);
        }
        if let Some(row) = state.get(Table::Space, SPACE_UPDATE)? {
            let update = UpdateRow::decode(row.as_slice())?;
            epochs.extend(update.epochs());
            named.extend(update.names());
        }
        for entry in state.range(Table::Packs, ALL)? {
            let entry = entry?;
            let PackRow::V0 { epoch, .. } = PackRow::decode(entry.row.as_slice())?;
            epochs.insert(epoch);
            named.extend(entry.key.as_slice().try_into().map(ObjectName));
        }
        for entry in state.range(Table::Doomed, ALL)? {
            named.insert(DoomedKey::decode(entry?.key.as_slice())?.name);
        }
        let mut is_all_named = true;
        let listed = self.objects.list(|name, _| {
            is_all_named &= name.is_ok_and(|name| named.contains(&name));
            Ok(())
        });
        Ok((listed.is_ok() && is_all_named).then_some(epochs))
    }

    /// After a rotation, and after each reopening of the state, which may be the one that tells
    /// how a rotation ended: goes on with the keys of the file that is there.
    pub(super) fn settle_rotation(&self) {
        let Some(file) = self.store.file() else { return };
        let Some(next) = self.rotating.lock().take() else { return };
        if next.header().file == file {
            self.objects.set_keys(next.content_keys());
            *self.keys.lock() = next;
        }
    }

    /// The copy on the backend that a change will replace; `Conflict` if it is ahead of what is to
    /// be changed.
    fn key_copy_to_replace(&self, header: &Header, operation: &'static str) -> Result<KeyCopy> {
        let _open = self.objects.enter(operation)?;
        self.confirm_ownership()?;
        let copy = KeyCopy::read(self.objects.backend(), header)?;
        match copy.standing(header) {
            Standing::Ahead(generation) => Err(ahead(operation, generation)),
            Standing::Same | Standing::Behind => Ok(copy),
        }
    }

    /// The key set as the header has it: an earlier change may have happened without our being
    /// told. The caller has the writer's turn.
    fn reread_keys(&self) -> Result<KeySet> {
        let header = self.store.read_header()?;
        self.keys.lock().reread(header)
    }

    /// The header was changed; now its copy.
    fn write_key_copy(
        &self,
        copy: KeyCopy,
        header: &Header,
        operation: &'static str,
    ) -> Result<()> {
        let _open = self.objects.enter(operation)?;
        copy.write(self.objects.backend(), header).map_err(|e| {
            Error::new(ErrorKind::Uncertain, operation)
                .with_reason(Reason::KeyCopyNotWritten)
                .with_detail(format!("it was done; its copy on the backend was not written: {e}"))
                .with_source(e)
        })
    }

    /// `Conflict` while an older state lies in the place of a newer one.
    pub(crate) fn refuse_if_behind(&self, operation: &'static str) -> Result<()> {
        match *self.witness.lock() {
            Witness::Ahead(generation) => Err(ahead(operation, generation)),
            Witness::Agrees | Witness::Unheard => Ok(()),
        }
    }

    /// Whether an older state lies in the place of a newer one, or may, for the backend could not
    /// be asked and still cannot: then nothing is deleted.
    pub(super) fn may_be_behind(&self) -> bool {
        let mut witness = self.witness.lock();
        if *witness == Witness::Unheard {
            let header = self.keys.lock().header().clone();
            if let Ok(copy) = KeyCopy::read(self.objects.backend(), &header) {
                *witness = copy.standing(&header).into();
            }
        }
        *witness != Witness::Agrees
    }

    /// The same, as far as it is known, without asking.
    pub(super) fn seems_behind(&self) -> bool {
        *self.witness.lock() != Witness::Agrees
    }
}

fn ahead(operation: &'static str, generation: u64) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_reason(Reason::StateOlderThanKeyCopy)
        .with_detail(format!(
            "an older state file was put back: the key set on the backend has generation \
         {generation}; open it with `adopt_older_state` to go on from here"
        ))
}

/// The id of a vault, drawn at its creation.
pub(super) fn draw_id(entropy: &dyn strongroom_base::component::Entropy) -> Result<Uuid> {
    Ok(uuid::Builder::from_random_bytes(entropy.draw()?).into_uuid())
}
