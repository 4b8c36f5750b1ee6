//! Objects: immutable data on the backend that is too large for the state.
//!
//! A row of the state names an object throughout its life:
//!
//! 1. **pending**: committed before its first byte is put. So open finds the uploads of a dead
//!    process without listing the store.
//! 2. **referenced**, by the row of a pack or of the share space. The commit that adds this row
//!    removes the pending row.
//! 3. **doomed**: written by the commit that dropped the reference. The object is deleted when no
//!    reader from before that commit is left (`read_epochs.rs`), and the row after it.
//!
//! Bodies are sealed (`sealed.rs`). This room knows chunks and the share space only as owners of
//! references.

mod access;
mod read_epochs;
mod sealed;

pub use access::{OBJECT_BYTES_MAX, OBJECT_BYTES_MIN, Objects};
pub use read_epochs::{ReadEpoch, ReadEpochs};
pub use sealed::{Cut, Salvaged};
