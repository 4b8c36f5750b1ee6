//! A backend that records its calls.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom_backends::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::{Key, Result};

/// A call of a backend, as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendCall {
    /// The method of [`Backend`].
    pub method: &'static str,
    /// Its key, or the prefix of a listing.
    pub key: String,
    /// Bytes of bodies in either direction.
    pub bytes: u64,
}

/// A wrapper that records each call in order, with failures.
///
/// The calls are `get`, `get_range`, `put`, `delete` and `list`.
#[derive(Debug)]
pub struct RecordingBackend {
    inner: Arc<dyn Backend>,
    calls: Mutex<Vec<BackendCall>>,
}

impl RecordingBackend {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// Returns the calls since the last call of `take`.
    pub fn take(&self) -> Vec<BackendCall> {
        std::mem::take(&mut self.calls.lock())
    }

    fn record(&self, method: &'static str, key: &str, bytes: usize) {
        let call = BackendCall { method, key: key.to_owned(), bytes: bytes as u64 };
        self.calls.lock().push(call);
    }
}

impl super::Layer for RecordingBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn get(&self, key: &Key) -> Result<Object> {
        let got = self.inner.get(key);
        self.record("get", key.as_str(), got.as_ref().map_or(0, |object| object.body.len()));
        got
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        let got = self.inner.get_range(key, range);
        self.record("get_range", key.as_str(), got.as_ref().map_or(0, Bytes::len));
        got
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        self.record("put", key.as_str(), body.len());
        self.inner.put(key, body, condition)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.record("delete", key.as_str(), 0);
        self.inner.delete(key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            self.record("delete", key.as_str(), 0);
        }
        self.inner.delete_all(keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        self.record("list", prefix, 0);
        self.inner.list(prefix, after, limit)
    }
}

crate::impl_backend!(RecordingBackend);
