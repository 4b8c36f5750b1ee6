//! Refs: a few named values on the backend, changed by compare-and-set only.
//!
//! Other processes and hosts see them as commit points.
//!
//! - [`Refs`]: reads a ref, and has the one loop that moves it.
//! - `sealed.rs`: the form on the backend: keyed names, sealed bodies.
//!
//! A move is a conditional put whose answer may be lost. Every body therefore carries its
//! generation, and the ids of the last attempts that moved the ref. A caller that finds its own id
//! among them has won, whatever the store answered and however often the ref moved since. Each
//! generation is made once. A caller that finds it made by others, without its own id, has
//! certainly lost.

mod moves;
mod sealed;

pub use moves::Refs;
