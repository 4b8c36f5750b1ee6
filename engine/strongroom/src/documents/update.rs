//! An update: the space copied into a new generation, with one partition drawn again.
//!
//! Every slot is copied, whichever partition changes, so all updates look the same. The order of
//! steps is that of every commit in this engine: a row that names the new objects, the objects, a
//! checkpoint after each wave, and one transaction that publishes the new generation. Readers keep
//! the whole old one until the last of them ends.
//!
//! An update is the operation [`UPDATE_OPERATION`] of the checkpoint table. Its rows show how many
//! objects are done, never their partition. The last transaction removes them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::generation::{Generation, waves};
use super::geometry::{CELLS_PER_OBJECT, Geometry, SLOTS_PER_BLOCK};
use super::map::SlotMap;
use super::room::DocumentsInner;
use super::shares::Slots;
use super::space::Space;
use super::stream::Stream;
use crate::operations::{Checkpoint, Lane, Operation, begin_own, remove_own, resume_own};
use strongroom_base::LongCall;
use strongroom_crypto::SecretKey;
use strongroom_format::{
    CELL_OBJECTS, GenerationRow, ObjectName, ObjectRef, SLOT_BYTES, SPACE, SPACE_UPDATE, SpaceRow,
    UpdateRow,
};
use strongroom_store::commit::Core;
use strongroom_store::commit::Tx;
use strongroom_store::objects::{Cut, Salvaged};
use strongroom_store::state::{StateRead, Table};

/// The operation of an update, and its one lane.
const UPDATE_OPERATION: &str = "strongroom.space.update";
const LANE: &str = "objects";

pub(super) const UPDATE: &str = "update space";

/// Longest generation, in bytes, whose opened objects an update keeps in memory.
///
/// An update reads all of its base twice, as proof of the password and to copy it.
const KEPT_BYTES_MAX: u64 = 8 << 20;

/// Longest wait for the previous update.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The changes of an update: a partition's cells and slots.
pub(super) struct Repaint {
    /// Cells by number.
    pub(super) cells: Vec<(usize, Vec<u8>)>,
    pub(super) map: SlotMap,
    /// Slots in the order of the map.
    pub(super) slots: Slots,
}

/// The exclusive right to update the space.
pub(super) struct UpdateLock<'a> {
    space: &'a Space,
    _held: MutexGuard<'a, ()>,
}

/// An update's base generation, and an earlier update's unfinished one.
pub(super) struct UpdateBase {
    pub(super) row: SpaceRow,
    pub(super) unfinished: Option<UpdateRow>,
    /// All objects of the generation, if it is short.
    kept: Vec<Salvaged>,
}

impl UpdateBase {
    pub(super) fn generation<'a>(&'a self, space: &'a Space) -> Generation<'a> {
        Generation { kept: &self.kept, ..space.generation_of(self.row.generation()) }
    }
}

/// Waits for the running update of this process, a bounded time. Its partition stays unknown.
pub(super) fn lock_updates<'a>(
    room: &'a DocumentsInner,
    action: &'static str,
) -> Result<MutexGuard<'a, ()>> {
    room.core.refuse_nested_write(action)?;
    room.turn.try_lock_for(TURN_TIMEOUT).ok_or_else(|| {
        Error::new(ErrorKind::Locked, action).with_reason(Reason::WriteTimeout).with_detail(
            format!("another update of the space did not end within {} s", TURN_TIMEOUT.as_secs()),
        )
    })
}

impl Space {
    /// Waits for the right to update.
    pub(super) fn turn(&self) -> Result<UpdateLock<'_>> {
        Ok(UpdateLock { space: self, _held: lock_updates(&self.room, UPDATE)? })
    }
}

