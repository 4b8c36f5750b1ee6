//! Attacks on documents, as programs.
//!
//! The attacker has all slots in clear, which takes the vault's key, but no partition key. Each
//! layer is shown to be necessary by an attack that succeeds without it.
//!
//! - `numbers.rs`: the attacker's own arithmetic. `original.rs`: documents in the layout that this
//!   project began with.
//! - `triples.rs`: the search for three shares that give a text. `relations.rs`: linear algebra.
//!   `curves.rs`: the search for four shares on one curve.
//! - `layers.rs`: each layer alone, against all three attacks, as a table.
//!
//! Further tests of spaces:
//!
//! - `uniform.rs`: cells and slots with no, one and two documents look like chance.
//! - `losses.rs`: the chances of loss by an addition and by a lost segment, against the
//!   predictions. `damage.rs`: the cost of one flipped bit.
//! - `alike.rs`: calls of the storage do not distinguish one update, or one refusal, from another.
//!
//! All randomness comes from seeds, so every run has the same result. A bound that chance exceeds
//! once in a million runs is therefore exceeded always or never. These variables change a run:
//!
//! - `STRONGROOM_ATTACK_SEED`: another seed.
//! - `STRONGROOM_ATTACK_TRIALS`: a factor for the trials of `losses.rs` (1).
//! - `STRONGROOM_ATTACK_ATTEMPTS`: timed refusals of each kind (100).
//! - `STRONGROOM_ATTACK_CAPACITY`: bytes of a document in the timed space (65,536).
//! - `STRONGROOM_ATTACK_COSTS`: if set, the timed space has real password costs.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their helpers.

#[path = "../support/mod.rs"]
mod support;

mod alike;
mod curves;
mod damage;
mod layers;
mod losses;
mod numbers;
mod original;
mod relations;
mod triples;
mod uniform;

use strongroom_testkit::SeededEntropy;

/// Returns a number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Returns the entropy of this run for one test.
fn entropy(of: u64) -> SeededEntropy {
    SeededEntropy::new(setting("STRONGROOM_ATTACK_SEED", 0) << 16 | of)
}
