//! The uploads of one vault that are under way in this process.
//!
//! An upload takes a read epoch before its first look-up. A chunk that was released by commit `c` is freed once
//! every live read epoch is at `c` or past it (as doomed objects are: see `objects/read_epochs.rs`). So each chunk that an
//! upload has found, or has stored itself, stays in the index until it ends. A chunk that was released before
//! its read epoch it does not find: a look-up takes a released chunk for absent. Readers have read epochs of their own:
//! chunks that they can reach stay for as long.

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
    /// Those of this process, and how much of the quota each may still need.
    live: Mutex<HashMap<UploadId, u64>>,
    /// Those that ended without their commit, and whose rows do not say so.
    given_up: Mutex<Vec<UploadId>>,
    /// Held while chunks are freed or moved, or the index is rebuilt.
    upkeep: Mutex<()>,
    /// The index is being rebuilt: no upload begins.
    closed: AtomicBool,
}

impl UploadRegistry {
    /// Makes the register without uploads; `newest` is the number of the last commit before this session.
    pub(crate) fn new(newest: u64) -> Self {
        Self {
            read_epochs: ReadEpochs::new(newest),
            live: Mutex::default(),
            given_up: Mutex::default(),
            upkeep: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Publishes that commit `number` has happened.
    pub(crate) fn publish(&self, number: u64) {
        self.read_epochs.publish(number);
    }

    /// Returns the commit up to which no live upload has found a released chunk.
    pub(crate) fn due(&self) -> u64 {
        self.read_epochs.due()
    }

    /// Begins an upload, and takes its read epoch. `Locked` while the index is rebuilt.
    pub(crate) fn enter(&self, id: UploadId) -> Result<Option<Arc<ReadEpoch>>> {
        let mut live = self.live.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Locked, "store content")
                .with_detail("the index of chunks is being made anew"));
        }
        live.insert(id, 0);
        // The vault is kept open by the upload itself.
        let is_late = bug::is_planted(Bug::LateEpoch);
        Ok((!is_late).then(|| self.read_epochs.enter_epoch(Arc::new(()))))
    }

    /// Takes the turn to free or move chunks; `Locked` if another has it for longer than `timeout`.
    pub(crate) fn upkeep_turn(
        &self,
        operation: &'static str,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, ()>> {
        self.upkeep.try_lock_for(timeout).ok_or_else(|| {
            Error::new(ErrorKind::Locked, operation)
                .with_detail("chunks are being freed, moved or indexed anew")
        })
    }

    /// Keeps uploads from beginning until its result is dropped; `None` if one is under way.
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

    /// Records an upload that ended without its commit.
    pub(crate) fn give_up(&self, id: UploadId) {
        self.given_up.lock().push(id);
    }

    /// Returns those that ended so, and whose rows do not say it.
    pub(crate) fn given_up(&self) -> Vec<UploadId> {
        self.given_up.lock().clone()
    }

    /// Records it in their rows.
    pub(crate) fn mark(state: &mut StateWrite<'_>, given_up: &[UploadId]) -> Result<()> {
        for id in given_up {
            if state.get(Table::Uploads, &id.0, |row| row.is_some())? {
                let row = UploadRow::V0 { since_unix_millis: 0 };
                state.put(Table::Uploads, &id.0, &row.encode())?;
            }
        }
        Ok(())
    }

    /// Forgets the first `count` of these: a commit has their rows.
    pub(crate) fn forget_given_up(&self, count: usize) {
        self.given_up.lock().drain(..count);
    }

    pub(crate) fn is_live(&self, id: UploadId) -> bool {
        self.live.lock().contains_key(&id)
    }

    /// Reserves bytes for an upload, if they fit beside those that are stored and those that others reserved.
    ///
    /// Otherwise it returns how many those are. `stored` is asked under the lock, so bytes that an upload
    /// committed before it gave its reservation back are counted.
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

    /// Takes bytes that are stored now off an upload's reservation.
    pub(crate) fn settle(&self, id: UploadId, bytes: u64) {
        if let Some(reserved) = self.live.lock().get_mut(&id) {
            *reserved = reserved.saturating_sub(bytes);
        }
    }

    /// Returns the bytes that all have reserved but those that are `own`.
    pub(crate) fn reserved_but(&self, own: impl Fn(UploadId) -> bool) -> u64 {
        reserved_but(&self.live.lock(), own)
    }
}

/// Keeps uploads from beginning while it lives.
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
