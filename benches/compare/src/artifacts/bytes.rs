//! The contents: bytes as hosts have them, half of which do not compress.
//!
//! Pieces of a build log, with newly drawn numbers, alternate with pieces of random bytes, which
//! look like images, archives and binaries to a compressor. No two puts share a piece, so that
//! deduplication finds nothing.

use std::io::Write;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Longest piece, in bytes.
const PIECE_BYTES_MAX: usize = 32 << 10;

const WORDS: [&str; 16] = [
    "compiled", "linked", "checked", "skipped", "passed", "failed", "retried", "loaded", "parsed",
    "resolved", "fetched", "written", "removed", "renamed", "merged", "opened",
];

/// Divisor of the file's length that gives the edited part.
const EDITED_PART: usize = 100;
/// Lengths of edits in bytes: each doubling is equally likely.
const EDIT_BYTES: Range<u32> = 10..17;

/// A stream of such bytes. The same seed gives the same bytes.
pub(crate) struct Source {
    rng: ChaCha8Rng,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Returns the next `len` bytes, half of them text.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let piece = (len / 2).clamp(1, PIECE_BYTES_MAX);
        let mut bytes = Vec::with_capacity(len + PIECE_BYTES_MAX);
        while bytes.len() < len {
            let end = (bytes.len() + piece).min(len);
            while bytes.len() < end {
                self.line(&mut bytes);
            }
            bytes.truncate(end);
            let random = bytes.len();
            bytes.resize((random + piece).min(len), 0);
            self.rng.fill_bytes(&mut bytes[random..]);
        }
        bytes
    }

    fn line(&mut self, bytes: &mut Vec<u8>) {
        let (a, b) = (self.rng.next_u64(), self.rng.next_u64());
        let word = WORDS[(a % 16) as usize];
        writeln!(
            bytes,
            "2026-11-{:02}T{:02}:{:02}:{:02}.{:06}Z INFO worker-{}: {word} src/{}/{:08x}.rs:{} in {} ms",
            a >> 4 & 15,
            a >> 8 & 15,
            a >> 12 & 31,
            a >> 17 & 31,
            b & 0xf_ffff,
            a >> 22 & 7,
            WORDS[(a >> 25 & 15) as usize],
            b >> 32,
            a >> 29 & 0x3ff,
            a >> 39 & 0xfff,
        )
        .expect("memory takes what is written");
    }

    /// Makes the next version of `bytes`: a hundredth is overwritten or inserted, in pieces of some
    /// dozen bytes to some KiB.
    pub(super) fn edit(&mut self, bytes: &mut Vec<u8>) {
        let mut left = bytes.len() / EDITED_PART;
        while left > 0 {
            let doubling = self.below((EDIT_BYTES.end - EDIT_BYTES.start) as usize);
            let least = 1_usize << (EDIT_BYTES.start as usize + doubling);
            let len = (least + self.below(least)).min(left);
            let at = self.below(bytes.len() - len);
            let edit = self.bytes(len);
            let overwritten = if self.below(2) == 0 { len } else { 0 };
            bytes.splice(at..at + overwritten, edit);
            left -= len;
        }
    }

    /// Draws a number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.rng.next_u64() % end as u64).expect("below a length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_length_and_differ() {
        let mut source = Source::new(1);
        for len in [1, 1 << 10, 64 << 10, 1_000_003] {
            let (one, other) = (source.bytes(len), source.bytes(len));
            assert_eq!((one.len(), other.len()), (len, len));
            assert!(len == 1 || one != other);
        }
        assert_eq!(Source::new(1).bytes(5_000), Source::new(1).bytes(5_000));
    }

    #[test]
    fn edit_changes_one_hundredth() {
        let mut source = Source::new(1);
        let before = source.bytes(1_000_000);
        let mut after = before.clone();
        source.edit(&mut after);
        let inserted = after.len() - before.len();
        assert!(after != before && inserted <= 10_000, "{inserted}");
    }
}
