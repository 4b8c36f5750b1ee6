//! Documents through the public interface: what is written comes back, under its own key and
//! password and no other, and nobody else's slots change.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod defects;
mod passwords;
mod scene;
mod unfinished;
mod updates;
