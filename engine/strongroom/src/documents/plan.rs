//! The effects of a write, before it is made.

use std::fmt;
use std::time::Duration;

use super::geometry::Geometry;
use super::opening::Damage;
use super::partition::DocumentVersion;
use super::text;

/// Change of size, in percent, above which a warning is shown.
const WARN_ABOVE_PERCENT: f64 = 50.0;

/// An update opens its base twice, seals a generation and opens that; the time of opening is known.
const PASSES: u32 = 4;
/// Additional time to make one object durable, with its checkpoint: an estimate for a disk.
const SYNC_TIME: Duration = Duration::from_millis(5);

/// The effects of writing a document.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The present version. Pass it as [`expected`](crate::documents::WriteOptions::expected) to
    /// write only what was planned.
    pub version: DocumentVersion,
    /// Chunks in use by the document, of a constant number.
    pub chunks_now: usize,
    /// Chunks that it would use.
    pub chunks_then: usize,
    /// Its length now, in bytes of text.
    pub bytes_now: u64,
    /// Its length after the write.
    pub bytes_then: u64,
    /// Bytes of the capacity that it would use, compressed.
    pub stored_bytes: u64,
    /// The capacity of a partition.
    pub capacity_bytes: u64,
    /// Present damage. A write repairs the document's own, and makes others' permanent.
    pub damage: Damage,
    /// Estimated time of the write.
    ///
    /// It adds the time of reading and an estimate for each sync.
    pub estimated: Duration,
}

impl Plan {
    /// `lengths` and `stored` are the values now and after the write.
    pub(super) fn new(
        geometry: &Geometry,
        version: DocumentVersion,
        damage: Damage,
        lengths: (usize, usize),
        stored: (usize, usize),
        opening_took: Duration,
    ) -> Self {
        let objects = u32::try_from(geometry.objects()).expect("few objects");
        Self {
            version,
            chunks_now: text::chunks_of(stored.0),
            chunks_then: text::chunks_of(stored.1),
            bytes_now: lengths.0 as u64,
            bytes_then: lengths.1 as u64,
            stored_bytes: stored.1 as u64,
            capacity_bytes: geometry.capacity as u64,
            damage,
            estimated: opening_took * PASSES + SYNC_TIME * objects,
        }
    }

    /// Returns the growth of the text in bytes; negative if it shrinks.
    pub fn change_bytes(&self) -> i64 {
        self.bytes_then.cast_signed() - self.bytes_now.cast_signed()
    }

    /// Returns the growth in percent of the present length.
    pub fn change_percent(&self) -> f64 {
        100.0 * self.change_bytes() as f64 / self.bytes_now.max(1) as f64
    }

    /// Returns whether the length changes by more than half.
    ///
    /// Such a change deserves a second look.
    pub fn is_large_change(&self) -> bool {
        self.change_percent().abs() > WARN_ABOVE_PERCENT
    }

    /// Returns the used part of the capacity, in percent.
    pub fn capacity_percent(&self) -> f64 {
        100.0 * self.stored_bytes as f64 / self.capacity_bytes as f64
    }
}

impl fmt::Display for Plan {
    /// Formats the plan as one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {} bytes ({:+}, {:+.1} %), {} to {} chunks, {:.1} % of the capacity, about {:.1} s",
            self.bytes_now,
            self.bytes_then,
            self.change_bytes(),
            self.change_percent(),
            self.chunks_now,
            self.chunks_then,
            self.capacity_percent(),
            self.estimated.as_secs_f64()
        )
    }
}
