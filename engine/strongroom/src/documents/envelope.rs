//! The envelope, which the partition key alone opens.
//!
//! It names the slots of the partition, and has the values that are needed, together with the
//! password, to read its document. A copy is in each of eight cells, which the key selects. One
//! copy is enough.
//!
//! ```text
//! cell  = nonce 24 | commitment 32 | ciphertext | tag 16
//! plain = format u32 LE: 1 | salt 32 | update id 16 | text hash 32 | map | zeros
//! ```
//!
//! Cells are opened by trial, so the commitment is compared first. It binds key, space, cell and
//! nonce. No two cells are alike, and a cell without an envelope is random bytes.

use strongroom_base::{Error, ErrorKind, Reason, Result};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::geometry::{CELLS_PER_OBJECT, COPIES, COPIES_PER_OBJECT, Geometry};
use super::map::SlotMap;
use super::secret::{SALT_BYTES, SecretPartitionKey, UPDATE_ID_BYTES, UpdateKey, keyed_hash};
use strongroom_crypto::{NONCE_BYTES, TAG_BYTES};
use strongroom_format::CELL_OBJECTS;

const FORMAT_VERSION: u32 = 1;
const COMMITMENT_BYTES: usize = 32;
const HASH_BYTES: usize = 32;

/// The contents of an envelope.
pub(super) struct Envelope {
    pub(super) salt: [u8; SALT_BYTES],
    /// Id of the update that wrote it: the document's version.
    pub(super) update: [u8; UPDATE_ID_BYTES],
    pub(super) text_hash: [u8; HASH_BYTES],
    pub(super) map: SlotMap,
}

impl Envelope {
    /// Draws a substitute for an absent envelope from the key: a map of the same size, and a salt.
    ///
    /// All later steps run on it as on a real one.
    pub(super) fn absent(key: &SecretPartitionKey, geometry: &Geometry) -> Self {
        let mut stream = key.absent();
        let none = SlotMap::empty(geometry.slots);
        Self {
            salt: *stream.array(),
            update: *stream.array(),
            text_hash: *stream.array(),
            map: SlotMap::choose(&none, geometry.partition, &mut stream)
                .expect("a space is larger than a partition"),
        }
    }

    /// Seals a copy for the first of the key's cells. It is never stored.
    pub(super) fn seal_substitute(
        &self,
        key: &SecretPartitionKey,
        space: Uuid,
        geometry: &Geometry,
    ) -> (usize, Vec<u8>) {
        let nonce = self.text_hash.first_chunk().expect("longer than a nonce");
        let cell = cells_of(key)[0];
        (cell, self.seal_for(cell, key, nonce, space, geometry))
    }

    /// Seals the eight copies, each for its cell.
    pub(super) fn seal(
        &self,
        key: &SecretPartitionKey,
        update: &UpdateKey,
        space: Uuid,
        geometry: &Geometry,
    ) -> Vec<(usize, Vec<u8>)> {
        let mut nonces = update.nonces();
        let seal = |cell| (cell, self.seal_for(cell, key, nonces.array(), space, geometry));
        cells_of(key).into_iter().map(seal).collect()
    }

    fn seal_for(
        &self,
        cell: usize,
        key: &SecretPartitionKey,
        nonce: &[u8; NONCE_BYTES],
        space: Uuid,
        geometry: &Geometry,
    ) -> Vec<u8> {
        let place = associated_data(space, cell);
        let mut sealed = Vec::with_capacity(geometry.cell_bytes);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(commitment(key, &place, nonce).as_bytes());
        sealed.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(&self.update);
        sealed.extend_from_slice(&self.text_hash);
        sealed.extend_from_slice(self.map.as_bytes());
        sealed.resize(geometry.cell_bytes - TAG_BYTES, 0);
        let message = &mut sealed[NONCE_BYTES + COMMITMENT_BYTES..];
        let tag = key.envelope_key().seal(nonce, &place, message);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens the envelope in `cell`, if one exists under this key.
    ///
    /// `Invalid` if it has a newer format; only a holder of the key can see this.
    pub(super) fn open(
        sealed: &[u8],
        cell: usize,
        key: &SecretPartitionKey,
        space: Uuid,
        geometry: &Geometry,
    ) -> Result<Option<Self>> {
        let place = associated_data(space, cell);
        let Some(message) = open_cell(sealed, key, &place) else { return Ok(None) };
        let (format, rest) = message.split_first_chunk().expect("a cell is longer");
        let format = u32::from_le_bytes(*format);
        if format != FORMAT_VERSION {
            return Err(Error::new(ErrorKind::Invalid, "open partition")
                .with_reason(Reason::FormatUnsupported)
                .with_detail(format!(
                    "its envelope has format {format}, this program reads {FORMAT_VERSION}: use a \
                 newer program"
                )));
        }
        let (salt, rest) = rest.split_first_chunk().expect("a cell is longer");
        let (update, rest) = rest.split_first_chunk().expect("a cell is longer");
        let (text_hash, rest) = rest.split_first_chunk().expect("a cell is longer");
        let map = SlotMap::of_bytes(rest, geometry.slots)
            .filter(|map| map.count() == geometry.partition)
            .ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "open partition")
                    .with_reason(Reason::DocumentDamaged)
                    .with_detail("the envelope has a map of another size")
            })?;
        Ok(Some(Self { salt: *salt, update: *update, text_hash: *text_hash, map }))
    }
}

