//! Backends over a backend, for tests.
//!
//! - [`FaultyBackend`] makes single calls fail.
//! - [`DeferredBackend`] performs changes late.
//! - [`RecordingBackend`] records the calls.
//! - [`Layer`] passes all calls on that a test does not override.

mod faulty;
mod layer;
mod recording;

pub use faulty::{BackendFault, BackendTiming, DeferredBackend, FaultyBackend};
pub use layer::Layer;
pub use recording::{BackendCall, RecordingBackend};
