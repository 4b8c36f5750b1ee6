//! A sealed object: blocks of 64 KiB behind a small header.
//!
//! ```text
//! magic 8 | format version u32 LE: 1 | epoch u32 LE, then for each block:
//! nonce 24 | ciphertext, at most 65,536 | tag 16
//! ```
//!
//! Each block is bound to the vault, the object's name, its number and whether it is the last:
//! none can be cut off, moved, or brought from another object. Names are random and never used
//! twice, so an object that opens is the one that was put.

use bytes::Bytes;
use strongroom_backends::component::Entropy;
use strongroom_backends::{Error, ErrorKind, Result};
use uuid::Uuid;

use crate::format::{ObjectName, ObjectRef};
use crate::keys::{ContentKeys, NONCE_BYTES, SealKey, TAG_BYTES};

const MAGIC: &[u8; 8] = b"STRNGOBJ";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// How much a block holds.
const PART_BYTES: usize = 64 << 10;
const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Length of the sealed form of `len` bytes.
pub(crate) fn sealed_bytes(len: u64) -> u64 {
    let blocks = len.div_ceil(PART_BYTES as u64).max(1);
    HEADER_BYTES as u64 + len + blocks * OVERHEAD_BYTES as u64
}

/// What a block is bound to.
fn place(vault: Uuid, name: ObjectName, number: u64, last: bool) -> [u8; 41] {
    let mut place = [0; 41];
    place[..16].copy_from_slice(vault.as_bytes());
    place[16..32].copy_from_slice(&name.0);
    place[32..40].copy_from_slice(&number.to_le_bytes());
    place[40] = u8::from(last);
    place
}

/// Seals `body` as the object `name`, under the current epoch; which one that is.
pub(super) fn seal(
    vault: Uuid,
    name: ObjectName,
    body: &[u8],
    keys: &ContentKeys,
    entropy: &dyn Entropy,
) -> Result<(Bytes, u32)> {
    let (epoch, key) = keys.current();
    let len = usize::try_from(sealed_bytes(body.len() as u64)).expect("little more than the body");
    let mut sealed = Vec::with_capacity(len);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    sealed.extend_from_slice(&epoch.to_le_bytes());
    let blocks = body.len().div_ceil(PART_BYTES).max(1);
    for number in 0..blocks {
        let start = number * PART_BYTES;
        let part = &body[start..body.len().min(start + PART_BYTES)];
        let nonce: [u8; NONCE_BYTES] = entropy.draw()?;
        sealed.extend_from_slice(&nonce);
        let at = sealed.len();
        sealed.extend_from_slice(part);
        let place = place(vault, name, number as u64, number + 1 == blocks);
        let tag = key.seal(&nonce, &place, &mut sealed[at..]);
        sealed.extend_from_slice(&tag);
    }
    Ok((sealed.into(), epoch))
}

/// The body of the object that `reference` names; `Corrupt` if `sealed` is not that.
pub(super) fn open(
    vault: Uuid,
    reference: &ObjectRef,
    sealed: &[u8],
    keys: &ContentKeys,
) -> Result<Bytes> {
    let corrupt =
        |detail: String| Error::new(ErrorKind::Corrupt, "read object").with_detail(detail);
    let expected = sealed_bytes(reference.len);
    if sealed.len() as u64 != expected {
        let detail = format!("object has {} bytes, not {expected}", sealed.len());
        return Err(corrupt(detail));
    }
    let damaged = || corrupt("the object is damaged".into());
    let (header, mut rest) = sealed.split_at(HEADER_BYTES);
    let (magic, numbers) = header.split_at(8);
    let (version, epoch) = numbers.split_at(4);
    if magic != MAGIC
        || version != FORMAT_VERSION.to_le_bytes()
        || epoch != reference.epoch.to_le_bytes()
    {
        return Err(damaged());
    }
    let key = keys.of(reference.epoch).ok_or_else(damaged)?;
    let mut body = vec![0; usize::try_from(reference.len).map_err(|_| damaged())?];
    let mut number = 0;
    let mut unread = &mut body[..];
    loop {
        let (part, after) = std::mem::take(&mut unread).split_at_mut(part_bytes(rest));
        let last = after.is_empty();
        let place = place(vault, reference.name, number, last);
        rest = open_part(key, &place, rest, part).ok_or_else(damaged)?;
        if last {
            return Ok(body.into());
        }
        unread = after;
        number += 1;
    }
}

/// How much the next block holds.
fn part_bytes(rest: &[u8]) -> usize {
    rest.len().saturating_sub(OVERHEAD_BYTES).min(PART_BYTES)
}

/// Opens the next block into `part`; what follows it.
fn open_part<'a>(key: &SealKey, place: &[u8], rest: &'a [u8], part: &mut [u8]) -> Option<&'a [u8]> {
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let (message, rest) = rest.split_at_checked(part.len())?;
    let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
    key.open(nonce, place, message, tag, part).ok()?;
    Some(rest)
}
