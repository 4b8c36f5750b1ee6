//! A sealed object: blocks of one length after a small header.
//!
//! ```text
//! magic 8 | format version u32 LE: 1 | epoch u32 LE, then for each block:
//! nonce 24 | ciphertext, the last one perhaps shorter | tag 16
//! ```
//!
//! Each block is bound to the vault, the object's name, its number, and whether it is the last. So
//! no block can be cut off, moved, or taken from another object. Names are random and never reused,
//! so an object that opens is the one that was put.
//!
//! The object's [`Cut`] sets the length of its blocks. Objects that must be whole are [`open`]ed.
//! Redundant objects, which tolerate losses, are [`salvage`]d block by block.

use bytes::Bytes;
use strongroom_base::component::Entropy;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use strongroom_crypto::{ContentKeys, NONCE_BYTES, SealKey, TAG_BYTES};
use strongroom_format::{CELL_OBJECTS, ObjectName, ObjectRef, SLOT_BYTES};

const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// The division of an object into blocks, by content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    magic: &'static [u8; 8],
    /// Plaintext bytes of a block.
    pub block_bytes: usize,
}

impl Cut {
    /// A part of a value.
    pub const VALUE: Self = Self { magic: b"STRNGOBJ", block_bytes: 64 << 10 };
    /// A segment of a share space: 51 slots in a block.
    pub const SLOTS: Self = Self { magic: b"STRNGSLT", block_bytes: 51 * SLOT_BYTES };
    /// Cells of a share space, each a whole number of blocks.
    pub const CELLS: Self = Self { magic: b"STRNGCEL", block_bytes: 4096 };

    /// Returns the cut of an object with this magic; `None` for another type.
    pub fn of_magic(magic: [u8; 8]) -> Option<Self> {
        [Self::VALUE, Self::SLOTS, Self::CELLS].into_iter().find(|cut| *cut.magic == magic)
    }

    /// Returns the cut of an object, by position in its generation.
    pub fn of_space(place: usize) -> Self {
        if place < CELL_OBJECTS { Self::CELLS } else { Self::SLOTS }
    }

    /// Returns the sealed length of `len` bytes.
    pub fn sealed_bytes(self, len: u64) -> u64 {
        HEADER_BYTES as u64 + len + self.blocks(len) * OVERHEAD_BYTES as u64
    }

    fn blocks(self, len: u64) -> u64 {
        len.div_ceil(self.block_bytes as u64).max(1)
    }
}

/// The readable part of a redundant object.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// Its body, with zeros for lost blocks.
    pub body: Vec<u8>,
    /// The lost blocks, in order.
    pub lost: Vec<usize>,
    /// Number of its blocks.
    pub blocks: usize,
    /// Set if its header or its length is wrong.
    pub malformed: bool,
}

impl Salvaged {
    /// Makes the result for an object of which nothing is readable.
    pub(super) fn nothing(cut: Cut, len: u64) -> Self {
        let blocks = usize::try_from(cut.blocks(len)).expect("objects fit into memory");
        let body = vec![0; usize::try_from(len).expect("objects fit into memory")];
        Self { body, lost: (0..blocks).collect(), blocks, malformed: true }
    }

    /// Returns whether no block was readable.
    pub fn is_lost(&self) -> bool {
        self.lost.len() == self.blocks
    }

    /// Returns whether everything is as it was written.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && !self.malformed
    }
}

/// Returns the associated data of a block.
fn associated_data(vault: Uuid, name: ObjectName, number: u64, last: bool) -> [u8; 41] {
    let mut place = [0; 41];
    place[..16].copy_from_slice(vault.as_bytes());
    place[16..32].copy_from_slice(&name.0);
    place[32..40].copy_from_slice(&number.to_le_bytes());
    place[40] = u8::from(last);
    place
}

