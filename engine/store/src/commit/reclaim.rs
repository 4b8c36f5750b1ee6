//! Deletion of unreferenced objects, and of the rows that name them.
//!
//! Two kinds of rows are due: **doomed** rows older than every live reader, and **pending** rows of
//! abandoned stagings. An object is deleted first, and its row later, with the next commit. So the
//! row costs no sync, and after a crash in between the object is only deleted once more.
//!
//! Due rows are gathered under the write turn. No commit is then in doubt, so a row that is read is
//! a row on disk. The deletion itself holds no lock.
//!
//! Deletion happens at the end of every write that finds due rows (bounded), at open, at close
//! (bounded), and in [`Core::delete_due`]. On a local disk it has no thread of its own.

use std::collections::{HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::core::Core;
use super::tx::Tx;
use super::writer::Turn;
use crate::state::Table;
use strongroom_base::LongCall;
use strongroom_format::{DoomedKey, ObjectName, PendingRow, StageId};

const CLEAN: &str = "clean vault";

/// Most objects that one write deletes.
const OBJECTS_PER_WRITE_MAX: usize = 32;
/// Most objects that [`Core::delete_due`] deletes between two commits.
const OBJECTS_PER_ROUND_MAX: usize = 1_000;

/// Most such rounds of a close. The next open deletes the rest.
const CLOSE_ROUNDS_MAX: usize = 16;

/// Pause after a failed delete on a shared store. Explicit calls ignore it.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// The due rows, and the deletions in progress.
#[derive(Debug, Default)]
pub struct Reclaim {
    /// Stagings that will not be committed.
    abandoned: Mutex<VecDeque<StageId>>,
    /// Set if doomed rows may exist.
    doomed: AtomicBool,
    /// Rows of deleted objects, for the next commit to remove; oldest first.
    settled: Mutex<VecDeque<DueRow>>,
    /// Rows that were gathered and are still in their table.
    in_hand: Mutex<HashSet<DueRow>>,
    /// Time of the last failed shared-store delete, by the monotonic clock.
    failed_at: Mutex<Option<Duration>>,
}

/// The key of a row of table pending or doomed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DueRow {
    Pending([u8; 20]),
    Doomed([u8; 24]),
}

impl DueRow {
    pub fn table(&self) -> Table {
        match self {
            Self::Pending(_) => Table::Pending,
            Self::Doomed(_) => Table::Doomed,
        }
    }

    pub fn key(&self) -> &[u8] {
        match self {
            Self::Pending(key) => key,
            Self::Doomed(key) => key,
        }
    }
}

/// Gathered rows, with the objects that they name.
#[derive(Debug, Default)]
pub(super) struct Due {
    rows: Vec<(DueRow, Vec<ObjectName>)>,
    objects: usize,
    /// Set if the limit was reached before the end.
    more: bool,
}

impl Due {
    fn push(&mut self, row: DueRow, objects: Vec<ObjectName>) {
        self.objects += objects.len();
        self.rows.push((row, objects));
    }
}

impl Reclaim {
    /// Marks a staging that will not be committed as due.
    pub fn abandon(&self, stage: StageId) {
        self.abandoned.lock().push_back(stage);
    }

    /// Records that doomed rows exist.
    pub fn note_doomed(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Returns the rows that the current commit removes.
    pub fn settled(&self) -> Vec<DueRow> {
        self.settled.lock().iter().take(OBJECTS_PER_ROUND_MAX).cloned().collect()
    }

    /// Forgets the first `count` settled rows, which a commit has removed.
    pub fn forget_settled(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut in_hand = self.in_hand.lock();
        for row in self.settled.lock().drain(..count) {
            in_hand.remove(&row);
        }
    }

    /// Returns whether any row is due, or names a deleted object.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.is_idle()
    }

    /// Returns whether the next commit has rows to remove.
    pub(super) fn has_settled(&self) -> bool {
        !self.settled.lock().is_empty()
    }

    fn is_idle(&self) -> bool {
        !self.doomed.load(Ordering::Acquire) && self.abandoned.lock().is_empty()
    }
}

/// Commits only the rows of the hooks.
#[allow(clippy::unnecessary_wraps)] // It has the signature of a change.
fn settle_alone(tx: &mut Tx<'_>) -> Result<()> {
    // Internal, because a statistic would reveal updates of the share space.
    tx.mark_upkeep();
    Ok(())
}

impl Core {
    /// Commits the rows of the hooks, until no hook has more.
    pub fn settle_rows(self: &Arc<Self>, call: LongCall<'_>) -> Result<()> {
        loop {
            call.check(CLEAN)?;
            let turn = self.turn(CLEAN)?;
            self.commit(&turn, CLEAN, settle_alone)?;
            if !self.hooks().iter().any(|hook| hook.has_more()) {
                return Ok(());
            }
        }
    }

