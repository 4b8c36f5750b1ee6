//! Maps of slots.
//!
//! The first stage, in the envelope, is the set of the partition's slots. The second stage, drawn
//! from the document key, is the order of the slots in use.

use zeroize::Zeroizing;

use super::stream::Stream;

/// A set of slots, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Secret, because they reveal the partition's slots.
    bits: Zeroizing<Vec<u8>>,
    slots: usize,
}

impl SlotMap {
    /// Makes an empty set of `slots` slots.
    pub(super) fn empty(slots: usize) -> Self {
        Self { bits: Zeroizing::new(vec![0; slots.div_ceil(8)]), slots }
    }

    /// Decodes a map; `None` if it is too short, or names slots that do not exist.
    pub(super) fn of_bytes(bytes: &[u8], slots: usize) -> Option<Self> {
        let bits = Zeroizing::new(bytes.get(..slots.div_ceil(8))?.to_vec());
        let map = Self { bits, slots };
        let beyond = map.bits.len() * 8 - slots;
        let excess = map.bits.last().is_some_and(|last| beyond > 0 && last >> (8 - beyond) != 0);
        (!excess).then_some(map)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    pub(super) fn contains(&self, slot: usize) -> bool {
        self.bits.get(slot / 8).is_some_and(|byte| byte >> (slot % 8) & 1 == 1)
    }

    pub(super) fn insert(&mut self, slot: usize) {
        self.bits[slot / 8] |= 1 << (slot % 8);
    }

    /// Adds all slots of `other`, a map of the same space.
    pub(super) fn unite(&mut self, other: &Self) {
        self.bits.iter_mut().zip(other.bits.iter()).for_each(|(byte, more)| *byte |= more);
    }

    pub(super) fn count(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Lists its slots within `from..to`, in order.
    pub(super) fn within(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + '_ {
        (from..to.min(self.slots)).filter(|&slot| self.contains(slot))
    }

    /// Draws `count` slots that are not in `taken`, uniformly; `None` if there are too few.
    ///
    /// One pass in constant memory: the probability of a slot is the number of slots still wanted,
    /// divided by the number left.
    pub(super) fn choose(taken: &Self, count: usize, random: &mut Stream) -> Option<Self> {
        let mut left = taken.slots - taken.count();
        let mut wanted = count;
        let mut chosen = Self::empty(taken.slots);
        for slot in 0..taken.slots {
            if taken.contains(slot) {
                continue;
            }
            if random.below(left) < wanted {
                chosen.insert(slot);
                wanted -= 1;
            }
            left -= 1;
            if wanted == 0 {
                return Some(chosen);
            }
        }
        None
    }
}

/// Draws a uniform order of the numbers below `count` (Fisher and Yates).
pub(super) fn scatter(count: usize, random: &mut Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(count).expect("slots are few")).collect();
    for last in (1..count).rev() {
        order.swap(last, random.below(last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_crypto::SecretKey;

    fn random() -> Stream {
        Stream::new(&SecretKey::new([9; 32]), b"test")
    }

    #[test]
    fn choice_avoids_occupied_cells_until_none_is_free() {
        let mut random = random();
        let mut taken = SlotMap::empty(90);
        for _ in 0..3 {
            let chosen = SlotMap::choose(&taken, 30, &mut random).unwrap();
            assert_eq!(chosen.count(), 30);
            assert_eq!(chosen.within(0, 90).filter(|&slot| taken.contains(slot)).count(), 0);
            taken.unite(&chosen);
        }
        assert_eq!(taken.count(), 90);
        assert!(SlotMap::choose(&taken, 1, &mut random).is_none());
    }

    #[test]
    fn slots_and_positions_are_chosen_uniformly() {
        let mut random = random();
        let (mut slots, mut firsts) = ([0u32; 20], [0u32; 20]);
        for _ in 0..20_000 {
            let chosen = SlotMap::choose(&SlotMap::empty(20), 5, &mut random).unwrap();
            chosen.within(0, 20).for_each(|slot| slots[slot] += 1);
            firsts[scatter(20, &mut random)[0] as usize] += 1;
        }
        assert!(slots.iter().all(|&n| (4_700..5_300).contains(&n)), "{slots:?}");
        assert!(firsts.iter().all(|&n| (850..1_150).contains(&n)), "{firsts:?}");
    }

    #[test]
    fn map_of_other_length_is_none() {
        assert!(SlotMap::of_bytes(&[255, 1], 9).is_some());
        assert!(SlotMap::of_bytes(&[255, 2], 9).is_none());
        assert!(SlotMap::of_bytes(&[255], 9).is_none());
    }
}
