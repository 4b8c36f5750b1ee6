//! Cells and slots look like chance, with any number of documents.
//!
//! Each of eight tests has a bound that chance exceeds once in a million runs. No block of 16 bytes
//! occurs twice.

use strongroom::backends::Memory;
use strongroom::documents::SpaceOptions;
use strongroom::storage::MemoryState;
use strongroom::{SecretPassword, Vault};
use strongroom_testkit::{ShareTester, TestKey};

use crate::entropy;
use crate::original::json;
use crate::support::chance::{ONE_IN_A_MILLION, UniformityTest};

const SLOT_BYTES: usize = 80;
const CELL_BYTES: usize = 4096;

fn expect_chance(what: &str, bytes: &[u8], row: usize) {
    let judged = UniformityTest::new(bytes, row);
    let (test, worst) = judged.worst();
    println!(
        "{what}: {} bytes, at most {:.2} deviations from chance ({test}), bound \
         {ONE_IN_A_MILLION}; {} repeated blocks",
        bytes.len(),
        worst.abs(),
        judged.repeats
    );
    assert!(judged.passes(), "{what}: {judged:?}");
}

#[test]
fn space_with_up_to_two_documents_looks_like_chance() {
    let vault = Vault::options(TestKey)
        .cheap_passwords()
        .entropy(entropy(60))
        .create_on(MemoryState::new(), Memory::new())
        .unwrap();
    let space = vault.documents().create_space(&SpaceOptions::default()).unwrap();
    let mut keys = Vec::new();
    for documents in 0..=2 {
        if documents > 0 {
            let password = SecretPassword::new(format!("password {documents}"));
            let key = space.add_partition(&password, &keys.iter().collect::<Vec<_>>()).unwrap();
            // The first document repeats one digit. The second fills its capacity.
            let text = if documents == 1 { vec![b'1'; 60_000] } else { noise(60_000) };
            space.partition(&key, &password).unwrap().write(text).unwrap();
            keys.push(key);
        }
        let (cells, slots) = space.dump().unwrap();
        assert_eq!((cells.len(), slots.len()), (64 * CELL_BYTES, 16 * 38 * 51 * SLOT_BYTES));
        expect_chance(&format!("slots, {documents} documents"), &slots, SLOT_BYTES);
        expect_chance(&format!("cells, {documents} documents"), &cells, CELL_BYTES);
    }
}

/// Returns a JSON text that compresses to three quarters at best.
fn noise(len: usize) -> Vec<u8> {
    use strongroom::backends::component::Entropy;
    let mut text = vec![0; len];
    entropy(61).fill(&mut text).unwrap();
    for byte in &mut text {
        *byte = b'0' + *byte % 64;
        if *byte == b'\\' {
            *byte = b'z';
        }
    }
    let last = len - 1;
    (text[0], text[last]) = (b'"', b'"');
    text
}

#[test]
fn unmasked_slots_and_planted_patterns_are_detected() {
    let lab = ShareTester::new(&json(50_000), true, (3, 9), 25_000, &entropy(62)).unwrap();
    let masked = lab.masked.as_flattened();
    expect_chance("slots of the lab", masked, SLOT_BYTES);
    let judge = |what: &str, bytes: &[u8], row: usize| {
        let judged = UniformityTest::new(bytes, row);
        let (test, worst) = judged.worst();
        println!("{what}: {:.1} deviations ({test}), {} repeats", worst.abs(), judged.repeats);
        assert!(!judged.passes(), "{what} passes: {judged:?}");
    };
    judge("slots without their mask", lab.bare.as_flattened(), SLOT_BYTES);
    let change = |each: &dyn Fn(usize, &mut [u8])| {
        let mut bytes = masked.to_vec();
        bytes.chunks_exact_mut(SLOT_BYTES).enumerate().for_each(|(n, slot)| each(n, slot));
        bytes
    };
    judge("a byte that is always the same", &change(&|_, slot| slot[79] = 7), SLOT_BYTES);
    // Like the top bit of a field element that is part of three in ten slots.
    judge(
        "a stuck bit in one of ten slots",
        &change(&|n, slot| {
            if n % 10 == 0 {
                slot[65] |= 1;
            }
        }),
        SLOT_BYTES,
    );
    judge(
        "a slot that occurs twice",
        &{
            let mut bytes = masked.to_vec();
            bytes.copy_within(..SLOT_BYTES, 100 * SLOT_BYTES);
            bytes
        },
        SLOT_BYTES,
    );
    judge(
        "sixteen bytes that occur twice",
        &{
            let mut bytes = masked.to_vec();
            bytes.copy_within(..16, 1_600);
            bytes
        },
        SLOT_BYTES,
    );
    judge(
        "repeated words of four bytes, in one slot of a hundred",
        &change(&|n, slot| {
            if n % 100 == 0 {
                slot.copy_within(..4, 8);
            }
        }),
        SLOT_BYTES,
    );
    judge(
        "bytes that depend on the previous one",
        &change(&|n, slot| {
            if n % 10 == 0 {
                for at in 1..SLOT_BYTES {
                    slot[at] = (slot[at] & 0x7f) | (slot[at - 1] & 0x80);
                }
            }
        }),
        SLOT_BYTES,
    );
    // Cells: with a nonce of zeros, and with a map in clear.
    let cells: Vec<u8> = masked[..64 * CELL_BYTES].to_vec();
    judge(
        "cells of which eight begin with zeros",
        &{
            let mut cells = cells.clone();
            cells.chunks_exact_mut(CELL_BYTES).step_by(8).for_each(|cell| cell[..24].fill(0));
            cells
        },
        CELL_BYTES,
    );
    judge(
        "a cell with its map in clear",
        &{
            let mut cells = cells.clone();
            // A third of the bits are ones.
            for at in 84..84 + 3_806 {
                cells[at] &= cells[at + 10_000] | cells[at + 20_000] & cells[at + 30_000];
            }
            cells
        },
        CELL_BYTES,
    );
}
