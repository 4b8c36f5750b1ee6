//! When to checkpoint: often enough that little is done twice, seldom enough that it costs little.

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

/// After so many intervals a commit is made whatever it costs.
const INTERVALS_MAX: u32 = 10;

/// When a [`AutoCheckpoint`] lane commits.
///
/// A commit is due after so many items, or so much time, or so much progress, whichever comes first;
/// then it is made as soon as the work since the last one has taken long enough for the commit's
/// own time to be a small share of it, at the latest after ten intervals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointPolicy {
    /// Due after so many items.
    pub items: u64,
    /// Due after so long.
    pub interval: Duration,
    /// Due after so much progress of the lane, as a part of 1, where the total is known.
    pub progress: f64,
    /// The largest part of the work's time that commits may take, as a part of 1; guessed from how
    /// long the ones before took. 1 for no bound.
    pub cost: f64,
    /// Due at once, whatever it costs, when the changes held in memory have so many bytes.
    pub batch_bytes: u64,
}

impl CheckpointPolicy {
    /// A thousand items, a minute, or 10 %, whichever comes first, at 1 % of the work's time; at
    /// most 4 MiB held.
    pub const DEFAULT: Self = Self {
        items: 1_000,
        interval: Duration::from_secs(60),
        progress: 0.1,
        cost: 0.01,
        batch_bytes: 4 << 20,
    };

    /// After every item.
    pub const EACH: Self = Self { items: 1, cost: 1.0, ..Self::DEFAULT };

    fn validate(&self) -> Result<()> {
        let part = |part: f64| part > 0.0 && part <= 1.0;
        if self.items > 0 && part(self.progress) && part(self.cost) && self.batch_bytes > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "pace lane")
            .with_detail("items and bytes must be above 0, parts above 0 and at most 1"))
    }
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A lane whose items commit together, a checkpoint with each commit, as its
/// [`CheckpointPolicy`] says.
///
/// What was added since the last commit is in memory alone: if the process dies, the items since
/// are done again, and none twice in what is stored. Dropped without [`finish`](Self::finish), that
/// is lost too.
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
    /// Items done, and how many there are.
    done: u64,
    total: Option<u64>,
    /// As of the last commit, or the beginning.
    done_then: u64,
    ended: Duration,
    /// How long a commit takes: the mean of the last one and of what was guessed for it.
    cost: Duration,
    /// A commit failed: whether its items are stored, the lane must be asked.
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
    /// Works through the lane's items, of which `done` are done, at the pace that `policy` says.
    /// `Invalid` for a policy beyond its bounds.
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
            done_then: done,
            ended: clock.monotonic(),
            cost: Duration::ZERO,
            failed: false,
            clock,
        })
    }
}

impl<'a> AutoCheckpoint<'a> {
    /// Says how many items there are, done ones included: progress is a part of that.
    #[must_use]
    pub fn total(mut self, items: u64) -> Self {
        self.total = Some(items);
        self
    }

    /// Reports the items done to `progress`, after each.
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.call = self.call.progress(progress);
        self
    }

    /// Ends with `Cancelled` when `cancel` is cancelled, once what is done has been committed.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> Self {
        self.call = self.call.cancel(cancel);
        self
    }

    /// Adds to the next commit: make `value` the value of `key`.
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

    /// Adds to the next commit: delete the record of `key`, if there is one.
    pub fn delete(&mut self, namespace: impl Into<String>, key: impl Into<Vec<u8>>) -> &mut Self {
        let (namespace, key) = (namespace.into(), key.into());
        self.batch_bytes += (namespace.len() + key.len()) as u64;
        self.batch.delete(namespace, key);
        self
    }

    /// One more item is done. Commits if that is due, with the checkpoint that `checkpoint` makes
    /// then, which must say that this item is done; its progress is that of the items, unless it
    /// has one. Whether it has committed.
    ///
    /// `Cancelled` after committing, if the token is cancelled. Other errors as those of
    /// [`Lane::commit`], or of `checkpoint`; after one every further call is `Invalid`: ask the lane
    /// where it stands.
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

    /// Commits now what is done, with that checkpoint; the lane goes on. For whoever stops early and
    /// keeps what it has.
    pub fn flush(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.refuse_failed("flush lane")?;
        self.commit(checkpoint)
    }

    /// Commits what is left, with a last checkpoint that completes the lane.
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
        let since = self.done - self.done_then;
        let part = self.total.map_or(0.0, |total| since as f64 / total.max(1) as f64);
        let due = since >= items || worked >= interval || part >= progress;
        let cheap = cost >= 1.0 || self.cost.as_secs_f64() <= cost * worked.as_secs_f64();
        // One commit that had to wait long for its turn must not put off the next ones for hours.
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
        (self.batch_bytes, self.done_then) = (0, self.done);
        Ok(())
    }

    fn refuse_failed(&self, call: &'static str) -> Result<()> {
        if !self.failed {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, call)
            .with_detail("a commit before it failed: ask the lane where it stands"))
    }
}
