//! The key copy on the backend: for recovery, and to detect an old state file.
//!
//! The copy follows the header of the state file. If it is *ahead* of the header, an older state
//! file was restored. Then nothing is written or deleted until the host adopts that state.
//!
//! A copy counts only if it is authentic. Its checksum needs no key, so others can forge it, as
//! they can delete it. Where the state knows of a copy, a missing or forged one therefore has the
//! same effect as a copy ahead: it may hide the copy of a newer state.

use strongroom_backends::{Backend, Condition, Object};
use strongroom_base::{Error, ErrorKind, Key, Reason, Result};
use strongroom_crypto::{CostBounds, KeySet, Unlock};

use super::report::Recovery;
use strongroom_format::{
    HEADER_BYTES, Header, KEY_SETS_PREFIX, KeyCopyRow, META_KEY_COPY, key_set_key,
};
use strongroom_store::state::{StateRead, StateWrite, Store, Table};

/// Most changes of keys between an older state and its key copy.
///
/// A key that was deleted can still sign a copy of any generation. Adopting a state raises its
/// generation above the copy's, so an unlimited one would leave no generation for later changes.
const GENERATIONS_AHEAD_MAX: u64 = 1 << 20;

/// The key copy on the backend, as it was read.
pub(super) struct KeyCopy {
    content: CopyContent,
    condition: Condition,
}

enum CopyContent {
    Missing,
    Damaged,
    Header(Box<Header>),
}

/// Relation of the key copy to the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyRelation {
    Same,
    /// The copy is of an earlier key generation, and authentic or known to the state.
    Behind,
    /// The copy is authentic. It differs, and its key generation is not earlier.
    Ahead(u64),
    /// The copy is missing, damaged or forged, or only other keys open it.
    ///
    /// So is one that is more than [`GENERATIONS_AHEAD_MAX`] generations ahead.
    Unverified,
}

/// The secret that opened the vault.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    pub(super) unlock: &'a Unlock,
    pub(super) bounds: CostBounds,
}

impl KeyCopy {
    /// Reads the key copy of the vault of `header`.
    pub(super) fn read(backend: &dyn Backend, header: &Header) -> Result<Self> {
        match get_bounded(backend, &key_set_key(header.vault)) {
            Ok(object) => {
                let copy = Header::decode(&object.body).ok();
                let copy = copy.filter(|copy| copy.vault == header.vault);
                let content =
                    copy.map_or(CopyContent::Damaged, |copy| CopyContent::Header(Box::new(copy)));
                Ok(Self { content, condition: Condition::Matches(object.version) })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Ok(Self { content: CopyContent::Missing, condition: Condition::Absent })
            }
            // Other data, too long to be fetched for its version.
            Err(e) if e.reason() == Some(Reason::HeaderDamaged) => {
                Ok(Self { content: CopyContent::Damaged, condition: Condition::Any })
            }
            Err(e) => Err(e),
        }
    }

