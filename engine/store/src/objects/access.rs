//! The objects of one vault on its backend: random names, bodies sealed and opened on the way.
//!
//! Every call passes a gate, which `close` shuts. After the vault's lock is released, no thread may
//! put an object whose pending row the next process has removed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use strongroom_backends::{Backend, Condition};
use strongroom_base::component::{Clock, Entropy, HomeProcess};
use strongroom_base::pool::Pool;
use strongroom_base::{Error, ErrorKind, Key, Reason, Result};

use uuid::Uuid;

use super::sealed::{self, Cut, Salvaged};
use strongroom_crypto::ContentKeys;
use strongroom_format::{ObjectName, ObjectRef};

/// Longest object in bytes. A reader or a staging holds this much in memory.
pub const OBJECT_BYTES_MAX: usize = 8 << 20;
/// Smallest length limit that a host may set.
pub const OBJECT_BYTES_MIN: usize = 4 << 10;

/// Objects in one page of a listing.
const LIST_PAGE: usize = 1_000;

/// Most additional parallel requests on a local backend.
const NEAR_THREADS: usize = 4;

/// Most jobs that wait for a thread. A job without room is run by the caller that waits for it.
const QUEUE_MAX: usize = 1_024;

/// The objects of one vault.
#[derive(Clone, Debug)]
pub struct Objects {
    backend: Arc<dyn Backend>,
    entropy: Arc<dyn Entropy>,
    object_bytes: usize,
    vault: Uuid,
    /// Changed by a key rotation.
    keys: Arc<RwLock<Arc<ContentKeys>>>,
    home: HomeProcess,
    /// Set while the vault is open. Held for reading during each call of the backend.
    gate: Arc<RwLock<bool>>,
    /// Threads for parallel requests.
    pool: Arc<Pool>,
}

impl Objects {
    pub fn new(
        backend: Arc<dyn Backend>,
        entropy: Arc<dyn Entropy>,
        object_bytes: usize,
        vault: Uuid,
        keys: Arc<ContentKeys>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let is_remote = backend.is_shared();
        let threads = if is_remote { backend.concurrency().get() } else { NEAR_THREADS };
        let pool = Arc::new(Pool::new("strongroom-objects", threads, QUEUE_MAX, clock));
        let (keys, gate) = (Arc::new(RwLock::new(keys)), Arc::new(RwLock::new(true)));
        let home = HomeProcess::current();
        Self { backend, entropy, object_bytes, vault, keys, home, gate, pool }
    }

    /// Seals new objects with the current key of `keys` from now on.
    pub fn set_keys(&self, keys: Arc<ContentKeys>) {
        *self.keys.write() = keys;
    }

    pub fn keys(&self) -> Arc<ContentKeys> {
        Arc::clone(&self.keys.read())
    }