impl UpdateLock<'_> {
    pub(super) fn space(&self) -> &Space {
        self.space
    }

    fn core(&self) -> &Arc<Core> {
        self.space.core()
    }

    /// Returns the present generation, which stays until the turn ends.
    pub(super) fn base(&self) -> Result<UpdateBase> {
        let snapshot = self.space.core().read()?;
        let geometry = &self.space.geometry;
        let row = super::space::read_row(snapshot.state())?;
        let generation = self.space.generation(row.generation())?;
        let kept = if geometry.generation_bytes() > KEPT_BYTES_MAX {
            Vec::new()
        } else {
            let mut kept = Vec::with_capacity(geometry.objects());
            for wave in waves(self.space.core().objects(), geometry, 0..geometry.objects()) {
                kept.extend(generation.wave(wave)?.into_iter().map(Cow::into_owned));
            }
            kept
        };
        let unfinished = unfinished(snapshot.state())?;
        if let Some(row) = &unfinished
            && (row.names().len() != geometry.objects() || row.epochs().len() > row.names().len())
        {
            return Err(Error::new(ErrorKind::Corrupt, "read update row")
                .with_reason(Reason::RowDamaged)
                .with_detail("the row names a wrong number of objects"));
        }
        Ok(UpdateBase { row, unfinished, kept })
    }

    /// Makes or resumes the generation after `base`, and publishes it.
    ///
    /// It is verified with `verify` first.
    ///
    /// Work of a cancelled call, or with wrong contents, is discarded. After any other error a
    /// later call resumes or discards it.
    pub(super) fn run(
        &self,
        base: &UpdateBase,
        repaint: Repaint,
        resumed: Option<UpdateRow>,
        call: LongCall<'_>,
        verify: impl FnOnce(Generation<'_>) -> Result<()>,
    ) -> Result<()> {
        let _span = tracing::debug_span!("update space").entered();
        let core = self.core();
        if resumed.is_none() {
            // Before the check for room, of which it frees some.
            self.discard()?;
            core.objects().expect_room(UPDATE, self.space.geometry.generation_bytes())?;
        }
        // A rotation keeps the keys of objects in a read epoch, including objects whose checkpoint
        // is not written yet.
        let read_epoch = core.enter_epoch();
        let outcome = self.make(base, repaint, resumed, call, verify);
        drop(read_epoch);
        match &outcome {
            Err(e) if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Corrupt) => {
                if let Err(error) = self.discard() {
                    tracing::warn!(error = %error.kind(), "unfinished update not discarded yet");
                }
            }
            Err(_) => {}
            // Deletes the old generation, unless a reader has it.
            Ok(()) => self.delete_due(),
        }
        outcome
    }

    /// Deletes due objects. A failure does not fail the update, because later writes continue.
    fn delete_due(&self) {
        if let Err(error) = self.core().delete_all_due() {
            tracing::warn!(error = %error.kind(), "clean-up postponed");
        }
    }

    fn make(
        &self,
        base: &UpdateBase,
        repaint: Repaint,
        resumed: Option<UpdateRow>,
        call: LongCall<'_>,
        verify: impl FnOnce(Generation<'_>) -> Result<()>,
    ) -> Result<()> {
        let operations = &self.space.room.operations;
        let geometry = &self.space.geometry;
        let objects = self.space.core().objects();
        let total = geometry.objects();
        let from = base.generation(self.space);
        let (mut row, operation) = match resumed {
            Some(row) => (row, resume_own(operations, UPDATE_OPERATION)?),
            None => self.begin(base)?,
        };
        let lane = operation.lane(LANE)?;
        let mut painter = PartitionPainter::new(geometry, repaint, self.space.core().entropy())?;
        let done = row.epochs().len();
        (0..done).for_each(|place| painter.skip(place));
        let report = |done: usize| call.report(done as u64, Some(total as u64));
        if done > 0 {
            report(done);
        }
        for wave in waves(objects, geometry, done..total) {
            call.check(UPDATE)?;
            let names = &row.names()[wave.clone()];
            let mut bodies = Vec::with_capacity(wave.len());
            for ((place, name), found) in wave.clone().zip(names).zip(from.wave(wave.clone())?) {
                let mut found = found.into_owned();
                painter.paint(place, &mut found);
                bodies.push((*name, Cut::of_space(place), found.body));
            }
            let put = |(name, cut, body): &(ObjectName, Cut, Vec<u8>)| {
                objects.put_again(*name, *cut, body).map(|put| put.epoch)
            };
            let epochs = objects.for_all(&bodies, put)?;
            drop(bodies);
            checkpoint(self.core(), &mut row, &lane, &epochs)?;
            report(wave.end);
        }
        drop(painter);
        drop(lane);
        let made = generation_of(&row, geometry);
        verify(self.space.generation_of(&made))?;
        call.check(UPDATE)?;
        self.publish(&row, made)
    }

    fn begin(&self, base: &UpdateBase) -> Result<(UpdateRow, Operation)> {
        let (core, geometry) = (self.core(), &self.space.geometry);
        let names: Vec<ObjectName> =
            (0..geometry.objects()).map(|_| core.objects().draw_name()).collect::<Result<_>>()?;
        let row = UpdateRow::V0 {
            since_unix_millis: core.clock().unix_millis(),
            base: base.row.generation().id,
            id: core.draw_uuid()?,
            names,
            epochs: Vec::new(),
        };
        let operation =
            begin_own(&self.space.room.operations, UPDATE_OPERATION, &[LANE.to_owned()], |tx| {
                tx.state.put(Table::Space, SPACE_UPDATE, &row.encode())
            })?;
        Ok((row, operation))
    }

    /// Makes the commit that publishes the new generation.
    fn publish(&self, made: &UpdateRow, generation: GenerationRow) -> Result<()> {
        let UpdateRow::V0 { base, .. } = made;
        let now = self.space.core().clock().unix_millis();
        self.core().write(UPDATE, |tx| {
            let found = tx.state.get(Table::Space, SPACE, |row| row.map(SpaceRow::decode))?;
            let Some(mut row) = found.transpose()? else { return Err(moved()) };
            let SpaceRow::V0 { generation: current, updated_unix_millis, .. } = &mut row;
            if current.id != *base {
                return Err(moved());
            }
            let old = std::mem::replace(current, generation);
            *updated_unix_millis = Some(now);
            tx.state.put(Table::Space, SPACE, &row.encode())?;
            tx.state.delete(Table::Space, SPACE_UPDATE)?;
            remove_own(tx, UPDATE_OPERATION)?;
            tx.doom(old.objects.iter().map(|object| object.name).collect())
        })
    }

    /// Discards the unfinished update of a dead process; returns whether there was one.
    pub(super) fn discard(&self) -> Result<bool> {
        let core = self.core();
        if unfinished(core.read()?.state())?.is_none() {
            return Ok(false);
        }
        let discarded = core.write(UPDATE, remove_unfinished)?;
        self.delete_due();
        Ok(discarded)
    }
}

