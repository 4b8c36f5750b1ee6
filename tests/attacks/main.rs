//! Attacks on documents, as programs: by whoever has all slots in clear, which takes the vault's
//! key, and no partition's key. What each layer is for is shown by what succeeds without it.
//!
//! - `numbers.rs`: the attacker's own arithmetic. `original.rs`: documents in the layout that this
//!   project began with.
//! - `triples.rs`: the search for three shares that give a text. `relations.rs`: linear algebra.
//!   `curves.rs`: the search for four shares on one curve.
//! - `layers.rs`: the layers one at a time, against all three attacks; a table.
//!
//! What lies in a space, and what happens to it:
//!
//! - `uniform.rs`: cells and slots with no, one and two documents look like chance.
//! - `losses.rs`: what a blind addition and a lost segment cost, against what is said of them.
//!   `damage.rs`: what one bit costs.
//! - `alike.rs`: no call of the storage tells one update, or one refusal, from another.
//!
//! Everything is drawn from seeds, so that a run is the same as the one before, and a bound that
//! chance exceeds once in a million runs is exceeded never or always. `STRONGROOM_ATTACK_SEED` is
//! another seed; `STRONGROOM_ATTACK_TRIALS` multiplies the trials of `losses.rs` (1), and
//! `STRONGROOM_ATTACK_ATTEMPTS` is how many refusals of each kind are timed (100), in a space for
//! documents of `STRONGROOM_ATTACK_CAPACITY` bytes (65,536), with real password costs if
//! `STRONGROOM_ATTACK_COSTS` is set.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not what they share.

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

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Entropy of this run for one test.
fn entropy(of: u64) -> SeededEntropy {
    SeededEntropy::new(setting("STRONGROOM_ATTACK_SEED", 0) << 16 | of)
}
