//! Documents through the public interface.
//!
//! A document is read back with its own key and password only. Writes change no slot of another
//! document.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod defects;
mod passwords;
mod scene;
mod unfinished;
mod updates;
