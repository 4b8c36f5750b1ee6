//! Storage for bulk data: the [`Backend`] trait and its implementations.
//!
//! This crate knows no redb, no keys, no records and no snapshots. It contains:
//!
//! - [`Backend`]: a small synchronous store of immutable objects with conditional puts, on local
//!   [`Disk`], in [`Memory`] and, by feature, on object stores.
//! - [`open_url`]: opens an object store by its URL. [`RetryingBackend`] retries after network
//!   faults, and [`CountingBackend`] counts requests.
//! - [`fs`]: the seam for all file access, so that a simulated file system can replace it.
//! - [`component`]: clock and entropy, the only code that reads the time or draws random numbers.
//! - [`Error`]: the error of the whole project, with a small [`ErrorKind`] for the caller's next
//!   step, and a [`Reason`] if that does not suffice.
//!
//! The conformance suite that every backend must pass is in the crate `strongroom-testkit`.

mod backend;
mod disk;
mod layers;
mod memory;
#[cfg(feature = "object-store")]
mod object_store;
mod url;

pub use backend::{Backend, Condition, ListEntry, Object, Version};
pub use disk::Disk;
pub use layers::{
    CountingBackend, RequestCounts, Requests, RetryAfter, RetryingBackend, StoreRetryPolicy,
};
pub use memory::Memory;
#[cfg(feature = "object-store")]
pub use object_store::ObjectStore;
pub use strongroom_base::{Error, ErrorKind, KEY_BYTES_MAX, Key, Reason, Result, component, fs};
pub use url::{StoreOptions, open_url};
