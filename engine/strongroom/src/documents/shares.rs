//! From a sealed text to the slots of a partition, and back.
//!
//! A chunk is a secret. Its shares belong to x = 1..=n, never to the numbers of their slots. A
//! share and its tag are masked before they become a slot. More than a threshold of shares are
//! points of one polynomial; the mask makes them indistinguishable from random slots without the
//! update key.
//!
//! **Tags** show which shares are damaged, so up to n - t of a chunk may be lost, not half of that.
//! A tag is POLYVAL of the share under a key of its point and update, cut to 14 bytes. Its mask is
//! drawn for this slot alone, which makes it a Wegman-Carter authenticator as in RFC 8452. Shares
//! are joined without a tag check first, because the text's own seal shows whether the result is
//! right.

use polyval::universal_hash::UniversalHash;
use polyval::{Block, Polyval};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::geometry::Geometry;
use super::secret::UpdateKey;
use super::stream::Stream;
use strongroom_format::SLOT_BYTES;
use strongroom_sharing::{ELEMENT_BYTES, Element, Joiner, SECRET_BYTES, SHARES_MAX, Scheme};

/// A slot has as many blocks of POLYVAL as its share needs. The tag is in the rest of the last
/// block, above this number of bits.
const SHARE_BITS_OF_LAST: usize = ELEMENT_BYTES % polyval::BLOCK_SIZE * 8;
const _: () = assert!(SLOT_BYTES == ELEMENT_BYTES.next_multiple_of(polyval::BLOCK_SIZE));

/// Chunks whose slots are loaded or stored together.
///
/// Slots are spread over memory. A processor loads many of them in parallel if no other work is in
/// between.
const BATCH_CHUNKS: usize = 64;

type Slot = [u8; SLOT_BYTES];

/// A partition's slots in map order, and the unreadable ones.
pub(super) struct Slots {
    bytes: Zeroizing<Vec<u8>>,
    lost: Vec<bool>,
}

impl Slots {
    /// Makes all slots of a partition, filled with zeros.
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; geometry.partition * SLOT_BYTES]),
            lost: vec![false; geometry.partition],
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        self.bytes.as_chunks().0
    }

    pub(super) fn slots_mut(&mut self) -> &mut [Slot] {
        self.bytes.as_chunks_mut().0
    }

    pub(super) fn lose(&mut self, rank: usize) {
        self.lost[rank] = true;
    }
}

/// The positions of a document's shares in its partition.
pub(super) struct Layout<'a> {
    pub(super) geometry: &'a Geometry,
    pub(super) scheme: &'a Scheme,
    /// Position in the map of each share: those of x = 1 in chunk order, then the next x, then the
    /// unused slots.
    pub(super) order: &'a [u32],
}

/// The result of checking the tags of a document's shares.
pub(super) struct TagCheck {
    /// One word for each chunk.
    ///
    /// Bit x - 1 is set if the share at x is authentic.
    good: Vec<u32>,
    /// Shares whose tag is wrong, or that could not be read.
    pub(super) damaged: usize,
}

impl TagCheck {
    /// Returns whether any share is authentic. The password is then right, whatever else is wrong.
    pub(super) fn any(&self) -> bool {
        self.good.iter().any(|&good| good != 0)
    }
}

