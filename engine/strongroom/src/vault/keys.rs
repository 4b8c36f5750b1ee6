//! Changes of a vault's key set, and the order of their writes.
//!
//! The header of the state file is authoritative. A change writes both of its copies, the first one
//! durably before the second. Then it writes the key copy on the backend, which serves recovery.
//! Opening the vault updates a key copy that is behind. If the key copy is *ahead*, an older state
//! file was restored, and nothing is written until the host adopts it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::custody::{Custody, sealing};
use super::key_copy::{KeyCopy, RollbackCheck, is_authentic, known_copy, write_known_copy};
use strongroom_base::LongCall;
use strongroom_crypto::{
    Cipher, KeyId, KeyInfo, KeySet, KeySource, NewSlot, Unlock, Wrapping, find,
};
use strongroom_format::{
    DoomedKey, Header, ObjectName, ObjectRef, PackRow, RecordRow, SPACE, SPACE_UPDATE, SpaceRow,
    UpdateRow,
};
use strongroom_store::commit::{Core, Fence, Turn};
use strongroom_store::state::{CopyOptions, KeySpan, Table};

/// A key to add, and its label.
#[derive(Clone, Copy)]
pub struct NewKey<'a> {
    source: &'a dyn KeySource,
    label: &'a str,
}

impl<'a> NewKey<'a> {
    /// Creates a new key from `source`, without a label.
    pub fn new(source: &'a dyn KeySource) -> Self {
        Self { source, label: "" }
    }

    /// Sets the label: one line of at most
    /// [`KEY_LABEL_BYTES_MAX`](crate::keys::KEY_LABEL_BYTES_MAX) bytes.
    ///
    /// The label is sealed in the header.
    pub fn label(self, label: &'a str) -> Self {
        Self { label, ..self }
    }
}

impl fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("label", &self.label).finish_non_exhaustive()
    }
}

