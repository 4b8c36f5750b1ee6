//! Bad input: each gives a clear error of the right kind and changes nothing.
//!
//! - `damaged.rs`: truncated, empty, foreign and flipped state files, flipped objects.
//! - `headers.rs`: damaged copies of the header, headers of other formats.
//! - `folders.rs`: what is no vault at all, another backend, a read-only file or folder.
//! - `full_disk.rs`: no space left while writing.
//! - `creation.rs`: two creations at once, and a state file replaced under a waiting process.
//! - `names.rs`: names, keys, values and checkpoints out of their bounds.
//! - `operations.rs`: lanes and operations begun, opened or resumed the wrong way.
//! - `handles.rs`: use after close, handles of another vault, calls from within a call.
//! - `sources.rs`: callbacks and readers that fail or panic, waits that are too long.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

#[path = "../support/mod.rs"]
mod support;

mod creation;
mod damaged;
mod folders;
mod full_disk;
mod handles;
mod headers;
mod names;
mod operations;
mod sources;

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    if let Some((role, vault)) = support::process::role() {
        creation::work(&role, &vault);
    }
}
