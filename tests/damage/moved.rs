//! Blocks and headers moved, foreign or older, and other file lengths.

use std::sync::Arc;

use strongroom::keys::Cipher;

use crate::image::{Damage, Image, layout};
use crate::judge::{DamageBytes, judge_each};
use crate::scene::{LeftVault, Vaults, vaults};

const CIPHER: Cipher = Cipher::Aes256GcmSiv;
/// Largest number of written blocks that are swapped with each other.
const SWAPPED_MAX: usize = 40;

fn each_left(vaults: &Vaults) -> [&LeftVault; 3] {
    [&vaults.closed, &vaults.crashed, &vaults.reopened]
}

/// Returns a damage that writes block `number` to location `to`.
///
/// The block may be of another image.
fn put(from: &Image, number: usize, to: usize) -> Damage {
    let label = format!("block {number} at the location of {to}");
    Damage::new(label).write(layout::block(to).start, from.block(number))
}

#[test]
fn swapped_blocks_do_not_open() {
    let vaults = vaults(CIPHER, 2);
    for left in each_left(&vaults) {
        let image = &left.image;
        let written = image.written();
        let some = &written[..written.len().min(SWAPPED_MAX)];
        let pairs =
            some.iter().enumerate().flat_map(|(n, &a)| some[..n].iter().map(move |&b| (a, b)));
        let swaps = pairs.map(|(a, b)| {
            let both = put(image, a, b).write(layout::block(a).start, image.block(b));
            both.labelled(format!("blocks {a} and {b} swapped"))
        });
        let tally = judge_each(left, DamageBytes::Unauthentic, swaps.collect());
        let tally = tally.expect_none_wrong(&format!("{}: blocks swapped", left.name));
        assert!(tally.detected() > 0, "{tally}");
    }
}

#[test]
fn block_at_another_location_does_not_open() {
    let vaults = vaults(CIPHER, 2);
    for left in each_left(&vaults) {
        let image = &left.image;
        let written = image.written();
        let next = written.iter().cycle().skip(1);
        let copies = written.iter().zip(next).map(|(&from, &to)| put(image, from, to));
        let tally = judge_each(left, DamageBytes::Unauthentic, copies.collect());
        let tally = tally.expect_none_wrong(&format!("{}: blocks copied", left.name));
        assert!(tally.detected() > 0, "{tally}");
    }
}

#[test]
fn block_of_another_vault_with_same_key_does_not_open() {
    let (vaults, others) = (vaults(CIPHER, 2), vaults(CIPHER, 3));
    for (left, other) in each_left(&vaults).into_iter().zip(each_left(&others)) {
        let blocks = left.image.written().into_iter();
        let copies = blocks.map(|number| put(&other.image, number, number));
        let tally = judge_each(left, DamageBytes::Unauthentic, copies.collect());
        let tally = tally.expect_none_wrong(&format!("{}: foreign blocks", left.name));
        assert!(tally.detected() > 0, "{tally}");
    }
}

#[test]
fn older_block_is_detected_by_check_or_unused() {
    let vaults = vaults(CIPHER, 2);
    for left in each_left(&vaults) {
        let mut copies = Vec::new();
        for (commit, older) in vaults.history.iter().enumerate() {
            for number in older.written() {
                if older.block(number) != left.image.block(number) {
                    let label = format!("block {number} as after commit {commit}");
                    copies.push(put(older, number, number).labelled(label));
                }
            }
        }
        assert!(copies.len() > 10, "not enough older copies");
        let tally = judge_each(left, DamageBytes::Older, copies);
        let tally = tally.expect_none_wrong(&format!("{}: older blocks", left.name));
        assert!(tally.detected() > 0, "{tally}");
    }
}

#[test]
fn zeroed_blocks_do_not_open() {
    let vaults = vaults(CIPHER, 2);
    for left in each_left(&vaults) {
        let zeros = [0; layout::BLOCK_BYTES];
        let clear = |number: usize| {
            let label = format!("block {number} is zeros");
            Damage::new(label).write(layout::block(number).start, &zeros)
        };
        let cleared = left.image.written().into_iter().map(clear).collect();
        let tally = judge_each(left, DamageBytes::Unauthentic, cleared);
        let tally = tally.expect_none_wrong(&format!("{}: blocks of zeros", left.name));
        assert!(tally.detected() > 0, "{tally}");
    }
}

/// Returns one copy of the header or of the super-header.
fn copy(image: &Image, at: usize) -> &[u8] {
    &image.state[at..at + layout::HEADER_BYTES]
}

/// Returns a damage that writes two copies from `at` on.
fn copies(label: &str, at: usize, [first, second]: [&[u8]; 2]) -> Damage {
    Damage::new(label).write(at, first).write(at + layout::HEADER_BYTES, second)
}

