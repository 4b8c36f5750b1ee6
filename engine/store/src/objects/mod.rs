//! Objects: what is too large for state, immutable, on the backend.
//!
//! An object lives through three rows of state, never without one of them:
//!
//! 1. **pending**: committed before its first byte is put, so that open knows what
//!    a dead process left under way without listing the store;
//! 2. **referenced**, by the row of a pack of chunks or of the share space, from the commit that turned the
//!    pending row into it;
//! 3. **doomed**: written by the commit that dropped the reference. The object is deleted when
//!    no reader that began before that commit is left (`read epochs.rs`), and the row after it.
//!
//! What is put is sealed (`sealed.rs`). This room knows chunks and the share space only as what refers to
//! objects.

mod access;
mod read_epochs;
mod sealed;

pub use access::{OBJECT_BYTES_MAX, OBJECT_BYTES_MIN, Objects};
pub use read_epochs::{ReadEpoch, ReadEpochs};
pub use sealed::{Cut, Salvaged};
