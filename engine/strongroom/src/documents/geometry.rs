//! The sizes of everything in a share space.
//!
//! All sizes follow from capacity, threshold and shares. They are computed in this file only, and
//! no derived size is stored.
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

/// Default capacity of a partition: 64 KiB.
pub(super) const CAPACITY_BYTES: u32 = 64 << 10;
/// Least capacity of a partition in bytes.
pub const CAPACITY_BYTES_MIN: u32 = 1 << 10;
/// Most capacity of a partition in bytes: 4 MiB.
pub const CAPACITY_BYTES_MAX: u32 = 4 << 20;
/// Fewest partitions for which a space has room.
pub(super) const PARTITIONS_MIN: u8 = 3;
/// Most partitions for which a space has room.
pub(super) const PARTITIONS_MAX: u8 = 12;
/// Most partitions of one space. Beyond it hardly any key has cells that miss all others.
pub const PARTITIONS_OF_SPACE_MAX: usize = 6;
/// Longest space in bytes, all slots of one generation.
const SPACE_BYTES_MAX: u64 = 2 << 30;

/// Slots of a partition for ten slots in use.
const PARTITION_TENTHS: usize = 11;
/// Bytes of a padded text for its length and its tag.
pub(super) const LENGTH_BYTES: usize = 8;
pub(super) const TEXT_TAG_BYTES: usize = 16;

/// Cells in each object of cells.
pub(super) const CELLS_PER_OBJECT: usize = 32;
/// Cells of each object with a copy of a partition's envelope.
pub(super) const COPIES_PER_OBJECT: usize = 4;
/// Copies of a partition's envelope.
pub(super) const COPIES: usize = CELL_OBJECTS * COPIES_PER_OBJECT;
/// Bytes of a cell beyond the map.
const CELL_OVERHEAD_BYTES: usize = 256;

