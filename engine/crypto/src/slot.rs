//! An unlock slot: the root key, wrapped under a password or a key.

use std::fmt;

use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::password::{self, CostBounds, PasswordCosts};
use super::seal::{Cipher, SealKey, TAG_BYTES};
use super::secret::{SecretKey, Unlock};
use strongroom_format::{SLOTS_MAX, SlotKind, SlotRow};

/// Most keys of a vault.
pub const KEYS_MAX: usize = SLOTS_MAX;

/// Longest label of a key in bytes.
pub const KEY_LABEL_BYTES_MAX: usize = 48;

/// The number of a key in its vault; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key of the vault, without its secret.
///
/// The vault does not store the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Number of the key.
    pub id: KeyId,
    /// Type of the key.
    pub kind: KeyKind,
    /// Time of its addition or last wrapping, in Unix milliseconds.
    pub created_unix_millis: u64,
    /// The host's label; may be empty. Unlike the other fields it is stored sealed.
    pub label: String,
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// A password, with its costs.
    Password(PasswordCosts),
    /// A key of 32 bytes.
    Key,
}

impl From<SlotKind> for KeyKind {
    fn from(kind: SlotKind) -> Self {
        match kind {
            SlotKind::Password { memory_kib, passes, lanes } => {
                Self::Password(PasswordCosts { memory_kib, passes, lanes })
            }
            SlotKind::Key => Self::Key,
        }
    }
}

/// The inputs that all slots of one change share.
#[derive(Clone, Copy)]
pub struct Wrapping<'a> {
    pub vault: Uuid,
    pub entropy: &'a dyn Entropy,
    pub now_unix_millis: u64,
    /// Costs of a password.
    pub costs: PasswordCosts,
    pub bounds: CostBounds,
}

/// The two keys of a slot: one for the commitment, one that wraps.
struct SlotKeys {
    commit: SecretKey,
    wrap: SealKey,
}

fn slot_keys(unlock: &Unlock, kind: SlotKind, salt: &[u8; 32]) -> Result<Option<SlotKeys>> {
    let key = match (unlock, kind) {
        (Unlock::Password(text), SlotKind::Password { memory_kib, passes, lanes }) => {
            password::hash(text, salt, PasswordCosts { memory_kib, passes, lanes })?
        }
        (Unlock::Key(key), SlotKind::Key) => key.derive("strongroom 2026 slot of a key", salt),
        _ => return Ok(None),
    };
    let commit = key.derive("strongroom 2026 slot commitment", &[]);
    let wrap =
        SealKey::derive(Cipher::XChaCha20Poly1305, &key, "strongroom 2026 slot wraps root key");
    Ok(Some(SlotKeys { commit, wrap }))
}

impl SlotKeys {
    /// Binds the slot's key to the slot.
    ///
    /// No ciphertext then opens under two keys.
    fn commitment(&self, vault: Uuid, slot: &SlotRow) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.commit.expose());
        hasher.update(vault.as_bytes()).update(&slot.bound()).update(&slot.nonce);
        hasher.finalize()
    }
}

/// Wraps `root` in a new slot for `unlock`.
pub(super) fn wrap(
    unlock: &Unlock,
    id: u32,
    root: &SecretKey,
    with: &Wrapping<'_>,
) -> Result<SlotRow> {
    let kind = match unlock {
        Unlock::Password(_) => {
            with.bounds.check(with.costs, "wrap key")?;
            let PasswordCosts { memory_kib, passes, lanes } = with.costs;
            SlotKind::Password { memory_kib, passes, lanes }
        }
        Unlock::Key(_) => SlotKind::Key,
    };
    let mut slot = SlotRow {
        id,
        kind,
        created_unix_millis: with.now_unix_millis,
        salt: with.entropy.draw()?,
        commitment: [0; 32],
        nonce: with.entropy.draw()?,
        wrapped: [0; 48],
    };
    let keys = slot_keys(unlock, kind, &slot.salt)?.expect("of one kind");
    slot.commitment = *keys.commitment(with.vault, &slot).as_bytes();
    let mut message = root.duplicate();
    let tag = keys.wrap.seal(&slot.nonce, &slot.bound(), message.expose_mut());
    slot.wrapped[..SecretKey::BYTES].copy_from_slice(message.expose());
    slot.wrapped[SecretKey::BYTES..].copy_from_slice(&tag);
    Ok(slot)
}

/// Returns the root key, if `unlock` opens the slot.
///
/// `Invalid` if the slot requests costs out of bounds. Then nothing was computed.
pub(super) fn unwrap(
    unlock: &Unlock,
    vault: Uuid,
    slot: &SlotRow,
    bounds: CostBounds,
) -> Result<Option<SecretKey>> {
    if let (Unlock::Password(_), KeyKind::Password(costs)) = (unlock, slot.kind.into()) {
        bounds.check(costs, "open vault")?;
    }
    let Some(keys) = slot_keys(unlock, slot.kind, &slot.salt)? else { return Ok(None) };
    let expected = keys.commitment(vault, slot);
    if !bool::from(expected.as_bytes().ct_eq(&slot.commitment)) {
        return Ok(None);
    }
    let (sealed, tag) = slot.wrapped.split_at(SecretKey::BYTES);
    let tag: &[u8; TAG_BYTES] = tag.try_into().expect("sixteen bytes");
    let mut root = SecretKey::new([0; SecretKey::BYTES]);
    let opened = keys.wrap.open(&slot.nonce, &slot.bound(), sealed, tag, root.expose_mut());
    Ok(opened.ok().map(|()| root))
}

/// Returns `Invalid` for a label that is too long or multi-line.
pub(super) fn check_label(label: &str) -> Result<()> {
    let refuse =
        |detail: String| Err(Error::new(ErrorKind::Invalid, "label key").with_detail(detail));
    if label.len() > KEY_LABEL_BYTES_MAX {
        let len = label.len();
        return refuse(format!("the label has {len} bytes, the limit is {KEY_LABEL_BYTES_MAX}"));
    }
    if label.chars().any(char::is_control) {
        return refuse("the label has control characters".into());
    }
    Ok(())
}
