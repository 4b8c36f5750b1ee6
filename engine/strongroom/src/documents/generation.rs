//! Reading a generation of the share space: its cells, and the slots of one map.
//!
//! A block that does not open, or a missing object, counts as erased cells or slots, because
//! envelopes have copies and shares are redundant. Every reader reads all objects in the same
//! order, whatever it searches.

use std::borrow::Cow;
use std::iter::from_fn;
use std::ops::Range;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::geometry::{CELLS_PER_OBJECT, Geometry, SLOTS_PER_BLOCK};
use super::map::SlotMap;
use super::shares::Slots;
use strongroom_format::{CELL_OBJECTS, GenerationRow, SLOT_BYTES};
use strongroom_store::objects::{Cut, Objects, Salvaged};

/// Most bytes of objects that are read or put in parallel.
const WAVE_BYTES_MAX: usize = 16 << 20;

/// Divides `places` into waves of objects that are transferred in parallel.
///
/// On a local backend a wave is one object.
pub(super) fn waves<'a>(
    objects: &'a Objects,
    geometry: &'a Geometry,
    mut places: Range<usize>,
) -> impl Iterator<Item = Range<usize>> + 'a {
    from_fn(move || {
        let first = places.next()?;
        let mut bytes = geometry.object_bytes(first);
        while places.start - first < objects.at_once_max() && !places.is_empty() {
            bytes += geometry.object_bytes(places.start);
            if bytes > WAVE_BYTES_MAX {
                break;
            }
            places.start += 1;
        }
        Some(first..places.start)
    })
}

/// A generation, and access to its objects.
#[derive(Clone, Copy)]
pub(super) struct Generation<'a> {
    pub(super) objects: &'a Objects,
    pub(super) row: &'a GenerationRow,
    pub(super) geometry: &'a Geometry,
    /// Its objects, if they were read before; otherwise empty.
    pub(super) kept: &'a [Salvaged],
}

/// The cells of a generation.
pub(super) struct Cells<'a> {
    objects: Vec<Cow<'a, Salvaged>>,
    cell_bytes: usize,
}

/// A map's slots, and the unreadable blocks of the generation.
pub(super) struct GatheredSlots {
    pub(super) slots: Slots,
    /// Lost blocks with slots, in all segments.
    pub(super) blocks_lost: usize,
}

impl<'a> Generation<'a> {
    /// Returns the readable part of the object at `place`.
    pub(super) fn object(&self, place: usize) -> Result<Cow<'a, Salvaged>> {
        match self.kept.get(place) {
            Some(kept) => Ok(Cow::Borrowed(kept)),
            None => {
                self.objects.salvage(&self.row.objects[place], Cut::of_space(place)).map(Cow::Owned)
            }
        }
    }

    /// Returns the readable parts of the objects at `places`, a wave.
    pub(super) fn wave(&self, places: Range<usize>) -> Result<Vec<Cow<'a, Salvaged>>> {
        if !self.kept.is_empty() {
            return places.map(|place| self.object(place)).collect();
        }
        let places: Vec<usize> = places.collect();
        self.objects.for_all(&places, |place| self.object(*place))
    }

    /// Returns all cells; `Corrupt` if none can be read, for any key.
    pub(super) fn cells(&self) -> Result<Cells<'a>> {
        let mut objects = Vec::with_capacity(CELL_OBJECTS);
        for wave in waves(self.objects, self.geometry, 0..CELL_OBJECTS) {
            objects.extend(self.wave(wave)?);
        }
        if objects.iter().all(|object| object.is_lost()) {
            return Err(Error::new(ErrorKind::Corrupt, "read cells")
                .with_reason(Reason::DocumentDamaged)
                .with_detail("both objects of cells are missing or damaged"));
        }
        Ok(Cells { objects, cell_bytes: self.geometry.cell_bytes })
    }

    /// Returns the slots of `map`, in its order.
    pub(super) fn gather(&self, map: &SlotMap) -> Result<GatheredSlots> {
        let mut slots = Slots::new(self.geometry);
        let (mut blocks_lost, mut rank) = (0, 0);
        for wave in waves(self.objects, self.geometry, CELL_OBJECTS..self.geometry.objects()) {
            for (place, salvaged) in wave.clone().zip(self.wave(wave)?) {
                let segment = place - CELL_OBJECTS;
                let with_slots = self.geometry.blocks_with_slots(segment);
                blocks_lost += salvaged.lost.iter().filter(|&&lost| lost < with_slots).count();
                let first = segment * self.geometry.segment_slots;
                let found: &[[u8; SLOT_BYTES]] = salvaged.body.as_chunks().0;
                let mut lost = salvaged.lost.iter().copied().peekable();
                for slot in map.within(first, first + self.geometry.segment_slots) {
                    let block = (slot - first) / SLOTS_PER_BLOCK;
                    while lost.next_if(|&lost| lost < block).is_some() {}
                    slots.slots_mut()[rank] = found[slot - first];
                    if lost.peek() == Some(&block) {
                        slots.lose(rank);
                    }
                    rank += 1;
                }
            }
        }
        Ok(GatheredSlots { slots, blocks_lost })
    }
}

impl Cells<'_> {
    /// Returns cell `number` of all; `None` if it cannot be read.
    pub(super) fn get(&self, number: usize) -> Option<&[u8]> {
        let object = &self.objects[number / CELLS_PER_OBJECT];
        let from = number % CELLS_PER_OBJECT * self.cell_bytes;
        let to = from + self.cell_bytes;
        let block = Cut::CELLS.block_bytes;
        let lost = object.lost.iter().any(|lost| (from / block..to / block).contains(lost));
        (!lost).then(|| &object.body[from..to])
    }
}
