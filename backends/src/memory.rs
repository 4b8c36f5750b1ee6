//! Objects in this process's memory, for tests and temporary vaults.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::backend::{Backend, Condition, ListEntry, Object, Version};
use strongroom_base::Key;
use strongroom_base::{Error, ErrorKind, Result};

/// Parallel requests: more threads than this only wait for the lock.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not zero");

/// A [`Backend`] in memory.
///
/// Clones share one store, which ends with the last of them. "Durable" lasts as long as the
/// process. Versions derive from the content, as on disk, so tests reveal callers that forget that
/// A, B, A looks unchanged.
#[derive(Clone, Default)]
pub struct Memory {
    objects: Arc<RwLock<BTreeMap<Key, Object>>>,
}

impl Memory {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("objects", &self.objects.read().len()).finish()
    }
}

impl Backend for Memory {
    fn get(&self, key: &Key) -> Result<Object> {
        self.objects
            .read()
            .get(key)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "get object").with_subject(key))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        self.get(key)?.range(range).map_err(|e| e.with_subject(key))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        let version = Version::of_content(&body);
        let mut objects = self.objects.write();
        condition
            .check(objects.get(key).map(|object| &object.version))
            .map_err(|e| e.with_subject(key))?;
        objects.insert(key.clone(), Object { body, version: version.clone() });
        Ok(version)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.objects.write().remove(key);
        Ok(())
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        let mut objects = self.objects.write();
        for key in keys {
            objects.remove(key);
        }
        Ok(())
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.objects.read();
        let page = objects
            .range::<Key, _>((start, Bound::Unbounded))
            .skip_while(|(key, _)| key.as_str() < prefix)
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .take(limit)
            .map(|(key, object)| ListEntry { key: key.clone(), size: object.body.len() as u64 })
            .collect();
        Ok(page)
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn concurrency(&self) -> NonZeroUsize {
        CONCURRENCY
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn available_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
}
