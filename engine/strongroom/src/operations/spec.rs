//! Parameters of a new operation: name, lanes, metadata, version and retry policy.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use strongroom_base::backoff::Backoff;
use strongroom_base::{Error, ErrorKind, Result};

use super::rows::check_id;
use crate::records::check_name;
use strongroom_format::RetryRow;

/// Most lanes of one operation.
pub const LANES_MAX: usize = 4_096;

/// Longest metadata of an operation: all keys and values together, in bytes (16 KiB).
pub const METADATA_BYTES_MAX: usize = 16_384;

/// Most checkpoints kept of one lane.
pub const CHECKPOINTS_KEPT_MAX: u16 = 1_000;

/// Most checkpoints kept of all lanes of an operation: one commit deletes them.
const CHECKPOINTS_IN_ALL_MAX: usize = 65_536;

/// Name of the lane of an operation that was given none.
pub const ONLY_LANE: &str = "main";

/// Parameters of a new operation.
///
/// ```
/// use std::time::Duration;
/// use strongroom::operations::{OperationSpec, RetryPolicy};
///
/// let spec = OperationSpec::new("import-2026-11")
///     .name("import")
///     .lanes(["a-m", "n-z"])
///     .version(2)
///     .metadata("source", "/srv/in")
///     .retry(RetryPolicy { attempts_max: 3, ..RetryPolicy::DEFAULT });
/// ```
#[derive(Clone)]
pub struct OperationSpec {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) lanes: Vec<String>,
    pub(crate) version: u32,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) retry: RetryPolicy,
    pub(crate) checkpoints_kept: u16,
}

impl fmt::Debug for OperationSpec {
    /// Omits names and metadata, which are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationSpec")
            .field("lanes", &self.lanes.len())
            .field("version", &self.version)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl OperationSpec {
    /// Creates parameters for operation `id` with one lane, [`ONLY_LANE`].
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: None,
            lanes: vec![ONLY_LANE.to_owned()],
            version: 0,
            metadata: BTreeMap::new(),
            retry: RetryPolicy::DEFAULT,
            checkpoints_kept: 10,
        }
    }

    /// Names the kind of work, by which the runner finds the [`Handler`](crate::runner::Handler).
    ///
    /// Without a name, the id is used.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the lanes: one or more distinct names, at most [`LANES_MAX`].
    pub fn lanes(mut self, lanes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lanes = lanes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the version of the host's checkpoint format; 0 by default.
    ///
    /// A later program reads the version. It can refuse the operation or
    /// [migrate](crate::operations::Operation::migrate) it.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a pair for the host's own use; at most [`METADATA_BYTES_MAX`] bytes in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets how often the operation is tried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets how many checkpoints of each lane are kept, the latest included.
    ///
    /// 10 by default; at least 1, at most [`CHECKPOINTS_KEPT_MAX`], and at most 65,536 over all
    /// lanes. The commit that adds the newest checkpoint removes the oldest.
    pub fn checkpoints_kept(mut self, kept: u16) -> Self {
        self.checkpoints_kept = kept;
        self
    }

    /// Sorts the lanes and checks all limits; otherwise `Invalid`.
    pub(crate) fn checked(mut self) -> Result<Self> {
        const BEGIN: &str = "begin operation";
        check_id(BEGIN, &self.id)?;
        let invalid = |detail: String| {
            Err(Error::new(ErrorKind::Invalid, BEGIN).with_detail(detail).with_subject(&self.id))
        };
        if let Some(name) = &self.name {
            check_name(BEGIN, "operation name", name)?;
        }
        self.lanes.iter().try_for_each(|lane| check_name(BEGIN, "lane", lane))?;
        self.lanes.sort_unstable();
        let mut pairs = self.lanes.iter().zip(self.lanes.iter().skip(1));
        if let Some((twice, _)) = pairs.find(|(a, b)| a == b) {
            return invalid(format!("lane {twice:?} is named twice"));
        }
        match self.lanes.len() {
            0 => return invalid("an operation needs at least one lane".into()),
            1..=LANES_MAX => {}
            n => return invalid(format!("operation has {n} lanes, the limit is {LANES_MAX}")),
        }
        let metadata: usize =
            self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if metadata > METADATA_BYTES_MAX {
            return invalid(format!(
                "metadata has {metadata} bytes, the limit is {METADATA_BYTES_MAX}"
            ));
        }
        if !(1..=CHECKPOINTS_KEPT_MAX).contains(&self.checkpoints_kept) {
            return invalid(format!(
                "{} checkpoints to keep of a lane, must be within 1 to {CHECKPOINTS_KEPT_MAX}",
                self.checkpoints_kept
            ));
        }
        let kept = self.lanes.len() * usize::from(self.checkpoints_kept);
        if kept > CHECKPOINTS_IN_ALL_MAX {
            return invalid(format!(
                "{kept} checkpoints to keep of all lanes, the limit is {CHECKPOINTS_IN_ALL_MAX}"
            ));
        }
        Ok(self)
    }
}

/// Limits on an operation's tries, and the waits between them.
///
/// Each begin, resume or start by a runner counts as a try. Each checkpoint resets the count to 0.
/// So the count is that of tries without a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most tries without a checkpoint; 0 for no limit.
    ///
    /// Beyond it, only a [take-over](crate::operations::Operations::take_over) resumes the
    /// operation.
    pub attempts_max: u32,
    /// Wait of a [`Runner`](crate::runner::Runner) after the first failed try.
    ///
    /// Each further failed try doubles it.
    pub backoff_first: Duration,
    /// Longest wait between tries.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// Ten tries. The first wait is 1 s and doubles each time, up to 5 minutes.
    pub const DEFAULT: Self = Self {
        attempts_max: 10,
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(300),
    };

    /// Returns how long to wait after `attempts` tries without a checkpoint.
    pub fn backoff(&self, attempts: u32) -> Duration {
        Backoff::new(self.backoff_first, 2.0, self.backoff_max).after(attempts)
    }

    /// Returns whether no try is left after `attempts` tries without a checkpoint.
    pub(crate) fn is_exhausted(&self, attempts: u32) -> bool {
        self.attempts_max != 0 && attempts >= self.attempts_max
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<RetryPolicy> for RetryRow {
    fn from(policy: RetryPolicy) -> Self {
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            attempts_max: policy.attempts_max,
            backoff_first_millis: millis(policy.backoff_first),
            backoff_max_millis: millis(policy.backoff_max),
        }
    }
}

impl From<RetryRow> for RetryPolicy {
    fn from(row: RetryRow) -> Self {
        Self {
            attempts_max: row.attempts_max,
            backoff_first: Duration::from_millis(row.backoff_first_millis),
            backoff_max: Duration::from_millis(row.backoff_max_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let policy = RetryPolicy::DEFAULT;
        let waits: Vec<u64> = [0, 1, 2, 3, 9, 10, 33, u32::MAX]
            .map(|attempts| policy.backoff(attempts).as_secs())
            .into();
        assert_eq!(waits, [0, 1, 2, 4, 256, 300, 300, 300]);
        assert!(policy.is_exhausted(10) && !policy.is_exhausted(9));
        assert!(!RetryPolicy { attempts_max: 0, ..policy }.is_exhausted(u32::MAX));
        assert_eq!(RetryPolicy::from(RetryRow::from(policy)), policy);
    }
}