/// The passwords and keys that open a vault. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    core: Arc<Core>,
    custody: Arc<Custody>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(core: Arc<Core>, custody: Arc<Custody>) -> Self {
        Self { core, custody }
    }

    pub(super) fn refuse_if_behind(&self, action: &'static str) -> Result<()> {
        self.custody.refuse_if_behind(action)
    }

    /// Returns the current header and the cipher.
    pub(super) fn header(&self) -> (Header, Cipher) {
        let keys = self.custody.keys.lock();
        (keys.header().clone(), keys.cipher())
    }

    /// Returns the keys of the vault, in the order of their addition.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.custody.keys.lock().keys()
    }

    /// Returns the id of the key that `source` gives.
    ///
    /// Takes as long as opening the vault. `Denied` if it is no key of the vault.
    pub fn find(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        // Done outside the lock: each password slot takes a while.
        let header = self.custody.keys.lock().header().clone();
        find(&header, &unlock, self.custody.password.bounds)
    }

    /// Adds a key. Durable on return.
    ///
    /// Every change of keys needs the backend. If the backend cannot be reached, its error is
    /// returned and nothing changes.
    ///
    /// `Full` if there are [`KEYS_MAX`](crate::keys::KEYS_MAX) keys. `AlreadyExists` if the secret
    /// already opens the vault. `Uncertain` as described for [`delete`](Self::delete).
    pub fn add(&self, key: &NewKey<'_>) -> Result<KeyId> {
        let unlock = key.source.unlock()?;
        let mut added = None;
        self.change("add key", |keys, with| {
            let next = keys.with_key(&NewSlot { unlock: &unlock, label: key.label }, with)?;
            added = next.keys().last().map(|key| key.id);
            Ok(next)
        })?;
        Ok(added.expect("it was added last"))
    }

    /// Replaces the secret of key `id`, which keeps its id and label: a change of password.
    ///
    /// Durable on return. The old secret no longer opens the vault, but still opens older copies of
    /// the vault's files.
    ///
    /// `NotFound` if there is no such key, `AlreadyExists` if the secret is that of another key.
    /// `Uncertain` as described for [`delete`](Self::delete).
    pub fn replace(&self, id: KeyId, source: &dyn KeySource) -> Result<()> {
        let unlock = source.unlock()?;
        self.change("replace key", |keys, with| keys.with_replaced(id, &unlock, with))
    }

    /// Wraps the key that `source` gives again, at new costs.
    ///
    /// The costs are those that the vault was opened with. Use this to raise the costs of a
    /// password. Durable on return. `Denied` if it is no key of the vault.
    pub fn rewrap(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        let mut found = None;
        self.change("rewrap key", |keys, with| {
            let id = *found.insert(keys.find(&unlock, with.bounds)?);
            keys.with_replaced(id, &unlock, with)
        })?;
        Ok(found.expect("found before it was replaced"))
    }

    /// Deletes a key. Durable on return.
    ///
    /// The key no longer opens the vault. But with an older copy of the header (4 KiB), it still
    /// reads everything in the vault, later writes included. Only [`rotate`](Self::rotate) draws
    /// new keys.
    ///
    /// `NotFound` if there is no such key, `Invalid` if it is the last one. `Uncertain` if the
    /// change may have happened, or happened without its key copy on the backend.
    /// [`list`](Self::list) shows the outcome, and the next change or open completes it.
    pub fn delete(&self, id: KeyId) -> Result<()> {
        self.change("delete key", |keys, with| keys.without_key(id, with.entropy))
    }

    /// Draws new keys, and seals the state under them.
    ///
    /// The state is written to a new file. Afterwards only `keys` open the vault. See
    /// [`rotate_with`](Self::rotate_with).
    pub fn rotate(&self, keys: &[NewKey<'_>]) -> Result<()> {
        self.rotate_with(keys, LongCall::new())
    }

    /// Rotates as [`rotate`](Self::rotate) does. Progress counts the rows copied so far.
    ///
    /// Needs as much space again as the state, and time by its size. Writes wait meanwhile, at most
    /// their timeout. Reads continue until the end, when the rotation waits for running reads. If
    /// they take longer than the write timeout, it fails with `Locked` and changes nothing.
    ///
    /// A crash at any moment leaves the old state under the old keys, or the new state under the
    /// new keys. After `Uncertain`, [`find`](Self::find) shows which.
    ///
    /// Existing content objects keep the keys that they were sealed under, which the new keys
    /// protect. Content stored from now on is sealed under a new key epoch.
    pub fn rotate_with(&self, keys: &[NewKey<'_>], call: LongCall<'_>) -> Result<()> {
        let _span = tracing::debug_span!("rotate").entered();
        let unlocks: Vec<Unlock> =
            keys.iter().map(|key| key.source.unlock()).collect::<Result<_>>()?;
        let slots: Vec<NewSlot<'_>> = unlocks
            .iter()
            .zip(keys)
            .map(|(unlock, key)| NewSlot { unlock, label: key.label })
            .collect();
        self.rotate_keys(&slots, call)
    }
}

impl Keys {
    fn wrapping(&self) -> Wrapping<'_> {
        Wrapping {
            vault: self.core.id(),
            entropy: &**self.core.entropy(),
            now_unix_millis: self.core.clock().unix_millis(),
            costs: self.custody.password.costs,
            bounds: self.custody.password.bounds,
        }
    }

    /// Changes the key set: first the header, then the key copy.
    fn change(
        &self,
        action: &'static str,
        change: impl FnOnce(&KeySet, &Wrapping<'_>) -> Result<KeySet>,
    ) -> Result<()> {
        let _span = tracing::debug_span!("change keys").entered();
        let turn = self.core.turn(action)?;
        self.core.reopen_if_failed(&turn)?;
        self.custody.refuse_if_behind(action)?;
        let current = self.reread(&turn)?;
        let copy = self.copy_to_replace(&current, action)?;
        let next = change(&current, &self.wrapping())?;
        if let Err(error) = self.core.store().write_header(next.header()) {
            // Whichever header is there now is authoritative.
            if let Ok(found) = self.reread(&turn) {
                *self.custody.keys.lock() = found;
            }
            return Err(error);
        }
        let header = next.header().clone();
        *self.custody.keys.lock() = next;
        self.write_copy(copy, &header, action)
    }

    fn rotate_keys(&self, slots: &[NewSlot<'_>], call: LongCall<'_>) -> Result<()> {
        const ROTATE: &str = "rotate keys";
        let turn = self.core.turn(ROTATE)?;
        self.core.reopen_if_failed(&turn)?;
        self.custody.refuse_if_behind(ROTATE)?;
        let current = self.reread(&turn)?;
        let copy = self.copy_to_replace(&current, ROTATE)?;
        let in_use = self.epochs_in_use(&turn)?;
        let next = current.rotated(slots, in_use.as_ref(), &self.wrapping())?;
        self.note_copy(&copy)?;
        let with = CopyOptions { call, timeout: self.core.write_timeout() };
        let (header, sealing) = (next.header().clone(), sealing(self.core.entropy(), &next));
        *self.custody.rotating.lock() = Some(next);
        let replaced = self.core.store().replace(&header, sealing, &with);
        self.custody.settle_rotation(&self.core);
        replaced?;
        self.write_copy(copy, &header, ROTATE)
    }

    /// Returns the key epochs of all objects that rows refer to.
    ///
    /// `None` if other objects may exist: of a staging or a reader, or objects whose row may be
    /// lost.
    fn epochs_in_use(&self, _turn: &Turn<'_>) -> Result<Option<BTreeSet<u32>>> {
        const ALL: KeySpan<'_> = (Bound::Unbounded, Bound::Unbounded);
        let state = self.core.store().read()?;
        if self.core.read_epochs().live() > 0 || state.len(Table::Pending)? > 0 {
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
        let listed = self.core.objects().list(|name, _| {
            is_all_named &= name.is_ok_and(|name| named.contains(&name));
            Ok(())
        });
        Ok((listed.is_ok() && is_all_named).then_some(epochs))
    }

    /// Returns the key copy that a change will replace.
    ///
    /// `Conflict` if it is ahead, or if a known copy is missing or not authentic.
    fn copy_to_replace(&self, keys: &KeySet, action: &'static str) -> Result<KeyCopy> {
        let objects = self.core.objects();
        let _open = objects.enter(action)?;
        self.custody.admit_delete()?;
        let known = known_copy(&self.core.store().read()?)?;
        let copy = KeyCopy::read(objects.backend(), keys.header())?;
        RollbackCheck::of(copy.compare(keys, known, None), known.is_some()).refuse(action)?;
        Ok(copy)
    }

    /// Records the key copy in the state that a rotation will copy.
    ///
    /// The keys after the rotation cannot authenticate it. If the rotation ends before it replaces
    /// the copy, the next open recognizes it by its hash.
    fn note_copy(&self, copy: &KeyCopy) -> Result<()> {
        let store = self.core.store();
        match copy.row() {
            Some(row) if known_copy(&store.read()?)? != Some(row) => write_known_copy(store, row),
            _ => Ok(()),
        }
    }

    /// Returns the key set of the header; an earlier change of unknown outcome may have happened.
    ///
    /// Both copies of the header then have it.
    fn reread(&self, _turn: &Turn<'_>) -> Result<KeySet> {
        let found = self.core.store().read_headers()?;
        let keys = self.custody.keys.lock();
        let reread = found.authenticate(|header| keys.reread(header), is_authentic)?.opened;
        self.core.store().repair_header(reread.header())?;
        Ok(reread)
    }

    /// Writes the key copy after a change of the header.
    fn write_copy(&self, copy: KeyCopy, header: &Header, action: &'static str) -> Result<()> {
        let objects = self.core.objects();
        let _open = objects.enter(action)?;
        copy.write(objects.backend(), header).map_err(|e| {
            Error::new(ErrorKind::Uncertain, action)
                .with_reason(Reason::KeyCopyNotWritten)
                .with_detail(format!("the change was made, but its key copy was not written: {e}"))
                .with_source(e)
        })
    }
}
