//! Handlers: the host's work, by the name of an operation.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::job::Job;
use crate::operations::{KnownWork, LaneStatus, Resumable};

/// Any error of a host.
pub type BoxError = Box<dyn StdError + Send + Sync>;

type Run = dyn Fn(&Job) -> Result<(), BoxError> + Send + Sync;
type Decodes = dyn Fn(&LaneStatus) -> bool + Send + Sync;

/// The work of all operations of one name.
///
/// It serves new and resumed operations alike: it reads each lane's status, and does the rest.
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
    /// Creates a handler that runs `work`, for version 0 of its checkpoints.
    ///
    /// `Ok` completes the operation. An error or a panic ends the try. The operation's
    /// [`RetryPolicy`](crate::operations::RetryPolicy) decides when it is tried again.
    ///
    /// `work` should call [`Job::check`] between items, or use [`Job::auto_checkpoint`], and return
    /// the `Cancelled` error from there. Only so can the operation be paused or cancelled, and the
    /// runner shut down.
    pub fn new<E: Into<BoxError>>(
        work: impl Fn(&Job) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let run = Arc::new(move |job: &Job| work(job).map_err(Into::into));
        Self { run, versions: 0..=0, decodes: None }
    }

    /// Sets the versions of checkpoints that the handler reads.
    ///
    /// It converts older ones by [`Operation::migrate`](crate::operations::Operation::migrate), or
    /// as it works. Operations with other versions are not run.
    pub fn versions(mut self, versions: RangeInclusive<u32>) -> Self {
        self.versions = versions;
        self
    }

    /// Declares that checkpoints are of type `T`.
    ///
    /// They must be encoded by [`Checkpoint::encode`](crate::operations::Checkpoint::encode). An
    /// operation with a checkpoint that does not decode is reported as [`Resumable::UnknownData`]
    /// and not run. Omit this call if versions differ in their types.
    pub fn checkpoints<T: DeserializeOwned>(mut self) -> Self {
        // A type whose decoder panics does not decode the data.
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

/// All handlers of a host, by the names of their operations.
///
/// They are passed to a vault [when it is opened](crate::VaultOptions::handlers).
#[derive(Clone, Debug, Default)]
pub struct Handlers {
    handlers: Arc<BTreeMap<String, Handler>>,
}

impl Handlers {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handler for operations called `name`, or replaces it.
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
    /// Returns the obstacle to running an operation; always `None` without handlers.
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
