//! Each layer alone, against the strongest attack on it, as a table.
//!
//! `cargo test --test attacks layers -- --nocapture` prints the table. The first three rows show
//! the original's layout and its first changes, at 500 slots. The other rows show slots as the
//! engine writes them, without their mask in all rows but the last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strongroom::backends::component::{Clock, SystemClock};
use strongroom_testkit::ShareTester;

use crate::curves::{self, Four};
use crate::numbers::Number;
use crate::original::{Change, Original, SHARES, THRESHOLD, json};
use crate::{entropy, relations, triples};

const SLOTS: usize = 500;
/// Chunks of the document in the searches. The lab's sealed document has one more.
const CHUNKS: usize = 16;
/// Chunks that linear algebra needs if x is the slot's number.
const CHUNKS_X_KNOWN: usize = 84;
/// Chunks that linear algebra needs if x is not known.
const CHUNKS_X_UNKNOWN: usize = 500;
/// Triples at x, 2 x and 3 x.
const TRIPLES_FROM_ZERO: usize = 3;
/// Triples of nine shares.
const TRIPLES: usize = 84;
/// Sets of four of nine shares.
const FOURS: usize = 126;
/// Sets of four of nine shares in equal steps.
const FOURS_IN_STEPS: usize = 9;

/// Runs an attack, and prints its result and its time.
fn attack<T>(
    layers: &str,
    name: &str,
    run: impl FnOnce() -> T,
    describe: impl FnOnce(&T) -> String,
) -> T {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let result = run();
    let took: Duration = clock.monotonic().saturating_sub(began);
    println!(
        "| {layers:<22} | {name:<14} | {:<72} | {:5.1} s |",
        describe(&result),
        took.as_secs_f64()
    );
    result
}

fn lab(text: &[u8], sealed: bool, slots: usize, of: u64) -> ShareTester {
    ShareTester::new(text, sealed, (THRESHOLD, SHARES), slots, &entropy(of)).unwrap()
}

fn numbers(slots: &[[u8; 80]]) -> Vec<Number> {
    slots.iter().map(|slot| Number::of_bytes(slot)).collect()
}

/// Returns the slots of each chunk in the order of x.
fn by_chunk(lab: &ShareTester) -> Vec<Vec<usize>> {
    let mut chunks: BTreeMap<usize, BTreeMap<u8, usize>> = BTreeMap::new();
    for (slot, share) in lab.shares.iter().enumerate() {
        if let Some((chunk, x)) = share {
            chunks.entry(*chunk).or_default().insert(*x, slot);
        }
    }
    chunks.into_values().map(|slots| slots.into_values().collect()).collect()
}

/// Returns the fours of each chunk with x in equal steps.
fn in_equal_steps(chunks: &[Vec<usize>]) -> BTreeSet<Four> {
    let mut fours = BTreeSet::new();
    for slots in chunks {
        for step in 1..=2 {
            for first in 0..SHARES - 3 * step {
                let mut four = [0, 1, 2, 3].map(|n| slots[first + n * step]);
                four.sort_unstable();
                fours.insert(four);
            }
        }
    }
    assert_eq!(fours.len(), chunks.len() * FOURS_IN_STEPS);
    fours
}

/// Returns all fours of each chunk's slots.
fn all_fours(chunks: &[Vec<usize>]) -> BTreeSet<Four> {
    let mut fours = BTreeSet::new();
    for slots in chunks {
        let mut slots = slots.clone();
        slots.sort_unstable();
        for a in 0..SHARES {
            for b in a + 1..SHARES {
                for c in b + 1..SHARES {
                    fours.extend((c + 1..SHARES).map(|d| [slots[a], slots[b], slots[c], slots[d]]));
                }
            }
        }
    }
    assert_eq!(fours.len(), chunks.len() * FOURS);
    fours
}

#[test]
fn original_layout_falls_to_all_attacks() {
    const LAYERS: &str = "the original";
    let document = Original::new(Change::None, SLOTS, CHUNKS, &entropy(10));
    let found = attack(
        LAYERS,
        "triples",
        || triples::at_slot_numbers(&document.values),
        |found| format!("{} of {TRIPLES} triples, all with the text in clear", found.len()),
    );
    let ids = document.slots();
    assert_eq!(found.len(), TRIPLES, "not all triples of the nine slots are found");
    assert!(
        found.iter().flatten().all(|slot| ids.contains(slot)),
        "a slot without a share is in a triple"
    );

    let document = Original::new(Change::None, SLOTS, CHUNKS_X_KNOWN, &entropy(11));
    let found = attack(
        LAYERS,
        "linear algebra",
        || relations::slots(&document.values, true),
        |found| format!("{} of {SHARES} slots, from {CHUNKS_X_KNOWN} chunks", found.len()),
    );
    assert_eq!(found, document.slots());

    let document = Original::new(Change::None, 60, 1, &entropy(12));
    let found = attack(
        LAYERS,
        "four a curve",
        || curves::at_slot_numbers(&document.values[0]),
        |found| format!("{} of {FOURS} fours, of one chunk among 60 slots", found.len()),
    );
    assert_eq!(found, all_fours(&[document.slots()]));
}

