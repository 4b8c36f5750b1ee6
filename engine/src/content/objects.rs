//! The objects of one vault on its backend: names drawn at random, bodies checked on the way
//! back.

use std::sync::Arc;

use bytes::Bytes;
use strongroom_backends::component::Entropy;
use strongroom_backends::{Backend, Condition, Error, ErrorKind, Result};

use crate::format::{ObjectName, ObjectRef};

/// Longest object in bytes: what a reader or a staging holds in memory at once.
pub(crate) const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Least that a host may set that length to.
pub(crate) const OBJECT_BYTES_MIN: usize = 4 << 10;

/// How many objects one call of a listing asks for.
const LIST_PAGE: usize = 1_000;

/// The objects of one vault.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    backend: Arc<dyn Backend>,
    entropy: Arc<dyn Entropy>,
    object_bytes: usize,
}

impl Objects {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        entropy: Arc<dyn Entropy>,
        object_bytes: usize,
    ) -> Self {
        Self {
            backend,
            entropy,
            object_bytes,
        }
    }

    /// How long a new object is at most, in bytes.
    pub(crate) fn object_bytes(&self) -> usize {
        self.object_bytes
    }

    /// A name that no object has or had.
    pub(crate) fn draw_name(&self) -> Result<ObjectName> {
        Ok(ObjectName(self.entropy.draw()?))
    }

    /// Puts a new object; durable on return.
    pub(crate) fn put(&self, name: ObjectName, body: Bytes) -> Result<ObjectRef> {
        let reference = ObjectRef {
            name,
            len: body.len() as u64,
            checksum: *blake3::hash(&body).as_bytes(),
        };
        self.backend.put(&name.key(), body, &Condition::Absent)?;
        Ok(reference)
    }

    /// The object's body, as it was put; `Corrupt` if it is missing or another.
    pub(crate) fn get(&self, reference: &ObjectRef) -> Result<Bytes> {
        let key = reference.name.key();
        let corrupt = |detail: String| {
            Error::new(ErrorKind::Corrupt, "read object")
                .with_detail(detail)
                .with_subject(&key)
        };
        let body = match self.backend.get(&key) {
            Ok(object) => object.body,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(corrupt("the object is missing from the backend".into()));
            }
            Err(e) => return Err(e),
        };
        if body.len() as u64 != reference.len {
            let detail = format!("object has {} bytes, not {}", body.len(), reference.len);
            return Err(corrupt(detail));
        }
        if blake3::hash(&body) != reference.checksum {
            return Err(corrupt("the object's checksum does not match".into()));
        }
        Ok(body)
    }

    /// Deletes an object; fine if it is gone.
    pub(crate) fn delete(&self, name: ObjectName) -> Result<()> {
        self.backend.delete(&name.key())
    }

    /// Every object on the backend, with its length; keys that are not ours as text.
    pub(crate) fn list(
        &self,
        mut each: impl FnMut(Result<ObjectName, &str>, u64) -> Result<()>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = self
                .backend
                .list(ObjectName::KEY_PREFIX, after.as_ref(), LIST_PAGE)?;
            for entry in &page {
                let name = ObjectName::of_key(&entry.key).ok_or(entry.key.as_str());
                each(name, entry.size)?;
            }
            if page.len() < LIST_PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back().map(|entry| entry.key);
        }
    }
}
