//! One bit of each byte.

use std::sync::Arc;

use strongroom::keys::Cipher;

use crate::image::{Damage, Image, layout};
use crate::judge::{Bytes, Tally, judge_all};
use crate::scene::{Left, vaults};

/// In the short run, of what a block seals one byte in so many, and of blocks that were never
/// written.
const SEALED_EVERY: usize = 499;
const NEVER_WRITTEN_EVERY: usize = 49_999;

fn setting() -> String {
    std::env::var("STRONGROOM_FLIPS").unwrap_or_default()
}

/// Whether it is a long run: every byte, or every byte that was ever written.
pub(crate) fn all_bytes() -> bool {
    matches!(&setting()[..], "all" | "written")
}

/// Which bytes are flipped.
fn places(image: &Image) -> Vec<usize> {
    let len = image.state.len();
    match &setting()[..] {
        "all" => return (0..len).collect(),
        "written" => {
            let blocks = image.written().into_iter().flat_map(layout::block);
            return (0..layout::BLOCKS_AT).chain(blocks).collect();
        }
        _ => {}
    }
    let mut places: Vec<usize> = (0..2 * layout::HEADER_BYTES).step_by(7).collect();
    for copy in 0..2 {
        let start = layout::SUPER_AT + copy * layout::SUPER_STRIDE;
        places.extend(start..start + layout::SUPER_BYTES);
        places.extend((start + layout::SUPER_BYTES..start + layout::SUPER_STRIDE).step_by(97));
    }
    for number in image.written() {
        let block = layout::block(number);
        places.extend((block.start..block.start + layout::NONCE_BYTES).step_by(5));
        places.extend((block.start + number % 100..block.end).step_by(SEALED_EVERY));
        places.extend((block.end - layout::TAG_BYTES..block.end).step_by(5));
    }
    places.extend((layout::BLOCKS_AT..len).step_by(NEVER_WRITTEN_EVERY));
    places
}

fn flip(left: &Left) -> Tally {
    let places = places(&left.image);
    let state = Arc::clone(&left.image.state);
    let tally =
        judge_all(left, Bytes::Unauthentic, places.len(), move |n| Damage::flip(&state, places[n]));
    let (len, written) = (left.image.state.len(), left.image.written().len());
    let what = format!("{}, {len} bytes with {written} blocks written", left.name);
    let tally = tally.expect_none_wrong(&what);
    assert_eq!(tally.caught, 0, "redb panicked: it was handed bytes that are not its own");
    tally
}

#[test]
fn a_flipped_bit_of_a_closed_vault_is_detected_or_harmless() {
    let tally = flip(&vaults(Cipher::XChaCha20Poly1305, 1).closed);
    assert!(tally.detected() > 100, "{tally}");
    assert_eq!(tally.fell_back, 0, "a closed vault never falls back");
}

#[test]
fn a_flipped_bit_of_a_vault_left_by_a_crash_is_detected_or_harmless_or_the_report_tells() {
    let tally = flip(&vaults(Cipher::XChaCha20Poly1305, 1).crashed);
    assert!(tally.detected() > 100 && tally.fell_back > 0, "{tally}");
}