impl Layout<'_> {
    fn rank(&self, x: usize, chunk: usize) -> usize {
        self.ranks(x, chunk, 1)[0] as usize
    }

    /// Returns the positions of the shares at `x` of `count` chunks.
    fn ranks(&self, x: usize, first: usize, count: usize) -> &[u32] {
        &self.order[x * self.geometry.chunks + first..][..count]
    }

    /// Splits `sealed` into all slots of the partition.
    pub(super) fn split(&self, sealed: &[u8], key: &UpdateKey, slots: &mut Slots) {
        let Geometry { chunks, threshold, shares: n, .. } = *self.geometry;
        let slots = slots.slots_mut();
        let mut coefficients = key.coefficients();
        let mut places: Vec<ShareColumn> = (0..n).map(|x| ShareColumn::new(key, x)).collect();
        let mut drawn = vec![Element::ZERO; threshold - 1];
        let mut shares = [Element::ZERO; SHARES_MAX];
        let mut batch = batch_of(n);
        let secrets = sealed.as_chunks::<SECRET_BYTES>().0;
        for (first, secrets) in (0..).step_by(BATCH_CHUNKS).zip(secrets.chunks(BATCH_CHUNKS)) {
            for (at, secret) in secrets.iter().enumerate() {
                drawn.fill_with(|| sample(&mut coefficients));
                self.scheme.split(Element::of_secret(secret), &drawn, &mut shares[..n]);
                // In two rounds: the hash of a point is used when the other points have advanced.
                for ((place, batch), share) in places.iter_mut().zip(&mut batch).zip(&shares) {
                    batch[at] = place.hash(&share.to_bytes());
                }
                for (place, batch) in places.iter_mut().zip(&mut batch) {
                    place.finish(&mut batch[at]);
                }
            }
            for (x, batch) in batch.iter().enumerate() {
                for (&rank, slot) in self.ranks(x, first, secrets.len()).iter().zip(batch) {
                    slots[rank as usize] = *slot;
                }
            }
        }
        drawn.zeroize();
        shares.zeroize();
        let mut garbage = key.garbage();
        for &rank in &self.order[n * chunks..] {
            slots[rank as usize] = *garbage.array();
        }
    }

    /// Loads the slots of the first points, for `count` chunks.
    fn gather(&self, first: usize, count: usize, slots: &Slots, batch: &mut [Batch]) {
        let slots = slots.slots();
        for (x, batch) in batch.iter_mut().enumerate() {
            for (&rank, slot) in self.ranks(x, first, count).iter().zip(batch) {
                *slot = slots[rank as usize];
            }
        }
    }

    /// Joins the first shares of each chunk, without checking tags. The text's seal shows whether
    /// the result is right.
    pub(super) fn join(&self, key: &UpdateKey, slots: &Slots) -> Zeroizing<Vec<u8>> {
        let Geometry { chunks, threshold, .. } = *self.geometry;
        let mut masks: Vec<Stream> = (0..threshold).map(|x| key.mask(place_of(x))).collect();
        let mut shares = [Element::ZERO; SHARES_MAX];
        let mut batch = batch_of(threshold);
        let mut sealed = Zeroizing::new(vec![0; chunks * SECRET_BYTES]);
        let secrets = sealed.as_chunks_mut::<SECRET_BYTES>().0;
        for (first, secrets) in (0..).step_by(BATCH_CHUNKS).zip(secrets.chunks_mut(BATCH_CHUNKS)) {
            self.gather(first, secrets.len(), slots, &mut batch);
            for (at, secret) in secrets.iter_mut().enumerate() {
                for ((share, mask), batch) in shares.iter_mut().zip(&mut masks).zip(&batch) {
                    let unmasked = unmask(&batch[at], mask.array());
                    *share = Element::of_bytes(unmasked.first_chunk().expect("longer"));
                }
                *secret = self.scheme.join_first(&shares[..threshold]).to_secret();
            }
        }
        shares.zeroize();
        sealed
    }

    /// Checks the tag of every share.
    pub(super) fn verify(&self, key: &UpdateKey, slots: &Slots) -> TagCheck {
        let Geometry { chunks, shares: n, .. } = *self.geometry;
        let mut places: Vec<ShareColumn> = (0..n).map(|x| ShareColumn::new(key, x)).collect();
        let mut batch = batch_of(n);
        let mut good = vec![0; chunks];
        for (first, good) in (0..).step_by(BATCH_CHUNKS).zip(good.chunks_mut(BATCH_CHUNKS)) {
            self.gather(first, good.len(), slots, &mut batch);
            for (at, good) in good.iter_mut().enumerate() {
                // In two rounds, as above. Every slot takes the same time.
                for (place, batch) in places.iter_mut().zip(&mut batch) {
                    place.open(&mut batch[at]);
                }
                for (x, (place, batch)) in places.iter_mut().zip(&batch).enumerate() {
                    let authentic = place.is_authentic(&batch[at]);
                    let lost = slots.lost[self.rank(x, first + at)];
                    *good |= u32::from(authentic && !lost) << x;
                }
            }
        }
        batch.zeroize();
        let authentic: usize = good.iter().map(|good| good.count_ones() as usize).sum();
        TagCheck { good, damaged: n * chunks - authentic }
    }

    /// Joins any authentic shares; `None` if a chunk has too few.
    pub(super) fn recover(
        &self,
        key: &UpdateKey,
        slots: &Slots,
        verdict: &TagCheck,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let Geometry { chunks, threshold, shares: n, .. } = *self.geometry;
        let slots = slots.slots();
        let mut joiners = std::collections::HashMap::<u32, (Vec<u8>, Joiner)>::new();
        let mut masks: Vec<Stream> = (0..n).map(|x| key.mask(place_of(x))).collect();
        let mut shares = [Element::ZERO; SHARES_MAX];
        let mut sealed = Zeroizing::new(vec![0; chunks * SECRET_BYTES]);
        for (chunk, secret) in sealed.as_chunks_mut::<SECRET_BYTES>().0.iter_mut().enumerate() {
            let chosen = first_bits(verdict.good[chunk], threshold)?;
            let (places, joiner) = joiners.entry(chosen).or_insert_with(|| {
                let places: Vec<u8> =
                    (0..n).filter(|x| chosen >> x & 1 == 1).map(place_of).collect();
                let joiner = self.scheme.joiner(&places);
                (places, joiner)
            });
            let mut count = 0;
            for (x, mask) in masks.iter_mut().enumerate() {
                let mask = mask.array();
                if places.contains(&place_of(x)) {
                    let unmasked = unmask(&slots[self.rank(x, chunk)], mask);
                    shares[count] = Element::of_bytes(unmasked.first_chunk().expect("longer"));
                    count += 1;
                }
            }
            *secret = joiner.join(&shares[..count]).to_secret();
        }
        shares.zeroize();
        Some(sealed)
    }
}

