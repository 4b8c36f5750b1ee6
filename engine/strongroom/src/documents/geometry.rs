//! How large everything in a share space is: all of it follows from capacity, threshold and
//! shares, so it is computed in one place and nothing is stored twice.
//!
//! ```text
//! chunks    = ceil((capacity + 24) / 64)      the padded text: its length 8, its tag 16
//! partition = 1.1 * chunks * shares           slots; a tenth of them is never in use
//! slots     = partitions * partition          then random padding to whole segments
//! cell      = ceil((slots / 8 + 256) / 4,096) * 4,096
//! ```

use strongroom_base::{Error, ErrorKind, Reason, Result};

use strongroom_format::{CELL_OBJECTS, GenerationRow, ObjectRef, SLOT_BYTES, SpaceRow};
use strongroom_sharing::{SECRET_BYTES, SHARES_MAX};
use strongroom_store::objects::Cut;

/// Capacity of a partition unless it is told: 64 KiB.
pub(super) const CAPACITY_BYTES: u32 = 64 << 10;
/// Least capacity of a partition in bytes.
pub const CAPACITY_BYTES_MIN: u32 = 1 << 10;
/// Most capacity of a partition in bytes: 4 MiB.
pub const CAPACITY_BYTES_MAX: u32 = 4 << 20;
/// Fewest partitions that a space has room for.
pub(super) const PARTITIONS_MIN: u8 = 3;
/// Most room that a space has, in partitions.
pub(super) const PARTITIONS_MAX: u8 = 12;
/// Most partitions of one space: beyond them hardly a key is left whose cells miss all others.
pub const PARTITIONS_OF_SPACE_MAX: usize = 6;
/// Longest space in bytes, all slots of one generation.
const SPACE_BYTES_MAX: u64 = 2 << 30;

/// A partition has so many slots for ten in use.
const PARTITION_TENTHS: usize = 11;
/// What a padded text has beside the text: its length, and its tag.
pub(super) const LENGTH_BYTES: usize = 8;
pub(super) const TEXT_TAG_BYTES: usize = 16;

/// How many cells each object of cells has.
pub(super) const CELLS_PER_OBJECT: usize = 32;
/// How many cells of each object hold a partition's envelope.
pub(super) const COPIES_PER_OBJECT: usize = 4;
/// All copies of a partition's envelope.
pub(super) const COPIES: usize = CELL_OBJECTS * COPIES_PER_OBJECT;
/// What a cell has beside the map.
const CELL_OVERHEAD_BYTES: usize = 256;

/// Fewest segments of a generation, so that one that is lost costs each chunk few shares.
const SEGMENTS_MIN: usize = 16;
/// Longest segment in bytes.
const SEGMENT_BYTES_MAX: usize = 4 << 20;
/// Slots in one sealed block.
pub(super) const SLOTS_PER_BLOCK: usize = Cut::SLOTS.block_bytes / SLOT_BYTES;

/// The sizes of one share space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) capacity: usize,
    pub(super) threshold: usize,
    pub(super) shares: usize,
    /// Chunks of a document: always as many, whatever its length.
    pub(super) chunks: usize,
    /// Slots of a partition.
    pub(super) partition: usize,
    /// Slots of the space.
    pub(super) slots: usize,
    pub(super) cell_bytes: usize,
    pub(super) segments: usize,
    /// Slots of a segment.
    pub(super) segment_slots: usize,
}

impl Geometry {
    /// `Invalid` for numbers that make no space.
    pub(super) fn new(capacity: u32, threshold: u8, shares: u8, partitions: u8) -> Result<Self> {
        let invalid = |detail: String| {
            Err(Error::new(ErrorKind::Invalid, "create space").with_detail(detail))
        };
        if !(CAPACITY_BYTES_MIN..=CAPACITY_BYTES_MAX).contains(&capacity) {
            return invalid(format!(
                "a capacity of {capacity} bytes, not {CAPACITY_BYTES_MIN} to {CAPACITY_BYTES_MAX}"
            ));
        }
        if !(PARTITIONS_MIN..=PARTITIONS_MAX).contains(&partitions) {
            return invalid(format!(
                "a space of {partitions} partitions, not {PARTITIONS_MIN} to {PARTITIONS_MAX}"
            ));
        }
        let (t, n) = (usize::from(threshold), usize::from(shares));
        if t < 2 {
            return invalid(format!("a threshold of {t}: one share would be the secret"));
        }
        if t > n || n > SHARES_MAX {
            return invalid(format!("a threshold of {t} of {n} shares, at most {SHARES_MAX}"));
        }
        let geometry = Self::of(capacity as usize, t, n, usize::from(partitions));
        let bytes = (geometry.slots * SLOT_BYTES) as u64;
        if bytes > SPACE_BYTES_MAX {
            return invalid(format!("a space of {bytes} bytes, the limit is {SPACE_BYTES_MAX}"));
        }
        Ok(geometry)
    }

