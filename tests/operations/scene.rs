//! A vault in memory on a manual clock, and query helpers.

use strongroom::backends::Memory;
use strongroom::operations::{
    Checkpoint, Lane, LaneStatus, OperationSpec, OperationState, OperationStatus, OperationsQuery,
    Recorder, Resumable, RetryPolicy,
};
use strongroom::runner::Handlers;
use strongroom::storage::MemoryState;
use strongroom::{Batch, Result, Vault, VaultOptions};
use strongroom_testkit::TestKey;

use crate::support::clock::SharedClock;

/// A retry policy of three tries without a wait between them.
pub(crate) const AT_ONCE: RetryPolicy = RetryPolicy {
    attempts_max: 3,
    backoff_first: std::time::Duration::ZERO,
    backoff_max: std::time::Duration::ZERO,
};

/// A vault that can be reopened.
pub(crate) struct Scene {
    pub(crate) vault: Vault,
    pub(crate) clock: SharedClock,
    state: MemoryState,
    content: Memory,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Handlers::new())
    }

    pub(crate) fn with(handlers: Handlers) -> Self {
        Self::create_with(|options| options.handlers(handlers))
    }

    pub(crate) fn with_recorder(recorder: impl Recorder + 'static, handlers: Handlers) -> Self {
        Self::create_with(|options| options.handlers(handlers).recorder(recorder))
    }

    fn create_with(configure: impl FnOnce(VaultOptions) -> VaultOptions) -> Self {
        let clock = SharedClock::default();
        let (state, content) = (MemoryState::new(), Memory::new());
        let options = Vault::options(TestKey).clock(clock.clone()).cheap_passwords();
        let vault = configure(options).create_on(state.clone(), content.clone()).unwrap();
        Self { vault, clock, state, content }
    }

    /// Closes the vault and opens it again, as the next process would.
    pub(crate) fn reopen(self) -> Self {
        self.reopen_with(Handlers::new())
    }

    pub(crate) fn reopen_with(self, handlers: Handlers) -> Self {
        let Self { vault, clock, state, content } = self;
        vault.close().unwrap();
        let options = Vault::options(TestKey).clock(clock.clone()).cheap_passwords();
        let vault = options.handlers(handlers).open_on(state.clone(), content.clone()).unwrap();
        Self { vault, clock, state, content }
    }
}

/// Returns the spec of an operation that is retried without a wait.
pub(crate) fn spec(id: &str) -> OperationSpec {
    OperationSpec::new(id).retry(AT_ONCE)
}

pub(crate) fn status(vault: &Vault, id: &str) -> OperationStatus {
    vault.read().unwrap().operation(id).unwrap().unwrap()
}

pub(crate) fn state(vault: &Vault, id: &str) -> OperationState {
    status(vault, id).state
}

pub(crate) fn lane_status(vault: &Vault, id: &str, lane: &str) -> LaneStatus {
    vault.read().unwrap().lane(id, lane).unwrap().unwrap()
}

pub(crate) fn resumability(vault: &Vault, id: &str) -> Resumable {
    vault.operations().can_resume(id).unwrap()
}

/// Returns the ids of all unfinished operations.
pub(crate) fn unfinished(vault: &Vault) -> Vec<String> {
    let listed = vault.operations().unfinished(&OperationsQuery::new().limit(usize::MAX)).unwrap();
    listed.into_iter().map(|operation| operation.id).collect()
}

pub(crate) fn row(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.insert("n", key, "row");
    batch
}

/// Commits row `n` and a checkpoint with the data `n`.
pub(crate) fn commit(lane: &Lane, n: u32) -> Result<()> {
    lane.commit(row(&n.to_string()), Checkpoint::encode(&n)?)
}
