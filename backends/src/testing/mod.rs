//! The test kit: what proves a backend, and what proves the engine on top of one.
//!
//! - [`conformance`] is the suite that every [`Backend`](crate::Backend) must pass;
//! - [`FaultyBackend`] lets single calls of a backend fail, [`DeferredBackend`] lets its
//!   changes come late, [`RecordingBackend`] remembers what it was asked;
//! - [`Layer`] is a backend over another, for a test's own changes to it;
//! - [`World`] is a file system in memory whose power can be cut after any event, with a
//!   [`Replay`] to make the images that are left.
//!
//! It is behind the feature `testing`, not behind `cfg(test)`, so that the tests of every crate
//! of the workspace can reach it. Nothing in it touches the real file system.

pub mod conformance;
mod faulty;
mod layer;
mod recording;
pub mod world;

pub use faulty::{BackendFault, BackendTiming, DeferredBackend, FaultyBackend};
pub use layer::Layer;
pub use recording::{BackendCall, RecordingBackend};
pub use world::{Defect, Fault, FaultError, FaultTiming, Journal, Replay, World};