    /// That of a space that exists.
    pub(super) fn of_row(row: &SpaceRow) -> Result<Self> {
        let SpaceRow::V0 { capacity_bytes, threshold, shares, partitions, generation, .. } = row;
        let geometry = Self::new(*capacity_bytes, *threshold, *shares, *partitions)
            .map_err(|e| e.with_kind(ErrorKind::Corrupt).with_reason(Reason::RowDamaged))?;
        geometry.check(generation)?;
        Ok(geometry)
    }

    /// `Corrupt` unless `generation` has all objects, each as long as it must be.
    pub(super) fn check(&self, generation: &GenerationRow) -> Result<()> {
        let as_long =
            |(place, object): (usize, &ObjectRef)| object.len == self.object_bytes(place) as u64;
        let found = &generation.objects;
        if found.len() == self.objects() && found.iter().enumerate().all(as_long) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "read space row")
            .with_reason(Reason::RowDamaged)
            .with_detail("its objects are not those of such a space"))
    }

    fn of(capacity: usize, threshold: usize, shares: usize, partitions: usize) -> Self {
        let chunks = (capacity + LENGTH_BYTES + TEXT_TAG_BYTES).div_ceil(SECRET_BYTES);
        let partition = (chunks * shares * PARTITION_TENTHS).div_ceil(10);
        let slots = partitions * partition;
        let block = Cut::CELLS.block_bytes;
        let cell_bytes = (slots.div_ceil(8) + CELL_OVERHEAD_BYTES).div_ceil(block) * block;
        let blocks = slots.div_ceil(SLOTS_PER_BLOCK);
        let (segments, segment_blocks) = segments_of(blocks);
        let segment_slots = segment_blocks * SLOTS_PER_BLOCK;
        Self {
            capacity,
            threshold,
            shares,
            chunks,
            partition,
            slots,
            cell_bytes,
            segments,
            segment_slots,
        }
    }

    /// Slots of a partition that are in use.
    pub(super) fn used(&self) -> usize {
        self.chunks * self.shares
    }

    /// Length of a padded text before it is sealed.
    pub(super) fn padded_bytes(&self) -> usize {
        self.chunks * SECRET_BYTES - TEXT_TAG_BYTES
    }

    /// Objects of a generation.
    pub(super) fn objects(&self) -> usize {
        CELL_OBJECTS + self.segments
    }

    /// Length of the object at this place in a generation, before it is sealed.
    pub(super) fn object_bytes(&self, place: usize) -> usize {
        if place < CELL_OBJECTS {
            CELLS_PER_OBJECT * self.cell_bytes
        } else {
            self.segment_slots * SLOT_BYTES
        }
    }

    /// Blocks of segment `segment` that hold slots; the others are padding.
    pub(super) fn blocks_with_slots(&self, segment: usize) -> usize {
        let first = segment * self.segment_slots;
        self.slots.saturating_sub(first).min(self.segment_slots).div_ceil(SLOTS_PER_BLOCK)
    }

    /// Whether so many blocks with slots are lost that hardly a document can be read, whoever's it
    /// is: fewer than t in n are left.
    pub(super) fn is_hopeless(&self, blocks_lost: usize) -> bool {
        let blocks = self.slots.div_ceil(SLOTS_PER_BLOCK);
        (blocks - blocks_lost) * self.shares < blocks * self.threshold
    }

    /// `Corrupt` for a base of which so much is lost: what others have in it would become garbage
    /// for good, and a store that shows nothing may only be away.
    pub(super) fn refuse_if_hopeless(&self, blocks_lost: usize) -> Result<()> {
        if self.is_hopeless(blocks_lost) {
            return Err(Error::new(ErrorKind::Corrupt, "update space")
                .with_reason(Reason::DocumentDamaged)
                .with_detail(format!(
                    "{blocks_lost} of its {} blocks are missing or damaged",
                    self.slots.div_ceil(SLOTS_PER_BLOCK)
                )));
        }
        Ok(())
    }

    /// Length of a generation on the backend, sealed.
    pub(super) fn generation_bytes(&self) -> u64 {
        let sealed = |place| Cut::of_space(place).sealed_bytes(self.object_bytes(place) as u64);
        (0..self.objects()).map(sealed).sum()
    }

    /// The chance that a document is lost when a partition is added that was told to keep `kept`
    /// others and not this one: that in some chunk more than `shares - threshold` shares are
    /// overwritten. Each slot not named is taken with the same chance.
    pub(super) fn loss_chance(&self, kept: usize) -> f64 {
        let free = self.slots.saturating_sub(kept * self.partition);
        if free < self.partition {
            return 1.0;
        }
        let taken = self.partition as f64 / free as f64;
        let survives: f64 =
            (0..=self.shares - self.threshold).map(|k| binomial(self.shares, k, taken)).sum();
        // ln_1p and exp_m1: the chance may be far below what 1 - x can tell.
        let lost = (1.0 - survives).clamp(0.0, 1.0);
        -(self.chunks as f64 * (-lost).ln_1p()).exp_m1()
    }
}

