//! The copy of the key set on the backend: for recovery, and as a witness of the state's age.
//!
//! It follows the header of the state file. One that is *ahead* of it means that an older state
//! file was put back; then nothing is written or deleted until the host adopts that.

use strongroom_backends::{Backend, Condition, Object};
use strongroom_base::{Error, ErrorKind, Key, Reason, Result};

use super::report::Recovery;
use strongroom_format::{HEADER_BYTES, Header, KEY_SETS_PREFIX, key_set_key};

/// The copy of the key set on the backend, as it was found.
pub(super) struct KeyCopy {
    header: Option<Header>,
    condition: Condition,
}

/// How the copy stands to the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Same,
    /// Missing, damaged, or of an earlier generation.
    Behind,
    /// Of this generation or a later one, and another.
    Ahead(u64),
}

impl KeyCopy {
    /// What lies there for the vault of `header`.
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

    pub(super) fn standing(&self, header: &Header) -> Standing {
        match &self.header {
            Some(copy) if copy == header => Standing::Same,
            Some(copy) if copy.generation >= header.generation => Standing::Ahead(copy.generation),
            _ => Standing::Behind,
        }
    }

    /// Writes `header` in its place. Every header has a nonce of its own, so no two are alike,
    /// and what lies there after a conflict is ours only if it is the same.
    pub(super) fn write(&self, backend: &dyn Backend, header: &Header) -> Result<()> {
        let key = key_set_key(header.vault);
        match backend.put(&key, header.encode().into(), &self.condition) {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                match Self::read(backend, header)?.standing(header) {
                    Standing::Same => Ok(()),
                    _ => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }
}

/// An object that should be a header. One that is longer is not fetched: somebody else put it.
fn get_bounded(backend: &dyn Backend, key: &Key) -> Result<Object> {
    let listed = backend.list(key.as_str(), None, 1)?;
    match listed.iter().find(|entry| entry.key == *key) {
        Some(entry) if entry.size > HEADER_BYTES as u64 => {
            Err(Error::new(ErrorKind::Corrupt, "read key set")
                .with_reason(Reason::HeaderDamaged)
                .with_detail(format!("the copy on the backend has {} bytes", entry.size))
                .with_subject(key))
        }
        _ => backend.get(key),
    }
}

/// The one key set that lies on `backend`, for a state whose header is lost.
pub(super) fn only_key_set(backend: &dyn Backend) -> Result<Header> {
    const RESTORE: &str = "restore key set";
    let found = backend.list(KEY_SETS_PREFIX, None, 2)?;
    match &found[..] {
        [] => Err(Error::new(ErrorKind::NotFound, RESTORE)
            .with_reason(Reason::KeyCopyMissing)
            .with_detail("there is no key set on the backend")),
        [only] => Header::decode(&get_bounded(backend, &only.key)?.body),
        _ => Err(Error::new(ErrorKind::Conflict, RESTORE)
            .with_detail("there are the key sets of several vaults on the backend")),
    }
}

/// What the copy on the backend says of this state's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RollbackCheck {
    /// It is not older than the copy.
    Agrees,
    /// The copy has this generation, and the state an earlier one.
    Ahead(u64),
    /// The copy could not be read yet.
    Unheard,
}

impl From<Standing> for RollbackCheck {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Same | Standing::Behind => Self::Agrees,
            Standing::Ahead(generation) => Self::Ahead(generation),
        }
    }
}

impl Recovery {
    /// What it says of the copy.
    pub(super) fn rollback_check(&self) -> RollbackCheck {
        match (self.key_copy_ahead, &self.key_copy_error) {
            (Some(generation), _) => RollbackCheck::Ahead(generation),
            (None, Some(_)) => RollbackCheck::Unheard,
            (None, None) => RollbackCheck::Agrees,
        }
    }
}
