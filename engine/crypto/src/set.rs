//! The unlocked key set: the header, the root key, and the keys that it opens.
//!
//! A change makes a new set of the next generation. The new set is valid once its encoded header is
//! on disk; this file writes nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::password::CostBounds;
use super::ring::{EPOCHS_MAX, KeyRing};
use super::seal::{Cipher, SealKey};
use super::secret::{SecretKey, Unlock};
use super::slot::{self, KeyId, KeyInfo, Wrapping};
use strongroom_format::{CipherCode, Header, RING_BYTES, SLOTS_MAX};

/// A key set, with all keys that it opens.
pub struct KeySet {
    header: Header,
    root: SecretKey,
    ring: KeyRing,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("generation", &self.header.generation)
            .finish_non_exhaustive()
    }
}

/// A key to add, and its label.
pub struct NewSlot<'a> {
    pub unlock: &'a Unlock,
    pub label: &'a str,
}

/// The keys of content objects.
pub struct ContentKeys {
    current: u32,
    epochs: HashMap<u32, SealKey>,
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKeys").field("current", &self.current).finish_non_exhaustive()
    }
}

impl ContentKeys {
    /// Returns the epoch and key of new objects.
    pub fn current(&self) -> (u32, &SealKey) {
        (self.current, &self.epochs[&self.current])
    }

    /// Returns the key of the objects of an epoch.
    pub fn of(&self, epoch: u32) -> Option<&SealKey> {
        self.epochs.get(&epoch)
    }
}

impl From<CipherCode> for Cipher {
    fn from(code: CipherCode) -> Self {
        match code {
            CipherCode::XChaCha20Poly1305 => Self::XChaCha20Poly1305,
            CipherCode::Aes256GcmSiv => Self::Aes256GcmSiv,
        }
    }
}

impl From<Cipher> for CipherCode {
    fn from(cipher: Cipher) -> Self {
        match cipher {
            Cipher::XChaCha20Poly1305 => Self::XChaCha20Poly1305,
            Cipher::Aes256GcmSiv => Self::Aes256GcmSiv,
        }
    }
}

impl KeySet {
    /// Makes the set of a new vault, with one key.
    pub fn create(
        backend: &str,
        cipher: Cipher,
        first: &NewSlot<'_>,
        with: &Wrapping<'_>,
    ) -> Result<Self> {
        let header = Header {
            vault: with.vault,
            file: draw_uuid(with.entropy)?,
            generation: 0,
            cipher: cipher.into(),
            backend: backend.to_owned(),
            slots: Vec::new(),
            ring: [0; RING_BYTES],
            mac: [0; 32],
        };
        let root = SecretKey::draw(with.entropy)?;
        let ring = KeyRing::draw(with.entropy)?;
        let mut set = Self { header, root, ring };
        set.push(first, with)?;
        set.finish(with.entropy)
    }

    /// Opens `header` with `unlock`.
    ///
    /// `Denied` if no slot opens. `Corrupt` if the header was changed without a key.
    pub fn unlock(header: Header, unlock: &Unlock, bounds: CostBounds) -> Result<Self> {
        let (_, root) = try_slots(&header, unlock, bounds)?;
        Self::with_root(header, root)
    }

    /// Opens a header whose root key is `root`; `Corrupt` if it is another.
    pub fn with_root(header: Header, root: SecretKey) -> Result<Self> {
        if !bool::from(mac(&header, &root).as_bytes().ct_eq(&header.mac)) {
            return Err(Error::new(ErrorKind::Corrupt, "open vault")
                .with_reason(Reason::HeaderDamaged)
                .with_detail("the key set is damaged"));
        }
        let ring = KeyRing::open(&header.ring, &root)?;
        Ok(Self { header, root, ring })
    }