/// Returns the `count` lowest set bits; `None` if there are fewer.
fn first_bits(mut bits: u32, count: usize) -> Option<u32> {
    let mut chosen = 0;
    for _ in 0..count {
        if bits == 0 {
            return None;
        }
        chosen |= bits & bits.wrapping_neg();
        bits &= bits - 1;
    }
    Some(chosen)
}

/// Returns the point of the share at index `x` from 0.
fn place_of(x: usize) -> u8 {
    u8::try_from(x + 1).expect("at most SHARES_MAX")
}

/// Draws a uniform element: 521 random bits, drawn again for the one number that is not an element.
pub(super) fn sample(stream: &mut Stream) -> Element {
    loop {
        if let Some(element) = Element::sample(stream.array()) {
            return element;
        }
    }
}

/// Slots of consecutive chunks at one x.
type Batch = [Slot; BATCH_CHUNKS];

fn batch_of(places: usize) -> Vec<Batch> {
    vec![[[0; SLOT_BYTES]; BATCH_CHUNKS]; places]
}

/// The masks and tags of all shares at one x.
///
/// They are in chunk order.
///
/// A share is hashed in one call and its tag computed in the next. The state is copied for that,
/// and a processor stalls when it copies data that it has just written.
struct ShareColumn {
    mask: Stream,
    tag: Polyval,
}

impl ShareColumn {
    fn new(key: &UpdateKey, x: usize) -> Self {
        let place = place_of(x);
        Self { mask: key.mask(place), tag: Polyval::new(key.tag(place).array().into()) }
    }

    /// Makes the slot of `share` without tag and mask, which [`finish`](Self::finish) adds.
    fn hash(&mut self, share: &[u8; ELEMENT_BYTES]) -> Slot {
        let mut slot = [0; SLOT_BYTES];
        slot[..ELEMENT_BYTES].copy_from_slice(share);
        self.tag.update(Block::cast_slice_from_core(slot.as_chunks().0));
        slot
    }

    fn finish(&mut self, slot: &mut Slot) {
        *slot = unmask(slot, self.mask.array());
        let tag = self.tag();
        let last = slot.last_chunk_mut().expect("longer");
        *last = (u128::from_le_bytes(*last) ^ tag).to_le_bytes();
    }

