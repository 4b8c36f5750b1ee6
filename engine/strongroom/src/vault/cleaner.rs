//! Removing content that nothing refers to, and the rows that say so.
//!
//! Two kinds of rows are due: **doomed** ones that every live reader began after, and the
//! **pending** ones of stagings that were abandoned. An object is deleted first and its row
//! after it, with whatever commits next, so that no sync is spent on it and a crash in between
//! only deletes it again.
//!
//! What is due is gathered under the writer's turn: then no commit is in doubt, and a row that
//! is read is a row on disk. The deleting itself holds no lock.
//!
//! It happens at the end of every write that finds something due (bounded), at open, at close
//! (bounded), and on [`Vault::clean`]. There is no thread of its own.

use std::collections::{HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::handle::{Vault, VaultInner};
use crate::transaction::WriteTx;
use strongroom_base::CancelToken;
use strongroom_format::{DoomedKey, ObjectName, PendingRow, StageId};
use strongroom_store::state::{StateRead, Table};

/// Most objects that one write deletes on its way.
const OBJECTS_PER_WRITE_MAX: usize = 32;
/// Most objects that one round of [`Vault::clean`] deletes between two commits.
const OBJECTS_PER_ROUND_MAX: usize = 1_000;

/// How many such rounds a close does at most; the rest is the next open's.
const CLOSE_ROUNDS_MAX: usize = 16;

/// After a shared store has failed at deletes, for so long none are asked of it but by call.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// What is known to be due, and what is being done about it.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    /// Stagings that will not be committed.
    abandoned: Mutex<VecDeque<StageId>>,
    /// There may be doomed rows.
    doomed: AtomicBool,
    /// Rows of dropped namespaces are left to remove.
    dropping: AtomicBool,
    /// Rows whose objects are deleted, for the next commit to remove; oldest first.
    settled: Mutex<VecDeque<DueRow>>,
    /// Rows that somebody has gathered and that are still in their table.
    in_hand: Mutex<HashSet<DueRow>>,
    /// When a shared store failed at deletes; by the monotonic clock.
    failed_at: Mutex<Option<Duration>>,
}

/// A row of table pending or doomed, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DueRow {
    Pending([u8; 20]),
    Doomed([u8; 24]),
}

impl DueRow {
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Pending(_) => Table::Pending,
            Self::Doomed(_) => Table::Doomed,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Pending(key) => key,
            Self::Doomed(key) => key,
        }
    }
}

/// Gathered rows with the objects that they name.
#[derive(Debug, Default)]
pub(crate) struct Due {
    rows: Vec<(DueRow, Vec<ObjectName>)>,
    objects: usize,
    /// The limit was reached before the end.
    more: bool,
}

impl Due {
    fn push(&mut self, row: DueRow, objects: Vec<ObjectName>) {
        self.objects += objects.len();
        self.rows.push((row, objects));
    }
}

impl Cleaner {
    /// A staging that will not be committed is due.
    pub(crate) fn abandon(&self, stage: StageId) {
        self.abandoned.lock().push_back(stage);
    }

    /// There are doomed rows now.
    pub(crate) fn note_doomed(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Whether dropped namespaces have rows left.
    pub(crate) fn is_dropping(&self) -> bool {
        self.dropping.load(Ordering::Acquire)
    }

    pub(crate) fn set_dropping(&self, dropping: bool) {
        self.dropping.store(dropping, Ordering::Release);
    }

    /// Rows for the commit under way to remove.
    pub(crate) fn settled(&self) -> Vec<DueRow> {
        self.settled.lock().iter().take(OBJECTS_PER_ROUND_MAX).cloned().collect()
    }

    /// The first `count` settled rows are removed for good.
    pub(crate) fn forget_settled(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut in_hand = self.in_hand.lock();
        for row in self.settled.lock().drain(..count) {
            in_hand.remove(&row);
        }
    }

    /// Whether anything is due, or was deleted and still has its row.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.is_idle() || self.is_dropping()
    }

    /// Whether the next commit has rows to remove.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.lock().is_empty()
    }

    fn is_idle(&self) -> bool {
        !self.doomed.load(Ordering::Acquire) && self.abandoned.lock().is_empty()
    }
}

/// What [`Vault::clean`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanReport {
    /// Chunks of content that nothing referred to any more.
    pub chunks: u64,
    /// Objects deleted from the backend.
    pub objects: u64,
    /// Chunks and objects that wait for a live reader or an upload to end.
    pub waiting: u64,
}

