//! Cutting a stream into chunks, at positions that its bytes decide.
//!
//! An insertion moves only the cuts around it.
//!
//! The algorithm is `FastCDC` of 2020 (Xia et al., "The Design of Fast Content-Defined Chunking",
//! TPDS 31), with a table of random numbers drawn from the vault's id key. Without the key the
//! lengths of chunks reveal less about their bytes; they still reveal something.

use std::io::Read;

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use strongroom_base::{Error, Result};

use strongroom_crypto::SecretKey;

/// Shortest chunk in bytes, except the last of a stream.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// Average length of chunks in bytes.
const CHUNK_BYTES_AVERAGE: usize = 64 << 10;
/// Longest chunk, in bytes.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Bytes of a stream that are read at a time: several chunks.
const READ_BYTES: usize = 1 << 20;

/// The cut positions of a vault's streams.
pub(crate) struct Chunker {
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
}

impl std::fmt::Debug for Chunker {
    /// The table is omitted, because it derives from a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chunker(..)")
    }
}

impl Chunker {
    /// Makes the chunker of a vault.
    pub(crate) fn new(id_key: &SecretKey) -> Self {
        let key = id_key.derive("strongroom 2026 cutter", &[]);
        let mut stream = blake3::Hasher::new_keyed(key.expose()).finalize_xof();
        let mut number = || {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let gear: Box<[u64; 256]> = Box::new(std::array::from_fn(|_| number()));
        let gear_shifted = Box::new(gear.map(|number| number << 1));
        Self { gear, gear_shifted }
    }

    /// Returns the length of the first chunk of `bytes`.
    ///
    /// `bytes` are the rest of a stream, or at least as long as the longest chunk.
    fn first(&self, bytes: &[u8]) -> usize {
        let (strict, relaxed) = select_masks(CHUNK_BYTES_AVERAGE, Normalization::Level1);
        let (_, len) = cut_gear(
            bytes,
            CHUNK_BYTES_MIN,
            CHUNK_BYTES_AVERAGE,
            CHUNK_BYTES_MAX,
            strict,
            relaxed,
            strict << 1,
            relaxed << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        len
    }
}

/// The chunks of one stream.
pub(crate) struct Pieces<'a> {
    chunker: &'a Chunker,
    source: &'a mut dyn Read,
    held: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(chunker: &'a Chunker, source: &'a mut dyn Read) -> Self {
        Self { chunker, source, held: Vec::new(), at: 0, ended: false }
    }

    /// Returns the next chunk; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.held.len() - self.at < CHUNK_BYTES_MAX && !self.ended {
            self.fill()?;
        }
        let rest = &self.held[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let len = self.chunker.first(rest);
        self.at += len;
        Ok(Some(&rest[..len]))
    }

    /// Returns whether the stream is longer than one read of it.
    pub(crate) fn is_long(&self) -> bool {
        !self.ended
    }

    fn fill(&mut self) -> Result<()> {
        self.held.drain(..self.at);
        self.at = 0;
        let wanted = READ_BYTES - self.held.len();
        let read = Read::take(&mut *self.source, wanted as u64)
            .read_to_end(&mut self.held)
            .map_err(|e| Error::io("read source of content", e))?;
        self.ended = read < wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::new([byte; SecretKey::BYTES])
    }

    /// Makes bytes that do not repeat.
    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let mut bytes = vec![0; len];
        stream.fill(&mut bytes);
        bytes
    }

    fn cut(chunker: &Chunker, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut source = bytes;
        let mut pieces = Pieces::new(chunker, &mut source);
        let mut cut = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            cut.push(piece.to_vec());
        }
        cut
    }

    #[test]
    fn chunks_join_to_the_stream_within_their_bounds() {
        let chunker = Chunker::new(&key(1));
        for len in
            [0, 1, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, READ_BYTES, 5_000_000]
        {
            for bytes in [bytes(len, 7), vec![0; len]] {
                let cut = cut(&chunker, &bytes);
                assert_eq!(cut.concat(), bytes);
                let (last, others) = cut.split_last().map_or((0, &cut[..]), |(l, o)| (l.len(), o));
                assert!(last <= CHUNK_BYTES_MAX);
                assert!(
                    others.iter().all(|p| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&p.len()))
                );
            }
        }
        let average = 5_000_000 / cut(&chunker, &bytes(5_000_000, 7)).len();
        assert!((40_000..110_000).contains(&average), "{average}");
    }

    #[test]
    fn insertion_moves_few_cuts() {
        let chunker = Chunker::new(&key(1));
        let before = bytes(4_000_000, 3);
        let mut after = before.clone();
        after.splice(2_000_000..2_000_000, bytes(100, 4));
        let (before, after) = (cut(&chunker, &before), cut(&chunker, &after));
        let new = after.iter().filter(|piece| !before.contains(piece)).count();
        assert!(new <= 4, "{new} of {} pieces are new", after.len());
    }

    #[test]
    fn different_key_cuts_elsewhere() {
        let bytes = bytes(4_000_000, 3);
        let lens =
            |byte| cut(&Chunker::new(&key(byte)), &bytes).iter().map(Vec::len).collect::<Vec<_>>();
        let (one, other) = (lens(1), lens(2));
        let ends = |lens: &[usize]| {
            lens.iter()
                .scan(0, |at, len| {
                    *at += len;
                    Some(*at)
                })
                .collect::<Vec<usize>>()
        };
        let (one, other) = (ends(&one), ends(&other));
        let same = one.iter().filter(|end| other.contains(end)).count();
        assert!(same <= 2, "{same} cuts are the same; one is the stream's end");
    }
}
