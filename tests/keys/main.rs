//! Keys of a vault: opening, changes, rotation, forgery and failures.
//!
//! - `opening.rs`: wrong keys, wrong and invalid passwords, key sources that fail.
//! - `changes.rs`: adding, replacing, rewrapping and deleting keys; labels, ids, generations.
//! - `costs.rs`: costs of passwords, and headers that demand more than the host allows.
//! - `forged.rs`: headers changed by an attacker without a key, under valid checksums.
//! - `copies.rs`: the key copy on the backend: missing, damaged, outdated, restored.
//! - `older_state.rs`: an older state file that replaces a newer one.
//! - `faults.rs`: a file system that fails during a change.
//! - `rotation.rs`: rotations that succeed; `rotation_refused.rs`: rotations that are refused.
//! - `waiting.rs`: a process that waits for the vault while another process rotates.
//! - `compaction.rs`: unused space returned to the file system.
//! - `redaction.rs`: debug output and errors, which contain no secret.
//! - `scene.rs`, `forge.rs`: shared helpers.

#![allow(clippy::unwrap_used)] // Clippy exempts `#[test]` functions only, not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod compaction;
mod copies;
mod costs;
mod faults;
mod forge;
mod forged;
mod older_state;
mod opening;
mod redaction;
mod rotation;
mod rotation_refused;
mod scene;
mod waiting;

/// Runs the role of a child process; passes at once in the test program itself.
#[test]
fn worker() {
    if let Some((role, vault)) = support::process::role() {
        waiting::work(&role, &vault);
    }
}
