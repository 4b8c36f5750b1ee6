//! Content: what is too large for state, as immutable objects on the backend.
//!
//! An object lives through three rows of state, never without one of them:
//!
//! 1. **pending**: committed before its first byte is put (`staged.rs`), so that open knows what
//!    a dead process left under way without listing the store;
//! 2. **referenced** by a record's row, from the commit that turned the pending row into it;
//! 3. **doomed**: written by the commit that dropped the reference. The object is deleted when
//!    no reader that began before that commit is left (`pins.rs`), and the row after it.
//!
//! What is put is sealed (`sealed.rs`); `value.rs` reads values back, wherever they lie. This room
//! knows namespaces, operations and the share space only as what refers to content.

mod objects;
mod pins;
mod sealed;
mod staged;
mod value;

pub(crate) use objects::{OBJECT_BYTES_MAX, OBJECT_BYTES_MIN, Objects};
pub(crate) use pins::{Pin, Pins};
pub(crate) use sealed::{Cut, Salvaged};
pub(crate) use staged::{StageHome, StagedParts, stage};
pub use staged::{Staged, VALUE_BYTES_MAX};
pub use value::{Value, ValueReader};
