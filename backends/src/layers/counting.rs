//! Counts of the requests to a store, by method.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::backend::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::Key;
use strongroom_base::Result;

/// A backend that counts another backend's calls and body bytes.
///
/// Each call of an object store is one request, with two exceptions. `delete_all` is one request
/// for each thousand keys on S3, for each 256 on Azure, and for each key on Google's store. A range
/// that begins beyond the end of its object is requested once more, without its body.
#[derive(Debug)]
pub struct CountingBackend<B> {
    inner: B,
    counts: Arc<RequestCounts>,
}

/// The counters of one or more backends. They can be read at any time.
#[derive(Debug, Default)]
pub struct RequestCounts {
    gets: AtomicU64,
    ranges: AtomicU64,
    puts: AtomicU64,
    conditional_puts: AtomicU64,
    deletes: AtomicU64,
    lists: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// Counts up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requests {
    /// Requests for whole bodies.
    pub gets: u64,
    /// Requests for ranges of bodies.
    pub ranges: u64,
    /// Puts without a condition.
    pub puts: u64,
    /// Puts with a condition.
    pub conditional_puts: u64,
    /// Delete calls, whatever the number of keys.
    pub deletes: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Bytes of received bodies.
    pub bytes_read: u64,
    /// Bytes of sent bodies, whether or not the put succeeded.
    pub bytes_written: u64,
}

impl Requests {
    /// Returns the number of all requests.
    pub fn total(&self) -> u64 {
        self.gets + self.ranges + self.puts + self.conditional_puts + self.deletes + self.lists
    }

    /// Returns the counts since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            gets: self.gets.saturating_sub(earlier.gets),
            ranges: self.ranges.saturating_sub(earlier.ranges),
            puts: self.puts.saturating_sub(earlier.puts),
            conditional_puts: self.conditional_puts.saturating_sub(earlier.conditional_puts),
            deletes: self.deletes.saturating_sub(earlier.deletes),
            lists: self.lists.saturating_sub(earlier.lists),
            bytes_read: self.bytes_read.saturating_sub(earlier.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
        }
    }
}

impl RequestCounts {
    /// Returns the counts so far.
    pub fn read(&self) -> Requests {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            gets: of(&self.gets),
            ranges: of(&self.ranges),
            puts: of(&self.puts),
            conditional_puts: of(&self.conditional_puts),
            deletes: of(&self.deletes),
            lists: of(&self.lists),
            bytes_read: of(&self.bytes_read),
            bytes_written: of(&self.bytes_written),
        }
    }
}

fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl<B: Backend> CountingBackend<B> {
    /// Returns the backend below.
    #[cfg(feature = "clouds")]
    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// Counts the calls of `inner` in `counts`.
    pub fn new(inner: B, counts: Arc<RequestCounts>) -> Self {
        Self { inner, counts }
    }
}

impl<B: Backend> Backend for CountingBackend<B> {
    fn get(&self, key: &Key) -> Result<Object> {
        add(&self.counts.gets, 1);
        let got = self.inner.get(key)?;
        add(&self.counts.bytes_read, got.body.len());
        Ok(got)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        add(&self.counts.ranges, 1);
        let got = self.inner.get_range(key, range)?;
        add(&self.counts.bytes_read, got.len());
        Ok(got)
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        let counter = match condition {
            Condition::Any => &self.counts.puts,
            Condition::Absent | Condition::Matches(_) => &self.counts.conditional_puts,
        };
        add(counter, 1);
        add(&self.counts.bytes_written, body.len());
        self.inner.put(key, body, condition)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        add(&self.counts.deletes, 1);
        self.inner.delete(key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        add(&self.counts.deletes, 1);
        self.inner.delete_all(keys)
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        add(&self.counts.lists, 1);
        self.inner.list(prefix, after, limit)
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn concurrency(&self) -> NonZeroUsize {
        self.inner.concurrency()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn available_bytes(&self) -> Result<u64> {
        self.inner.available_bytes()
    }
}
