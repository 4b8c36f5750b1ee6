//! Helpers of several test programs of this package: values, folders, other processes, mounts.
//!
//! Each program uses a part of it, and the rest is dead code there. Every wait has a bound.

#![allow(dead_code, clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

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