#[test]
fn swapped_or_foreign_headers_are_detected_or_harmless() {
    let (vaults, others) = (vaults(CIPHER, 2), vaults(CIPHER, 3));
    let zeros = &[0; layout::HEADER_BYTES][..];
    for (left, other) in each_left(&vaults).into_iter().zip(each_left(&others)) {
        let [a, b] = [0, layout::HEADER_BYTES].map(|at| copy(&left.image, at));
        let other_a = copy(&other.image, 0);
        let at = layout::SUPER_AT;
        let [c, d] = [at, at + layout::SUPER_STRIDE].map(|at| copy(&left.image, at));
        let [other_c, other_d] = [at, at + layout::SUPER_STRIDE].map(|at| copy(&other.image, at));
        let cases = vec![
            copies("headers swapped", 0, [b, a]),
            copies("one header of another vault", 0, [a, other_a]),
            copies("both headers of another vault", 0, [other_a, other_a]),
            copies("the first header zeros", 0, [zeros, b]),
            copies("both headers zeros", 0, [zeros, zeros]),
            copies("a super-header for a header", 0, [c, d]),
            copies("super-headers swapped", at, [d, c]),
            copies("the first super-header twice", at, [c, c]),
            copies("the second super-header twice", at, [d, d]),
            copies("super-headers of another vault", at, [other_c, other_d]),
            copies("the first super-header of another vault", at, [other_c, d]),
            copies("the second super-header of another vault", at, [c, other_d]),
            copies("the first super-header zeros", at, [zeros, d]),
            copies("the second super-header zeros", at, [c, zeros]),
            copies("both super-headers zeros", at, [zeros, zeros]),
        ];
        let tally = judge_each(left, DamageBytes::Unauthentic, cases);
        tally.expect_none_wrong(&format!("{}: headers", left.name));
    }
}

#[test]
fn older_super_header_next_to_the_newest_is_not_used() {
    let vaults = vaults(CIPHER, 2);
    let left = &vaults.closed;
    let mut cases = Vec::new();
    for (commit, older) in vaults.history.iter().enumerate() {
        for n in 0..2 {
            let at = layout::SUPER_AT + n * layout::SUPER_STRIDE;
            let label = format!("super-header {n} as after commit {commit}");
            cases.push(Damage::new(label).write(at, copy(older, at)));
        }
    }
    let tally = judge_each(left, DamageBytes::Unauthentic, cases);
    let tally = tally.expect_none_wrong("closed: one older super-header");
    assert_eq!(tally.fell_back, 0, "{tally}");
}

/// Returns lengths in bytes at every boundary of blocks, and between.
fn lengths(len: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, 7, 8, 11, 12, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12_287];
    lengths.extend([12_288, 16_383, 16_385, len - 1, len - 24]);
    lengths.extend((layout::BLOCKS_AT..len).step_by(layout::BLOCK_BYTES));
    lengths.extend((layout::BLOCKS_AT..len).step_by(10_007));
    lengths
}

#[test]
fn truncated_or_extended_file_is_detected_or_harmless() {
    let vaults = vaults(CIPHER, 2);
    for left in each_left(&vaults) {
        let len = left.image.state.len();
        let cut = lengths(len).into_iter().map(|len| Damage::new(format!("{len} bytes")).len(len));
        let cut: Vec<_> = cut.collect();
        let tally = judge_each(left, DamageBytes::Unauthentic, cut);
        let tally = tally.expect_none_wrong(&format!("{}: cut", left.name));
        // The end of a state that was not closed may consist of unused blocks.
        assert!(!left.is_closed || tally.detected() == tally.cases, "{tally}");

        let block = layout::BLOCK_BYTES;
        let more = [1, 511, block - 1, block, block + 1, 2 * block, 4096, 100 * block, len];
        let grown = more.map(|more| Damage::new(format!("{more} bytes more")).len(len + more));
        let tally = judge_each(left, DamageBytes::Unauthentic, grown.into());
        let tally = tally.expect_none_wrong(&format!("{}: grown", left.name));
        assert!(!left.is_closed || tally.detected() == tally.cases, "{tally}");
    }
}

/// An older state with its older backend is a valid vault.
///
/// Nothing in the file shows the rollback. The report says only that the vault was not closed
/// (docs: rollback).
#[test]
fn older_state_as_a_whole_is_a_valid_older_vault() {
    let vaults = vaults(CIPHER, 2);
    for (n, (image, view)) in vaults.history.iter().zip(&vaults.views).enumerate().skip(1) {
        let left = LeftVault {
            name: "older",
            image: Arc::new(image.clone()),
            now: Arc::new(view.clone()),
            before: Arc::new(vaults.views[n - 1].clone()),
            is_closed: false,
        };
        let tally = judge_each(&left, DamageBytes::Unauthentic, vec![Damage::new("nothing")]);
        assert_eq!(tally.expect_none_wrong(&format!("after commit {n}")).harmless, 1);
    }
}
