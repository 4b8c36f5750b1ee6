//! What a write would do, before it is done.

use std::fmt;
use std::time::Duration;

use super::geometry::Geometry;
use super::opening::Damage;
use super::partition::DocumentVersion;
use super::text;

/// A change of size above so many percent is warned of.
const WARN_ABOVE_PERCENT: f64 = 50.0;

/// An update opens its base twice, seals a generation and opens that; opening was just timed.
const PASSES: u32 = 4;
/// What making one object durable takes beside that, with its checkpoint: a guess for a disk.
const SYNC_TIME: Duration = Duration::from_millis(5);

/// What writing a document would do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The version that is there; name it as [`expected`](crate::documents::WriteOptions::expected) to write
    /// only what was planned.
    pub version: DocumentVersion,
    /// Chunks that the document takes now, of those that its partition always has.
    pub chunks_now: usize,
    /// Chunks that it would take.
    pub chunks_then: usize,
    /// Its length now, in bytes of text.
    pub bytes_now: u64,
    /// Its length then.
    pub bytes_then: u64,
    /// What it would take of the capacity, compressed.
    pub stored_bytes: u64,
    /// The capacity of a partition.
    pub capacity_bytes: u64,
    /// What is damaged now; a write mends the document's own, and makes others' final.
    pub damage: Damage,
    /// How long the write may take: from how long reading took, and a guess for each sync.
    pub estimated: Duration,
}

impl Plan {
    /// `lengths` and `stored` are now, then.
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

    /// By how many bytes the text grows; negative if it shrinks.
    pub fn change_bytes(&self) -> i64 {
        self.bytes_then.cast_signed() - self.bytes_now.cast_signed()
    }

    /// The same in percent of what it has now.
    pub fn change_percent(&self) -> f64 {
        100.0 * self.change_bytes() as f64 / self.bytes_now.max(1) as f64
    }

    /// Whether the length changes so much, by more than half, that somebody should look twice.
    pub fn is_large_change(&self) -> bool {
        self.change_percent().abs() > WARN_ABOVE_PERCENT
    }

    /// How much of the capacity would be used, in percent.
    pub fn capacity_percent(&self) -> f64 {
        100.0 * self.stored_bytes as f64 / self.capacity_bytes as f64
    }
}

impl fmt::Display for Plan {
    /// One line.
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
