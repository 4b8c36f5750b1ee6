//! The host's recorder of metrics.

use std::time::Duration;

use strongroom_base::ErrorKind;

use crate::operations::OperationState;

/// Receives a vault's measurements, to pass them on to the host's metrics.
///
/// Every method does nothing by default. The commit thread calls them after the commit, while it
/// holds the write turn: count and return. A method may read the vault; a write fails with
/// `Invalid`. Panics are caught. Commits of document updates are not reported.
pub trait Recorder: Send + Sync {
    /// Records a commit; `took` is from its first change to its sync.
    fn commit(&self, _took: Duration) {}

    /// Records a commit that failed or is `Uncertain`. A closure's own error is not counted.
    fn commit_failed(&self, _kind: ErrorKind) {}

    /// Records a durable checkpoint with `bytes` bytes of data.
    fn checkpoint(&self, _bytes: usize) {}

    /// Records a state change of a host's operation; a new operation changes from `None`.
    fn transition(&self, _from: Option<OperationState>, _to: OperationState) {}
}

/// A recorder that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecorder;

impl Recorder for NoRecorder {}