    /// Opens another header of the same root key: that of a change which may have happened.
    pub fn reread(&self, header: Header) -> Result<Self> {
        Self::with_root(header, self.root.duplicate())
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn cipher(&self) -> Cipher {
        self.header.cipher.into()
    }

    /// Returns the key of the blocks of the state file.
    pub fn state_key(&self) -> SealKey {
        SealKey::derive(self.cipher(), &self.ring.state, "strongroom 2026 blocks of the state")
    }

    /// Returns the key for names and ids of content.
    pub fn id_key(&self) -> &SecretKey {
        &self.ring.id
    }

    pub fn content_keys(&self) -> Arc<ContentKeys> {
        let context = "strongroom 2026 content objects";
        let epochs = self
            .ring
            .epochs
            .iter()
            .map(|(number, key)| (*number, SealKey::derive(self.cipher(), key, context)))
            .collect();
        let current = self.ring.epochs.last().expect("never empty").0;
        Arc::new(ContentKeys { current, epochs })
    }

    /// Lists the keys of the vault, oldest first.
    pub fn keys(&self) -> Vec<KeyInfo> {
        let label = |id| self.ring.labels.iter().find(|(slot, _)| *slot == id);
        let info = |slot: &strongroom_format::SlotRow| KeyInfo {
            id: KeyId(slot.id),
            kind: slot.kind.into(),
            created_unix_millis: slot.created_unix_millis,
            label: label(slot.id).map(|(_, label)| label.clone()).unwrap_or_default(),
        };
        self.header.slots.iter().map(info).collect()
    }

    /// Returns the slot that `unlock` opens; `Denied` if there is none.
    pub fn find(&self, unlock: &Unlock, bounds: CostBounds) -> Result<KeyId> {
        find(&self.header, unlock, bounds)
    }

    /// Adds a key.
    ///
    /// `Full` if there are [`KEYS_MAX`](super::KEYS_MAX). `AlreadyExists` if the key opens the
    /// vault already.
    pub fn with_key(&self, new: &NewSlot<'_>, with: &Wrapping<'_>) -> Result<Self> {
        let mut next = self.successor();
        next.refuse_double(new.unlock, with)?;
        next.push(new, with)?;
        next.finish(with.entropy)
    }

    /// Removes the key `id`. `NotFound` if there is none, `Invalid` if it is the last.
    pub fn without_key(&self, id: KeyId, entropy: &dyn Entropy) -> Result<Self> {
        let mut next = self.successor();
        let at = next.position(id)?;
        if next.header.slots.len() == 1 {
            return Err(Error::new(ErrorKind::Invalid, "delete key")
                .with_reason(Reason::LastKey)
                .with_detail("this is the last key; without it nothing opens the vault"));
        }
        next.header.slots.remove(at);
        next.ring.labels.retain(|(slot, _)| *slot != id.0);
        next.finish(entropy)
    }

    /// Wraps the key `id` for another secret or at other costs.
    ///
    /// The key keeps its id and its label.
    pub fn with_replaced(&self, id: KeyId, unlock: &Unlock, with: &Wrapping<'_>) -> Result<Self> {
        let mut next = self.successor();
        let at = next.position(id)?;
        let old = next.header.slots.remove(at);
        next.refuse_double(unlock, with)?;
        let new = slot::wrap(unlock, old.id, &next.root, with)?;
        next.header.slots.insert(at, new);
        next.finish(with.entropy)
    }

    /// Draws new root key, state key, epoch and file id.
    ///
    /// Only `keys` remain.
    ///
    /// Secrets that opened the old set do not open the new one, unless `keys` names them again. Of
    /// earlier epochs the set keeps those that are `in_use`, or all if that is unknown.
    pub fn rotated(
        &self,
        keys: &[NewSlot<'_>],
        in_use: Option<&BTreeSet<u32>>,
        with: &Wrapping<'_>,
    ) -> Result<Self> {
        let mut next = self.successor();
        let newest = next.ring.epochs.last().expect("never empty").0;
        if let Some(in_use) = in_use {
            next.ring.epochs.retain(|(epoch, _)| in_use.contains(epoch));
        }
        if next.ring.epochs.len() == EPOCHS_MAX {
            return Err(Error::new(ErrorKind::Full, "rotate keys").with_detail(format!(
                "content is sealed under {EPOCHS_MAX} keys of earlier rotations; rewrite some of it first"
            )));
        }
        next.root = SecretKey::draw(with.entropy)?;
        next.ring.state = SecretKey::draw(with.entropy)?;
        next.ring.epochs.push((newest + 1, SecretKey::draw(with.entropy)?));
        next.ring.labels.clear();
        next.header.file = draw_uuid(with.entropy)?;
        next.header.slots.clear();
        for key in keys {
            next.refuse_double(key.unlock, with)?;
            next.push(key, with)?;
        }
        if next.header.slots.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "rotate keys")
                .with_detail("no key is given that opens the vault"));
        }
        next.finish(with.entropy)
    }

    /// Raises the generation above `seen`, on the host's decision.
    pub fn raised_above(&self, seen: u64, entropy: &dyn Entropy) -> Result<Self> {
        let mut next = self.successor();
        next.header.generation = next.header.generation.max(seen);
        next.finish(entropy)
    }

    fn successor(&self) -> Self {
        Self {
            header: self.header.clone(),
            root: self.root.duplicate(),
            ring: self.ring.duplicate(),
        }
    }

    fn position(&self, id: KeyId) -> Result<usize> {
        let at = self.header.slots.iter().position(|slot| slot.id == id.0);
        at.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find key")
                .with_reason(Reason::KeyMissing)
                .with_detail("the vault has no such key")
                .with_subject(id)
        })
    }

    fn refuse_double(&self, unlock: &Unlock, with: &Wrapping<'_>) -> Result<()> {
        match self.find(unlock, with.bounds) {
            Err(e) if e.kind() == ErrorKind::Denied => Ok(()),
            Err(e) => Err(e),
            Ok(id) => Err(Error::new(ErrorKind::AlreadyExists, "add key")
                .with_detail("this secret already opens the vault, as key")
                .with_subject(id)),
        }
    }

    fn push(&mut self, new: &NewSlot<'_>, with: &Wrapping<'_>) -> Result<()> {
        slot::check_label(new.label)?;
        if self.header.slots.len() == SLOTS_MAX {
            return Err(Error::new(ErrorKind::Full, "add key")
                .with_reason(Reason::KeySlotsFull)
                .with_detail(format!("the vault has {SLOTS_MAX} keys already")));
        }
        let id = self.ring.next_slot;
        self.header.slots.push(slot::wrap(new.unlock, id, &self.root, with)?);
        self.ring.next_slot += 1;
        if !new.label.is_empty() {
            self.ring.labels.push((id, new.label.to_owned()));
        }
        Ok(())
    }

    /// Seals the ring, raises the generation and computes the header's MAC.
    fn finish(mut self, entropy: &dyn Entropy) -> Result<Self> {
        let next = self.header.generation.checked_add(1);
        self.header.generation = next.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "change keys").with_detail("no key generation is left")
        })?;
        self.header.ring = self.ring.seal(&self.root, entropy)?;
        self.header.mac = *mac(&self.header, &self.root).as_bytes();
        Ok(self)
    }
}

