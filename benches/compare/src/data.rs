//! The rows of the workloads: realistic sizes, incompressible, from a seed, so that every peer gets
//! the same bytes in the same order.

use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;

/// Length of every key in bytes: that of a UUID.
pub(crate) const KEY_BYTES: usize = 16;

pub(crate) type Key = [u8; KEY_BYTES];

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) value: Vec<u8>,
}

/// A stream of rows. The same seed gives the same rows.
#[derive(Debug)]
pub(crate) struct Stream {
    rng: ChaCha8Rng,
    value_bytes: RangeInclusive<usize>,
    checkpoints: u64,
}

impl Stream {
    /// Makes rows whose values have `value_bytes` bytes.
    pub(crate) fn new(seed: u64, value_bytes: RangeInclusive<usize>) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), value_bytes, checkpoints: 0 }
    }

    /// Returns the next row. Its key is random, so that inserts are spread over the tree.
    pub(crate) fn row(&mut self) -> Row {
        let (least, most) = (*self.value_bytes.start(), *self.value_bytes.end());
        let length = least + self.below(most - least + 1);
        let mut value = vec![0; length];
        self.rng.fill_bytes(&mut value);
        let mut key = Key::default();
        self.rng.fill_bytes(&mut key);
        Row { key, value }
    }

    pub(crate) fn rows(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.row()).collect()
    }

    /// Draws a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a count");
        usize::try_from(self.rng.next_u64() % end).expect("below a count")
    }

    /// Returns the next checkpoint: the progress of a file import, as JSON for every peer.
    pub(crate) fn checkpoint(&mut self) -> Vec<u8> {
        self.checkpoints += 1;
        let mut cursor = [0; 16];
        self.rng.fill_bytes(&mut cursor);
        json!({
            "operation": "import-7",
            "lane": "lane-0",
            "done": self.checkpoints,
            "cursor": format!("{:032x}", u128::from_be_bytes(cursor)),
            "bytes": self.rng.next_u64() >> 20,
            "file": format!("archive/{:04}/{:08x}.bin", self.checkpoints % 1_000, self.rng.next_u32()),
        })
        .to_string()
        .into_bytes()
    }
}

/// Returns the sum of all bytes. Reading workloads compute it so that no peer can leave a page
/// untouched.
pub(crate) fn touch(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}
