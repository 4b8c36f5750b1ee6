//! The stored form of a chunk: named by a hash, and compressed if that helps.

use parking_lot::Mutex;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::chunker::CHUNK_BYTES_MAX;
use strongroom_crypto::SecretKey;
use strongroom_format::{ChunkId, ChunkKind};

/// The level of zstd. Level 1 is as fast as the disk.
const ZSTD_LEVEL: i32 = 1;

const TAG_PLAIN: u8 = 0;
const TAG_ZSTD: u8 = 1;

/// The keys of chunk ids.
pub struct IdKeys {
    data: SecretKey,
    node: SecretKey,
}

impl std::fmt::Debug for IdKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKeys(..)")
    }
}

impl IdKeys {
    /// Derives the keys from a vault's id key.
    pub fn new(id_key: &SecretKey) -> Self {
        Self {
            data: id_key.derive("strongroom 2026 chunk id", b"data"),
            node: id_key.derive("strongroom 2026 chunk id", b"node"),
        }
    }

    /// Returns the id of a chunk with these bytes.
    pub(crate) fn id(&self, kind: ChunkKind, bytes: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data,
            ChunkKind::Node => &self.node,
        };
        ChunkId(*blake3::keyed_hash(key.expose(), bytes).as_bytes())
    }
}

/// A chunk in its stored form.
#[derive(Clone, Debug)]
pub struct EncodedChunk {
    pub id: ChunkId,
    pub kind: ChunkKind,
    /// Length of the chunk's bytes.
    pub len: u32,
    pub stored: Vec<u8>,
}

/// Most compressors, and most decompressors, that are kept for reuse.
const KEPT_MAX: usize = 8;

/// Compressors and decompressors for reuse.
///
/// Building zstd's tables takes longer than compressing a short chunk.
#[derive(Default)]
pub struct Codecs {
    compressors: Mutex<Vec<Compressor>>,
    decompressors: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codecs(..)")
    }
}

impl Codecs {
    /// Takes a compressor. The caller returns it by [`keep`](Self::keep).
    pub(crate) fn compressor(&self) -> Result<Compressor> {
        self.compressors.lock().pop().map_or_else(Compressor::new, Ok)
    }

    pub(crate) fn keep(&self, compressor: Compressor) {
        let mut kept = self.compressors.lock();
        if kept.len() < KEPT_MAX {
            kept.push(compressor);
        }
    }

    fn decompress(&self, compressed: &[u8], len: usize) -> Result<Vec<u8>> {
        let kept = self.decompressors.lock().pop();
        let mut decompressor = match kept {
            Some(kept) => kept,
            None => zstd::bulk::Decompressor::new().map_err(|e| Error::io("read chunk", e))?,
        };
        let bytes = decompressor.decompress(compressed, len).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "read chunk")
                .with_reason(Reason::ContentDamaged)
                .with_detail("a chunk does not decompress")
        });
        let mut kept = self.decompressors.lock();
        if kept.len() < KEPT_MAX {
            kept.push(decompressor);
        }
        bytes
    }
}

/// A compressor, which makes the stored form of chunks.
pub(crate) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Compressor {
    fn new() -> Result<Self> {
        let zstd =
            zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(|e| Error::io("make compressor", e))?;
        Ok(Self { zstd })
    }

    /// Returns the stored form of `bytes`: a tag, then the bytes, compressed if that is shorter.
    pub(crate) fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(bytes.len() + 1);
        stored.push(TAG_ZSTD);
        // The destination has the length of the bytes, so a result that is not shorter does not
        // fit.
        stored.resize(bytes.len() + 1, 0);
        match self.zstd.compress_to_buffer(bytes, &mut stored[1..]) {
            Ok(len) if len < bytes.len() => stored.truncate(len + 1),
            _ => {
                stored.clear();
                stored.push(TAG_PLAIN);
                stored.extend_from_slice(bytes);
            }
        }
        stored
    }
}

/// Returns the bytes of a stored form; `Corrupt` if length or id differ.
pub(crate) fn unpack(
    codecs: &Codecs,
    keys: &IdKeys,
    kind: ChunkKind,
    id: &ChunkId,
    len: u32,
    stored: &[u8],
) -> Result<Vec<u8>> {
    let corrupt = |detail| {
        Error::new(ErrorKind::Corrupt, "read chunk")
            .with_reason(Reason::ContentDamaged)
            .with_detail(detail)
    };
    let len = len as usize;
    if len > CHUNK_BYTES_MAX {
        return Err(corrupt("a chunk exceeds the longest length"));
    }
    let bytes = match stored.split_first() {
        Some((&TAG_PLAIN, bytes)) => bytes.to_vec(),
        Some((&TAG_ZSTD, compressed)) if !compressed.is_empty() => {
            codecs.decompress(compressed, len)?
        }
        _ => return Err(corrupt("a chunk is stored in an unknown form")),
    };
    if bytes.len() == len && keys.id(kind, &bytes) == *id {
        Ok(bytes)
    } else {
        Err(corrupt("a chunk does not match its id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_chunk_unpacks_and_other_bytes_are_corrupt() {
        let keys = IdKeys::new(&SecretKey::new([7; SecretKey::BYTES]));
        let codecs = Codecs::default();
        let mut compressor = codecs.compressor().unwrap();
        let random: Vec<u8> =
            (0..2_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [&b""[..], b"x", &vec![0; 100_000], &random] {
            let len = u32::try_from(bytes.len()).unwrap();
            let stored = compressor.pack(bytes);
            assert!(stored.len() <= bytes.len() + 1);
            let id = keys.id(ChunkKind::Data, bytes);
            let unpacked =
                |len, id, stored: &[u8]| unpack(&codecs, &keys, ChunkKind::Data, &id, len, stored);
            assert_eq!(unpacked(len, id, &stored).unwrap(), bytes);
            // The same bytes as a node are another chunk.
            assert_ne!(keys.id(ChunkKind::Node, bytes), id);
            let mut flipped = stored.clone();
            *flipped.last_mut().unwrap() ^= 1;
            let other = ChunkId([0; 32]);
            for outcome in [
                unpacked(len, id, &flipped),
                unpacked(len + 1, id, &stored),
                unpacked(u32::MAX, id, &stored),
                unpacked(len, other, &stored),
                unpacked(len, id, &[]),
                unpacked(len, id, &[9, 9]),
            ] {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt);
            }
        }
    }
}