/// Returns the cells of `key`'s envelope: four of each object, by their global numbers.
pub(super) fn cells_of(key: &SecretPartitionKey) -> Vec<usize> {
    let mut stream = key.cells();
    let mut cells = Vec::with_capacity(COPIES);
    for object in 0..CELL_OBJECTS {
        let mut left: Vec<usize> = (0..CELLS_PER_OBJECT).collect();
        for _ in 0..COPIES_PER_OBJECT {
            let cell = left.swap_remove(stream.below(left.len()));
            cells.push(object * CELLS_PER_OBJECT + cell);
        }
    }
    cells
}

/// Returns the associated data of a cell.
fn associated_data(space: Uuid, cell: usize) -> [u8; 17] {
    let mut place = [0; 17];
    place[..16].copy_from_slice(space.as_bytes());
    place[16] = u8::try_from(cell).expect("there are 64 cells");
    place
}

fn commitment(key: &SecretPartitionKey, place: &[u8], nonce: &[u8]) -> blake3::Hash {
    keyed_hash(&key.commitment_key(), &[place, nonce])
}

fn open_cell(sealed: &[u8], key: &SecretPartitionKey, place: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let (committed, rest) = rest.split_first_chunk::<COMMITMENT_BYTES>()?;
    let (message, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    if !bool::from(commitment(key, place, nonce).as_bytes().ct_eq(committed)) {
        return None;
    }
    let mut opened = Zeroizing::new(vec![0; message.len()]);
    key.envelope_key().open(nonce, place, message, tag, &mut opened).ok()?;
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_base::component::OsEntropy;
    use strongroom_crypto::{PasswordCosts, SecretPassword};

    fn scene() -> (SecretPartitionKey, Geometry, Uuid, Vec<(usize, Vec<u8>)>) {
        let key = SecretPartitionKey::draw(&OsEntropy).unwrap();
        let geometry = Geometry::new(1_024, 2, 3, 3).unwrap();
        let space = Uuid::from_bytes([7; 16]);
        let envelope = Envelope::absent(&key, &geometry);
        let costs = PasswordCosts { memory_kib: 8, passes: 1, lanes: 1 };
        let document = key.document_key(&SecretPassword::new("p"), &envelope.salt, costs).unwrap();
        let update = document.update_key(&envelope.update, &envelope.text_hash);
        let cells = envelope.seal(&key, &update, space, &geometry);
        (key, geometry, space, cells)
    }

    #[test]
    fn eight_copies_differ_and_open_in_their_own_cells() {
        let (key, geometry, space, cells) = scene();
        assert_eq!(cells.len(), 8);
        assert_eq!(cells.iter().filter(|(cell, _)| *cell < CELLS_PER_OBJECT).count(), 4);
        let mut seen: Vec<&[u8]> = cells.iter().map(|(_, bytes)| &bytes[..56]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        let other = SecretPartitionKey::draw(&OsEntropy).unwrap();
        for (cell, sealed) in &cells {
            assert_eq!(sealed.len(), geometry.cell_bytes);
            let opens = |key, cell, space| {
                Envelope::open(sealed, cell, key, space, &geometry).unwrap().is_some()
            };
            assert!(opens(&key, *cell, space));
            assert!(!opens(&key, (cell + 1) % 64, space));
            assert!(!opens(&key, *cell, Uuid::nil()));
            assert!(!opens(&other, *cell, space));
        }
    }

    #[test]
    fn copy_with_flipped_byte_does_not_open() {
        let (key, geometry, space, cells) = scene();
        let (cell, sealed) = &cells[0];
        for at in 0..sealed.len() {
            let mut sealed = sealed.clone();
            sealed[at] ^= 1;
            let opened = Envelope::open(&sealed, *cell, &key, space, &geometry).unwrap();
            assert!(opened.is_none(), "byte {at}");
        }
    }

    #[test]
    fn envelope_of_newer_format_is_refused_by_number() {
        let (key, geometry, space, cells) = scene();
        let (cell, sealed) = &cells[0];
        let place = associated_data(space, *cell);
        let mut message = open_cell(sealed, &key, &place).unwrap();
        message[0] = 2;
        let nonce = *sealed.first_chunk().unwrap();
        let mut newer = sealed[..NONCE_BYTES + COMMITMENT_BYTES].to_vec();
        let tag = key.envelope_key().seal(&nonce, &place, &mut message);
        newer.extend_from_slice(&message);
        newer.extend_from_slice(&tag);
        let error = Envelope::open(&newer, *cell, &key, space, &geometry).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
