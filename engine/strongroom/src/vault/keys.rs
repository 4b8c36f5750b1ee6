//! Who may open the vault: the calls that change it, and where they write.
//!
//! The header of the state file is authoritative. A change writes both of its copies, each
//! durable before the other, and then the copy on the backend, which serves recovery. Open brings
//! a copy up that fell behind; a copy that is *ahead* means that an older state file was put back,
//! and then nothing is written until the host adopts it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::custody::{Custody, ahead, sealing};
use super::key_copy::{KeyCopy, Standing};
use strongroom_base::LongCall;
use strongroom_crypto::{
    Cipher, KeyId, KeyInfo, KeySet, KeySource, NewSlot, Unlock, Wrapping, find,
};
use strongroom_format::{
    DoomedKey, Header, ObjectName, ObjectRef, PackRow, RecordRow, SPACE, SPACE_UPDATE, SpaceRow,
    UpdateRow,
};
use strongroom_store::commit::{Core, Fence, Turn};
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
    /// [`KEY_LABEL_BYTES_MAX`](crate::keys::KEY_LABEL_BYTES_MAX) bytes. It lies sealed in the header.
    pub fn label(self, label: &'a str) -> Self {
        Self { label, ..self }
    }
}

impl fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Who may open a vault. Cheap to clone.
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

    /// Returns the header that counts, and the cipher.
    pub(super) fn header(&self) -> (Header, Cipher) {
        let keys = self.custody.keys.lock();
        (keys.header().clone(), keys.cipher())
    }

    /// What opens the vault, in the order in which it was added.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.custody.keys.lock().keys()
    }

    /// Which key of the vault `source` gives; `Denied` if none. Takes as long as opening.
    pub fn find(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        // Not under the lock: each password slot takes its time.
        let header = self.custody.keys.lock().header().clone();
        find(&header, &unlock, self.custody.password.bounds)
    }

    /// Adds a key; durable on return. Like every change of keys it wants the backend: if that
    /// cannot be reached its error comes, and nothing has changed.
    ///
    /// `Full` if there are [`KEYS_MAX`](crate::keys::KEYS_MAX), `AlreadyExists` if it opens the vault
    /// already. `Uncertain` as told at [`delete`](Self::delete).
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

    /// Puts another secret in the place of the key `id`, which keeps its id and label: a change of
    /// password. The old secret opens the vault no more; older copies of the vault's files it
    /// still does.
    ///
    /// `NotFound` if there is no such key, `AlreadyExists` if the secret is that of another one.
    pub fn replace(&self, id: KeyId, source: &dyn KeySource) -> Result<()> {
        let unlock = source.unlock()?;
        self.change("replace key", |keys, with| keys.with_replaced(id, &unlock, with))
    }

    /// Wraps the key that `source` gives anew, at the costs that the vault was opened with:
    /// how the costs of a password are raised. `Denied` if it is no key of the vault.
    pub fn rewrap(&self, source: &dyn KeySource) -> Result<KeyId> {
        let unlock = source.unlock()?;
        let mut found = None;
        self.change("rewrap key", |keys, with| {
            let id = *found.insert(keys.find(&unlock, with.bounds)?);
            keys.with_replaced(id, &unlock, with)
        })?;
        Ok(found.expect("found before it was replaced"))
    }

    /// Deletes a key; durable on return. It opens the vault no more. But whoever has it and an older
    /// copy of the header, 4 KiB, still reads all that the vault holds, later writes included: only
    /// [`rotate`](Self::rotate) draws new keys.
    ///
    /// `NotFound` if there is no such key, `Invalid` if it is the last one. `Uncertain`: it may
    /// have happened, or its copy on the backend may still be the one of before; [`list`](Self::list) tells,
    /// and the next change or open completes it.
    pub fn delete(&self, id: KeyId) -> Result<()> {
        self.change("delete key", |keys, with| keys.without_key(id, with.entropy))
    }

    /// Draws new keys and seals the whole state under them, in a new file; from then on `keys`
    /// open the vault and nothing else does. See [`rotate_with`](Self::rotate_with).
    pub fn rotate(&self, keys: &[NewKey<'_>]) -> Result<()> {
        self.rotate_with(keys, LongCall::new())
    }

    /// As [`rotate`](Self::rotate). Progress is the rows copied so far.
    ///
    /// Takes as much room again as the state has, and time by its size; writes wait meanwhile, at
    /// most their timeout. Reads go on, except for a moment at the end, when it waits for those
    /// that are under way: `Locked` if they take longer than the write timeout, and nothing has
    /// changed. A crash at any moment leaves the old state under the old keys or the new one under
    /// the new; `Uncertain` says so of an error, and [`find`](Self::find) tells. Content objects keep the keys that they were sealed under, which the new keys
    /// protect; what is staged from now on is sealed under a new one.
    pub fn rotate_with(&self, keys: &[NewKey<'_>], call: LongCall<'_>) -> Result<()> {
        let _span = tracing::debug_span!("rotate").entered();
        let unlocks: Vec<Unlock> =
            keys.iter().map(|key| key.source.unlock()).collect::<Result<_>>()?;
        let slots: Vec<NewSlot<'_>> = unlocks
            .iter()
            .zip(keys)
            .map(|(unlock, key)| NewSlot { unlock, label: key.label })
            .collect();
        self.draw_anew(&slots, call)
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

    /// One change of the key set: header, then copy.
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
        let copy = self.copy_to_replace(current.header(), action)?;
        let next = change(&current, &self.wrapping())?;
        if let Err(error) = self.core.store().write_header(next.header()) {
            // What is there now is what counts, whichever it is.
            if let Ok(found) = self.reread(&turn) {
                *self.custody.keys.lock() = found;
            }
            return Err(error);
        }
        let header = next.header().clone();
        *self.custody.keys.lock() = next;
        self.write_copy(copy, &header, action)
    }

    fn draw_anew(&self, slots: &[NewSlot<'_>], call: LongCall<'_>) -> Result<()> {
        const ROTATE: &str = "rotate keys";
        let turn = self.core.turn(ROTATE)?;
        self.core.reopen_if_failed(&turn)?;
        self.custody.refuse_if_behind(ROTATE)?;
        let current = self.reread(&turn)?;
        let copy = self.copy_to_replace(current.header(), ROTATE)?;
        let in_use = self.epochs_in_use(&turn)?;
        let next = current.rotated(slots, in_use.as_ref(), &self.wrapping())?;
        let with = Copying { call, timeout: self.core.write_timeout() };
        let (header, sealing) = (next.header().clone(), sealing(self.core.entropy(), &next));
        *self.custody.rotating.lock() = Some(next);
        let replaced = self.core.store().replace(&header, sealing, &with);
        self.custody.settle_rotation(&self.core);
        replaced?;
        self.write_copy(copy, &header, ROTATE)
    }

    /// The epochs of all objects that a record, the share space or a chunk refers to; `None` if there may be
    /// others: of a staging, a reader, or an object that no row names, whose row may be lost.
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

    /// The copy on the backend that a change will replace; `Conflict` if it is ahead of what is to
    /// be changed.
    fn copy_to_replace(&self, header: &Header, action: &'static str) -> Result<KeyCopy> {
        let objects = self.core.objects();
        let _open = objects.enter(action)?;
        self.custody.admit_delete()?;
        let copy = KeyCopy::read(objects.backend(), header)?;
        match copy.standing(header) {
            Standing::Ahead(generation) => Err(ahead(action, generation)),
            Standing::Same | Standing::Behind => Ok(copy),
        }
    }

    /// The key set as the header has it: an earlier change may have happened without our being
    /// told.
    fn reread(&self, _turn: &Turn<'_>) -> Result<KeySet> {
        let header = self.core.store().read_header()?;
        self.custody.keys.lock().reread(header)
    }

    /// The header was changed; now its copy.
    fn write_copy(&self, copy: KeyCopy, header: &Header, action: &'static str) -> Result<()> {
        let objects = self.core.objects();
        let _open = objects.enter(action)?;
        copy.write(objects.backend(), header).map_err(|e| {
            Error::new(ErrorKind::Uncertain, action)
                .with_reason(Reason::KeyCopyNotWritten)
                .with_detail(format!("it was done; its copy on the backend was not written: {e}"))
                .with_source(e)
        })
    }
}
