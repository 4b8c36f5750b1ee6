//! One try of an operation, as its handler sees it.

use std::fmt;
use std::sync::Arc;

use strongroom_base::Result;

use super::ticket::Ticket;
use crate::Vault;
use crate::operations::{
    AutoCheckpoint, CheckpointPolicy, Event, EventKind, Lane, Operation, OperationStatus,
};
use strongroom_base::{CancelToken, LongCall, Progress};

/// One try of an operation, in the hands of its [`Handler`](crate::runner::Handler).
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
    /// Where the operation stood when this try began: its id, name, version, metadata, lanes, and
    /// the number of this try since its last checkpoint.
    pub fn status(&self) -> &OperationStatus {
        &self.status
    }

    /// The vault.
    pub fn vault(&self) -> Vault {
        self.vault.clone()
    }

    /// The operation's handle. It need not be completed or failed by it: the runner does that.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Opens a lane; see [`Operation::lane`].
    pub fn lane(&self, name: &str) -> Result<Lane> {
        self.operation.lane(name)
    }

    /// `Cancelled` if it is to stop: return that. What its lanes have committed stays.
    pub fn check(&self) -> Result<()> {
        self.cancel.check("run job")
    }

    /// What is cancelled when it is to stop, for calls that take a token.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Where it tells how far it is: units of the handler's own.
    pub fn progress(&self) -> &dyn Progress {
        &*self.ticket
    }

    /// Its progress and its cancellation, for calls that take long.
    pub fn call(&self) -> LongCall<'_> {
        LongCall::new().progress(self.progress()).cancel(&self.cancel)
    }

    /// [`Lane::auto_checkpoint`], with this job's progress and its token.
    pub fn auto_checkpoint<'a>(
        &'a self,
        lane: &'a Lane,
        policy: CheckpointPolicy,
        done: u64,
    ) -> Result<AutoCheckpoint<'a>> {
        Ok(lane.auto_checkpoint(policy, done)?.progress(self.progress()).cancel(&self.cancel))
    }

    /// Warns each [subscription](crate::operations::Operations::subscribe); the operation continues. Of
    /// the text at most [`FAILURE_BYTES_MAX`](crate::operations::FAILURE_BYTES_MAX) bytes are kept.
    pub fn warn(&self, text: impl AsRef<str>) {
        let operations = self.operation.operations();
        operations.bus().warn(|| {
            let now = operations.core().clock().unix_millis();
            let kind = EventKind::warning(text);
            Event::new(self.operation.id(), Some(&self.status.name), now, kind)
        });
    }
}
