//! A pack: many chunks in one object, and a trailer that lists them.
//!
//! Each chunk is sealed separately, so that it can be read alone.
//!
//! ```text
//! magic 8 | format version u32 LE: 1 | epoch u32 LE
//! for each chunk: nonce 24 | ciphertext | tag 16
//! trailer: nonce 24 | ciphertext | tag 16 | its length, all three, u32 LE
//! ```
//!
//! A chunk is bound to the vault, the pack's name and its offset; its id authenticates its bytes.
//! The trailer is bound to the vault, the name and its offset. So a pack alone authenticates its
//! chunks.

use bytes::Bytes;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::chunk_index::PackPlace;
use super::chunker::CHUNK_BYTES_MAX;
use super::codec::{Codecs, EncodedChunk, IdKeys, unpack};
use strongroom_crypto::{ContentKeys, NONCE_BYTES, SealKey, TAG_BYTES};
use strongroom_format::{Child, ChunkKind, NodeBody, ObjectName, PackTrailer, PackedChunk};
use strongroom_store::objects::Objects;

/// Length of a pack, in longest objects: 16 MiB, unless the host sets their length.
const PACK_OBJECTS: usize = 2;

/// The first bytes of a pack.
pub(crate) const MAGIC: &[u8; 8] = b"STRNGPAK";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const FOOTER_BYTES: usize = 4;
const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Most chunks of a pack, except those that fill it.
const CHUNKS_MAX: u32 = 65_536;

/// Longest sealed list of a pack. A chunk takes less than 64 bytes.
const LIST_BYTES_MAX: u32 = 2 * 64 * CHUNKS_MAX;

/// Room for the list of a pack's chunks. Very short chunks may need more.
const LIST_BYTES: usize = 64 << 10;

/// The type of a sealed part. Blocks of other objects, under the same key, have 0 and 1 there.
#[derive(Clone, Copy)]
enum Part {
    Chunk = 2,
    Trailer = 3,
}

/// Returns the length at which a pack is full, in bytes.
pub(crate) fn full_bytes(objects: &Objects) -> usize {
    PACK_OBJECTS * objects.object_bytes()
}

fn associated(vault: Uuid, name: ObjectName, at: usize, part: Part) -> [u8; 41] {
    let mut bytes = [0; 41];
    bytes[..16].copy_from_slice(vault.as_bytes());
    bytes[16..32].copy_from_slice(&name.0);
    bytes[32..40].copy_from_slice(&(at as u64).to_le_bytes());
    bytes[40] = part as u8;
    bytes
}

/// A pack that is being filled, in memory.
pub(crate) struct Packer {
    pub(crate) name: ObjectName,
    vault: Uuid,
    keys: std::sync::Arc<ContentKeys>,
    /// Length at which it is full. The chunk that reaches it is added whole.
    full: usize,
    bytes: Vec<u8>,
    chunks: Vec<PackedChunk>,
}

impl Packer {
    /// Makes an empty pack, reusing an earlier buffer if possible.
    pub(crate) fn new(objects: &Objects, name: ObjectName, spare: Option<Vec<u8>>) -> Self {
        let keys = objects.keys();
        let full = full_bytes(objects);
        // Reserved at once: growing step by step uses up to three times as much, and unwritten
        // memory uses nothing.
        let room = full + CHUNK_BYTES_MAX + OVERHEAD_BYTES + LIST_BYTES;
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(room));
        bytes.clear();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&keys.current().0.to_le_bytes());
        Self { name, vault: objects.vault(), keys, full, bytes, chunks: Vec::new() }
    }

    /// Adds a chunk.
    pub(crate) fn add(&mut self, objects: &Objects, chunk: &EncodedChunk) -> Result<()> {
        let at = self.bytes.len();
        self.seal(objects, &chunk.stored, Part::Chunk)?;
        let number = |n: usize| u32::try_from(n).expect("a pack is far shorter");
        let (at, stored) = (number(at), number(self.bytes.len() - at));
        let EncodedChunk { id, kind, len, .. } = *chunk;
        self.chunks.push(PackedChunk { id, kind, len, at, stored });
        Ok(())
    }

    fn seal(&mut self, objects: &Objects, message: &[u8], part: Part) -> Result<()> {
        let at = self.bytes.len();
        let nonce: [u8; NONCE_BYTES] = objects.entropy().draw()?;
        self.bytes.extend_from_slice(&nonce);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(message);
        let associated = associated(self.vault, self.name, at, part);
        let tag = self.keys.current().1.seal(&nonce, &associated, &mut self.bytes[begin..]);
        self.bytes.extend_from_slice(&tag);
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= self.full || self.chunks.len() >= CHUNKS_MAX as usize
    }

    /// Puts the pack; durable on return. Returns its buffer too, unless the backend kept it.
    pub(crate) fn put(mut self, objects: &Objects) -> Result<(Packed, Option<Vec<u8>>)> {
        let at = self.bytes.len();
        let trailer = PackTrailer::V0 { chunks: self.chunks };
        self.chunks = Vec::new();
        self.seal(objects, &trailer.encode(), Part::Trailer)?;
        let len = u32::try_from(self.bytes.len() - at).expect("a pack is far shorter");
        self.bytes.extend_from_slice(&len.to_le_bytes());
        let PackTrailer::V0 { chunks } = trailer;
        let epoch = self.keys.current().0;
        let bytes = self.bytes.len() as u64;
        let sealed = Bytes::from(self.bytes);
        objects.put_sealed(self.name, sealed.clone())?;
        let spare = sealed.try_into_mut().ok().map(Vec::from);
        Ok((Packed { name: self.name, epoch, bytes, chunks }, spare))
    }
}