/// Fewest segments of a generation.
///
/// A lost segment then costs each chunk few shares.
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
    /// Chunks of a document: constant, whatever its length.
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
    /// Computes the sizes; `Invalid` for impossible numbers.
    pub(super) fn new(capacity: u32, threshold: u8, shares: u8, partitions: u8) -> Result<Self> {
        let invalid = |detail: String| {
            Err(Error::new(ErrorKind::Invalid, "create space").with_detail(detail))
        };
        if !(CAPACITY_BYTES_MIN..=CAPACITY_BYTES_MAX).contains(&capacity) {
            return invalid(format!(
                "the capacity is {capacity} bytes; use {CAPACITY_BYTES_MIN} to {CAPACITY_BYTES_MAX}"
            ));
        }
        if !(PARTITIONS_MIN..=PARTITIONS_MAX).contains(&partitions) {
            return invalid(format!(
                "the space has room for {partitions} partitions; use {PARTITIONS_MIN} to {PARTITIONS_MAX}"
            ));
        }
        let (t, n) = (usize::from(threshold), usize::from(shares));
        if t < 2 {
            return invalid(format!("the threshold is {t}; with it one share would be the secret"));
        }
        if t > n || n > SHARES_MAX {
            return invalid(format!(
                "the threshold is {t} of {n} shares; at most {SHARES_MAX} shares are possible"
            ));
        }
        let geometry = Self::of(capacity as usize, t, n, usize::from(partitions));
        let bytes = (geometry.slots * SLOT_BYTES) as u64;
        if bytes > SPACE_BYTES_MAX {
            return invalid(format!(
                "the space would have {bytes} bytes, the limit is {SPACE_BYTES_MAX}"
            ));
        }
        Ok(geometry)
    }

    /// Computes the sizes of an existing space.
    pub(super) fn of_row(row: &SpaceRow) -> Result<Self> {
        let SpaceRow::V0 { capacity_bytes, threshold, shares, partitions, generation, .. } = row;
        let geometry = Self::new(*capacity_bytes, *threshold, *shares, *partitions)
            .map_err(|e| e.with_kind(ErrorKind::Corrupt).with_reason(Reason::RowDamaged))?;
        geometry.check(generation)?;
        Ok(geometry)
    }

    /// Returns `Corrupt` unless `generation` has all objects with their exact lengths.
    pub(super) fn check(&self, generation: &GenerationRow) -> Result<()> {
        let as_long =
            |(place, object): (usize, &ObjectRef)| object.len == self.object_bytes(place) as u64;
        let found = &generation.objects;
        if found.len() == self.objects() && found.iter().enumerate().all(as_long) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "read space row")
            .with_reason(Reason::RowDamaged)
            .with_detail("the row's objects do not match the space's sizes"))
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

    /// Returns the number of slots of a partition that are in use.
    pub(super) fn used(&self) -> usize {
        self.chunks * self.shares
    }

    /// Returns the length of a padded text before sealing.
    pub(super) fn padded_bytes(&self) -> usize {
        self.chunks * SECRET_BYTES - TEXT_TAG_BYTES
    }

    /// Returns the number of objects of a generation.
    pub(super) fn objects(&self) -> usize {
        CELL_OBJECTS + self.segments
    }

    /// Returns the unsealed length of the object at a position.
    pub(super) fn object_bytes(&self, place: usize) -> usize {
        if place < CELL_OBJECTS {
            CELLS_PER_OBJECT * self.cell_bytes
        } else {
            self.segment_slots * SLOT_BYTES
        }
    }

    /// Returns the number of blocks of a segment with slots; the others are padding.
    pub(super) fn blocks_with_slots(&self, segment: usize) -> usize {
        let first = segment * self.segment_slots;
        self.slots.saturating_sub(first).min(self.segment_slots).div_ceil(SLOTS_PER_BLOCK)
    }

    /// Returns whether too many blocks are lost to read hardly any document.
    ///
    /// Fewer than t in n blocks with slots are left.
    pub(super) fn is_hopeless(&self, blocks_lost: usize) -> bool {
        let blocks = self.slots.div_ceil(SLOTS_PER_BLOCK);
        (blocks - blocks_lost) * self.shares < blocks * self.threshold
    }

    /// Returns `Corrupt` for a base with too many lost blocks.
    ///
    /// A copy would make the losses of other documents permanent, and the objects may only be
    /// temporarily unavailable.
    pub(super) fn refuse_if_hopeless(&self, blocks_lost: usize) -> Result<()> {
        if self.is_hopeless(blocks_lost) {
            return Err(Error::new(ErrorKind::Corrupt, "update space")
                .with_reason(Reason::DocumentDamaged)
                .with_detail(format!(
                    "{blocks_lost} of the space's {} blocks are missing or damaged",
                    self.slots.div_ceil(SLOTS_PER_BLOCK)
                )));
        }
        Ok(())
    }

    /// Returns the sealed length of a generation on the backend.
    pub(super) fn generation_bytes(&self) -> u64 {
        let sealed = |place| Cut::of_space(place).sealed_bytes(self.object_bytes(place) as u64);
        (0..self.objects()).map(sealed).sum()
    }

    /// Returns the probability that adding a partition loses a document.
    ///
    /// The addition names `kept` other partitions and not this one. The document is lost if more
    /// than `shares - threshold` shares of some chunk are overwritten. Each slot that is not named
    /// is taken with the same probability.
    pub(super) fn loss_chance(&self, kept: usize) -> f64 {
        let free = self.slots.saturating_sub(kept * self.partition);
        if free < self.partition {
            return 1.0;
        }
        let taken = self.partition as f64 / free as f64;
        let survives: f64 =
            (0..=self.shares - self.threshold).map(|k| binomial(self.shares, k, taken)).sum();
        // ln_1p and exp_m1, because the probability may be far below the precision of 1 - x.
        let lost = (1.0 - survives).clamp(0.0, 1.0);
        -(self.chunks as f64 * (-lost).ln_1p()).exp_m1()
    }
}

/// Returns the number of segments and the blocks of each.
fn segments_of(blocks: usize) -> (usize, usize) {
    let most = SEGMENT_BYTES_MAX / Cut::SLOTS.block_bytes;
    let mut each = blocks.div_ceil(SEGMENTS_MIN.max(blocks.div_ceil(most)));
    if blocks.div_ceil(each) < SEGMENTS_MIN {
        // A few more segments are better than some with padding only.
        each = (blocks / SEGMENTS_MIN).max(1);
    }
    (blocks.div_ceil(each).max(SEGMENTS_MIN), each)
}

/// Returns the probability of exactly `k` of `n`, each with probability `p`.
fn binomial(n: usize, k: usize, p: f64) -> f64 {
    let ways: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
    let power = |base: f64, times: usize| base.powi(i32::try_from(times).expect("few shares"));
    ways * power(p, k) * power(1.0 - p, n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_match_the_format() {
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
    fn block_has_sixteen_segments_with_little_padding() {
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
    fn impossible_space_parameters_are_refused() {
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
    fn loss_probability_matches_the_design() {
        let default = Geometry::new(64 << 10, 3, 9, 3).unwrap();
        assert!((default.loss_chance(0) - 0.9998).abs() < 2e-4, "{}", default.loss_chance(0));
        let wide = Geometry::new(64 << 10, 3, 9, 12).unwrap();
        assert!(wide.loss_chance(0) < 2e-3, "{}", wide.loss_chance(0));
        assert!(default.loss_chance(3) > 0.999_999, "no room at all");
    }
}
