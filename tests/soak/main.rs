//! Sixteen threads on the artifacts of one vault, for a given time.
//!
//! - `scene.rs`: contents that share chunks, a clock that can be advanced, the two vaults.
//! - `own.rs`: artifacts of a single thread, compared with a plain model.
//! - `shared.rs`: artifacts that all threads write, with assertions for any order of calls.
//! - `rounds.rs`: rounds of steps on all artifacts, and a check of the vault after each round.
//! - `reads.rs`: the duration of reads during a put that holds the lease, and without.
//!
//! `STRONGROOM_SOAK_SECS` sets the seconds of work on each vault, and `STRONGROOM_SOAK_READS` the
//! number of timed reads. A full run has 120 and 20000. Without the variables the run takes
//! seconds.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

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
