//! The state: the one mutable thing of a vault, a redb database in a file of its own.
//!
//! Only this room names redb. To the rooms above it is a handful of ordered tables of bytes
//! ([`Table`]), a consistent read ([`StateRead`]) and one write at a time ([`StateWrite`]).
//! It knows nothing of records, operations or content; what the bytes mean is `format/`.
//!
//! - `storage.rs`: where the bytes lie, behind redb's `StorageBackend`: a file or memory,
//!   handed in as a factory, because redb consumes one storage per open.
//! - `frame.rs`: our header before redb's first page, and a watch over what a commit wrote.
//! - `store.rs`: open, begin, commit, and the reopening after a failed write.
//!   **A write becomes durable in `Store::commit`, nowhere else.**
//! - `tables.rs`: the tables. `migrate.rs`: from one schema to the next.
//! - `failure.rs`: redb's errors as ours.

mod failure;
mod frame;
mod migrate;
mod storage;
mod store;
mod tables;

pub use redb::StorageBackend;
pub use storage::{FileState, MemoryState, StateStorage};
pub(crate) use store::{OpenedStore, Store};
pub(crate) use tables::{Entry, KeySpan, Row, Rows, StateRead, StateWrite, Table, TableRead};