    /// Deletes due objects and removes their rows; returns their number.
    pub fn delete_due(self: &Arc<Self>, call: LongCall<'_>) -> Result<u64> {
        let mut objects = 0;
        loop {
            call.check(CLEAN)?;
            // Objects whose deletion failed become due again.
            self.wait_for_deletes(CLEAN)?;
            let due = {
                let turn = self.turn(CLEAN)?;
                self.commit(&turn, CLEAN, settle_alone)?;
                self.gather(&turn, OBJECTS_PER_ROUND_MAX)?
            };
            if due.rows.is_empty() {
                return Ok(objects);
            }
            objects += due.objects as u64;
            self.delete(due)?;
        }
    }

    /// Returns whether an earlier session or a failed deletion left work.
    pub fn has_leftovers(&self) -> bool {
        self.reclaim().has_leftovers() || self.hooks().iter().any(|hook| hook.has_more())
    }
}

impl Core {
    /// Deletes due objects and removes their rows before a close.
    ///
    /// The work is bounded; the next open does the rest.
    pub(super) fn clean_before_close(self: &Arc<Self>, turn: &Turn<'_>) -> Result<()> {
        if self.store().failed() || self.is_put_off() {
            return Ok(());
        }
        for _ in 0..CLOSE_ROUNDS_MAX {
            if self.reclaim().has_settled() || self.hooks().iter().any(|hook| hook.has_last_rows())
            {
                self.commit(turn, "close vault", settle_alone)?;
            }
            if self.reclaim().is_idle() {
                break;
            }
            let due = self.gather(turn, OBJECTS_PER_ROUND_MAX)?;
            if due.rows.is_empty() {
                break;
            }
            if self.objects().is_remote() {
                // The store may not answer for a long time.
                self.delete_gathered(due);
                self.wait_for_deletes("close vault")?;
            } else {
                self.delete(due)?;
            }
        }
        Ok(())
    }

    /// Returns whether deletes must wait.
    ///
    /// They wait if an older state may have replaced a newer one, or after a recent failure of a
    /// shared store. A thread asks the store, not this call.
    fn is_put_off(self: &Arc<Self>) -> bool {
        if !self.objects().is_remote() {
            return self.fence().may_be_superseded(self);
        }
        let now = self.clock().monotonic();
        if self.reclaim().failed_at.lock().is_some_and(|at| now.saturating_sub(at) < FAILED_FOR) {
            return true;
        }
        if !self.fence().seems_superseded() {
            return false;
        }
        let vault = Arc::downgrade(self);
        let _ = self.store_tasks().spawn(Duration::ZERO, move || {
            if let Some(inner) = vault.upgrade()
                && inner.fence().may_be_superseded(&inner)
            {
                inner.note_failed();
            }
        });
        true
    }

    /// Records a failed delete on a shared store, which pauses deletes.
    fn note_failed(&self) {
        *self.reclaim().failed_at.lock() = Some(self.clock().monotonic());
    }

    /// Gathers the rows whose objects a write deletes.
    pub(super) fn gather_due(self: &Arc<Self>, turn: &Turn<'_>) -> Due {
        if self.reclaim().is_idle() || self.store().failed() || self.is_put_off() {
            return Due::default();
        }
        self.gather(turn, OBJECTS_PER_WRITE_MAX).unwrap_or_else(|error| {
            tracing::warn!(error = %error.kind(), "clean-up postponed");
            Due::default()
        })
    }

    /// Deletes the objects that a write gathered.
    ///
    /// On a local backend this thread does so, on a remote one a background thread. A later write
    /// retries failures.
    pub(super) fn delete_gathered(self: &Arc<Self>, due: Due) {
        if due.rows.is_empty() {
            return;
        }
        if !self.objects().is_remote() {
            return self.delete_or_put_off(due);
        }
        let (vault, due) = (Arc::downgrade(self), Arc::new(Mutex::new(Some(due))));
        let taken = Arc::clone(&due);
        let run = move || {
            // If the vault is closed meanwhile, the next open finds the due rows.
            if let (Some(inner), Some(due)) = (vault.upgrade(), taken.lock().take()) {
                inner.delete_or_put_off(due);
            }
        };
        if self.store_tasks().spawn(Duration::ZERO, run).is_err()
            && let Some(due) = due.lock().take()
        {
            due.rows.iter().for_each(|(row, _)| self.give_back(row));
            self.reclaim().note_doomed();
        }
    }

    /// Waits for the deletes of earlier writes in the background; `Unavailable` after the write
    /// timeout.
    fn wait_for_deletes(&self, operation: &'static str) -> Result<()> {
        if !self.objects().is_remote() {
            return Ok(());
        }
        let (sender, done) = std::sync::mpsc::sync_channel(1);
        // Tasks of one thread run in order.
        self.store_tasks().spawn(Duration::ZERO, move || {
            let _ = sender.send(());
        })?;
        done.recv_timeout(self.write_timeout()).map_err(|_| {
            Error::new(ErrorKind::Unavailable, operation)
                .with_reason(Reason::StoreUnreachable)
                .with_detail("the store has not answered deletes in time")
        })
    }

