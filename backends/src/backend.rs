//! The contract of a store of objects. The doc comments are the contract; the conformance suite
//! (`strongroom_testkit::conformance`) is the same contract as a program.
//!
//! It is synchronous and object-safe, and every method is required: a wrapper that forgets one
//! must not compile. There are no optional capabilities. A store that cannot put conditionally
//! is refused when it is opened, not discovered at the first lost update.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use strongroom_base::{Error, ErrorKind, Key, Result};

/// A store of objects: whole bodies under [`Key`]s, with conditional puts.
///
/// Errors of every method: `Denied`, `Unavailable` and `Locked` (a bounded wait for another
/// process was in vain); where it writes, also `Full`, and `Uncertain` if the answer was lost and
/// it may have happened, while any other error means that it did not. Those that a method adds
/// stand with it. Every wait inside a method has a bound.
///
/// **Visibility.** A completed `put` or `delete` is seen by every later `get`, `get_range` and
/// `list`, from any process. A `get` may already see a put that has not returned; such a body
/// can still vanish in a power cut, so whoever needs it durable waits for the put.
pub trait Backend: fmt::Debug + Send + Sync {
    /// The whole body of `key` and its version. Never a partial body. `NotFound` if absent.
    fn get(&self, key: &Key) -> Result<Object>;

    /// Exactly the bytes `range` of the body of `key`. `NotFound` if absent; `Invalid` if the
    /// range is reversed or does not lie within the body (an empty range at its end does).
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes>;

    /// Puts `body` under `key` if `condition` holds, and answers the new version.
    ///
    /// Atomic: readers see the body before or this one, whole. Durable on return.
    /// A failed condition is `AlreadyExists` for [`Condition::Absent`] and `Conflict` for
    /// [`Condition::Matches`], and changes nothing.
    ///
    /// A version may be derived from the content alone, so A -> B -> A can look unchanged:
    /// bodies written under `Matches` must be unique (carry a generation and an attempt id).
    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version>;

    /// Removes `key`; fine if it is absent. Durable on return.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Removes all of `keys`, each as [`delete`](Self::delete) does, for less than as many calls
    /// cost. Durable on return; after an error some of them may be gone.
    fn delete_all(&self, keys: &[Key]) -> Result<()>;

    /// At most `limit` entries whose keys begin with `prefix` and lie strictly after `after`,
    /// in bytewise key order. A page shorter than `limit` is the last one.
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>>;

    /// What kind of store this is, for people and for the vault's own notes: `"disk"`.
    /// Stable over releases; carries no secret and no path.
    fn name(&self) -> &str;

    /// How many requests at once the store handles well.
    fn concurrency(&self) -> NonZeroUsize;

    /// Whether processes that do not share this one's locks, of this host or another, may put here too. A vault
    /// keeps them out of its content by a note of its own then.
    fn is_shared(&self) -> bool;

    /// How many more bytes the store takes, as far as it knows; `u64::MAX` if it does not. Another
    /// writer may take them first: it serves to refuse early, never to promise.
    fn available_bytes(&self) -> Result<u64>;
}

/// A shared backend is a backend.
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

/// Under which condition a put happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always: creates or replaces. A key that others put under [`Matches`](Self::Matches) at the same time is
    /// not to be put so: Ceph lets such a put count as made before theirs, which replaces it.
    Any,
    /// Only if the key does not exist.
    Absent,
    /// Only if the key exists at exactly this version.
    Matches(Version),
}

impl Condition {
    /// Checks the condition against an object's version; `None` for an absent object.
    ///
    /// For implementers of [`Backend`]: fails as [`put`](Backend::put) does, without a subject.
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

/// An object as `get` returns it.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole body.
    pub body: Bytes,
    /// The version to name in [`Condition::Matches`].
    pub version: Version,
}

impl Object {
    /// Returns the bytes `range` of the body, without a copy.
    ///
    /// For implementers of [`Backend`]: fails as [`get_range`](Backend::get_range) does, without a
    /// subject.
    pub fn range(&self, range: Range<u64>) -> Result<Bytes> {
        check_range(&range, self.body.len() as u64)?;
        let at = |offset| usize::try_from(offset).expect("an offset within the body fits");
        Ok(self.body.slice(at(range.start)..at(range.end)))
    }
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The object's key.
    pub key: Key,
    /// The length of its body in bytes.
    pub size: u64,
}

/// What a store calls one state of an object. Opaque: only compare it for equality, and only
/// with versions of the same key on the same store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// For implementers of [`Backend`]: wraps the store's own token (an `ETag`, a generation).
    pub fn new(token: impl AsRef<str>) -> Self {
        Self(token.as_ref().into())
    }

    /// The version of `body` on stores that have no token of their own: its BLAKE3 hash.
    pub fn of_content(body: &[u8]) -> Self {
        Self(blake3::hash(body).to_hex().as_str().into())
    }

    /// The store's token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `Invalid` unless `range` lies within a body of `len` bytes.
pub(crate) fn check_range(range: &Range<u64>, len: u64) -> Result<()> {
    if range.start <= range.end && range.end <= len {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "get range of object").with_detail(format!(
        "range {}..{} is not within the body of {len} bytes",
        range.start, range.end
    )))
}