/// What a commit does that only takes along what every commit does. It is not the host's, and is in
/// no statistic: it would tell of updates of the share space.
#[allow(clippy::unnecessary_wraps)] // It is a change, as a commit takes them.
fn settle_alone(tx: &mut WriteTx<'_>) -> Result<()> {
    tx.heard.exempt = true;
    Ok(())
}

impl Vault {
    /// Removes all content that nothing refers to and no reader can reach, and the last rows of
    /// dropped namespaces; to be called at leisure, or before the backend's size is looked at.
    /// Chunks that share a pack with others stay in it: [`gc`](Self::gc) does this too, and then
    /// empties packs that are mostly waste.
    /// Ends with `Cancelled` between two steps when `cancel` is cancelled; what is done stays
    /// done. `Locked` if chunks are being freed or moved for longer than the write timeout.
    pub fn clean(&self, cancel: &CancelToken) -> Result<CleanReport> {
        let _span = tracing::debug_span!("clean").entered();
        let inner = self.inner();
        inner.refuse_nested_write("clean vault")?;
        let mut report = CleanReport::default();
        // In this order: values let go of chunks, and these leave packs empty, whose objects are due then.
        self.settle_rows(Some(cancel))?;
        cancel.check("clean vault")?;
        (report.chunks, report.waiting) = self.free_chunks("clean vault", cancel)?;
        report.objects = self.delete_due(Some(cancel))?;
        report.waiting += self.read()?.state().len(Table::Doomed)?;
        Ok(report)
    }

    /// Commits what goes along with every commit, until no row of a dropped namespace is left.
    pub(crate) fn settle_rows(&self, cancel: Option<&CancelToken>) -> Result<()> {
        let inner = self.inner();
        loop {
            cancel.map_or(Ok(()), |cancel| cancel.check("clean vault"))?;
            let _turn = inner.writer.acquire("clean vault")?;
            inner.commit("clean vault", settle_alone)?;
            if !inner.cleaner.is_dropping() {
                return Ok(());
            }
        }
    }

    /// Deletes objects that are due, and removes their rows; how many.
    pub(crate) fn delete_due(&self, cancel: Option<&CancelToken>) -> Result<u64> {
        let inner = self.inner();
        let mut objects = 0;
        loop {
            cancel.map_or(Ok(()), |cancel| cancel.check("clean vault"))?;
            // What it fails at is due again.
            inner.wait_for_deletes("clean vault")?;
            let due = {
                let _turn = inner.writer.acquire("clean vault")?;
                inner.commit("clean vault", settle_alone)?;
                inner.gather(OBJECTS_PER_ROUND_MAX)?
            };
            if due.rows.is_empty() {
                return Ok(objects);
            }
            objects += due.objects as u64;
            inner.delete(due)?;
        }
    }
}

impl VaultInner {
    /// Deletes what is due and removes the rows of it, so that the next open has nothing to do;
    /// at most so much that a close stays bounded. The caller has the writer's turn.
    pub(super) fn clean_before_close(self: &Arc<Self>) -> Result<()> {
        if self.store.failed() || self.is_put_off() {
            return Ok(());
        }
        for _ in 0..CLOSE_ROUNDS_MAX {
            if self.cleaner.has_settled() || !self.uploads.given_up().is_empty() {
                self.commit("close vault", settle_alone)?;
            }
            if self.cleaner.is_idle() {
                break;
            }
            let due = self.gather(OBJECTS_PER_ROUND_MAX)?;
            if due.rows.is_empty() {
                break;
            }
            if self.owner.is_some() {
                // The store may not answer for long.
                self.delete_gathered(due);
                self.wait_for_deletes("close vault")?;
            } else {
                self.delete(due)?;
            }
        }
        Ok(())
    }

    /// Whether nothing is to be deleted for now: an older state may lie in the place of a newer one, or a shared
    /// store has failed at it a moment ago. A shared store is not asked here, but by a thread.
    fn is_put_off(self: &Arc<Self>) -> bool {
        if self.owner.is_none() {
            return self.may_be_behind();
        }
        let now = self.components.clock.monotonic();
        if self.cleaner.failed_at.lock().is_some_and(|at| now.saturating_sub(at) < FAILED_FOR) {
            return true;
        }
        if !self.seems_behind() {
            return false;
        }
        let vault = Arc::downgrade(self);
        let _ = self.far.spawn(Duration::ZERO, move || {
            if let Some(inner) = vault.upgrade()
                && inner.may_be_behind()
            {
                inner.note_failed();
            }
        });
        true
    }

