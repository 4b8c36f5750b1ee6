//! The contract of a store of objects.
//!
//! The doc comments are the contract. The conformance suite (`strongroom_testkit::conformance`) is
//! the same contract as a program.
//!
//! The trait is synchronous and object-safe, and every method is required, so that a wrapper which
//! forgets one does not compile. There are no optional capabilities. Opening a store without
//! conditional puts fails, before the first update can be lost.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use strongroom_base::{Error, ErrorKind, Key, Result};

/// A store of objects: whole bodies under [`Key`]s, with conditional puts.
///
/// **Errors.** Every method may return `Denied`, `Unavailable`, and `Locked` (a bounded wait for
/// another process ended without success). Methods that write may also return `Full`, and
/// `Uncertain` if the answer was lost and the change may have happened. Any other error means that
/// the change did not happen. Each method documents further errors. Every wait inside a method has
/// a bound.
///
/// **Visibility.** A completed `put` or `delete` is visible to every later `get`, `get_range` and
/// `list`, from any process. A `get` may already see a put that has not returned. Such a body can
/// still disappear in a power cut, so callers that need it durable wait for the put.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns the whole body of `key` and its version.
    ///
    /// It never returns a partial body.
    ///
    /// `NotFound` if the key is absent.
    fn get(&self, key: &Key) -> Result<Object>;

    /// Returns exactly the bytes `range` of the body of `key`.
    ///
    /// `NotFound` if the key is absent. `Invalid` if the range is reversed or not within the body;
    /// an empty range at the end of the body is valid.
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes>;

    /// Puts `body` under `key` if `condition` holds, and returns the new version.
    ///
    /// Atomic: readers see the previous body or this one, whole. Durable on return. A failed
    /// condition is `AlreadyExists` for [`Condition::Absent`] and `Conflict` for
    /// [`Condition::Matches`], and changes nothing.
    ///
    /// A version may derive from the content alone, so A, B, A can look unchanged. Bodies written
    /// under `Matches` must therefore be unique: they contain a generation and an attempt id.
    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version>;

    /// Deletes `key`; succeeds if it is absent. Durable on return.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Deletes all of `keys`, as [`delete`](Self::delete) does, with fewer requests.
    ///
    /// Durable on return. After an error some of them may be deleted.
    fn delete_all(&self, keys: &[Key]) -> Result<()>;

    /// Lists at most `limit` entries after `after` whose keys begin with `prefix`.
    ///
    /// Entries are in bytewise key order, and `after` itself is excluded. A page shorter than
    /// `limit` is the last one.
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>>;

    /// Returns the kind of store, for people and the vault's notes: `"disk"`.
    ///
    /// It is stable over releases, and contains no secret and no path.
    fn name(&self) -> &str;

    /// Returns the number of parallel requests that the store handles well.
    fn concurrency(&self) -> NonZeroUsize;

    /// Returns whether processes with other locks may put here too.
    ///
    /// They may run on this host or another. A vault then uses an owner ref to exclude them from
    /// its content.
    fn is_shared(&self) -> bool;

    /// Returns the free space of the store in bytes; `u64::MAX` if it is unknown.
    ///
    /// Another writer may use the space first. The value allows refusing early, and promises
    /// nothing.
    fn available_bytes(&self) -> Result<u64>;
}

/// Shared handles of a backend are backends.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn get(&self, key: &Key) -> Result<Object> {
        (**self).get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        (**self).get_range(key, range)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        (**self).put(key, body, condition)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        (**self).delete(key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        (**self).delete_all(keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        (**self).list(prefix, after, limit)
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn concurrency(&self) -> NonZeroUsize {
        (**self).concurrency()
    }

    fn is_shared(&self) -> bool {
        (**self).is_shared()
    }

    fn available_bytes(&self) -> Result<u64> {
        (**self).available_bytes()
    }
}

/// The condition of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Creates or replaces, without a condition.
    ///
    /// Do not use it for a key that others put under [`Matches`](Self::Matches) at the same time:
    /// Ceph may order such a put before theirs, which then replaces it.
    Any,
    /// The key does not exist.
    Absent,
    /// The key exists with exactly this version.
    Matches(Version),
}

impl Condition {
    /// Checks the condition against an object's version; `None` for an absent object.
    ///
    /// For implementers of [`Backend`]. Fails as [`put`](Backend::put) does, without a subject.
    pub fn check(&self, current: Option<&Version>) -> Result<()> {
        match (self, current) {
            (Self::Absent, Some(_)) => Err(Error::new(ErrorKind::AlreadyExists, "put object")),
            (Self::Matches(expected), current) if current != Some(expected) => {
                let detail = match current {
                    Some(_) => "the object has another version",
                    None => "the object does not exist",
                };
                Err(Error::new(ErrorKind::Conflict, "put object").with_detail(detail))
            }
            _ => Ok(()),
        }
    }
}

/// An object, as `get` returns it.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole body.
    pub body: Bytes,
    /// The version to use in [`Condition::Matches`].
    pub version: Version,
}

impl Object {
    /// Returns the bytes `range` of the body without copying.
    ///
    /// For implementers of [`Backend`]. Fails as [`get_range`](Backend::get_range) does, without a
    /// subject.
    pub fn range(&self, range: Range<u64>) -> Result<Bytes> {
        check_range(&range, self.body.len() as u64)?;
        let at = |offset| usize::try_from(offset).expect("an offset within the body fits");
        Ok(self.body.slice(at(range.start)..at(range.end)))
    }
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The object's key.
    pub key: Key,
    /// Length of its body in bytes.
    pub size: u64,
}

/// A store's name for one state of an object.
///
/// Opaque: compare it only for equality, and only with versions of the same key on the same store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// Wraps the store's own token (an `ETag`, a generation). For implementers of [`Backend`].
    pub fn new(token: impl AsRef<str>) -> Self {
        Self(token.as_ref().into())
    }

    /// Returns the BLAKE3 hash of `body`, the version on stores without tokens.
    pub fn of_content(body: &[u8]) -> Self {
        Self(blake3::hash(body).to_hex().as_str().into())
    }

    /// Returns the store's token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns `Invalid` unless `range` is within a body of `len` bytes.
pub(crate) fn check_range(range: &Range<u64>, len: u64) -> Result<()> {
    if range.start <= range.end && range.end <= len {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "get range of object").with_detail(format!(
        "range {}..{} is not within the body of {len} bytes",
        range.start, range.end
    )))
}
