//! Records: the host's own ordered key-value data, in namespaces.
//!
//! Reads stand on [`Snapshot`](crate::Snapshot) and [`WriteTx`](crate::WriteTx), writes on
//! `WriteTx` and [`Batch`](crate::Batch). A namespace is made by its first insert. This room
//! turns names and keys into rows; transactions and their commit are `transaction/`. A value that is
//! too long for a row lies in the content store (`chunks/`): `staged.rs` brings it there, `value.rs` reads it.

mod name;
mod payload;
mod read;
mod span;
mod staged;
mod typed;
mod value;
mod write;

pub use name::NAME_BYTES_MAX;
pub(crate) use name::check_name;
pub use payload::Payload;
pub(crate) use read::NamespaceCache;
pub use read::{Namespace, Record, Records};
pub use staged::Staged;
pub(crate) use staged::stage;
pub use typed::{TypedNamespace, TypedRecord};
pub(crate) use typed::{decode_value, unencodable};
pub use value::{Value, ValueReader};
pub(crate) use write::{Namespaces, check_record};
