//! The key copy on the backend: for recovery, and to detect an old state file.
//!
//! The copy follows the header of the state file. If it is *ahead* of the header, an older state
//! file was restored. Then nothing is written or deleted until the host adopts that state.

use strongroom_backends::{Backend, Condition, Object};
use strongroom_base::{Error, ErrorKind, Key, Reason, Result};

use super::report::Recovery;
use strongroom_format::{HEADER_BYTES, Header, KEY_SETS_PREFIX, key_set_key};

/// The key copy on the backend, as it was read.
pub(super) struct KeyCopy {
    header: Option<Header>,
    condition: Condition,
}

/// Relation of the key copy to the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyRelation {
    Same,
    /// The copy is missing, damaged, or of an earlier key generation.
    Behind,
    /// The copy differs, and its key generation is not earlier.
    Ahead(u64),
}

impl KeyCopy {
    /// Reads the key copy of the vault of `header`.
    pub(super) fn read(backend: &dyn Backend, header: &Header) -> Result<Self> {
        match get_bounded(backend, &key_set_key(header.vault)) {
            Ok(object) => {
                let copy = Header::decode(&object.body).ok();
                let header = copy.filter(|copy| copy.vault == header.vault);
                Ok(Self { header, condition: Condition::Matches(object.version) })
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Ok(Self { header: None, condition: Condition::Absent })
            }
            Err(e) => Err(e),
        }
    }

    pub(super) fn compare(&self, header: &Header) -> CopyRelation {
        match &self.header {
            Some(copy) if copy == header => CopyRelation::Same,
            Some(copy) if copy.generation >= header.generation => {
                CopyRelation::Ahead(copy.generation)
            }
            _ => CopyRelation::Behind,
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
                match Self::read(backend, header)?.compare(header) {
                    CopyRelation::Same => Ok(()),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }
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
    /// The state is not older than the copy.
    Agrees,
    /// The copy has this key generation, and the state an earlier one.
    Ahead(u64),
    /// The copy could not be read yet.
    Unknown,
}

impl From<CopyRelation> for RollbackCheck {
    fn from(relation: CopyRelation) -> Self {
        match relation {
            CopyRelation::Same | CopyRelation::Behind => Self::Agrees,
            CopyRelation::Ahead(generation) => Self::Ahead(generation),
        }
    }
}

impl Recovery {
    /// Returns the result of the comparison with the key copy.
    pub(super) fn rollback_check(&self) -> RollbackCheck {
        match (self.key_copy_ahead, &self.key_copy_error) {
            (Some(generation), _) => RollbackCheck::Ahead(generation),
            (None, Some(_)) => RollbackCheck::Unknown,
            (None, None) => RollbackCheck::Agrees,
        }
    }
}