    /// Compares the copy with the header of `keys`.
    ///
    /// `known` is the row of the copy that the state knows. `credentials` may open a copy that was
    /// written under other root keys, after a rotation.
    pub(super) fn compare(
        &self,
        keys: &KeySet,
        known: Option<KeyCopyRow>,
        credentials: Option<Credentials<'_>>,
    ) -> CopyRelation {
        let header = keys.header();
        let CopyContent::Header(copy) = &self.content else { return CopyRelation::Unverified };
        if **copy == *header {
            return CopyRelation::Same;
        }
        if known == Some(KeyCopyRow::of(copy)) && copy.generation < header.generation {
            return CopyRelation::Behind;
        }
        let opens = |given: Credentials<'_>| {
            KeySet::unlock((**copy).clone(), given.unlock, given.bounds).is_ok()
        };
        if !is_authentic(keys, (**copy).clone()) && !credentials.is_some_and(opens) {
            return CopyRelation::Unverified;
        }
        match copy.generation.checked_sub(header.generation) {
            None => CopyRelation::Behind,
            Some(ahead) if ahead <= GENERATIONS_AHEAD_MAX => CopyRelation::Ahead(copy.generation),
            Some(_) => CopyRelation::Unverified,
        }
    }

    /// Returns the row of this copy; `None` if there is none.
    pub(super) fn row(&self) -> Option<KeyCopyRow> {
        match &self.content {
            CopyContent::Header(copy) => Some(KeyCopyRow::of(copy)),
            CopyContent::Missing | CopyContent::Damaged => None,
        }
    }

    /// Replaces the copy by `header`.
    ///
    /// Every header has a nonce of its own, so no two are equal. After a conflict, an equal copy is
    /// therefore the one that this call wrote.
    pub(super) fn write(&self, backend: &dyn Backend, header: &Header) -> Result<()> {
        let key = key_set_key(header.vault);
        match backend.put(&key, header.encode().into(), &self.condition) {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                match Self::read(backend, header)?.content {
                    CopyContent::Header(copy) if *copy == *header => Ok(()),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }
}

/// Returns whether the root key of `keys` authenticates `header`.
pub(super) fn is_authentic(keys: &KeySet, header: Header) -> bool {
    keys.reread(header).is_ok()
}

/// Reads the row of the key copy; `None` if the state knows of no copy.
pub(super) fn known_copy(state: &StateRead) -> Result<Option<KeyCopyRow>> {
    let row = state.get(Table::Meta, META_KEY_COPY)?;
    row.map(|row| KeyCopyRow::decode(row.as_slice())).transpose()
}

/// Writes the row of the key copy. Durable on return.
pub(super) fn write_known_copy(store: &Store, row: KeyCopyRow) -> Result<()> {
    store.write(
        "write row of the key copy",
        |mut state: StateWrite<'_>| state.put(Table::Meta, META_KEY_COPY, &row.encode()),
        |_| (),
    )
}

/// Reads an object that should be a header. A longer one is refused without fetching it.
fn get_bounded(backend: &dyn Backend, key: &Key) -> Result<Object> {
    let listed = backend.list(key.as_str(), None, 1)?;
    match listed.iter().find(|entry| entry.key == *key) {
        Some(entry) if entry.size > HEADER_BYTES as u64 => {
            Err(Error::new(ErrorKind::Corrupt, "read key set")
                .with_reason(Reason::HeaderDamaged)
                .with_detail(format!("the key copy on the backend has {} bytes", entry.size))
                .with_subject(key))
        }
        _ => backend.get(key),
    }
}

/// Returns the only key set on `backend`.
///
/// It serves a state whose header is lost. `NotFound` if there is none, `Conflict` if there are
/// several.
pub(super) fn only_key_set(backend: &dyn Backend) -> Result<Header> {
    const RESTORE: &str = "restore key set";
    let found = backend.list(KEY_SETS_PREFIX, None, 2)?;
    match &found[..] {
        [] => Err(Error::new(ErrorKind::NotFound, RESTORE)
            .with_reason(Reason::KeyCopyMissing)
            .with_detail("the backend has no key set")),
        [only] => Header::decode(&get_bounded(backend, &only.key)?.body),
        _ => Err(Error::new(ErrorKind::Conflict, RESTORE)
            .with_detail("the backend has key sets of several vaults")),
    }
}

/// Result of comparing the state's age with the key copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RollbackCheck {
    /// The copy gives no reason to refuse writes.
    Agrees,
    /// The copy has this key generation, and the state not a later one.
    Ahead(u64),
    /// The copy that the state knows of is missing, or no longer authentic.
    Unverified,
    /// The copy could not be read yet.
    Unknown,
}

impl RollbackCheck {
    /// Returns the result for a copy, if the state `is_known` to have had one.
    pub(super) fn of(relation: CopyRelation, is_known: bool) -> Self {
        match relation {
            CopyRelation::Ahead(generation) => Self::Ahead(generation),
            CopyRelation::Unverified if is_known => Self::Unverified,
            CopyRelation::Same | CopyRelation::Behind | CopyRelation::Unverified => Self::Agrees,
        }
    }

    /// Fails with `Conflict` if the copy was read and the state may be older.
    pub(super) fn refuse(self, action: &'static str) -> Result<()> {
        let (reason, detail) = match self {
            Self::Agrees | Self::Unknown => return Ok(()),
            Self::Ahead(generation) => (
                Reason::StateOlderThanKeyCopy,
                format!(
                    "an older state file was put back: the key set on the backend has generation \
                     {generation}; open it with `adopt_older_state` to continue from this state"
                ),
            ),
            Self::Unverified => (
                Reason::KeyCopyUnverified,
                "the key copy on the backend is missing, damaged or not of this key set, so this \
                 state may be an older one; open it with `adopt_older_state` to continue from it"
                    .into(),
            ),
        };
        Err(Error::new(ErrorKind::Conflict, action).with_reason(reason).with_detail(detail))
    }
}

