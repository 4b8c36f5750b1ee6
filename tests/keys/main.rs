//! Keys: who opens a vault, how that is changed, and what damage and bad luck leave of it.
//!
//! - `opening.rs`: wrong keys, wrong and impossible passwords; sources that fail.
//! - `changes.rs`: adding, replacing, wrapping anew and removing keys; labels, ids, generations.
//! - `costs.rs`: what a password costs, and headers that ask for too much.
//! - `forged.rs`: headers that were changed by somebody who can make a checksum and has no key.
//! - `copies.rs`: the copy of the key set on the backend: missing, damaged, behind, put back.
//! - `older_state.rs`: an older state file in the place of a newer one.
//! - `faults.rs`: a backend or a file system that fails during a change.
//! - `rotation.rs`: new keys for everything; `rotation_refused.rs`: when that cannot be done.
//! - `waiting.rs`: a process that waits for the vault while another one rotates.
//! - `compaction.rs`: space given back.
//! - `redaction.rs`: what is printed of a secret: nothing.
//! - `scene.rs`, `forge.rs`: what they share.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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

/// Not a test of its own: what the other processes run.
#[test]
fn worker() {
    if let Some((role, vault)) = support::process::role() {
        waiting::work(&role, &vault);
    }
}