    fn delete_or_put_off(&self, due: Due) {
        if let Err(error) = self.delete(due) {
            tracing::warn!(error = %error.kind(), "clean-up postponed");
            self.note_failed();
            self.reclaim().note_doomed();
        }
    }

    /// Deletes all due objects that no reader can reach, without a limit.
    ///
    /// The next commit removes their rows. A later write retries failures.
    pub fn delete_all_due(&self) -> Result<()> {
        loop {
            let due = {
                let turn = self.turn(CLEAN)?;
                if self.reclaim().is_idle() || self.store().failed() {
                    return Ok(());
                }
                self.gather(&turn, OBJECTS_PER_ROUND_MAX)?
            };
            if due.rows.is_empty() {
                return Ok(());
            }
            self.delete(due)?;
        }
    }

    /// Gathers due rows that name about `limit` objects.
    ///
    /// The write turn ensures that the rows are on disk.
    fn gather(&self, _turn: &Turn<'_>, limit: usize) -> Result<Due> {
        let mut due = Due::default();
        if self.fence().may_be_superseded(self) || self.fence().deletes_wait() {
            return Ok(due);
        }
        // Cleared before reading, so that a deletion that fails meanwhile is not forgotten.
        self.reclaim().doomed.store(false, Ordering::Release);
        let abandoned: Vec<StageId> = self.reclaim().abandoned.lock().drain(..).collect();
        let gathered = self
            .gather_doomed(limit, &mut due)
            .and_then(|()| self.gather_abandoned(&abandoned, limit, &mut due));
        match gathered {
            Ok(taken) => {
                self.put_back(&abandoned[taken..]);
                if due.more {
                    self.reclaim().note_doomed();
                }
                self.reclaim().in_hand.lock().extend(due.rows.iter().map(|(row, _)| row.clone()));
                Ok(due)
            }
            Err(error) => {
                self.put_back(&abandoned);
                self.reclaim().note_doomed();
                Err(error)
            }
        }
    }

    fn put_back(&self, stages: &[StageId]) {
        self.reclaim().abandoned.lock().extend(stages);
    }

    fn gather_doomed(&self, limit: usize, due: &mut Due) -> Result<()> {
        let reached = self.read_epochs().due();
        let state = self.store().read()?;
        let in_hand = self.reclaim().in_hand.lock().clone();
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

    /// Gathers abandoned stagings; returns how many of `stages` were gathered.
    fn gather_abandoned(&self, stages: &[StageId], limit: usize, due: &mut Due) -> Result<usize> {
        let state = self.store().read()?;
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
        if let Err(error) = self.fence().admit_delete() {
            due.rows.iter().for_each(|(row, _)| self.give_back(row));
            return Err(error);
        }
        let names: Vec<ObjectName> =
            due.rows.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut failure = None;
        if names.len() > 1 {
            match self.objects().delete_all(&names) {
                Ok(()) => {
                    self.reclaim().settled.lock().extend(due.rows.into_iter().map(|(row, _)| row));
                    return Ok(());
                }
                Err(error) => failure = Some(error).filter(|error| self.is_of_all(error)),
            }
        }
        // One by one, to find those that fail; but not if the backend does not answer.
        for (row, objects) in due.rows {
            let deleted = match &failure {
                Some(error) if self.is_of_all(error) => Err(error.clone()),
                _ => self.fence().admit_delete_again().and_then(|()| {
                    objects.into_iter().try_for_each(|name| self.objects().delete(name))
                }),
            };
            match deleted {
                Ok(()) => self.reclaim().settled.lock().push_back(row),
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

    /// Returns whether further requests would fail too: the store does not answer, or forbids them.
    fn is_of_all(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Uncertain | ErrorKind::Closed => true,
            ErrorKind::Denied => self.objects().is_remote(),
            _ => false,
        }
    }

    /// Makes a row due again whose objects could not be deleted.
    fn give_back(&self, row: &DueRow) {
        self.reclaim().in_hand.lock().remove(row);
        if let DueRow::Pending(key) = row {
            let stage = StageId(*key.first_chunk().expect("a stage id comes first"));
            let mut abandoned = self.reclaim().abandoned.lock();
            if !abandoned.contains(&stage) {
                abandoned.push_back(stage);
            }
        }
    }

    /// Makes everything due that a dead process left: none of its stagings and readers lives.
    pub fn adopt_leftovers(&self) -> Result<()> {
        let state = self.store().read()?;
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut last = None;
        for entry in state.range(Table::Pending, all)? {
            let entry = entry?;
            let id = entry.key.as_slice().first_chunk().copied().map(StageId);
            if let Some(stage) = id.filter(|_| id != last) {
                self.reclaim().abandon(stage);
                last = id;
            }
        }
        self.note_leftovers(&state)
    }
}
