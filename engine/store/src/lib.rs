//! The store: state, objects and refs, and the commit that joins them.
//!
//! - [`state`]: redb in one sealed file, which has all data that changes together.
//! - [`objects`]: immutable sealed objects on the backend.
//! - [`refs`]: named values on a shared backend, changed by compare-and-set.
//! - [`commit`]: [`Core`](commit::Core), which joins state and objects: one writer, hooks, views.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

pub mod commit;
pub mod objects;
pub mod refs;
pub mod state;