#[test]
fn numbered_shares_stop_no_attack() {
    const LAYERS: &str = "+ x = 1..n";
    let document = Original::new(Change::NumberedShares, SLOTS, CHUNKS_X_UNKNOWN, &entropy(20));
    let few = &document.values[..CHUNKS];
    let found = attack(
        LAYERS,
        "triples",
        || triples::at_first_numbers(few),
        |found| {
            let of = TRIPLES_FROM_ZERO;
            format!("{} of {of} triples at x, 2 x, 3 x, with the text in clear", found.texts.len())
        },
    );
    assert_eq!(found.texts.len(), TRIPLES_FROM_ZERO);
    for (triple, secrets) in &found.texts {
        assert!(triple.iter().all(|slot| document.slots().contains(slot)));
        for (secret, text) in secrets.iter().zip(document.text.chunks(64)) {
            assert!(secret.iter().rev().eq(text));
        }
    }

    let found = attack(
        LAYERS,
        "linear algebra",
        || relations::slots(&document.values, false),
        |found| format!("{} of {SHARES} slots, from {CHUNKS_X_UNKNOWN} chunks", found.len()),
    );
    assert_eq!(found, document.slots());

    let found = attack(
        LAYERS,
        "four a curve",
        || curves::in_equal_steps(&document.values[0]),
        |found| format!("{} of {FOURS_IN_STEPS} fours in equal steps, of one chunk", found.len()),
    );
    let slots = document.chosen[0].iter().map(|slot| slot - 1).collect();
    assert_eq!(found, in_equal_steps(&[slots]));
}

#[test]
fn scattered_chunks_stop_linear_algebra_only() {
    const LAYERS: &str = "+ scattered chunks";
    let document = Original::new(Change::ScatteredChunks, SLOTS, CHUNKS_X_UNKNOWN, &entropy(30));
    let found = attack(
        LAYERS,
        "linear algebra",
        || relations::slots(&document.values, false),
        |found| {
            format!("{} slots, from {CHUNKS_X_UNKNOWN} chunks: no relation at all", found.len())
        },
    );
    assert!(found.is_empty());

    // From here on the layout is the engine's: all chunks are scattered among the same slots.
    let text = json(CHUNKS * 64);
    let lab = lab(&text, false, SLOTS, 31);
    let values = numbers(&lab.bare);
    let found = attack(
        LAYERS,
        "triples",
        || triples::at_first_numbers(std::slice::from_ref(&values)),
        |found| format!("{} triples with text in clear, of {CHUNKS} chunks", found.texts.len()),
    );
    assert_eq!(found.texts.len(), CHUNKS * TRIPLES_FROM_ZERO);
    let clear: BTreeSet<Vec<u8>> = found.texts.iter().map(|(_, text)| text[0].to_vec()).collect();
    assert_eq!(clear, text.chunks(64).map(<[u8]>::to_vec).collect());

    let found = attack(
        LAYERS,
        "four a curve",
        || curves::in_equal_steps(&values),
        |found| format!("{} of {} fours in equal steps", found.len(), CHUNKS * FOURS_IN_STEPS),
    );
    assert_eq!(found, in_equal_steps(&by_chunk(&lab)));
}

#[test]
fn sealed_text_stops_triples_and_mask_stops_curves() {
    let lab = lab(&json(CHUNKS * 64), true, SLOTS, 40);
    let chunks = by_chunk(&lab);
    assert_eq!(chunks.len(), CHUNKS + 1);
    let bare = numbers(&lab.bare);
    let fours = in_equal_steps(&chunks);
    for (layers, values) in [("+ sealed text", &bare), ("+ mask", &numbers(&lab.masked))] {
        let found = attack(
            layers,
            "triples",
            || triples::at_first_numbers(std::slice::from_ref(values)),
            |found| {
                format!(
                    "no text; {} of {} are below 2^512, chance has {}",
                    found.small,
                    found.tried,
                    found.tried / 512
                )
            },
        );
        assert_eq!(found.texts.len(), 0);
        // Triples share slots, so this number varies more than with independent triples. The bound
        // is wide, but far above the few triples that the shares add.
        let chance = found.tried as f64 / 512.0;
        assert!((found.small as f64 / chance - 1.0).abs() < 0.05, "{found:?}");

        let sealed = layers == "+ sealed text";
        let expected = if sealed { fours.clone() } else { BTreeSet::new() };
        let found = attack(
            layers,
            "four a curve",
            || curves::in_equal_steps(values),
            |found| format!("{} of {} fours in equal steps", found.len(), fours.len()),
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn mask_hides_all_shares_from_an_exhaustive_search() {
    // Two chunks: 18 shares in 30 slots.
    let lab = lab(&json(112), true, 30, 50);
    let expected = all_fours(&by_chunk(&lab));
    assert_eq!(expected.len(), 2 * FOURS);
    let shares = i64::try_from(SHARES).unwrap();
    let search = |layers, slots: &[[u8; 80]]| {
        let values = numbers(slots);
        attack(
            layers,
            "exhaustive",
            || curves::at_any_numbers(&values, shares),
            |found| {
                format!(
                    "{} of {} fours, in {} checks",
                    found.fours.len(),
                    expected.len(),
                    found.checks
                )
            },
        )
    };
    let bare = search("mask off, 30 slots", &lab.bare);
    assert_eq!(bare.fours, expected, "the fours found are not those of the chunks");
    let masked = search("mask on, 30 slots", &lab.masked);
    assert_eq!(masked.fours, BTreeSet::new());
    // Fours of 30 slots, times assignments of four of nine x.
    assert_eq!((bare.checks, masked.checks), (27_405 * 3_024, 27_405 * 3_024));
}