    /// A shared store has failed at deletes: they are not asked of it again for a while.
    fn note_failed(&self) {
        *self.cleaner.failed_at.lock() = Some(self.components.clock.monotonic());
    }

    /// What a write deletes on its way. The caller has the writer's turn.
    pub(super) fn gather_due(self: &Arc<Self>) -> Due {
        if self.cleaner.is_idle() || self.store.failed() || self.is_put_off() {
            return Due::default();
        }
        self.gather(OBJECTS_PER_WRITE_MAX).unwrap_or_else(|error| {
            tracing::warn!(error = %error.kind(), "clean-up put off");
            Due::default()
        })
    }

    /// Deletes what a write gathered: by itself where the backend is near, else by a thread that no write waits
    /// for. What fails is tried again by a later one.
    pub(super) fn delete_gathered(self: &Arc<Self>, due: Due) {
        if due.rows.is_empty() {
            return;
        }
        if self.owner.is_none() {
            return self.delete_or_put_off(due);
        }
        let (vault, due) = (Arc::downgrade(self), Arc::new(Mutex::new(Some(due))));
        let taken = Arc::clone(&due);
        let run = move || {
            // If the vault is closed by now, the next open finds what is due.
            if let (Some(inner), Some(due)) = (vault.upgrade(), taken.lock().take()) {
                inner.delete_or_put_off(due);
            }
        };
        if self.far.spawn(Duration::ZERO, run).is_err()
            && let Some(due) = due.lock().take()
        {
            due.rows.iter().for_each(|(row, _)| self.give_back(row));
            self.cleaner.note_doomed();
        }
    }

    /// Waits until what writes have had deleted by a thread is, or has failed; `Unavailable` if that takes longer
    /// than the write timeout.
    fn wait_for_deletes(&self, operation: &'static str) -> Result<()> {
        if self.owner.is_none() {
            return Ok(());
        }
        let (sender, done) = std::sync::mpsc::sync_channel(1);
        // Tasks of one thread run in order.
        self.far.spawn(Duration::ZERO, move || {
            let _ = sender.send(());
        })?;
        done.recv_timeout(self.writer.timeout()).map_err(|_| {
            Error::new(ErrorKind::Unavailable, operation)
                .with_reason(Reason::StoreUnreachable)
                .with_detail("the store has not answered deletes in time")
        })
    }

    fn delete_or_put_off(&self, due: Due) {
        if let Err(error) = self.delete(due) {
            tracing::warn!(error = %error.kind(), "clean-up put off");
            self.note_failed();
            self.cleaner.note_doomed();
        }
    }

    /// Deletes all that is due now and no reader can reach, however much that is. Their rows go
    /// with whatever commits next. What fails is tried again by a later write.
    pub(crate) fn delete_all_due(&self) -> Result<()> {
        loop {
            let due = {
                let _turn = self.writer.acquire("clean vault")?;
                if self.cleaner.is_idle() || self.store.failed() {
                    return Ok(());
                }
                self.gather(OBJECTS_PER_ROUND_MAX)?
            };
            if due.rows.is_empty() {
                return Ok(());
            }
            self.delete(due)?;
        }
    }

    /// Rows that are due, naming about `limit` objects. The caller has the writer's turn, so
    /// what is read here is on disk.
    fn gather(&self, limit: usize) -> Result<Due> {
        let mut due = Due::default();
        if self.may_be_behind() || self.deletes_wait() {
            return Ok(due);
        }
        // Cleared before the look, so that a deletion that fails meanwhile is not forgotten.
        self.cleaner.doomed.store(false, Ordering::Release);
        let abandoned: Vec<StageId> = self.cleaner.abandoned.lock().drain(..).collect();
        let gathered = self
            .gather_doomed(limit, &mut due)
            .and_then(|()| self.gather_abandoned(&abandoned, limit, &mut due));
        match gathered {
            Ok(taken) => {
                self.put_back(&abandoned[taken..]);
                if due.more {
                    self.cleaner.note_doomed();
                }
                self.cleaner.in_hand.lock().extend(due.rows.iter().map(|(row, _)| row.clone()));
                Ok(due)
            }
            Err(error) => {
                self.put_back(&abandoned);
                self.cleaner.note_doomed();
                Err(error)
            }
        }
    }

