//! Flips of one bit of each byte.

use std::sync::Arc;

use strongroom::keys::Cipher;

use crate::image::{Damage, Image, layout};
use crate::judge::{DamageBytes, Tally, judge_all};
use crate::scene::{LeftVault, vaults};

/// Distance between flipped bytes of sealed blocks, in the short run.
const SEALED_EVERY: usize = 499;
/// Distance between flipped bytes of all blocks, in the short run.
///
/// Unwritten blocks are included.
const NEVER_WRITTEN_EVERY: usize = 49_999;

fn setting() -> String {
    std::env::var("STRONGROOM_FLIPS").unwrap_or_default()
}

/// Returns whether the run is long: every byte, or every byte that was ever written.
pub(crate) fn all_bytes() -> bool {
    matches!(&setting()[..], "all" | "written")
}

/// Returns the offsets of the bytes to flip.
fn offsets(image: &Image) -> Vec<usize> {
    let len = image.state.len();
    match &setting()[..] {
        "all" => return (0..len).collect(),
        "written" => {
            let blocks = image.written().into_iter().flat_map(layout::block);
            return (0..layout::BLOCKS_AT).chain(blocks).collect();
        }
        _ => {}
    }
    let mut offsets: Vec<usize> = (0..2 * layout::HEADER_BYTES).step_by(7).collect();
    for copy in 0..2 {
        let start = layout::SUPER_AT + copy * layout::SUPER_STRIDE;
        offsets.extend(start..start + layout::SUPER_BYTES);
        offsets.extend((start + layout::SUPER_BYTES..start + layout::SUPER_STRIDE).step_by(97));
    }
    for number in image.written() {
        let block = layout::block(number);
        offsets.extend((block.start..block.start + layout::NONCE_BYTES).step_by(5));
        offsets.extend((block.start + number % 100..block.end).step_by(SEALED_EVERY));
        offsets.extend((block.end - layout::TAG_BYTES..block.end).step_by(5));
    }
    offsets.extend((layout::BLOCKS_AT..len).step_by(NEVER_WRITTEN_EVERY));
    offsets
}

fn flip(left: &LeftVault) -> Tally {
    let offsets = offsets(&left.image);
    let state = Arc::clone(&left.image.state);
    let tally = judge_all(left, DamageBytes::Unauthentic, offsets.len(), move |n| {
        Damage::flip(&state, offsets[n])
    });
    let (len, written) = (left.image.state.len(), left.image.written().len());
    let what = format!("{}, {len} bytes with {written} blocks written", left.name);
    let tally = tally.expect_none_wrong(&what);
    assert_eq!(tally.caught, 0, "redb panicked, so redb received bytes that it had not written");
    tally
}

#[test]
fn flipped_bit_of_closed_vault_is_detected_or_harmless() {
    let tally = flip(&vaults(Cipher::XChaCha20Poly1305, 1).closed);
    assert!(tally.detected() > 100, "{tally}");
    assert_eq!(tally.fell_back, 0, "a closed vault never falls back");
}

#[test]
fn flipped_bit_of_crashed_vault_is_detected_or_reported() {
    let tally = flip(&vaults(Cipher::XChaCha20Poly1305, 1).crashed);
    assert!(tally.detected() > 100 && tally.fell_back > 0, "{tally}");
}
