//! Automatic checkpoints: often enough to repeat little, seldom enough to cost little.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_base::component::Clock;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::checkpoint::Checkpoint;
use super::lane::Lane;
use crate::records::Batch;
use crate::records::Payload;
use strongroom_base::{CancelToken, LongCall, Progress};

/// Number of intervals after which a commit is made at any cost.
const INTERVALS_MAX: u32 = 10;

/// Rules for when an [`AutoCheckpoint`] commits.
///
/// A commit is due after a number of items, an interval, or an amount of progress, whichever is
/// first. A due commit is made once its expected time is a small share ([`cost`](Self::cost)) of
/// the work since the last one. It is made at the latest after ten intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointPolicy {
    /// Number of items after which a commit is due; above 0.
    pub items: u64,
    /// Time after which a commit is due.
    pub interval: Duration,
    /// Progress of the lane after which a commit is due.
    ///
    /// A fraction above 0, at most 1. Used only if the [total](AutoCheckpoint::total) is known.
    pub progress: f64,
    /// Largest fraction of the work's time that commits may take.
    ///
    /// Above 0, at most 1; 1 sets no limit. A commit's time is estimated from earlier commits.
    pub cost: f64,
    /// Size of the batch, in bytes, that forces a commit; above 0.
    pub batch_bytes: u64,
}

impl CheckpointPolicy {
    /// Commits after 1,000 items, a minute, or 10 % of the lane.
    ///
    /// Whichever is first makes a commit due. Commits take about 1 % of the work's time at most. A
    /// batch of 4 MiB is committed at any cost.
    pub const DEFAULT: Self = Self {
        items: 1_000,
        interval: Duration::from_secs(60),
        progress: 0.1,
        cost: 0.01,
        batch_bytes: 4 << 20,
    };

    /// Commits after every item.
    pub const EACH: Self = Self { items: 1, cost: 1.0, ..Self::DEFAULT };

    fn validate(&self) -> Result<()> {
        let part = |part: f64| part > 0.0 && part <= 1.0;
        if self.items > 0 && part(self.progress) && part(self.cost) && self.batch_bytes > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "start auto checkpoint")
            .with_detail("items and bytes must be above 0, fractions above 0 and at most 1"))
    }
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A lane whose items are committed in batches, each with a checkpoint.
///
/// The [`CheckpointPolicy`] decides when a batch commits. A call that commits returns once the
/// commit is durable.
///
/// Changes since the last commit are held only in memory. After a crash, the host processes their
/// items again; no item is stored twice. Dropping this value without [`finish`](Self::finish) or
/// [`flush`](Self::flush) loses those changes too.
///
/// ```
/// # use strongroom::operations::{Checkpoint, CheckpointPolicy};
/// # use strongroom::{SecretPassword, Vault};
/// # fn main() -> strongroom::Result<()> {
/// # let folder = tempfile::tempdir().expect("a temporary folder");
/// # let path = folder.path().join("vault");
/// # let vault = Vault::options(SecretPassword::new("correct horse battery")).create(&path)?;
/// let import = vault.operations().begin("import-7", ["main"])?;
/// let lane = import.lane("main")?;
/// let (first, total) = (lane.status()?.decode::<u64>()?.unwrap_or(0), 5_000);
/// let mut writer = lane.auto_checkpoint(CheckpointPolicy::DEFAULT, first)?.total(total);
/// for item in first..total {
///     writer.insert("squares", item.to_be_bytes(), (item * item).to_be_bytes());
///     writer.step(|| Checkpoint::encode(&(item + 1)))?;
/// }
/// writer.finish(Checkpoint::encode(&total)?)?;
/// assert_eq!(vault.read()?.count("squares")?, 5_000);
/// # Ok(())
/// # }
/// ```
pub struct AutoCheckpoint<'a> {
    lane: &'a Lane,
    policy: CheckpointPolicy,
    clock: Arc<dyn Clock>,
    call: LongCall<'a>,
    batch: Batch,
    batch_bytes: u64,
    /// Number of items done.
    done: u64,
    /// Number of items in all, if known.
    total: Option<u64>,
    /// Value of `done` at the last commit, or at the beginning.
    done_at_commit: u64,
    /// Monotonic time at which the last commit ended, or the work began.
    ended: Duration,
    /// Estimated time of a commit: the mean of the last commit's time and the previous estimate.
    cost: Duration,
    /// Set when a commit or a checkpoint callback fails. The commit may have happened, so only the
    /// lane's status says which items are stored.
    failed: bool,
}

impl fmt::Debug for AutoCheckpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoCheckpoint")
            .field("policy", &self.policy)
            .field("done", &self.done)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Lane {
    /// Starts work on the lane's items, committed as `policy` decides.
    ///
    /// `done` is the number of items that are already done. `Invalid` for a policy beyond its
    /// limits.
    pub fn auto_checkpoint(
        &self,
        policy: CheckpointPolicy,
        done: u64,
    ) -> Result<AutoCheckpoint<'_>> {
        policy.validate()?;
        let clock = self.clock();
        Ok(AutoCheckpoint {
            lane: self,
            policy,
            call: LongCall::new(),
            batch: Batch::new(),
            batch_bytes: 0,
            done,
            total: None,
            done_at_commit: done,
            ended: clock.monotonic(),
            cost: Duration::ZERO,
            failed: false,
            clock,
        })
    }
}

