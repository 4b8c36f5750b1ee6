//! Sixteen threads on the artifacts of one vault, for as long as is asked for.
//!
//! - `scene.rs`: contents that share parts, a clock that can be put forward, the two vaults.
//! - `own.rs`: artifacts that one thread alone writes, against a plain model.
//! - `shared.rs`: artifacts that all threads write, against what must hold whatever comes in between.
//! - `rounds.rs`: rounds of all of this, and what is asked of the vault between two of them.
//! - `reads.rs`: how long reads take beside a put that holds the lease, and without.
//!
//! `STRONGROOM_SOAK_SECS` sets how long each vault is worked on, and `STRONGROOM_SOAK_READS` how many
//! reads are timed; the full run is 120 and 20000. Without they are seconds.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

#[path = "../support/mod.rs"]
mod support;

mod own;
mod reads;
mod rounds;
mod scene;
mod shared;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
