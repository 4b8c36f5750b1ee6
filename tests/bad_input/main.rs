//! Bad input: each case gives an error of the right kind and changes nothing.
//!
//! - `damaged.rs`: truncated, empty, foreign and flipped state files, flipped objects.
//! - `headers.rs`: damaged copies of the header, headers of other formats.
//! - `folders.rs`: folders without a vault, another backend, a read-only file or folder.
//! - `full_disk.rs`: no space left while writing.
//! - `creation.rs`: concurrent creations, and a state file replaced under a waiting process.
//! - `names.rs`: names, keys, values and checkpoints beyond their limits.
//! - `operations.rs`: lanes and operations that are begun, opened or resumed wrongly.
//! - `handles.rs`: use after close, handles of another vault, calls from within a call.
//! - `sources.rs`: callbacks and readers that fail or panic, and waits that time out.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

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

/// Not a test. Runs the worker processes of the other tests.
#[test]
fn worker() {
    if let Some((role, vault)) = support::process::role() {
        creation::work(&role, &vault);
    }
}
