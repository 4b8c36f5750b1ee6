//! The host's end of the metrics.

use std::time::Duration;

use strongroom_base::ErrorKind;

use crate::operations::OperationState;

/// Hears what a vault measures, to pass it on to the host's own metrics. Every method does nothing
/// unless it is written.
///
/// Called on the thread that commits, after the commit, with the writer's turn held: it should count
/// and return. From within it the vault can be read; writing is `Invalid`. A panic of it is caught.
/// Updates of documents are not told of.
pub trait Recorder: Send + Sync {
    /// A commit happened, and took so long from its first change to its sync.
    fn commit(&self, _took: Duration) {}

    /// A commit did not happen, or is `Uncertain`. A closure's own error is not counted.
    fn commit_failed(&self, _kind: ErrorKind) {}

    /// A checkpoint with so many bytes of data is durable.
    fn checkpoint(&self, _bytes: usize) {}

    /// An operation of the host's changed its state; from none, it is new.
    fn transition(&self, _from: Option<OperationState>, _to: OperationState) {}
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecorder;

impl Recorder for NoRecorder {}