/// Into how many segments so many blocks are cut, and how many each has.
fn segments_of(blocks: usize) -> (usize, usize) {
    let most = SEGMENT_BYTES_MAX / Cut::SLOTS.block_bytes;
    let mut each = blocks.div_ceil(SEGMENTS_MIN.max(blocks.div_ceil(most)));
    if blocks.div_ceil(each) < SEGMENTS_MIN {
        // Rather a few segments more than some with nothing but padding.
        each = (blocks / SEGMENTS_MIN).max(1);
    }
    (blocks.div_ceil(each).max(SEGMENTS_MIN), each)
}

/// The chance of exactly `k` of `n` with `p` each.
fn binomial(n: usize, k: usize, p: f64) -> f64 {
    let ways: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
    let power = |base: f64, times: usize| base.powi(i32::try_from(times).expect("few shares"));
    ways * power(p, k) * power(1.0 - p, n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_format() {
        let default = Geometry::new(64 << 10, 3, 9, 3).unwrap();
        assert_eq!((default.chunks, default.used()), (1_025, 9_225));
        assert_eq!((default.partition, default.slots), (10_148, 30_444));
        assert_eq!((default.cell_bytes, default.segments), (4_096, 16));
        assert_eq!(default.segment_slots, 38 * 51);
        assert!((2_600_000..2_900_000).contains(&default.generation_bytes()));

        let largest = Geometry::new(4 << 20, 3, 9, 3).unwrap();
        assert_eq!((largest.chunks, largest.slots), (65_537, 1_946_451));
        assert_eq!(largest.cell_bytes, 240 << 10);
        assert!(largest.object_bytes(2) <= SEGMENT_BYTES_MAX);
        assert!(largest.segments * largest.segment_slots >= largest.slots);
    }

    #[test]
    fn blocks_are_cut_into_at_least_sixteen_segments_with_little_padding() {
        for blocks in 1..5_000 {
            let (segments, each) = segments_of(blocks);
            assert!(segments >= SEGMENTS_MIN && segments * each >= blocks, "{blocks}");
            assert!(each * Cut::SLOTS.block_bytes <= SEGMENT_BYTES_MAX, "{blocks}");
            let padding_only = segments - blocks.div_ceil(each);
            assert!(padding_only == 0 || blocks < SEGMENTS_MIN, "{blocks}");
        }
    }

    #[test]
    fn every_map_fits_its_cell() {
        for (capacity, n, partitions) in [(1 << 10, 2, 3), (65_536, 9, 12), (4 << 20, 9, 12)] {
            let geometry = Geometry::new(capacity, 2, n, partitions).unwrap();
            assert!(geometry.slots.div_ceil(8) + 72 + 84 <= geometry.cell_bytes);
        }
    }

    #[test]
    fn numbers_that_make_no_space_are_refused() {
        for (capacity, t, n, partitions) in [
            (1_023, 3, 9, 3),
            ((4 << 20) + 1, 3, 9, 3),
            (65_536, 0, 9, 3),
            (65_536, 1, 9, 3),
            (65_536, 10, 9, 3),
            (65_536, 3, 33, 3),
            (65_536, 3, 9, 2),
            (65_536, 3, 9, 13),
            (4 << 20, 3, 32, 12),
        ] {
            let error = Geometry::new(capacity, t, n, partitions).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{capacity} {t} {n} {partitions}");
        }
    }

    #[test]
    fn the_chance_of_loss_is_that_of_the_design() {
        let default = Geometry::new(64 << 10, 3, 9, 3).unwrap();
        assert!((default.loss_chance(0) - 0.9998).abs() < 2e-4, "{}", default.loss_chance(0));
        let wide = Geometry::new(64 << 10, 3, 9, 12).unwrap();
        assert!(wide.loss_chance(0) < 2e-3, "{}", wide.loss_chance(0));
        assert!(default.loss_chance(3) > 0.999_999, "no room at all");
    }
}
