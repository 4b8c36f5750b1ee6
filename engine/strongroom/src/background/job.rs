//! One try of an operation, from the view of its handler.

use std::fmt;
use std::sync::Arc;

use strongroom_base::Result;

use super::ticket::Ticket;
use crate::Vault;
use crate::operations::{
    AutoCheckpoint, CheckpointPolicy, Event, EventKind, Lane, Operation, OperationStatus,
};
use strongroom_base::{CancelToken, LongCall, Progress};

/// One try of an operation, passed to its [`Handler`](crate::runner::Handler).
pub struct Job {
    pub(super) vault: Vault,
    pub(super) operation: Operation,
    pub(super) status: OperationStatus,
    pub(super) cancel: CancelToken,
    pub(super) ticket: Arc<Ticket>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl Job {
    /// Returns the operation's status at the beginning of this try.
    ///
    /// It holds id, name, version, metadata and lanes, and the number of this try since the last
    /// checkpoint.
    pub fn status(&self) -> &OperationStatus {
        &self.status
    }

    /// Returns the vault.
    pub fn vault(&self) -> Vault {
        self.vault.clone()
    }

    /// Returns the operation's handle.
    ///
    /// The handler need not complete or fail the operation: the runner does.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Opens a lane; see [`Operation::lane`].
    pub fn lane(&self, name: &str) -> Result<Lane> {
        self.operation.lane(name)
    }

    /// Checks whether the job must stop: then `Cancelled`, which the handler should return.
    ///
    /// The lanes' commits stay.
    pub fn check(&self) -> Result<()> {
        self.cancel.check("run job")
    }

    /// Returns the token that is cancelled when the job must stop.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Returns where to report progress, in units of the handler's choice.
    pub fn progress(&self) -> &dyn Progress {
        &*self.ticket
    }

    /// Returns progress and cancellation of this job, for calls that take long.
    pub fn call(&self) -> LongCall<'_> {
        LongCall::new().progress(self.progress()).cancel(&self.cancel)
    }

    /// Starts automatic checkpoints, with this job's progress and cancellation.
    ///
    /// Otherwise the same as [`Lane::auto_checkpoint`], also in its errors.
    pub fn auto_checkpoint<'a>(
        &'a self,
        lane: &'a Lane,
        policy: CheckpointPolicy,
        done: u64,
    ) -> Result<AutoCheckpoint<'a>> {
        Ok(lane.auto_checkpoint(policy, done)?.progress(self.progress()).cancel(&self.cancel))
    }

    /// Sends a warning to each [subscription](crate::operations::Operations::subscribe).
    ///
    /// The operation continues. The text is cut to
    /// [`FAILURE_BYTES_MAX`](crate::operations::FAILURE_BYTES_MAX) bytes.
    pub fn warn(&self, text: impl AsRef<str>) {
        let operations = self.operation.operations();
        operations.bus().warn(|| {
            let now = operations.core().clock().unix_millis();
            let kind = EventKind::warning(text);
            Event::new(self.operation.id(), Some(&self.status.name), now, kind)
        });
    }
}
