//! Tests whether sealed bytes look random.
//!
//! There are three tests: byte values (chi-square), the number of ones (monobit), and the number
//! of runs of equal bits. All nonces, ciphertexts and tags that were on disk at any stop are
//! pooled, and the pool must pass all three tests. Each block must pass two tests.
//!
//! The bytes come from the operating system's entropy, so the tests can fail by chance: together
//! less than once in a thousand million runs. The canaries show that text fails, and that bytes
//! with a much weaker pattern than text fail too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::files;
use crate::support::chance::Counts;

const SUPER_AT: usize = 8192;
const SUPER_STRIDE: usize = 4096;
const SUPER_BYTES: usize = 512;
const BLOCKS_AT: usize = 16_384;
const BLOCK_BYTES: usize = 4136;
const NONCE_BYTES: usize = 24;
const OBJECT_MAGIC: &[u8] = b"STRNGOBJ";
const PACK_MAGIC: &[u8] = b"STRNGPAK";
const OBJECT_HEADER_BYTES: usize = 16;
const OBJECT_BLOCK_BYTES: usize = 24 + (64 << 10) + 16;

/// Largest deviation of the pool, in standard deviations: exceeded by chance once in 1e10.
const POOL_MAX: f64 = 6.5;
/// Largest deviation of one block, in standard deviations.
///
/// Fewer than 10,000 blocks together exceed this bound by chance once in 1e10.
const BLOCK_MAX: f64 = 8.5;
/// Smallest block for the test of byte values, in bytes.
///
/// Shorter blocks have too few bytes of each value.
const COUNTED_BYTES_MIN: usize = 2048;

/// Every sealed block that was on disk at a stop.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    seen: HashSet<Vec<u8>>,
    by_nonce: HashMap<Vec<u8>, Vec<u8>>,
    in_state: usize,
    in_objects: usize,
    super_headers: usize,
}

impl Blocks {
    /// Adds all blocks of the vault, and asserts that they all differ.
    pub(crate) fn gather(&mut self, vault: &Path) {
        let mut now = HashSet::new();
        for path in files(vault) {
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            if name.starts_with("state.redb") {
                for at in [SUPER_AT, SUPER_AT + SUPER_STRIDE] {
                    let (header, rest) = bytes[at..at + SUPER_STRIDE].split_at(SUPER_BYTES);
                    assert!(rest.iter().all(|&byte| byte == 0), "zeros after the super-header");
                    self.super_headers += usize::from(self.add(header, &mut now));
                }
                for block in bytes[BLOCKS_AT..].chunks(BLOCK_BYTES) {
                    assert_eq!(block.len(), BLOCK_BYTES, "whole blocks");
                    if block.iter().any(|&byte| byte != 0) {
                        self.in_state += usize::from(self.add(block, &mut now));
                    }
                }
            } else if bytes.starts_with(OBJECT_MAGIC) || bytes.starts_with(PACK_MAGIC) {
                for block in bytes[OBJECT_HEADER_BYTES..].chunks(OBJECT_BLOCK_BYTES) {
                    self.in_objects += usize::from(self.add(block, &mut now));
                }
            }
        }
    }

    /// Adds a block, and returns whether the block is new.
    fn add(&mut self, block: &[u8], now: &mut HashSet<Vec<u8>>) -> bool {
        assert!(now.insert(block.to_vec()), "two blocks are equal");
        let nonce = block[..NONCE_BYTES].to_vec();
        let earlier = self.by_nonce.entry(nonce).or_insert_with(|| block.to_vec());
        assert_eq!(earlier, block, "a nonce is used twice");
        self.seen.insert(block.to_vec())
    }

    /// Asserts that all blocks look random, and returns a summary.
    pub(crate) fn assert_uniform(&self) -> String {
        assert!(self.in_state >= 100, "{} blocks of the state", self.in_state);
        assert!(self.in_objects >= 8, "{} blocks of objects", self.in_objects);
        assert!(self.super_headers >= 8, "{} super-headers", self.super_headers);
        let (mut pool, mut most) = (Counts::default(), 0.0_f64);
        // The order of the blocks matters only for runs across their borders: any order will do.
        for block in &self.seen {
            let counts = Counts::of(block);
            let worst = counts.worst(block.len() >= COUNTED_BYTES_MIN, false);
            assert!(worst < BLOCK_MAX, "a block is {worst:.1} deviations from random");
            most = most.max(worst);
            pool.add(&counts);
        }
        let worst = pool.worst(true, true);
        assert!(worst < POOL_MAX, "all blocks are {worst:.1} deviations from random: {pool:?}");
        format!(
            "{} blocks of the state, {} of objects, {} super-headers, {} bytes: {worst:.2} \
             deviations from random (bound {POOL_MAX}), one block at most {most:.2} (bound \
             {BLOCK_MAX}); 0 equal, 0 nonces twice",
            self.in_state,
            self.in_objects,
            self.super_headers,
            pool.bytes()
        )
    }
}

#[test]
fn unsealed_bytes_are_far_from_random() {
    let text = "Ada Lovelace, 1815 to 1852. ".repeat(200).into_bytes();
    let random = |len: usize| {
        use strongroom::backends::component::{Entropy, OsEntropy};
        let mut bytes = vec![0; len];
        OsEntropy.fill(&mut bytes).unwrap();
        bytes
    };
    assert!(Counts::of(&random(BLOCK_BYTES)).worst(true, true) < BLOCK_MAX);
    assert!(Counts::of(&random(1 << 20)).worst(true, true) < POOL_MAX);

    let base64: Vec<u8> = random(BLOCK_BYTES).iter().map(|byte| 0x40 | byte & 0x3f).collect();
    let mut half = random(BLOCK_BYTES);
    half[..300].fill(0);
    for bad in [&text[..BLOCK_BYTES], &base64, &half, &[0x55; BLOCK_BYTES]] {
        let worst = Counts::of(bad).worst(true, false);
        assert!(worst > BLOCK_MAX, "{worst}");
    }
    // The bound of the pool is stricter: one replaced byte in a hundred fails.
    let mut pool = random(1 << 20);
    pool.iter_mut().step_by(100).for_each(|byte| *byte = b'e');
    assert!(Counts::of(&pool).worst(true, false) > POOL_MAX);
    // Each byte is random, but its first bit differs from the last bit of the byte before. Only
    // the number of runs reveals this.
    let mut chained = random(1 << 20);
    for n in 1..chained.len() {
        let end = chained[n - 1] & 1;
        chained[n] = chained[n] & 0x7f | (1 - end) << 7;
    }
    let counts = Counts::of(&chained);
    assert!(counts.worst(true, false) < POOL_MAX && counts.worst(false, true) > POOL_MAX);
}

#[test]
fn repeated_nonce_is_found() {
    let (mut blocks, mut now) = (Blocks::default(), HashSet::new());
    let mut block = vec![7; BLOCK_BYTES];
    assert!(blocks.add(&block, &mut now));
    block[100] = 8;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        blocks.add(&block, &mut now);
    }));
    assert!(outcome.is_err());
}