/// Returns the slot of `header` that `unlock` opens; `Denied` if none.
///
/// It does not authenticate the rest of the header.
pub fn find(header: &Header, unlock: &Unlock, bounds: CostBounds) -> Result<KeyId> {
    try_slots(header, unlock, bounds).map(|(id, _)| id)
}

/// Returns the first slot that `unlock` opens, and its root key.
fn try_slots(header: &Header, unlock: &Unlock, bounds: CostBounds) -> Result<(KeyId, SecretKey)> {
    if let Unlock::Password(password) = unlock {
        password.bytes()?;
    }
    let mut out_of_bounds = None;
    for slot in &header.slots {
        match slot::unwrap(unlock, header.vault, slot, bounds) {
            Ok(Some(root)) => return Ok((KeyId(slot.id), root)),
            Ok(None) => {}
            // Another slot may match.
            Err(e) if e.kind() == ErrorKind::Invalid => out_of_bounds = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(out_of_bounds.unwrap_or_else(denied))
}

fn mac(header: &Header, root: &SecretKey) -> blake3::Hash {
    let key = root.derive("strongroom 2026 key set", &[]);
    blake3::keyed_hash(key.expose(), &header.authenticated())
}

fn draw_uuid(entropy: &dyn Entropy) -> Result<Uuid> {
    Ok(uuid::Builder::from_random_bytes(entropy.draw()?).into_uuid())
}

fn denied() -> Error {
    Error::new(ErrorKind::Denied, "open vault")
        .with_reason(Reason::WrongCredentials)
        .with_detail("this key does not open the vault")
}