/// A pack on the backend.
#[derive(Clone, Debug)]
pub struct Packed {
    pub name: ObjectName,
    /// Key epoch of the pack.
    pub epoch: u32,
    /// Length of the object.
    pub bytes: u64,
    pub chunks: Vec<PackedChunk>,
}

impl Packed {
    /// Returns the location of one of its chunks.
    pub(crate) fn place(&self, chunk: &PackedChunk) -> PackPlace {
        let PackedChunk { at, stored, .. } = *chunk;
        PackPlace { pack: self.name, epoch: self.epoch, at, stored }
    }
}

fn corrupt(detail: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read pack")
        .with_reason(Reason::ContentDamaged)
        .with_detail(detail)
}

fn key(keys: &ContentKeys, epoch: u32) -> Result<&SealKey> {
    keys.of(epoch)
        .ok_or_else(|| corrupt("the pack is sealed under a key that the vault does not have"))
}

fn open(key: &SealKey, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let damaged = || corrupt("a part of the pack is damaged");
    if sealed.len() < OVERHEAD_BYTES {
        return Err(damaged());
    }
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
    let (message, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(damaged)?;
    let mut opened = vec![0; message.len()];
    key.open(nonce, associated, message, tag, &mut opened).map_err(|_| damaged())?;
    Ok(opened)
}

/// Reads the stored form of a chunk.
pub(crate) fn read_chunk(objects: &Objects, place: &PackPlace) -> Result<Vec<u8>> {
    let from = u64::from(place.at);
    let sealed = objects.get_sealed(place.pack, from..from + u64::from(place.stored))?;
    open_chunk(objects, place, &sealed)
}

/// Opens the sealed bytes of a chunk; returns its stored form.
pub(crate) fn open_chunk(objects: &Objects, place: &PackPlace, sealed: &[u8]) -> Result<Vec<u8>> {
    let PackPlace { pack, epoch, at, .. } = *place;
    let associated = associated(objects.vault(), pack, at as usize, Part::Chunk);
    open(key(&objects.keys(), epoch)?, &associated, sealed).map_err(|e| e.with_subject(pack.key()))
}

/// Reads the children of a node from its pack.
pub(crate) fn read_node(
    objects: &Objects,
    codecs: &Codecs,
    keys: &IdKeys,
    pack: &Packed,
    chunk: &PackedChunk,
) -> Result<Vec<Child>> {
    let stored = read_chunk(objects, &pack.place(chunk))?;
    let bytes = unpack(codecs, keys, ChunkKind::Node, &chunk.id, chunk.len, &stored)?;
    let NodeBody::V0 { children } = NodeBody::decode(&bytes)?;
    Ok(children)
}

/// Reads a pack's own list of chunks, and its key epoch.
pub fn list(objects: &Objects, name: ObjectName, bytes: u64) -> Result<(u32, Vec<PackedChunk>)> {
    parse(objects, name, bytes).map_err(|e| e.or_subject(name.key()))
}

fn parse(objects: &Objects, name: ObjectName, bytes: u64) -> Result<(u32, Vec<PackedChunk>)> {
    let short = || corrupt("the pack is cut short");
    if bytes < (HEADER_BYTES + FOOTER_BYTES) as u64 {
        return Err(short());
    }
    let header = objects.get_sealed(name, 0..HEADER_BYTES as u64)?;
    if header.len() < HEADER_BYTES {
        return Err(short());
    }
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    if header[..8] != MAGIC[..] || number(8) != FORMAT_VERSION {
        return Err(corrupt("the object is not a pack of this format"));
    }
    let end = bytes - FOOTER_BYTES as u64;
    let footer = objects.get_sealed(name, end..bytes)?;
    let len = u32::from_le_bytes(footer[..].try_into().map_err(|_| short())?);
    let at = end
        .checked_sub(len.into())
        .filter(|&at| at >= HEADER_BYTES as u64 && len <= LIST_BYTES_MAX)
        .ok_or_else(|| corrupt("the pack's trailer is damaged"))?;
    let sealed = objects.get_sealed(name, at..end)?;
    let at = usize::try_from(at).map_err(|_| short())?;
    let associated = associated(objects.vault(), name, at, Part::Trailer);
    let epoch = number(12);
    let trailer = open(key(&objects.keys(), epoch)?, &associated, &sealed)?;
    let PackTrailer::V0 { chunks } = PackTrailer::decode(&trailer)?;
    Ok((epoch, chunks))
}
