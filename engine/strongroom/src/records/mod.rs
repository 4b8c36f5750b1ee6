//! Records: the host's own ordered key-value data, in namespaces.
//!
//! A namespace is made by its first insert. Reads stand on [`Snapshot`] and [`WriteTx`], writes on
//! [`WriteTx`] and [`Batch`]; the other rooms of the engine add their calls to these three.
//!
//! - `rows.rs`: names and keys as rows of a transaction, and what dropped namespaces leave.
//! - `transaction.rs`: the host's transaction. `batch.rs`: prepared changes with conditions.
//!   `snapshot.rs`, `read.rs`: reading. `typed.rs`: namespaces whose keys and values are serde types.
//! - `staged.rs`: a value that is too long for a row, stored before its transaction; `value.rs`: read
//!   back.

mod batch;
mod name;
mod payload;
mod read;
mod rows;
mod snapshot;
mod span;
mod staged;
mod transaction;
mod typed;
mod value;

pub use batch::Batch;
pub(crate) use batch::Extra;
pub use name::NAME_BYTES_MAX;
pub(crate) use name::check_name;
pub use payload::Payload;
pub use read::{Namespace, Record, Records};
pub(crate) use rows::{DroppedNamespaces, RecordRoots};
pub use snapshot::Snapshot;
pub use staged::Staged;
pub(crate) use staged::stage;
pub use transaction::WriteTx;
pub use typed::{TypedNamespace, TypedRecord};
pub(crate) use typed::{decode_value, unencodable};
pub use value::{Value, ValueReader};