impl<'a> AutoCheckpoint<'a> {
    /// Sets the number of all items, including those done before. Progress is a fraction of it.
    #[must_use]
    pub fn total(mut self, items: u64) -> Self {
        self.total = Some(items);
        self
    }

    /// Reports the number of done items to `progress`, after each item.
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.call = self.call.progress(progress);
        self
    }

    /// Stops the work when `cancel` is cancelled: `step` commits and fails with `Cancelled`.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> Self {
        self.call = self.call.cancel(cancel);
        self
    }

    /// Adds a change to the next commit: sets the value of `key`.
    pub fn insert<'p>(
        &mut self,
        namespace: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Payload<'p>>,
    ) -> &mut Self {
        let (namespace, key, value) = (namespace.into(), key.into(), value.into());
        self.batch_bytes += (namespace.len() + key.len()) as u64 + value.bytes_in_memory();
        self.batch.insert(namespace, key, value);
        self
    }

    /// Adds a change to the next commit: deletes the record of `key`, if it exists.
    pub fn delete(&mut self, namespace: impl Into<String>, key: impl Into<Vec<u8>>) -> &mut Self {
        let (namespace, key) = (namespace.into(), key.into());
        self.batch_bytes += (namespace.len() + key.len()) as u64;
        self.batch.delete(namespace, key);
        self
    }

    /// Counts one more item as done, and returns whether this call committed.
    ///
    /// If a commit is due, `checkpoint` is called, and must return a checkpoint that includes this
    /// item. If that checkpoint sets no progress, it gets the fraction of items done.
    ///
    /// `Cancelled` if the token is cancelled; everything done is committed before. Otherwise fails
    /// as [`Lane::commit`] or `checkpoint` does. After such a failure every further call fails with
    /// `Invalid`: read the lane's status, and start again from there.
    pub fn step(&mut self, checkpoint: impl FnOnce() -> Result<Checkpoint>) -> Result<bool> {
        const STEP: &str = "step lane";
        self.refuse_failed(STEP)?;
        self.done += 1;
        self.call.report(self.done, self.total);
        let cancelled = self.call.is_cancelled();
        let now = self.clock.monotonic();
        let commits = cancelled || self.is_due(now);
        if commits {
            self.failed = true;
            self.commit(checkpoint()?)?;
        }
        if cancelled {
            Err(Error::new(ErrorKind::Cancelled, STEP).with_reason(Reason::Cancelled))
        } else {
            Ok(commits)
        }
    }

    /// Commits everything done so far, with `checkpoint`. The lane stays open.
    ///
    /// Use it to stop early and keep the work. Fails as [`Lane::commit`] does, and with `Invalid`
    /// after a failed commit.
    pub fn flush(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.refuse_failed("flush lane")?;
        self.commit(checkpoint)
    }

    /// Commits the rest, with a last checkpoint that completes the lane.
    ///
    /// Fails as [`flush`](Self::flush) does.
    pub fn finish(mut self, checkpoint: Checkpoint) -> Result<()> {
        self.refuse_failed("finish lane")?;
        self.commit(checkpoint.complete())
    }

    fn is_due(&self, now: Duration) -> bool {
        let CheckpointPolicy { items, interval, progress, cost, batch_bytes } = self.policy;
        if self.batch_bytes >= batch_bytes {
            return true;
        }
        let worked = now.saturating_sub(self.ended);
        let since = self.done - self.done_at_commit;
        let part = self.total.map_or(0.0, |total| since as f64 / total.max(1) as f64);
        let due = since >= items || worked >= interval || part >= progress;
        let cheap = cost >= 1.0 || self.cost.as_secs_f64() <= cost * worked.as_secs_f64();
        // One commit that waited long for the write turn must not delay the next ones for hours.
        due && (cheap || worked >= interval.saturating_mul(INTERVALS_MAX))
    }

    fn commit(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let progress = self.total.map(|total| self.done as f64 / total.max(1) as f64);
        let checkpoint = match progress {
            Some(progress) => checkpoint.or_progress(progress.min(1.0)),
            None => checkpoint,
        };
        let began = self.clock.monotonic();
        self.failed = true;
        self.lane.commit(std::mem::take(&mut self.batch), checkpoint)?;
        self.failed = false;
        self.ended = self.clock.monotonic();
        let took = self.ended.saturating_sub(began);
        self.cost = if self.cost.is_zero() { took } else { (self.cost + took) / 2 };
        (self.batch_bytes, self.done_at_commit) = (0, self.done);
        Ok(())
    }

    fn refuse_failed(&self, call: &'static str) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, call).with_detail(
            "an earlier commit failed: read the lane's status, and start again from it",
        ))
    }
}
