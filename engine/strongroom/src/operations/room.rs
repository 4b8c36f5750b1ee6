//! State shared by all handles of a vault's operations.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strongroom_base::{ErrorKind, Result};
use strongroom_content::Content;
use strongroom_store::commit::{CommitInfo, Core, Hook, Tx};

use super::events::{Bus, CommitEffects};
use super::metrics::{Metrics, Recorder};
use super::owners::Owners;
use super::resumability::Resumable;
use super::status::LaneStatus;
use crate::records::Snapshot;

/// Access to the operations of a vault. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    pub(super) shared: Arc<OperationsShared>,
}

/// The work that the host can do: its handlers, as this module needs them.
pub trait KnownWork: Any + Send + Sync {
    /// Returns the reason why the host cannot run an operation, if any.
    fn obstacle(&self, name: &str, version: u32, lanes: &[LaneStatus]) -> Option<Resumable>;
}

/// A host that has declared no handlers. Every operation can be resumed.
pub(crate) struct NoKnownWork;

impl KnownWork for NoKnownWork {
    fn obstacle(&self, _: &str, _: u32, _: &[LaneStatus]) -> Option<Resumable> {
        None
    }
}

pub(super) struct OperationsShared {
    pub(super) core: Arc<Core>,
    content: Content,
    pub(super) owners: Owners,
    pub(super) handlers: Arc<dyn KnownWork>,
    pub(super) observer: Arc<CommitObserver>,
    /// Set while a runner of the host's operations lives.
    runner: AtomicBool,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    /// Creates the shared state and the commit hook.
    pub(crate) fn new(
        content: Content,
        handlers: Arc<dyn KnownWork>,
        recorder: Arc<dyn Recorder>,
    ) -> (Self, Arc<dyn Hook>) {
        let observer =
            Arc::new(CommitObserver { bus: Bus::default(), metrics: Metrics::new(recorder) });
        let hook: Arc<dyn Hook> = Arc::<CommitObserver>::clone(&observer);
        let shared = OperationsShared {
            core: Arc::clone(content.core()),
            content,
            owners: Owners::default(),
            handlers,
            observer,
            runner: AtomicBool::new(false),
        };
        (Self { shared: Arc::new(shared) }, hook)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    /// Takes a snapshot.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        self.shared.read()
    }

    /// Returns the work that the host can do.
    pub(crate) fn known_work(&self) -> &Arc<dyn KnownWork> {
        &self.shared.handlers
    }

    /// Returns the bus of events.
    pub(crate) fn bus(&self) -> &Bus {
        &self.shared.observer.bus
    }

    /// Returns the flag that is set while a runner lives.
    pub(crate) fn runner(&self) -> &AtomicBool {
        &self.shared.runner
    }
}

impl OperationsShared {
    pub(super) fn read(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.core.read()?, self.content.clone()))
    }
}

/// Reports commits to subscribers and to the recorder.
pub(super) struct CommitObserver {
    pub(super) bus: Bus,
    pub(super) metrics: Metrics,
}

impl Hook for CommitObserver {
    fn begun(&self, tx: &mut Tx<'_>) {
        if self.bus.is_wanted() {
            tx.parts.get_mut::<CommitEffects>().want_progress();
        }
    }

    fn committed(self: Arc<Self>, _core: &Arc<Core>, info: &mut CommitInfo) {
        let effects = info.parts.take::<CommitEffects>().unwrap_or_default();
        if !info.internal {
            self.metrics.committed(info.took, &effects);
        }
        self.bus.send(effects);
    }

    fn failed(&self, kind: ErrorKind, internal: bool) {
        if !internal {
            self.metrics.failed(kind);
        }
    }
}
