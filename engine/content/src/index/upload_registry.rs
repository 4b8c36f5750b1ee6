//! The unfinished uploads of one vault in this process.
//!
//! An upload registers a read epoch before its first look-up. A chunk released by commit `c` is
//! freed when every live read epoch is at `c` or later, as doomed objects are (see
//! `objects/read_epochs.rs`). So each chunk that an upload found or stored stays in the index until
//! it ends. It does not find a chunk that was released before its read epoch, because a look-up
//! treats released chunks as absent. Readers have separate read epochs, which protect the chunks
//! that they can reach.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Result};

use strongroom_format::{UploadId, UploadRow};
use strongroom_store::objects::{ReadEpoch, ReadEpochs};
use strongroom_store::state::{StateWrite, Table};

#[derive(Debug)]
pub(crate) struct UploadRegistry {
    read_epochs: Arc<ReadEpochs>,
    /// Uploads of this process, and the quota bytes each may need.
    live: Mutex<HashMap<UploadId, u64>>,
    /// Uploads that ended without a commit and a marked row.
    given_up: Mutex<Vec<UploadId>>,
    /// Held while chunks are freed or moved, or the index rebuilt.
    upkeep: Mutex<()>,
    /// Set while the index is rebuilt: no upload may begin.
    closed: AtomicBool,
}

impl UploadRegistry {
    /// Makes the registry; `newest` is the number of the last commit before this session.
    pub(crate) fn new(newest: u64) -> Self {
        Self {
            read_epochs: ReadEpochs::new(newest),
            live: Mutex::default(),
            given_up: Mutex::default(),
            upkeep: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Records commit `number` as the newest.
    pub(crate) fn publish(&self, number: u64) {
        self.read_epochs.publish(number);
    }

    /// Returns the newest commit whose released chunks no upload can use.
    pub(crate) fn due(&self) -> u64 {
        self.read_epochs.due()
    }

    /// Begins an upload, and registers its read epoch. `Locked` while the index is rebuilt.
    pub(crate) fn enter(&self, id: UploadId) -> Result<Option<Arc<ReadEpoch>>> {
        let mut live = self.live.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Locked, "store content")
                .with_detail("the chunk index is being rebuilt; retry later"));
        }
        live.insert(id, 0);
        // The upload itself keeps the vault open.
        let is_late = bug::is_planted(Bug::LateEpoch);
        Ok((!is_late).then(|| self.read_epochs.enter_epoch(Arc::new(()))))
    }

    /// Takes the maintenance lock for freeing or moving chunks; `Locked` after `timeout`.
    pub(crate) fn upkeep_turn(
        &self,
        operation: &'static str,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, ()>> {
        self.upkeep.try_lock_for(timeout).ok_or_else(|| {
            Error::new(ErrorKind::Locked, operation)
                .with_detail("chunks are being freed, moved or reindexed; retry later")
        })
    }

    /// Prevents uploads until the result is dropped; `None` if an upload is running.
    pub(crate) fn close(&self) -> Option<ClosedUploads<'_>> {
        let live = self.live.lock();
        live.is_empty().then(|| {
            self.closed.store(true, Ordering::Release);
            ClosedUploads(self)
        })
    }

    pub(crate) fn leave(&self, id: UploadId) {
        self.live.lock().remove(&id);
    }

    /// Records an upload that ended without a commit.
    pub(crate) fn give_up(&self, id: UploadId) {
        self.given_up.lock().push(id);
    }

    /// Returns the ended uploads whose rows are not marked.
    pub(crate) fn given_up(&self) -> Vec<UploadId> {
        self.given_up.lock().clone()
    }

    /// Marks the rows of ended uploads.
    pub(crate) fn mark(state: &mut StateWrite<'_>, given_up: &[UploadId]) -> Result<()> {
        for id in given_up {
            if state.get(Table::Uploads, &id.0, |row| row.is_some())? {
                let row = UploadRow::V0 { since_unix_millis: 0 };
                state.put(Table::Uploads, &id.0, &row.encode())?;
            }
        }
        Ok(())
    }

    /// Forgets the first `count` of them, whose rows a commit has marked.
    pub(crate) fn forget_given_up(&self, count: usize) {
        self.given_up.lock().drain(..count);
    }

    pub(crate) fn is_live(&self, id: UploadId) -> bool {
        self.live.lock().contains_key(&id)
    }

    /// Reserves bytes for an upload, if they fit within the limit.
    ///
    /// Stored and reserved bytes count.
    ///
    /// Otherwise it returns the number of stored and reserved bytes. `stored` runs under the lock,
    /// so that bytes are counted which another upload committed before it returned its reservation.
    pub(crate) fn reserve(
        &self,
        id: UploadId,
        bytes: u64,
        limit: u64,
        stored: impl FnOnce() -> Result<u64>,
    ) -> Result<Result<(), u64>> {
        let mut live = self.live.lock();
        let taken = reserved_but(&live, |other| other == id).saturating_add(stored()?);
        if taken.saturating_add(bytes) > limit {
            return Ok(Err(taken));
        }
        live.insert(id, bytes);
        Ok(Ok(()))
    }

    /// Subtracts stored bytes from an upload's reservation.
    pub(crate) fn settle(&self, id: UploadId, bytes: u64) {
        if let Some(reserved) = self.live.lock().get_mut(&id) {
            *reserved = reserved.saturating_sub(bytes);
        }
    }

    /// Returns the bytes reserved by all uploads except `own`.
    pub(crate) fn reserved_but(&self, own: impl Fn(UploadId) -> bool) -> u64 {
        reserved_but(&self.live.lock(), own)
    }
}

/// Prevents uploads from beginning while it lives.
pub(crate) struct ClosedUploads<'a>(&'a UploadRegistry);

impl Drop for ClosedUploads<'_> {
    fn drop(&mut self) {
        self.0.closed.store(false, Ordering::Release);
    }
}

fn reserved_but(live: &HashMap<UploadId, u64>, own: impl Fn(UploadId) -> bool) -> u64 {
    let others = live.iter().filter(|(id, _)| !own(**id));
    others.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}
