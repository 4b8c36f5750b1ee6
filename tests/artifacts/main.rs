//! Artifacts through the public interface: what is put is there, what is dropped goes, and content is
//! stored once.
//!
//! - `scene.rs`: contents of known bytes, and what tests ask of a vault.
//! - `content.rs`: contents of every length.
//! - `between.rs`: what comes between a look-up and its commit.
//! - `resumed.rs`: uploads whose process dies.
//! - `damage.rs`: packs that are missing, cut short or changed.
//! - `index.rs`: chunks in state and in packs, and the index made anew.
//! - `names.rs`: names, versions, listings, deletions, bad input.
//! - `stores.rs`: a vault whose content lies on an object store.
//! - `values.rs`: long values of records, which lie beside contents of artifacts.
//! - `export.rs`, `leases.rs`, `retention.rs`, `search.rs`, `tags.rs`, `usage.rs`: what they say.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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
