//! The state: the one mutable part of a vault, a redb database in its own file.
//!
//! Only this room names redb. Other rooms see a few ordered tables of bytes ([`Table`]), a
//! consistent read ([`StateRead`]) and one write at a time ([`StateWrite`]). The room knows no
//! records, operations or content; `engine/format/` defines the bytes.
//!
//! - `storage.rs`: the medium below, behind [`StateFile`]: a file or memory. It is passed as a
//!   factory, because redb consumes one storage for each open.
//! - `header.rs`: the vault's own header at the beginning of the file, in two copies.
//! - `sealed/`: authenticated encryption between redb and the medium.
//! - `storage_health.rs`: facts that only the storage sees, for the store.
//! - `store.rs`: open, begin, commit, and reopening after a failed write. `replace.rs`: a copy into
//!   a new file under new keys, and compaction. **A write becomes durable in `Store::commit`,
//!   nowhere else.**
//! - `tables.rs`: the tables. `migrate.rs`: the steps between schemas.
//! - `failure.rs`: translation of redb's errors.

mod failure;
mod header;
mod migrate;
mod replace;
mod sealed;
mod storage;
mod storage_health;
mod store;
mod tables;

pub use replace::CopyOptions;
pub use sealed::Sealing;
pub use storage::{FileLock, FileState, MemoryState, StateFile, StateStorage};
pub use store::{OpenedStore, Repairs, Store};
pub use tables::{Entry, KeySpan, Row, Rows, StateRead, StateWrite, Table, TableRead};
