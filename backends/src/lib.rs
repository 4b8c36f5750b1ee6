//! Where Strongroom keeps bulk data: the [`Backend`] trait and its implementations.
//!
//! This crate knows nothing of redb, keys, records or snapshots. It offers
//!
//! - [`Backend`]: a small synchronous store of immutable objects with conditional puts,
//!   implemented on local [`Disk`], in [`Memory`] and, by feature, on object stores;
//! - [`open_url`]: an object store by its URL, with [`RetryingBackend`] to bear the network's faults and
//!   [`CountingBackend`] to count requests;
//! - [`fs`]: the one seam through which everything here, and the vault's own state file,
//!   touches a file system, so that a simulated one can stand under all of it;
//! - [`component`]: the clock and the source of entropy, the only places that read the time
//!   or draw random numbers;
//! - [`Error`]: the error of the whole project, with a small [`ErrorKind`] that says what a
//!   caller does next, and a [`Reason`] where that does not suffice.
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