    fn put_back(&self, stages: &[StageId]) {
        self.cleaner.abandoned.lock().extend(stages);
    }

    fn gather_doomed(&self, limit: usize, due: &mut Due) -> Result<()> {
        let reached = self.pins.due();
        let state = self.store.read()?;
        let in_hand = self.cleaner.in_hand.lock().clone();
        for entry in state.range(Table::Doomed, (Bound::Unbounded, Bound::Unbounded))? {
            let key = DoomedKey::decode(entry?.key.as_slice())?;
            let row = DueRow::Doomed(key.encode());
            if in_hand.contains(&row) {
                continue;
            }
            if key.commit > reached || due.objects >= limit {
                due.more = true;
                return Ok(());
            }
            due.push(row, vec![key.name]);
        }
        Ok(())
    }

    /// How many of `stages` were gathered.
    fn gather_abandoned(&self, stages: &[StageId], limit: usize, due: &mut Due) -> Result<usize> {
        let state = self.store.read()?;
        for (taken, stage) in stages.iter().enumerate() {
            if due.objects >= limit {
                return Ok(taken);
            }
            let (from, to) = (stage.key(0), stage.key(u32::MAX));
            let span = (Bound::Included(&from[..]), Bound::Included(&to[..]));
            for entry in state.range(Table::Pending, span)? {
                let entry = entry?;
                let key = entry.key.as_slice().try_into().expect("within the span of such keys");
                let pending = PendingRow::decode(entry.row.as_slice())?;
                due.push(DueRow::Pending(key), pending.names().to_vec());
            }
        }
        Ok(stages.len())
    }

    fn delete(&self, due: Due) -> Result<()> {
        if due.rows.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.confirm_ownership() {
            due.rows.iter().for_each(|(row, _)| self.give_back(row));
            return Err(error);
        }
        let names: Vec<ObjectName> =
            due.rows.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut failure = None;
        if names.len() > 1 {
            match self.objects.delete_all(&names) {
                Ok(()) => {
                    self.cleaner.settled.lock().extend(due.rows.into_iter().map(|(row, _)| row));
                    return Ok(());
                }
                Err(error) => failure = Some(error).filter(|error| self.is_of_all(error)),
            }
        }
        // One by one, to learn which of them fail; but not where the backend does not answer.
        for (row, objects) in due.rows {
            let deleted = match &failure {
                Some(error) if self.is_of_all(error) => Err(error.clone()),
                _ => self.confirm_recently().and_then(|()| {
                    objects.into_iter().try_for_each(|name| self.objects.delete(name))
                }),
            };
            match deleted {
                Ok(()) => self.cleaner.settled.lock().push_back(row),
                Err(error) => {
                    self.give_back(&row);
                    if failure.as_ref().is_none_or(|earlier| !self.is_of_all(earlier)) {
                        failure = Some(error);
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether what was asked next would fail as well: the store does not answer, or forbids it.
    fn is_of_all(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Uncertain | ErrorKind::Closed => true,
            ErrorKind::Denied => self.owner.is_some(),
            _ => false,
        }
    }

    /// A row whose objects could not be deleted is due again.
    fn give_back(&self, row: &DueRow) {
        self.cleaner.in_hand.lock().remove(row);
        if let DueRow::Pending(key) = row {
            let stage = StageId(*key.first_chunk().expect("a stage id comes first"));
            let mut abandoned = self.cleaner.abandoned.lock();
            if !abandoned.contains(&stage) {
                abandoned.push_back(stage);
            }
        }
    }

    /// Makes everything due that a dead process left: no staging of it lives, and no reader.
    pub(super) fn adopt_leftovers(&self) -> Result<()> {
        let state = self.store.read()?;
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut last = None;
        for entry in state.range(Table::Pending, all)? {
            let entry = entry?;
            let id = entry.key.as_slice().first_chunk().copied().map(StageId);
            if let Some(stage) = id.filter(|_| id != last) {
                self.cleaner.abandon(stage);
                last = id;
            }
        }
        self.note_leftovers(&state)
    }

    /// Learns from the tables what there is to do. Pending rows are not looked at: those of live
    /// stagings are among them.
    pub(super) fn note_leftovers(&self, state: &StateRead) -> Result<()> {
        if state.len(Table::Doomed)? > 0 {
            self.cleaner.note_doomed();
        }
        self.cleaner.set_dropping(state.len(Table::Dropping)? > 0);
        Ok(())
    }
}
