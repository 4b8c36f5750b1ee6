//! A backend over another, for tests that change a call or two of it.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::Bytes;

use crate::backend::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::Key;
use strongroom_base::Result;

/// A backend over another: what it does not override, the [`inner`](Self::inner) one does.
///
/// ```
/// use strongroom_backends::testing::Layer;
/// use strongroom_backends::{Backend, Condition, Key, Memory, Result};
///
/// /// Forgets to delete.
/// #[derive(Debug)]
/// struct Hoarder(Memory);
///
/// impl Layer for Hoarder {
///     fn inner(&self) -> &dyn Backend {
///         &self.0
///     }
///
///     fn delete(&self, _: &Key) -> Result<()> {
///         Ok(())
///     }
///
///     // By a call of its own.
///     fn delete_all(&self, _: &[Key]) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let (hoarder, key) = (Hoarder(Memory::new()), Key::new("content/a")?);
/// let store: &dyn Backend = &hoarder;
/// store.put(&key, "kept".into(), &Condition::Any)?;
/// store.delete_all(&[key.clone()])?;
/// assert_eq!(store.get(&key)?.body, "kept");
/// # Ok(())
/// # }
/// ```
pub trait Layer: fmt::Debug + Send + Sync {
    /// What lies under it.
    fn inner(&self) -> &dyn Backend;

    /// As [`Backend::get`].
    fn get(&self, key: &Key) -> Result<Object> {
        self.inner().get(key)
    }

    /// As [`Backend::get_range`].
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.inner().get_range(key, range)
    }

    /// As [`Backend::put`].
    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.inner().put(key, body, condition)
    }

    /// As [`Backend::delete`].
    fn delete(&self, key: &Key) -> Result<()> {
        self.inner().delete(key)
    }

    /// As [`Backend::delete_all`].
    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.inner().delete_all(keys)
    }

    /// As [`Backend::list`].
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.inner().list(prefix, after, limit)
    }

    /// As [`Backend::name`].
    fn name(&self) -> &str {
        self.inner().name()
    }

    /// As [`Backend::concurrency`].
    fn concurrency(&self) -> NonZeroUsize {
        self.inner().concurrency()
    }

    /// As [`Backend::is_shared`].
    fn is_shared(&self) -> bool {
        self.inner().is_shared()
    }

    /// As [`Backend::available_bytes`].
    fn available_bytes(&self) -> Result<u64> {
        self.inner().available_bytes()
    }
}

impl<L: Layer> Backend for L {
    fn get(&self, key: &Key) -> Result<Object> {
        Layer::get(self, key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        Layer::get_range(self, key, range)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        Layer::put(self, key, body, condition)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        Layer::delete(self, key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        Layer::delete_all(self, keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        Layer::list(self, prefix, after, limit)
    }

    fn name(&self) -> &str {
        Layer::name(self)
    }

    fn concurrency(&self) -> NonZeroUsize {
        Layer::concurrency(self)
    }

    fn is_shared(&self) -> bool {
        Layer::is_shared(self)
    }

    fn available_bytes(&self) -> Result<u64> {
        Layer::available_bytes(self)
    }
}