/// Records more objects, with the key epochs in `put`.
fn checkpoint(core: &Arc<Core>, row: &mut UpdateRow, lane: &Lane, put: &[u32]) -> Result<()> {
    let UpdateRow::V0 { epochs, names, .. } = row;
    epochs.extend_from_slice(put);
    let (done, total) = (epochs.len() as u64, names.len() as u64);
    let checkpoint = Checkpoint::encode(&(done, total))?.progress(done as f64 / total as f64);
    core.write(UPDATE, |tx| {
        tx.state.put(Table::Space, SPACE_UPDATE, &row.encode())?;
        lane.write_checkpoint(tx, checkpoint)
    })
}

/// Makes the objects of a dead process's update due for deletion.
pub(crate) fn remove_unfinished(tx: &mut Tx<'_>) -> Result<bool> {
    tx.mark_internal();
    let found = tx.state.get(Table::Space, SPACE_UPDATE, |row| row.map(UpdateRow::decode))?;
    let Some(row) = found.transpose()? else { return Ok(false) };
    tx.doom(row.names().to_vec())?;
    tx.state.delete(Table::Space, SPACE_UPDATE)?;
    remove_own(tx, UPDATE_OPERATION)?;
    Ok(true)
}

/// Returns the unfinished update.
pub(crate) fn unfinished(state: &StateRead) -> Result<Option<UpdateRow>> {
    let row = state.get(Table::Space, SPACE_UPDATE)?;
    row.map(|row| UpdateRow::decode(row.as_slice())).transpose()
}

fn moved() -> Error {
    Error::new(ErrorKind::Conflict, UPDATE)
        .with_detail("the space was updated meanwhile; repeat the call")
}

/// Returns an update's new generation, as far as stored.
pub(super) fn generation_of(row: &UpdateRow, geometry: &Geometry) -> GenerationRow {
    let UpdateRow::V0 { id, names, epochs, .. } = row;
    let object = |(place, (name, epoch)): (usize, (&ObjectName, &u32))| ObjectRef {
        name: *name,
        len: geometry.object_bytes(place) as u64,
        epoch: *epoch,
    };
    GenerationRow { id: *id, objects: names.iter().zip(epochs).enumerate().map(object).collect() }
}

/// Applies a partition's changes to the base objects, in order.
struct PartitionPainter<'a> {
    geometry: &'a Geometry,
    repaint: Repaint,
    /// Number of slots of the map in the objects so far.
    rank: usize,
    /// Random bytes for the lost parts of the base.
    random: Stream,
}

impl<'a> PartitionPainter<'a> {
    fn new(
        geometry: &'a Geometry,
        repaint: Repaint,
        entropy: &Arc<dyn strongroom_base::component::Entropy>,
    ) -> Result<Self> {
        let random = Stream::new(&SecretKey::draw(&**entropy)?, &[]);
        Ok(Self { geometry, repaint, rank: 0, random })
    }

    fn paint(&mut self, place: usize, found: &mut Salvaged) {
        for &lost in &found.lost {
            let block = Cut::of_space(place).block_bytes;
            self.random.fill(&mut found.body[lost * block..(lost + 1) * block]);
        }
        match place.checked_sub(CELL_OBJECTS) {
            None => self.paint_cells(place, &mut found.body),
            Some(segment) => self.paint_slots(segment, &mut found.body),
        }
    }

    fn paint_cells(&self, object: usize, body: &mut [u8]) {
        let cell_bytes = self.geometry.cell_bytes;
        for (number, cell) in &self.repaint.cells {
            if number / CELLS_PER_OBJECT == object {
                let at = number % CELLS_PER_OBJECT * cell_bytes;
                body[at..at + cell_bytes].copy_from_slice(cell);
            }
        }
    }

    fn paint_slots(&mut self, segment: usize, body: &mut [u8]) {
        debug_assert_eq!(body.len() % (SLOTS_PER_BLOCK * SLOT_BYTES), 0);
        let painted = self.repaint.slots.slots();
        let body: &mut [[u8; SLOT_BYTES]] = body.as_chunks_mut().0;
        let first = segment * self.geometry.segment_slots;
        for slot in self.repaint.map.within(first, first + self.geometry.segment_slots) {
            body[slot - first] = painted[self.rank];
            self.rank += 1;
        }
    }

    /// Skips an object that is already done.
    fn skip(&mut self, place: usize) {
        if let Some(segment) = place.checked_sub(CELL_OBJECTS) {
            let first = segment * self.geometry.segment_slots;
            self.rank +=
                self.repaint.map.within(first, first + self.geometry.segment_slots).count();
        }
    }
}
