//! Damage to the files of a vault: bytes that are changed, moved, truncated or replaced by older
//! ones.
//!
//! Any damage has one of three results:
//!
//! - The vault is refused as damaged, when it is opened or when it is read.
//! - All data is read as it was written.
//! - Where a process has died with the vault open, the last commit is missing, and the recovery
//!   report says that the commit may be missing.
//!
//! Reads never return other data, no call panics or hangs, and no missing commit goes unreported. A
//! refused open changes nothing.
//!
//! - `image.rs`: a vault's bytes in memory, which are damaged and opened thousands of times.
//! - `scene.rs`: the data of the vault after each of its commits.
//! - `judge.rs`: the allowed outcomes of a damaged image, and the run over all images.
//! - `flips.rs`: single bits. `moved.rs`: blocks and headers at other locations, older ones, other
//!   lengths. `objects.rs`: content and the key copy. `live.rs`: damage below an open handle.
//!
//! `STRONGROOM_FLIPS=all cargo test --release --test damage -- --nocapture` flips a bit of every
//! byte of every file, which takes half an hour. `written` omits the blocks of the state that were
//! never written, and takes minutes. Without the variable, all bytes of the super-headers are
//! flipped, and samples of headers, nonces, sealed bytes, tags and unwritten blocks.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod flips;
mod image;
mod judge;
mod live;
mod moved;
mod objects;
mod scene;
