//! What several test programs of this package share: values, folders, other processes, mounts.
//!
//! Each program takes what it needs, so to each of them some of it is dead code. Every wait in
//! here has a bound.

#![allow(dead_code, clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

pub(crate) mod calls;
pub(crate) mod chance;
pub(crate) mod clock;
pub(crate) mod content;
pub(crate) mod folder;
pub(crate) mod group;
pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod records;
pub(crate) mod syncs;
