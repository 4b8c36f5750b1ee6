//! Backends over another backend: [`RetryingBackend`] bears faults of the network, [`CountingBackend`] counts
//! what is asked of a store. Put together as `RetryingBackend<CountingBackend<…>>`, every try is counted.

mod counting;
mod retrying;

pub use counting::{CountingBackend, RequestCounts, Requests};
pub use retrying::{RetryAfter, RetryingBackend, StoreRetryPolicy};