impl Recovery {
    /// Returns the result of the comparison with the key copy.
    pub(super) fn rollback_check(&self) -> RollbackCheck {
        match (self.key_copy_ahead, &self.key_copy_error) {
            (Some(generation), _) => RollbackCheck::Ahead(generation),
            (None, _) if self.key_copy_unverified => RollbackCheck::Unverified,
            (None, Some(_)) => RollbackCheck::Unknown,
            (None, None) => RollbackCheck::Agrees,
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_backends::Memory;
    use strongroom_base::component::OsEntropy;
    use strongroom_crypto::{Cipher, NewSlot, PasswordPolicy, SecretKey, Wrapping};
    use uuid::Uuid;

    use super::*;

    fn key_set(key: u8) -> KeySet {
        let PasswordPolicy { costs, bounds, .. } = PasswordPolicy::default();
        let vault = Uuid::from_bytes(*b"0123456789abcdef");
        let with = Wrapping { vault, entropy: &OsEntropy, now_unix_millis: 0, costs, bounds };
        let unlock = Unlock::Key(SecretKey::new([key; SecretKey::BYTES]));
        let first = NewSlot { unlock: &unlock, label: "" };
        KeySet::create("memory", Cipher::Aes256GcmSiv, &first, &with).unwrap()
    }

    fn relation(keys: &KeySet, copy: &KeySet, known: Option<KeyCopyRow>) -> CopyRelation {
        let memory = Memory::new();
        let missing = KeyCopy::read(&memory, keys.header()).unwrap();
        assert_eq!(missing.compare(keys, known, None), CopyRelation::Unverified);
        missing.write(&memory, copy.header()).unwrap();
        KeyCopy::read(&memory, keys.header()).unwrap().compare(keys, known, None)
    }

    #[test]
    fn copy_of_the_same_root_key_is_compared_by_generation() {
        let keys = key_set(1);
        let after = |ahead| keys.raised_above(ahead, &OsEntropy).unwrap();
        assert_eq!(relation(&keys, &keys, None), CopyRelation::Same);
        assert_eq!(relation(&keys, &after(0), None), CopyRelation::Ahead(2));
        assert_eq!(relation(&after(5), &keys, None), CopyRelation::Behind);
        let last = keys.header().generation + GENERATIONS_AHEAD_MAX;
        assert_eq!(relation(&keys, &after(last - 1), None), CopyRelation::Ahead(last));
        assert_eq!(relation(&keys, &after(last), None), CopyRelation::Unverified);
        assert_eq!(relation(&keys, &after(u64::MAX - 1), None), CopyRelation::Unverified);
    }

    #[test]
    fn copy_of_other_root_key_is_behind_only_if_known() {
        let (keys, other) = (key_set(1), key_set(1));
        let later = keys.raised_above(1, &OsEntropy).unwrap();
        assert_eq!(relation(&later, &other, None), CopyRelation::Unverified);
        let known = Some(KeyCopyRow::of(other.header()));
        assert_eq!(relation(&later, &other, known), CopyRelation::Behind);
        assert_eq!(relation(&keys, &other, known), CopyRelation::Unverified, "not earlier");
    }

    #[test]
    fn copy_of_other_root_key_is_authenticated_by_the_secret() {
        let (keys, copy) = (key_set(1), key_set(1).raised_above(4, &OsEntropy).unwrap());
        let memory = Memory::new();
        KeyCopy::read(&memory, keys.header()).unwrap().write(&memory, copy.header()).unwrap();
        let compare = |key| {
            let unlock = Unlock::Key(SecretKey::new([key; SecretKey::BYTES]));
            let bounds = PasswordPolicy::default().bounds;
            let credentials = Some(Credentials { unlock: &unlock, bounds });
            KeyCopy::read(&memory, keys.header()).unwrap().compare(&keys, None, credentials)
        };
        assert_eq!(compare(1), CopyRelation::Ahead(5));
        assert_eq!(compare(2), CopyRelation::Unverified);
    }
}
