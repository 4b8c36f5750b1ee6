//! A backend over another, for tests that change some calls.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;

use bytes::Bytes;
use strongroom_backends::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::{Key, Result};

/// A backend that passes calls on unless it overrides them.
///
/// [`impl_backend!`](crate::impl_backend) makes a [`Backend`] of it.
///
/// ```
/// use strongroom_testkit::{Layer, impl_backend};
/// use strongroom::backends::{Backend, Condition, Key, Memory, Result};
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
/// impl_backend!(Hoarder);
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
    /// Returns the backend below.
    fn inner(&self) -> &dyn Backend;

    /// Does the same as [`Backend::get`].
    fn get(&self, key: &Key) -> Result<Object> {
        self.inner().get(key)
    }

    /// Does the same as [`Backend::get_range`].
    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.inner().get_range(key, range)
    }

    /// Does the same as [`Backend::put`].
    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.inner().put(key, body, condition)
    }

    /// Does the same as [`Backend::delete`].
    fn delete(&self, key: &Key) -> Result<()> {
        self.inner().delete(key)
    }

    /// Does the same as [`Backend::delete_all`].
    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        self.inner().delete_all(keys)
    }

    /// Does the same as [`Backend::list`].
    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.inner().list(prefix, after, limit)
    }

    /// Does the same as [`Backend::name`].
    fn name(&self) -> &str {
        self.inner().name()
    }

    /// Does the same as [`Backend::concurrency`].
    fn concurrency(&self) -> NonZeroUsize {
        self.inner().concurrency()
    }

    /// Does the same as [`Backend::is_shared`].
    fn is_shared(&self) -> bool {
        self.inner().is_shared()
    }

    /// Does the same as [`Backend::available_bytes`].
    fn available_bytes(&self) -> Result<u64> {
        self.inner().available_bytes()
    }
}

/// Implements [`Backend`] for a type that is a [`Layer`].
#[macro_export]
macro_rules! impl_backend {
    ($layer:ty) => {
        impl $crate::parts::Backend for $layer {
            fn get(
                &self,
                key: &$crate::parts::Key,
            ) -> $crate::parts::Result<$crate::parts::Object> {
                $crate::Layer::get(self, key)
            }

            fn get_range(
                &self,
                key: &$crate::parts::Key,
                range: std::ops::Range<u64>,
            ) -> $crate::parts::Result<$crate::parts::Bytes> {
                $crate::Layer::get_range(self, key, range)
            }

            fn put(
                &self,
                key: &$crate::parts::Key,
                body: $crate::parts::Bytes,
                condition: &$crate::parts::Condition,
            ) -> $crate::parts::Result<$crate::parts::Version> {
                $crate::Layer::put(self, key, body, condition)
            }

            fn delete(&self, key: &$crate::parts::Key) -> $crate::parts::Result<()> {
                $crate::Layer::delete(self, key)
            }

            fn delete_all(&self, keys: &[$crate::parts::Key]) -> $crate::parts::Result<()> {
                $crate::Layer::delete_all(self, keys)
            }

            fn list(
                &self,
                prefix: &str,
                after: Option<&$crate::parts::Key>,
                limit: usize,
            ) -> $crate::parts::Result<Vec<$crate::parts::ListEntry>> {
                $crate::Layer::list(self, prefix, after, limit)
            }

            fn name(&self) -> &str {
                $crate::Layer::name(self)
            }

            fn concurrency(&self) -> std::num::NonZeroUsize {
                $crate::Layer::concurrency(self)
            }

            fn is_shared(&self) -> bool {
                $crate::Layer::is_shared(self)
            }

            fn available_bytes(&self) -> $crate::parts::Result<u64> {
                $crate::Layer::available_bytes(self)
            }
        }
    };
}