    /// Returns the backend, for data other than content. Use it only after [`enter`](Self::enter).
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Passes the gate: `Closed` after it was shut, and in a forked process.
    pub fn enter(&self, operation: &'static str) -> Result<RwLockReadGuard<'_, bool>> {
        self.home.check(operation)?;
        let open = self.gate.read();
        if *open {
            Ok(open)
        } else {
            Err(Error::new(ErrorKind::Closed, operation)
                .with_reason(Reason::VaultClosed)
                .with_detail("the vault is closed"))
        }
    }

    /// Shuts the gate permanently, after running calls have ended; `Locked` after `timeout`.
    pub fn shut(&self, timeout: Duration) -> Result<()> {
        let mut open = self.gate.try_write_for(timeout).ok_or_else(|| {
            Error::new(ErrorKind::Locked, "close vault").with_detail(format!(
                "calls of the backend did not end within {} s",
                timeout.as_secs_f32()
            ))
        })?;
        *open = false;
        Ok(())
    }

    /// Returns the length limit of a new object, in bytes.
    pub fn object_bytes(&self) -> usize {
        self.object_bytes
    }

    /// Returns whether the backend is a shared store.
    ///
    /// Requests to a store take long, and one that timed out may still take effect.
    pub fn is_remote(&self) -> bool {
        self.backend.is_shared()
    }

    /// Returns how many requests work on many objects may make in parallel.
    ///
    /// On a local medium it is one, because the next object arrives before it is needed. On a
    /// remote one it is the number that the backend handles well.
    pub fn at_once_max(&self) -> usize {
        if self.is_remote() { self.backend.concurrency().get() } else { 1 }
    }

    /// Returns the pool for parallel requests.
    ///
    /// It is limited to what the backend handles well.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the results of `call` for all `items`, in their order.
    ///
    /// At most [`at_once_max`](Self::at_once_max) calls run in parallel. After an error no more
    /// begin; of several errors the first in the order is returned. All calls have ended when it
    /// returns.
    pub fn for_all<T: Sync, R: Send>(
        &self,
        items: &[T],
        call: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        self.pool.run_all(items, self.at_once_max(), call)
    }

    /// Draws a name that no object has or had.
    pub fn draw_name(&self) -> Result<ObjectName> {
        Ok(ObjectName(self.entropy.draw()?))
    }

    pub fn vault(&self) -> Uuid {
        self.vault
    }

    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Puts a new sealed object; durable on return.
    pub fn put_sealed(&self, name: ObjectName, sealed: Bytes) -> Result<()> {
        let _open = self.enter("put object")?;
        self.backend.put(&name.key(), sealed, &Condition::Absent).map(drop)
    }

    /// Returns sealed bytes of an object; `Corrupt` if it is missing or shorter.
    pub fn get_sealed(&self, name: ObjectName, range: Range<u64>) -> Result<Bytes> {
        let key = name.key();
        let _open = self.enter("read object")?;
        self.backend.get_range(&key, range).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::Invalid => {
                Error::new(ErrorKind::Corrupt, "read object")
                    .with_reason(Reason::ObjectMissing)
                    .with_detail("the object is missing from the backend or is cut short")
                    .with_subject(&key)
            }
            _ => e,
        })
    }

    /// Does the same for read-ahead, for which `close` does not wait.
    pub fn get_ahead(&self, name: ObjectName, range: Range<u64>) -> Result<Bytes> {
        drop(self.enter("read object")?);
        self.backend.get_range(&name.key(), range)
    }

    /// Puts an object of the share space; durable on return.
    ///
    /// A resumed update puts it again. No call reads it before the end of the update.
    pub fn put_again(&self, name: ObjectName, cut: Cut, body: &[u8]) -> Result<ObjectRef> {
        let _open = self.enter("put object")?;
        let (sealed, epoch) = self.sealed(name, cut, body)?;
        self.backend.put(&name.key(), sealed, &Condition::Any)?;
        Ok(ObjectRef { name, len: body.len() as u64, epoch })
    }

    /// Seals an object; returns its bytes and key epoch.
    fn sealed(&self, name: ObjectName, cut: Cut, body: &[u8]) -> Result<(Bytes, u32)> {
        sealed::seal(self.vault, name, cut, body, &self.keys(), &*self.entropy)
    }

    /// Seals an object without putting it, for measurements.
    #[cfg(feature = "testing")]
    pub fn seal(&self, name: ObjectName, cut: Cut, body: &[u8]) -> Result<Bytes> {
        Ok(self.sealed(name, cut, body)?.0)
    }

    /// Returns the object's body; `Corrupt` if it is missing or another.
    pub fn get(&self, reference: &ObjectRef) -> Result<Bytes> {
        let key = reference.name.key();
        let open = self.enter("read object")?;
        let fetched = self.backend.get(&key);
        drop(open);
        let sealed = match fetched {
            Ok(object) => object.body,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::Corrupt, "read object")
                    .with_reason(Reason::ObjectMissing)
                    .with_detail("the object is missing from the backend")
                    .with_subject(&key));
            }
            Err(e) => return Err(e),
        };
        sealed::open(self.vault, reference, Cut::VALUE, &sealed, &self.keys())
            .map_err(|e| e.with_subject(&key))
    }

    /// Reads the blocks that open of a redundant object; none if it is missing.
    ///
    /// An error only means that the backend does not answer.
    pub fn salvage(&self, reference: &ObjectRef, cut: Cut) -> Result<Salvaged> {
        let key = reference.name.key();
        let open = self.enter("read object")?;
        // By its length, because no version is needed and no store then computes one.
        let fetched = match self.backend.get_range(&key, 0..cut.sealed_bytes(reference.len)) {
            // The object is shorter than recorded.
            Err(e) if e.kind() == ErrorKind::Invalid => self.backend.get(&key).map(|o| o.body),
            fetched => fetched,
        };
        drop(open);
        match fetched {
            Ok(sealed) => Ok(sealed::salvage(self.vault, reference, cut, &sealed, &self.keys())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Salvaged::nothing(cut, reference.len)),
            Err(e) => Err(e),
        }
    }

    /// Returns `Full` if the backend has no room for `bytes` more.
    pub fn expect_room(&self, operation: &'static str, bytes: u64) -> Result<()> {
        let _open = self.enter(operation)?;
        let room = self.backend.available_bytes()?;
        if room < bytes {
            return Err(Error::new(ErrorKind::Full, operation)
                .with_reason(Reason::StorageFull)
                .with_detail(format!("the call needs {bytes} bytes, and {room} are free")));
        }
        Ok(())
    }

    /// Deletes an object; succeeds if it is missing.
    pub fn delete(&self, name: ObjectName) -> Result<()> {
        let _open = self.enter("delete object")?;
        self.backend.delete(&name.key())
    }

    /// Deletes several objects; succeeds if some are missing. After an error some may be deleted.
    pub fn delete_all(&self, names: &[ObjectName]) -> Result<()> {
        let _open = self.enter("delete objects")?;
        let keys: Vec<Key> = names.iter().map(|name| name.key()).collect();
        self.backend.delete_all(&keys)
    }

    /// Visits every object on the backend, with its length; foreign keys as text.
    pub fn list(
        &self,
        mut each: impl FnMut(Result<ObjectName, &str>, u64) -> Result<()>,
    ) -> Result<()> {
        let _open = self.enter("list objects")?;
        let mut after = None;
        loop {
            let page = self.backend.list(ObjectName::KEY_PREFIX, after.as_ref(), LIST_PAGE)?;
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
