//! What the host does, by the name of an operation.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::job::Job;
use crate::operations::{KnownWork, LaneStatus, Resumable};

/// Any error of a host's.
pub type BoxError = Box<dyn StdError + Send + Sync>;

type Run = dyn Fn(&Job) -> Result<(), BoxError> + Send + Sync;
type Decodes = dyn Fn(&LaneStatus) -> bool + Send + Sync;

/// The work of all operations of one name, the same for a new one and for one that goes on: it asks
/// each lane where it stands, and does the rest.
#[derive(Clone)]
pub struct Handler {
    run: Arc<Run>,
    versions: RangeInclusive<u32>,
    decodes: Option<Arc<Decodes>>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("versions", &self.versions).finish_non_exhaustive()
    }
}

impl Handler {
    /// A handler that runs `work`, for version 0 of its checkpoints.
    ///
    /// `Ok` completes the operation. An error, or a panic, ends the try, which is repeated as the
    /// operation's [`RetryPolicy`](crate::operations::RetryPolicy) says. It should call
    /// [`Job::check`] between items, or go by [`Job::auto_checkpoint`], and return the `Cancelled` that it
    /// gets there: that is how it is paused, cancelled, and shut down.
    pub fn new<E: Into<BoxError>>(
        work: impl Fn(&Job) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let run = Arc::new(move |job: &Job| work(job).map_err(Into::into));
        Self { run, versions: 0..=0, decodes: None }
    }

    /// Which versions of checkpoints it reads; it brings older ones forward itself, by
    /// [`Operation::migrate`](crate::operations::Operation::migrate) or as it goes. Others are left alone.
    pub fn versions(mut self, versions: RangeInclusive<u32>) -> Self {
        self.versions = versions;
        self
    }

    /// Its checkpoints are `T`, encoded by [`Checkpoint::encode`](crate::operations::Checkpoint::encode): an
    /// operation with one that is not is told as unreadable before it is tried. Leave it out if
    /// versions differ in their types.
    pub fn checkpoints<T: DeserializeOwned>(mut self) -> Self {
        // A type that panics at what it does not know does not decode it.
        self.decodes = Some(Arc::new(|lane: &LaneStatus| {
            catch_unwind(AssertUnwindSafe(|| lane.decode::<T>().is_ok())).unwrap_or(false)
        }));
        self
    }

    pub(super) fn reads(&self, version: u32) -> bool {
        self.versions.contains(&version)
    }

    fn decodes(&self, lane: &LaneStatus) -> bool {
        self.decodes.as_ref().is_none_or(|decodes| decodes(lane))
    }

    pub(super) fn run(&self, job: &Job) -> Result<(), BoxError> {
        (self.run)(job)
    }
}

/// All handlers of a host, by the names of their operations. A vault is opened
/// [with them](crate::VaultOptions::handlers).
#[derive(Clone, Debug, Default)]
pub struct Handlers {
    handlers: Arc<BTreeMap<String, Handler>>,
}

impl Handlers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one for operations called `name`, in place of one that it has.
    pub fn with(mut self, name: impl Into<String>, handler: Handler) -> Self {
        Arc::make_mut(&mut self.handlers).insert(name.into(), handler);
        self
    }

    pub(super) fn find(&self, name: &str) -> Option<&Handler> {
        self.handlers.get(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }
}

impl KnownWork for Handlers {
    /// Returns nothing for a host without handlers.
    fn obstacle(&self, name: &str, version: u32, lanes: &[LaneStatus]) -> Option<Resumable> {
        if self.is_empty() {
            return None;
        }
        let Some(handler) = self.find(name) else { return Some(Resumable::UnknownName) };
        if !handler.reads(version) {
            return Some(Resumable::UnknownVersion { version });
        }
        let unknown = lanes.iter().find(|lane| lane.checkpoints > 0 && !handler.decodes(lane))?;
        Some(Resumable::UnknownData { lane: unknown.name.clone() })
    }
}
