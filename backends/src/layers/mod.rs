//! Backends over another backend.
//!
//! [`RetryingBackend`] retries after network faults, and [`CountingBackend`] counts requests. In
//! `RetryingBackend<CountingBackend<…>>` every try is counted.

mod counting;
mod retrying;

pub use counting::{CountingBackend, RequestCounts, Requests};
pub use retrying::{RetryAfter, RetryingBackend, StoreRetryPolicy};
