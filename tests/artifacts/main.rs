//! Artifacts through the public interface.
//!
//! A put artifact is readable, a dropped one is freed, and equal content is stored once.
//!
//! - `scene.rs`: contents of known bytes, and assertions about a vault.
//! - `content.rs`: contents of every length.
//! - `between.rs`: changes between a look-up and its commit.
//! - `resumed.rs`: uploads of a process that was killed.
//! - `damage.rs`: packs that are missing, truncated or changed.
//! - `index.rs`: chunks in state and in packs, and the rebuild of the index.
//! - `names.rs`: names, versions, listings, deletions, bad input.
//! - `stores.rs`: a vault whose content is on an object store.
//! - `values.rs`: long values of records, which share chunks with artifacts.
//! - `export.rs`, `leases.rs`, `retention.rs`, `search.rs`, `tags.rs`, `usage.rs`: the feature that
//!   each name says.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

mod between;
mod content;
mod damage;
mod export;
mod index;
mod leases;
mod names;
mod resumed;
mod retention;
mod scene;
mod search;
mod stores;
mod tags;
mod usage;
mod values;
