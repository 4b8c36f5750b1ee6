//! Bytes of a vault that were changed, moved, cut or put back while nobody looked.
//!
//! Whatever is done to the files of a vault, one of three things follows: it is refused as
//! damaged, when it is opened or when it is read; all that was written is read as it was written;
//! or, where a process had died with the vault open, the last commit is missing and the recovery
//! report says that it may be. Never is other data served, never does a call panic or hang, and
//! never is a commit missing without a word. A vault whose opening is refused is left as it was.
//!
//! - `image.rs`: a vault's bytes in memory, to be damaged and opened by thousands.
//! - `scene.rs`: what is in the vault, after each of its commits.
//! - `judge.rs`: what may become of a damaged image, and the run over all of them.
//! - `flips.rs`: single bits. `moved.rs`: blocks and headers in other places, older ones, other
//!   lengths. `objects.rs`: content and the copy of the key set. `live.rs`: below an open handle.
//!
//! `STRONGROOM_FLIPS=all cargo test --release --test damage -- --nocapture` flips a bit of every
//! byte of every file, which takes half an hour; `written` leaves out the blocks of the state that
//! were never written, and takes minutes. Without it all bytes of the super-headers are flipped,
//! and samples of each other part: headers, nonces, sealed bytes, tags, blocks never written.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

#[path = "../support/mod.rs"]
mod support;

mod flips;
mod image;
mod judge;
mod live;
mod moved;
mod objects;
mod scene;
