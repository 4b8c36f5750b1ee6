//! Refs: a few named cells on the backend, each moved by compare-and-set only. They are the commit points
//! that other processes and hosts see.
//!
//! - [`Refs`]: reading a ref, and the one loop that moves it;
//! - `sealed.rs`: what lies on the backend: keyed names, sealed bodies.
//!
//! A move is a conditional put whose answer may be lost. So every body carries its generation and the ids of
//! the last attempts that moved it: whoever finds their own id among them has won, whatever the store
//! answered, and however often others have moved the ref since. A generation is made once: who finds it
//! made by others, with their own id not among the attempts, has lost for certain.

mod moves;
mod sealed;

pub use moves::Refs;