    /// Removes the mask of the next slot. [`is_authentic`](Self::is_authentic) checks its tag.
    fn open(&mut self, slot: &mut Slot) {
        *slot = unmask(slot, self.mask.array());
        self.hash(slot.first_chunk().expect("longer"));
    }

    fn is_authentic(&mut self, slot: &Slot) -> bool {
        let last = u128::from_le_bytes(*slot.last_chunk().expect("longer"));
        let wrong = (last ^ self.tag()) >> SHARE_BITS_OF_LAST;
        wrong.to_le_bytes().ct_eq(&[0; 16]).into()
    }

    /// Returns the tag of the last hashed share.
    ///
    /// It is at the share's position in the slot's last block.
    fn tag(&mut self) -> u128 {
        u128::from_le_bytes(self.tag.finalize_reset().into()) << SHARE_BITS_OF_LAST
    }
}

/// Adds or removes a mask.
fn unmask(slot: &Slot, mask: &Slot) -> Slot {
    std::array::from_fn(|at| slot[at] ^ mask[at])
}

#[cfg(test)]
mod tests {
    use super::super::map::scatter;
    use super::*;
    use crate::documents::SecretPartitionKey;
    use strongroom_base::component::OsEntropy;
    use strongroom_crypto::{PasswordCosts, SecretKey, SecretPassword};

    #[test]
    fn chunk_survives_damage_to_all_surplus_shares() {
        let key = SecretPartitionKey::draw(&OsEntropy).unwrap();
        let costs = PasswordCosts { memory_kib: 8, passes: 1, lanes: 1 };
        let document = key.document_key(&SecretPassword::new("p"), &[7; 32], costs).unwrap();
        let update = document.update_key(&[1; 16], &[2; 32]);
        let mut random = Stream::new(&SecretKey::new([3; 32]), b"damage");
        for (threshold, n) in [(2, 2), (2, 3), (3, 9), (5, 8), (10, 20), (32, 32)] {
            let geometry = Geometry::new(2_048, threshold, n, 3).unwrap();
            let Geometry { threshold, shares: n, chunks, .. } = geometry;
            let scheme = Scheme::new(threshold, n);
            let order = scatter(geometry.partition, &mut document.order());
            let layout = Layout { geometry: &geometry, scheme: &scheme, order: &order };
            let mut sealed = vec![0; chunks * SECRET_BYTES];
            random.fill(&mut sealed);
            // Zeros at every edge of every chunk.
            for secret in sealed.as_chunks_mut::<SECRET_BYTES>().0 {
                (secret[0], secret[SECRET_BYTES - 1]) = (0, 0);
            }
            let mut slots = Slots::new(&geometry);
            layout.split(&sealed, &update, &mut slots);
            assert!(*layout.join(&update, &slots) == sealed);
            assert_eq!(layout.verify(&update, &slots).damaged, 0);

            let mut whole = Vec::new();
            for chunk in 0..chunks {
                let hit = scatter(n, &mut random);
                let (damaged, left) = hit.split_at(n - threshold);
                for &x in damaged {
                    // A flipped bit anywhere in the slot, or an unreadable slot.
                    let rank = layout.rank(x as usize, chunk);
                    if random.below(2) == 0 {
                        slots.lose(rank);
                    } else {
                        slots.slots_mut()[rank][random.below(SLOT_BYTES)] ^= 1 << random.below(8);
                    }
                }
                whole.push(left[0]);
            }
            let verdict = layout.verify(&update, &slots);
            assert_eq!(verdict.damaged, chunks * (n - threshold), "{threshold} of {n}");
            assert!(*layout.recover(&update, &slots, &verdict).unwrap() == sealed);

            // One more damaged share in a chunk is one too many.
            let rank = layout.rank(whole[7] as usize, 7);
            slots.slots_mut()[rank][5] ^= 1;
            let verdict = layout.verify(&update, &slots);
            assert!(layout.recover(&update, &slots, &verdict).is_none(), "{threshold} of {n}");
        }
    }
}
