//! Records: the host's own ordered key-value data, in namespaces.
//!
//! The first insert into a namespace creates it. [`Snapshot`] and [`WriteTx`] read records.
//! [`WriteTx`] and [`Batch`] insert values, given as [`Payload`]. A scan yields [`Records`]. Each
//! [`Record`] has a [`Value`](crate::Value), which a [`ValueReader`] can stream. A
//! [`TypedNamespace`] has serde types for keys and values.

// - `rows.rs`: turns names and keys into rows, and removes dropped namespaces. `name.rs`: names.
//   `span.rs`: ranges of keys. `payload.rs`: values to insert.
// - `transaction.rs`: the host's transaction. `batch.rs`: prepared changes with conditions.
//   `snapshot.rs`, `read.rs`: reading. `typed.rs`: namespaces with serde types for keys and values.
// - `staged.rs`: stores a long value before the transaction that inserts it. `value.rs`: reads
//   values.

pub(crate) mod batch;
mod name;
mod payload;
mod read;
mod rows;
pub(crate) mod snapshot;
mod span;
pub(crate) mod staged;
pub(crate) mod transaction;
mod typed;
pub(crate) mod value;

pub(crate) use batch::{Batch, Extra};
pub use name::NAME_BYTES_MAX;
pub(crate) use name::check_name;
pub use payload::Payload;
pub use read::{Namespace, Record, Records};
pub(crate) use rows::{DroppedNamespaces, RecordRoots};
pub(crate) use snapshot::Snapshot;
pub(crate) use staged::{Staged, stage};
pub use strongroom_format::{RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX};
pub(crate) use transaction::WriteTx;
pub use typed::{TypedNamespace, TypedRecord};
pub(crate) use typed::{decode_value, unencodable};
pub use value::ValueReader;
