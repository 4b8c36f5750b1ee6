//! The state: the one mutable thing of a vault, a redb database in a file of its own.
//!
//! Only this room names redb. To the rooms above it is a handful of ordered tables of bytes
//! ([`Table`]), a consistent read ([`StateRead`]) and one write at a time ([`StateWrite`]).
//! It knows nothing of records, operations or content; what the bytes mean is `format/`.
//!
//! - `storage.rs`: where the bytes lie, behind [`StateFile`]: a file or memory, handed in as a
//!   factory, because redb consumes one storage per open.
//! - `header.rs`: the vault's own header at the beginning of the file, in two copies.
//! - `sealed/`: authenticated encryption between redb and those bytes.
//! - `storage_health.rs`: what only the storage sees, told to the store.
//! - `store.rs`: open, begin, commit, and the reopening after a failed write. `replace.rs`: into a
//!   new file under new keys, and smaller.
//!   **A write becomes durable in `Store::commit`, nowhere else.**
//! - `tables.rs`: the tables. `migrate.rs`: from one schema to the next.
//! - `failure.rs`: redb's errors as ours.

mod failure;
mod header;
mod migrate;
mod replace;
mod sealed;
mod storage;
mod storage_health;
mod store;
mod tables;

pub use replace::Copying;
pub use sealed::Sealing;
pub use storage::{FileLock, FileState, MemoryState, StateFile, StateStorage};
pub use store::{OpenedStore, Repairs, Store};
pub use tables::{Entry, KeySpan, Row, Rows, StateRead, StateWrite, Table, TableRead};