/// Seals `body` as the object `name`, under the current epoch; returns the epoch.
pub(super) fn seal(
    vault: Uuid,
    name: ObjectName,
    cut: Cut,
    body: &[u8],
    keys: &ContentKeys,
    entropy: &dyn Entropy,
) -> Result<(Bytes, u32)> {
    let (epoch, key) = keys.current();
    let fits = "little more than the body";
    let len = usize::try_from(cut.sealed_bytes(body.len() as u64)).expect(fits);
    let blocks = usize::try_from(cut.blocks(body.len() as u64)).expect(fits);
    let mut nonces = vec![0; blocks * NONCE_BYTES];
    entropy.fill(&mut nonces)?;
    let mut sealed = Vec::with_capacity(len);
    sealed.extend_from_slice(&header(cut, epoch));
    for (number, nonce) in nonces.as_chunks::<NONCE_BYTES>().0.iter().enumerate() {
        let start = number * cut.block_bytes;
        let part = &body[start..body.len().min(start + cut.block_bytes)];
        sealed.extend_from_slice(nonce);
        let at = sealed.len();
        sealed.extend_from_slice(part);
        let place = associated_data(vault, name, number as u64, number + 1 == blocks);
        let tag = key.seal(nonce, &place, &mut sealed[at..]);
        sealed.extend_from_slice(&tag);
    }
    Ok((sealed.into(), epoch))
}

fn header(cut: Cut, epoch: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(cut.magic);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..].copy_from_slice(&epoch.to_le_bytes());
    header
}

/// Opens the object that `reference` names; `Corrupt` if `sealed` is another.
pub(super) fn open(
    vault: Uuid,
    reference: &ObjectRef,
    cut: Cut,
    sealed: &[u8],
    keys: &ContentKeys,
) -> Result<Bytes> {
    let corrupt = |detail: String| {
        Error::new(ErrorKind::Corrupt, "read object")
            .with_reason(Reason::ContentDamaged)
            .with_detail(detail)
    };
    let expected = cut.sealed_bytes(reference.len);
    if sealed.len() as u64 != expected {
        let detail = format!("the object has {} bytes instead of {expected}", sealed.len());
        return Err(corrupt(detail));
    }
    let damaged = || corrupt("the object is damaged".into());
    let (found, mut rest) = sealed.split_at(HEADER_BYTES);
    if found != header(cut, reference.epoch) {
        return Err(damaged());
    }
    let key = keys.of(reference.epoch).ok_or_else(damaged)?;
    let mut body = vec![0; usize::try_from(reference.len).map_err(|_| damaged())?];
    let mut number = 0;
    let mut unread = &mut body[..];
    loop {
        let (part, after) = std::mem::take(&mut unread).split_at_mut(part_bytes(cut, rest));
        let last = after.is_empty();
        let place = associated_data(vault, reference.name, number, last);
        rest = open_part(key, &place, rest, part).ok_or_else(damaged)?;
        if last {
            return Ok(body.into());
        }
        unread = after;
        number += 1;
    }
}

/// Returns the plaintext length of the next block.
fn part_bytes(cut: Cut, rest: &[u8]) -> usize {
    rest.len().saturating_sub(OVERHEAD_BYTES).min(cut.block_bytes)
}

/// Opens the object that `reference` names block by block.
///
/// A damaged block loses only its own contents.
pub(super) fn salvage(
    vault: Uuid,
    reference: &ObjectRef,
    cut: Cut,
    sealed: &[u8],
    keys: &ContentKeys,
) -> Salvaged {
    let mut salvaged = Salvaged::nothing(cut, reference.len);
    let Some(key) = keys.of(reference.epoch) else { return salvaged };
    salvaged.lost.clear();
    salvaged.malformed = sealed.len() as u64 != cut.sealed_bytes(reference.len)
        || !sealed.starts_with(&header(cut, reference.epoch));
    let stride = cut.block_bytes + OVERHEAD_BYTES;
    let blocks = salvaged.blocks;
    for (number, part) in salvaged.body.chunks_mut(cut.block_bytes).enumerate() {
        let place = associated_data(vault, reference.name, number as u64, number + 1 == blocks);
        let rest = sealed.get(HEADER_BYTES + number * stride..).unwrap_or_default();
        if open_part(key, &place, rest, part).is_none() {
            part.fill(0);
            salvaged.lost.push(number);
        }
    }
    salvaged
}

/// Opens the next block into `part`; returns the bytes after it.
fn open_part<'a>(key: &SealKey, place: &[u8], rest: &'a [u8], part: &mut [u8]) -> Option<&'a [u8]> {
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let (message, rest) = rest.split_at_checked(part.len())?;
    let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
    key.open(nonce, place, message, tag, part).ok()?;
    Some(rest)
}
