//! Measurements of a vault, for its statistics and for the host.
//!
//! - `latency.rs`: durations of commits.
//! - `recorder.rs`: the host's recorder, which does nothing by default.
//!
//! Measurements exist only in memory. Commits of share space updates are excluded.

mod latency;
mod recorder;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

pub use latency::Latencies;
pub use recorder::{NoRecorder, Recorder};
use strongroom_base::ErrorKind;

use super::events::CommitEffects;

/// Measurements of one vault.
pub(crate) struct Metrics {
    recorder: Arc<dyn Recorder>,
    commits: parking_lot::Mutex<Latencies>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder, commits: parking_lot::Mutex::new(Latencies::new()) }
    }

    /// Records a commit that has happened.
    pub(crate) fn committed(&self, took: Duration, effects: &CommitEffects) {
        self.commits.lock().record(took);
        self.record(|recorder| {
            recorder.commit(took);
            for &bytes in &effects.checkpoints {
                recorder.checkpoint(bytes);
            }
            for &(from, to) in &effects.transitions {
                recorder.transition(from, to);
            }
        });
    }

    /// Records a commit that failed or is uncertain.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        self.record(|recorder| recorder.commit_failed(kind));
    }

    /// Returns the durations of all commits so far.
    pub(crate) fn commits(&self) -> Latencies {
        self.commits.lock().clone()
    }

    /// Calls the recorder, and catches its panic: the commit has happened, and must not appear
    /// failed.
    fn record(&self, call: impl FnOnce(&dyn Recorder)) {
        if catch_unwind(AssertUnwindSafe(|| call(&*self.recorder))).is_err() {
            tracing::warn!("the recorder of metrics panicked");
        }
    }
}
