//! The unfinished uploads of one vault in this process.
//!
//! An upload registers a read epoch before its first look-up. A chunk released by commit `c` is
//! freed when every live read epoch is at `c` or later, as doomed objects are (see
//! `objects/read_epochs.rs`). So each chunk that an upload found or stored stays in the index until
//! it ends. It does not find a chunk that was released before its read epoch, because a look-up
//! treats released chunks as absent. Readers have separate read epochs, which protect the chunks
//! that they can reach.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use strongroom_base::bug::{self, Bug};
use strongroom_base::component::Clock;
use strongroom_base::{Error, ErrorKind, Result, RetentionClock};

use super::unfinished::KEEPS_UNKNOWN;
use strongroom_format::{UploadId, UploadRow};
use strongroom_store::objects::{ReadEpoch, ReadEpochs};
use strongroom_store::state::{StateRead, StateWrite, Table};

/// Stamp of an upload that ended without a commit: older than any time.
const ENDED: u64 = 0;

#[derive(Debug)]
pub(crate) struct UploadRegistry {
    read_epochs: Arc<ReadEpochs>,
    /// Uploads of this process, and the quota bytes each may need.
    live: Mutex<HashMap<UploadId, u64>>,
    /// Uploads whose rows the next commit stamps, with the times.
    stamps: Mutex<Vec<(UploadId, u64)>>,
    clock: Arc<dyn Clock>,
    /// The time by which dead uploads age.
    retention_clock: RetentionClock,
    /// Held while chunks are freed or moved, or the index rebuilt.
    upkeep: Mutex<()>,
    /// Set while the index is rebuilt: no upload may begin.
    closed: AtomicBool,
}

impl UploadRegistry {
    /// Makes the registry; `newest` is the number of the last commit before this session.
    pub(crate) fn new(newest: u64, clock: &Arc<dyn Clock>) -> Self {
        Self {
            read_epochs: ReadEpochs::new(newest),
            live: Mutex::default(),
            stamps: Mutex::default(),
            clock: Arc::clone(clock),
            retention_clock: RetentionClock::new(Arc::clone(clock)),
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

    /// Returns the present time, by which dead uploads age.
    ///
    /// In one session it never goes backwards.
    pub(crate) fn now_unix_millis(&self) -> u64 {
        self.retention_clock.at_least(0, self.clock.unix_millis())
    }

    /// Records an upload that ended without a commit.
    pub(crate) fn give_up(&self, id: UploadId) {
        self.stamps.lock().push((id, ENDED));
    }

    /// Finds dead uploads whose clock was ahead, for the next commit to stamp them.
    ///
    /// Such an upload would never be old enough. It ages from now on.
    pub(crate) fn note_uploads_ahead(&self, state: &StateRead) -> Result<()> {
        let now = self.now_unix_millis();
        for entry in state.range(Table::Uploads, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            // `check` reports a row that does not decode.
            let (Ok(id), Ok(UploadRow::V0 { since_unix_millis })) =
                (entry.key.as_slice().try_into(), UploadRow::decode(entry.row.as_slice()))
            else {
                continue;
            };
            let is_ahead = since_unix_millis > now && since_unix_millis != KEEPS_UNKNOWN;
            if is_ahead && !self.is_live(UploadId(id)) {
                self.stamps.lock().push((UploadId(id), now));
            }
        }
        Ok(())
    }

    /// Returns the uploads whose rows the next commit stamps.
    pub(crate) fn stamps(&self) -> Vec<(UploadId, u64)> {
        self.stamps.lock().clone()
    }

    /// Stamps the rows of uploads.
    pub(crate) fn stamp(state: &mut StateWrite<'_>, stamps: &[(UploadId, u64)]) -> Result<()> {
        for &(id, since_unix_millis) in stamps {
            if state.get(Table::Uploads, &id.0, |row| row.is_some())? {
                let row = UploadRow::V0 { since_unix_millis };
                state.put(Table::Uploads, &id.0, &row.encode())?;
            }
        }
        Ok(())
    }

    /// Forgets the first `count` of them, which a commit has stamped.
    pub(crate) fn forget_stamps(&self, count: usize) {
        self.stamps.lock().drain(..count);
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
