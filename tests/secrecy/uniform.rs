//! Whether sealed bytes look like chance.
//!
//! All nonces, ciphertexts and tags that were ever on disk at a stop are pooled and put to three
//! tests, and each block to two of them by itself: byte values (chi-square), the number of ones
//! (monobit), and the number of runs of equal bits. The bytes come from the operating system's
//! entropy, so a bound is a matter of how often it fails by chance: together less than once in a
//! thousand million runs. The canaries show that text, and far less than text, fails.

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

/// In standard deviations: of the pool, by chance once in 1e10.
const POOL_MAX: f64 = 6.5;
/// Of one block; there are fewer than 10,000 of them: together by chance once in 1e10.
const BLOCK_MAX: f64 = 8.5;
/// Shorter ones have too few bytes of each value to count those.
const COUNTED_BYTES_MIN: usize = 2048;

/// Every sealed block that was seen at a stop.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    seen: HashSet<Vec<u8>>,
    by_nonce: HashMap<Vec<u8>, Vec<u8>>,
    in_state: usize,
    in_objects: usize,
    super_headers: usize,
}

impl Blocks {
    /// Takes all blocks of the vault as it is now. Within one moment no two are alike.
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
                    self.super_headers += usize::from(self.take(header, &mut now));
                }
                for block in bytes[BLOCKS_AT..].chunks(BLOCK_BYTES) {
                    assert_eq!(block.len(), BLOCK_BYTES, "whole blocks");
                    if block.iter().any(|&byte| byte != 0) {
                        self.in_state += usize::from(self.take(block, &mut now));
                    }
                }
            } else if bytes.starts_with(OBJECT_MAGIC) || bytes.starts_with(PACK_MAGIC) {
                for block in bytes[OBJECT_HEADER_BYTES..].chunks(OBJECT_BLOCK_BYTES) {
                    self.in_objects += usize::from(self.take(block, &mut now));
                }
            }
        }
    }

    /// Whether it was not seen before.
    fn take(&mut self, block: &[u8], now: &mut HashSet<Vec<u8>>) -> bool {
        assert!(now.insert(block.to_vec()), "two blocks are alike");
        let nonce = block[..NONCE_BYTES].to_vec();
        let earlier = self.by_nonce.entry(nonce).or_insert_with(|| block.to_vec());
        assert_eq!(earlier, block, "a nonce is used twice");
        self.seen.insert(block.to_vec())
    }

    /// Asserts that it all looks like chance; how much that was, and how near the bounds.
    pub(crate) fn expect_uniform(&self) -> String {
        assert!(self.in_state >= 100, "{} blocks of the state", self.in_state);
        assert!(self.in_objects >= 8, "{} blocks of objects", self.in_objects);
        assert!(self.super_headers >= 8, "{} super-headers", self.super_headers);
        let (mut pool, mut most) = (Counts::default(), 0.0_f64);
        // In an order of its own, for the runs at the seams: any will do.
        for block in &self.seen {
            let counts = Counts::of(block);
            let worst = counts.worst(block.len() >= COUNTED_BYTES_MIN, false);
            assert!(worst < BLOCK_MAX, "a block is {worst:.1} deviations from chance");
            most = most.max(worst);
            pool.add(&counts);
        }
        let worst = pool.worst(true, true);
        assert!(worst < POOL_MAX, "all blocks are {worst:.1} deviations from chance: {pool:?}");
        format!(
            "{} blocks of the state, {} of objects, {} super-headers, {} bytes: {worst:.2} \
             deviations from chance (bound {POOL_MAX}), one block at most {most:.2} (bound \
             {BLOCK_MAX}); 0 alike, 0 nonces twice",
            self.in_state,
            self.in_objects,
            self.super_headers,
            pool.bytes()
        )
    }
}

#[test]
fn what_is_not_sealed_is_far_from_chance() {
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
    // A pool is held to more: one byte in a hundred of it.
    let mut pool = random(1 << 20);
    pool.iter_mut().step_by(100).for_each(|byte| *byte = b'e');
    assert!(Counts::of(&pool).worst(true, false) > POOL_MAX);
    // Each byte is chance, and begins with another bit than the one before ends with: the runs
    // tell.
    let mut chained = random(1 << 20);
    for n in 1..chained.len() {
        let end = chained[n - 1] & 1;
        chained[n] = chained[n] & 0x7f | (1 - end) << 7;
    }
    let counts = Counts::of(&chained);
    assert!(counts.worst(true, false) < POOL_MAX && counts.worst(false, true) > POOL_MAX);
}

#[test]
fn a_nonce_that_is_used_twice_is_noticed() {
    let (mut blocks, mut now) = (Blocks::default(), HashSet::new());
    let mut block = vec![7; BLOCK_BYTES];
    assert!(blocks.take(&block, &mut now));
    block[100] = 8;
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        blocks.take(&block, &mut now);
    }));
    assert!(noticed.is_err());
}
