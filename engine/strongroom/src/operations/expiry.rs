//! Deleting operations by age.

use std::ops::Bound;
use std::time::Duration;

use strongroom_base::{Error, Result};

use super::machine::OperationState;
use super::room::Operations;
use super::rows::{is_own, read_row, remove_rows};
use strongroom_base::{LongCall, long_call_options};
use strongroom_format::OperationFields;
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// Approximate number of rows that one commit of an expiry deletes. An operation's rows go
/// together.
const ROWS_PER_COMMIT: u64 = 2_000;

const EXPIRE: &str = "expire operations";

/// Options of [`Operations::expire`]; by default, operations that ended 30 days ago.
///
/// Progress counts the operations examined, of all operations. A cancelled call leaves the rest
/// undeleted; its deletions stay.
#[derive(Clone, Copy, Debug)]
pub struct ExpireOperations<'a> {
    older_than: Duration,
    exhausted: bool,
    dry_run: bool,
    call: LongCall<'a>,
}

long_call_options!(ExpireOperations);

impl Default for ExpireOperations<'_> {
    fn default() -> Self {
        let older_than = Duration::from_secs(30 * 24 * 60 * 60);
        Self { older_than, exhausted: false, dry_run: false, call: LongCall::new() }
    }
}

impl ExpireOperations<'_> {
    /// Creates the default options: operations that ended 30 days ago.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects operations whose last change is at least `age` ago.
    ///
    /// A change in the clock's future counts as now.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = age;
        self
    }

    /// Includes operations that have no try left.
    ///
    /// Completed and cancelled ones are always included.
    #[must_use]
    pub fn exhausted(mut self, exhausted: bool) -> Self {
        self.exhausted = exhausted;
        self
    }

    /// Reports the operations that would be deleted, without deleting them.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// Report of an expiry: the operations deleted, or due in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredOperations {
    /// Ids in order, at most the first [`LISTED_MAX`](Self::LISTED_MAX).
    pub ids: Vec<String>,
    /// Number of operations deleted.
    pub operations: u64,
    /// Number of operations kept.
    pub kept: u64,
}

impl ExpiredOperations {
    /// Most ids in [`ids`](Self::ids).
    pub const LISTED_MAX: usize = 10_000;
}

/// Operations due for deletion, in one part of the table.
#[derive(Default)]
struct DueOperations {
    ids: Vec<String>,
    /// Key after which the search continues, if more operations may follow.
    last: Option<Vec<u8>>,
    /// Number of operations examined.
    looked_at: u64,
    /// Number of the host's operations among those examined.
    of_host: u64,
}

/// Retention.
impl Operations {
    /// Deletes operations that ended long ago, with their checkpoints and history.
    ///
    /// The call examines all operations, and deletes in several durable commits of bounded size. An
    /// interrupted call has deleted some operations, each of them whole. It never deletes an
    /// operation that can be resumed, or that has a live handle.
    ///
    /// `Cancelled` if the options' token is cancelled.
    pub fn expire(&self, options: &ExpireOperations<'_>) -> Result<ExpiredOperations> {
        let now = self.shared.core.clock().unix_millis();
        let mut report = ExpiredOperations::default();
        let total = self.shared.read()?.operation_count()?;
        let mut looked_at = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            options.call.check(EXPIRE)?;
            let DueOperations { ids: due, last, looked_at: seen, of_host } =
                self.next_due(options, now, after.as_deref())?;
            looked_at += seen;
            let dropped = self.drop_due(options, now, due)?;
            report.kept += of_host - dropped.len() as u64;
            for id in dropped {
                report.operations += 1;
                if report.ids.len() < ExpiredOperations::LISTED_MAX {
                    report.ids.push(id);
                }
            }
            options.call.report(looked_at.min(total), Some(total));
            after = last;
            if after.is_none() {
                return Ok(report);
            }
        }
    }

    /// Returns the next due operations, about as many as one commit deletes.
    fn next_due(
        &self,
        options: &ExpireOperations<'_>,
        now: u64,
        after: Option<&[u8]>,
    ) -> Result<DueOperations> {
        let snapshot = self.shared.read()?;
        let span = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let (mut next, mut rows) = (DueOperations::default(), 0);
        for entry in snapshot.state().range(Table::Operations, span)? {
            let entry = entry?;
            let id = String::from_utf8_lossy(entry.key.as_slice()).into_owned();
            next.looked_at += 1;
            if is_own(&id) {
                continue;
            }
            next.of_host += 1;
            // A row that does not decode is never due.
            if let Ok(row) = OperationFields::decode(entry.row.as_slice())
                && is_due(options, &row, now)
                && self.shared.owners.generation(&id).is_none()
            {
                rows += 1 + u64::from(row.lanes) * u64::from(row.checkpoints_kept);
                next.ids.push(id);
            }
            if rows >= ROWS_PER_COMMIT || next.looked_at >= ROWS_PER_COMMIT {
                next.last = Some(entry.key.as_slice().to_vec());
                break;
            }
        }
        Ok(next)
    }

    fn drop_due(
        &self,
        options: &ExpireOperations<'_>,
        now: u64,
        due: Vec<String>,
    ) -> Result<Vec<String>> {
        if options.dry_run || due.is_empty() {
            return Ok(due);
        }
        let change = |tx: &mut Tx<'_>| {
            let mut dropped = Vec::with_capacity(due.len());
            for id in due {
                // The operation may have been taken over or deleted since it was selected.
                if self.shared.owners.generation(&id).is_none()
                    && read_row(tx, &id)?.is_some_and(|row| is_due(options, &row, now))
                {
                    remove_rows(tx, &id)?;
                    dropped.push(id);
                }
            }
            Ok::<_, Error>(dropped)
        };
        self.shared.core.write(EXPIRE, change)
    }
}

fn is_due(options: &ExpireOperations<'_>, row: &OperationFields, now: u64) -> bool {
    let state = OperationState::from(row.state);
    let exhausted = super::spec::RetryPolicy::from(row.retry).is_exhausted(row.attempts);
    let ended = state.is_finished() || (options.exhausted && exhausted);
    let age = Duration::from_millis(now.saturating_sub(row.updated_unix_millis));
    ended && age >= options.older_than
}
