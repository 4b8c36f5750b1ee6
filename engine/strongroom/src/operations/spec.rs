//! What an operation is begun with: its name, lanes, metadata, version, and how often it is tried.

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

/// Longest metadata of an operation, in bytes of all keys and values.
pub const METADATA_BYTES_MAX: usize = 16_384;

/// Most checkpoints kept of a lane.
pub const CHECKPOINTS_KEPT_MAX: u16 = 1_000;

/// Most checkpoints kept of all lanes of an operation: they go in one commit.
const CHECKPOINTS_IN_ALL_MAX: usize = 65_536;

/// The lane of an operation that was given none.
pub const ONLY_LANE: &str = "main";

/// An operation to be: an id, and what is told with it.
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
    /// Neither names nor metadata: they are the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationSpec")
            .field("lanes", &self.lanes.len())
            .field("version", &self.version)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl OperationSpec {
    /// An operation of that id, in one lane, [`ONLY_LANE`].
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

    /// What kind of work it is, by which its [`Handler`](crate::runner::Handler) is found; the id without
    /// it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its lanes, one or more, each once.
    pub fn lanes(mut self, lanes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lanes = lanes.into_iter().map(Into::into).collect();
        self
    }

    /// The version of the program's checkpoints, as the host counts; 0 without it. A later program
    /// sees it, and can refuse the operation or [migrate](crate::operations::Operation::migrate) it.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Adds a pair for the host's own use; at most [`METADATA_BYTES_MAX`] in all.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// How often it is tried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How many checkpoints are kept of each lane, the latest among them: 10 by default, at least
    /// 1, at most [`CHECKPOINTS_KEPT_MAX`], and 65,536 over all lanes. The oldest goes in the commit that brings the newest.
    pub fn checkpoints_kept(mut self, kept: u16) -> Self {
        self.checkpoints_kept = kept;
        self
    }

    /// Sorted, and within all bounds; else `Invalid`.
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
                "{} checkpoints to keep of a lane, not 1 to {CHECKPOINTS_KEPT_MAX}",
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

/// How often an operation is tried, and how long lies between two tries.
///
/// A try is a start: by begin, by resume, by a runner. Each checkpoint sets their count back to 0,
/// so what counts are tries that got nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most tries without a checkpoint; then it is resumed by a
    /// [take-over](crate::operations::Operations::take_over) alone. 0 for no limit.
    pub attempts_max: u32,
    /// How long a [`Runner`](crate::runner::Runner) waits after the first try that failed. Doubled after
    /// each further one.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// Ten tries, waiting 1 s and twice as long each time, at most 5 minutes.
    pub const DEFAULT: Self = Self {
        attempts_max: 10,
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(300),
    };

    /// How long to wait after `attempts` tries without a checkpoint.
    pub fn backoff(&self, attempts: u32) -> Duration {
        Backoff::new(self.backoff_first, 2.0, self.backoff_max).after(attempts)
    }

    /// Whether so many tries without a checkpoint are all there are.
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
    fn the_wait_doubles_up_to_its_bound() {
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
