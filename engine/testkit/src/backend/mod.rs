//! Backends over a backend, for a test's own changes to it.
//!
//! - [`FaultyBackend`] lets single calls fail;
//! - [`DeferredBackend`] lets changes come late;
//! - [`RecordingBackend`] remembers the calls;
//! - [`Layer`] passes all calls on that a test's own backend does not change.

mod faulty;
mod layer;
mod recording;

pub use faulty::{BackendFault, BackendTiming, DeferredBackend, FaultyBackend};
pub use layer::Layer;
pub use recording::{BackendCall, RecordingBackend};
