//! Streams of bytes from a key: BLAKE3's extendable output, read in large pieces.
//!
//! A resumed update must draw the same values. All of them come from such streams: coefficients,
//! masks, garbage, nonces, and the choices for the maps.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use strongroom_crypto::SecretKey;

/// Bytes drawn at a time.
///
/// BLAKE3 computes 16 blocks (1 KiB) in parallel, and slots fit evenly. The streams of all points
/// together should fit the first-level cache.
const BUFFER_BYTES: usize = 5 << 10;

/// A stream of bytes that look random without its key.
pub(super) struct Stream {
    reader: blake3::OutputReader,
    buffer: Zeroizing<Vec<u8>>,
    /// Index of the first unused byte.
    at: usize,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

impl Stream {
    /// Makes the stream of `key` that `message` names.
    pub(super) fn new(key: &SecretKey, message: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key.expose());
        hasher.update(message);
        let reader = hasher.finalize_xof();
        hasher.zeroize();
        Self { reader, buffer: Zeroizing::new(vec![0; BUFFER_BYTES]), at: BUFFER_BYTES }
    }

    /// Returns the next `len` bytes, at most [`BUFFER_BYTES`].
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &[u8] {
        if self.at + len > BUFFER_BYTES {
            self.refill();
        }
        self.at += len;
        &self.buffer[self.at - len..self.at]
    }

    /// Returns the next `N` bytes.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> &[u8; N] {
        self.take(N).first_chunk().expect("as many were taken")
    }

    #[cold]
    fn refill(&mut self) {
        self.buffer.copy_within(self.at.., 0);
        let kept = BUFFER_BYTES - self.at;
        self.reader.fill(&mut self.buffer[kept..]);
        self.at = 0;
    }

    /// Fills `bytes` from the stream.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        let (ready, rest) = bytes.split_at_mut(bytes.len().min(BUFFER_BYTES - self.at));
        ready.copy_from_slice(self.take(ready.len()));
        self.reader.fill(rest);
    }

    /// Draws a uniform number below `bound` (Lemire, 2019).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        loop {
            let drawn = u64::from_le_bytes(*self.array());
            let product = u128::from(drawn) * u128::from(bound);
            #[allow(clippy::cast_possible_truncation)] // The low half is intended.
            let low = product as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return usize::try_from(product >> 64).expect("below a bound that is a usize");
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_join_to_the_stream() {
        let key = SecretKey::new([5; 32]);
        let mut whole = vec![0; 40_000];
        blake3::Hasher::new_keyed(&[5; 32]).update(b"m").finalize_xof().fill(&mut whole);
        let mut stream = Stream::new(&key, b"m");
        let mut joined = Vec::new();
        for len in [1, 80, 66, 5_000, 500, BUFFER_BYTES].into_iter().cycle() {
            if joined.len() + len > 30_000 {
                break;
            }
            joined.extend_from_slice(stream.take(len));
        }
        let mut rest = vec![0; 10_000];
        stream.fill(&mut rest);
        joined.extend_from_slice(&rest);
        assert!(joined == whole[..joined.len()]);
    }

    #[test]
    fn numbers_below_a_bound_are_uniform() {
        let mut stream = Stream::new(&SecretKey::new([5; 32]), b"m");
        let mut met = [0u32; 7];
        for _ in 0..70_000 {
            met[stream.below(7)] += 1;
        }
        assert!(met.iter().all(|&n| (9_500..10_500).contains(&n)), "{met:?}");
    }
}
