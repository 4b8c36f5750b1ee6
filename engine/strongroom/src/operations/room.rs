//! The operations of a vault: what all of its handles share, and its part in every commit.

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
use super::standing::Resumable;
use super::status::LaneStatus;
use crate::records::Snapshot;

/// The operations of a vault. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    pub(super) room: Arc<Room>,
}

/// What the host knows to do with operations: its handlers, as far as this room asks.
pub trait KnownWork: Any + Send + Sync {
    /// Returns why an operation of that name, version and lanes cannot be run, if it cannot.
    fn obstacle(&self, name: &str, version: u32, lanes: &[LaneStatus]) -> Option<Resumable>;
}

/// A host that has said nothing of its work: it stands in the way of none.
pub(crate) struct NoKnownWork;

impl KnownWork for NoKnownWork {
    fn obstacle(&self, _: &str, _: u32, _: &[LaneStatus]) -> Option<Resumable> {
        None
    }
}

pub(super) struct Room {
    pub(super) core: Arc<Core>,
    content: Content,
    pub(super) owners: Owners,
    pub(super) handlers: Arc<dyn KnownWork>,
    pub(super) hearing: Arc<Hearing>,
    /// A runner of the host's operations lives.
    runner: AtomicBool,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    /// Makes the room, and its part in commits.
    pub(crate) fn new(
        content: Content,
        handlers: Arc<dyn KnownWork>,
        recorder: Arc<dyn Recorder>,
    ) -> (Self, Arc<dyn Hook>) {
        let hearing = Arc::new(Hearing { bus: Bus::default(), metrics: Metrics::new(recorder) });
        let hook: Arc<dyn Hook> = Arc::<Hearing>::clone(&hearing);
        let room = Room {
            core: Arc::clone(content.core()),
            content,
            owners: Owners::default(),
            handlers,
            hearing,
            runner: AtomicBool::new(false),
        };
        (Self { room: Arc::new(room) }, hook)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.room.core
    }

    /// Takes a snapshot.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        self.room.read()
    }

    /// Returns what the host knows to do.
    pub(crate) fn known_work(&self) -> &Arc<dyn KnownWork> {
        &self.room.handlers
    }

    /// Returns where events go.
    pub(crate) fn bus(&self) -> &Bus {
        &self.room.hearing.bus
    }

    /// Returns whether a runner of the host's operations lives.
    pub(crate) fn runner(&self) -> &AtomicBool {
        &self.room.runner
    }
}

impl Room {
    pub(super) fn read(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(self.core.read()?, self.content.clone()))
    }
}

/// Tells subscribers and the recorder what commits did.
pub(super) struct Hearing {
    pub(super) bus: Bus,
    pub(super) metrics: Metrics,
}

impl Hook for Hearing {
    fn begun(&self, tx: &mut Tx<'_>) {
        if self.bus.is_wanted() {
            tx.parts.get_mut::<CommitEffects>().want_progress();
        }
    }

    fn committed(self: Arc<Self>, _core: &Arc<Core>, info: &mut CommitInfo) {
        let heard = info.parts.take::<CommitEffects>().unwrap_or_default();
        if !info.internal {
            self.metrics.committed(info.took, &heard);
        }
        self.bus.send(heard);
    }

    fn failed(&self, kind: ErrorKind, internal: bool) {
        if !internal {
            self.metrics.failed(kind);
        }
    }
}
