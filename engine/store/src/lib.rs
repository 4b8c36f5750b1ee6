//! The store: state, objects and refs, and the commit that joins them.
//!
//! - [`state`]: redb in one sealed file: all that changes together;
//! - [`objects`]: immutable sealed objects on the backend;
//! - [`refs`]: named cells on a shared backend, moved by compare-and-set;
//! - [`commit`]: [`Core`](commit::Core), which joins state and objects: one writer, what goes
//!   along with every commit, what a reader sees.

// An inner crate: only the engine uses it.
#![allow(missing_docs, missing_debug_implementations)]

pub mod commit;
pub mod objects;
pub mod refs;
pub mod state;
