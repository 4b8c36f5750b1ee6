//! What a vault measures of itself: for its own statistics, and for the host's.
//!
//! - `latency.rs`: how long commits took.
//! - `recorder.rs`: the host's end, which by default does nothing.
//!
//! Held in memory alone. A commit of an update of the share space is in none of it.

mod latency;
mod recorder;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

pub use latency::Latencies;
pub use recorder::{NoRecorder, Recorder};
use strongroom_base::ErrorKind;

use super::events::CommitEffects;

/// What one vault measures.
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

    /// A commit that has happened.
    pub(crate) fn committed(&self, took: Duration, heard: &CommitEffects) {
        self.commits.lock().record(took);
        self.tell(|recorder| {
            recorder.commit(took);
            for &bytes in &heard.checkpoints {
                recorder.checkpoint(bytes);
            }
            for &(from, to) in &heard.transitions {
                recorder.transition(from, to);
            }
        });
    }

    /// A commit that failed, or may have.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        self.tell(|recorder| recorder.commit_failed(kind));
    }

    /// How long commits took so far.
    pub(crate) fn commits(&self) -> Latencies {
        self.commits.lock().clone()
    }

    /// A panic of the host's must not make a commit that has happened look as if it had not.
    fn tell(&self, what: impl FnOnce(&dyn Recorder)) {
        if catch_unwind(AssertUnwindSafe(|| what(&*self.recorder))).is_err() {
            tracing::warn!("the recorder of metrics panicked");
        }
    }
}
