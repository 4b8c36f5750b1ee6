//! The share space of a vault, and changes of its partitions.
//!
//! The space has a fixed size, and looks the same whichever documents it has.

use std::fmt;
use std::sync::Arc;

use rand_chacha::rand_core::Rng;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::creation::random_bytes;
use super::draft::Draft;
use super::envelope::{Envelope, cells_of};
use super::generation::{Cells, Generation};
use super::geometry::{CELLS_PER_OBJECT, COPIES_PER_OBJECT, Geometry, PARTITIONS_OF_SPACE_MAX};
use super::map::SlotMap;
use super::opening::{DocumentCredential, OpenedDocument, OpeningRules, ShareCheck, find, open};
use super::partition::Partition;
use super::room::{Documents, DocumentsInner};
use super::secret::SecretPartitionKey;
use super::shares::Slots;
use super::stream::Stream;
use super::update::Repaint;
use super::{text, update};
use strongroom_base::LongCall;
use strongroom_crypto::{PasswordCosts, SecretKey, SecretPassword};
use strongroom_format::{CostsRow, GenerationRow, SPACE, SpaceRow, UpdateRow};
use strongroom_sharing::Scheme;
use strongroom_store::commit::Core;
use strongroom_store::state::{StateRead, Table};

const ADD: &str = "add partition";
const DESTROY: &str = "destroy partition";

/// Draws of a new key until its cells miss named ones.
///
/// With five named keys, the most, one draw in about 5,300 succeeds.
const KEY_DRAWS_MAX: usize = 1 << 20;

/// A partition's first document.
///
/// Its password is checked from then on.
const FIRST_TEXT: &[u8] = b"null";

/// The share space of a vault. Cheap to clone.
///
/// Nothing in it lists partitions, and nothing could: only a holder of a key knows its partition.
#[derive(Clone)]
pub struct Space {
    pub(super) room: Arc<DocumentsInner>,
    pub(super) id: Uuid,
    pub(super) geometry: Geometry,
    pub(super) scheme: Arc<Scheme>,
    pub(super) costs: PasswordCosts,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The properties of a share space. None depends on its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceInfo {
    /// Its id, drawn at creation.
    pub id: Uuid,
    /// Time of its creation, in milliseconds since the Unix epoch.
    pub created_unix_millis: u64,
    /// Time of the last update of any partition; `None` if it was never updated, and so has no
    /// partition.
    pub updated_unix_millis: Option<u64>,
    /// Capacity of a document, compressed.
    pub capacity_bytes: u32,
    /// Shares that restore a chunk.
    pub threshold: u8,
    /// Stored shares of a chunk.
    pub shares: u8,
    /// Number of partitions whose slots fit.
    pub partitions: u8,
    /// Cost of an attempt at a document's password.
    pub costs: PasswordCosts,
    /// Bytes on the backend. An update needs as much again.
    pub bytes: u64,
    /// The running or interrupted update, if there is one.
    pub unfinished: Option<UnfinishedUpdate>,
}

/// An unfinished update. Its partition cannot be determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedUpdate {
    /// Time at which it began, in milliseconds since the Unix epoch.
    pub since_unix_millis: u64,
    /// Completed objects of the new generation.
    pub objects_done: usize,
    /// All objects of the new generation.
    pub objects: usize,
}

impl UnfinishedUpdate {
    pub(crate) fn of(row: &UpdateRow) -> Self {
        let UpdateRow::V0 { since_unix_millis, names, epochs, .. } = row;
        let (objects_done, objects) = (epochs.len(), names.len());
        Self { since_unix_millis: *since_unix_millis, objects_done, objects }
    }
}

/// The share space.
impl Documents {
    /// Opens the vault's share space; `NotFound` if it has none.
    pub fn space(&self) -> Result<Space> {
        let row = read_row(self.room.core.read()?.state())?;
        let SpaceRow::V0 { id, costs: CostsRow { memory_kib, passes, lanes }, .. } = row;
        let geometry = Geometry::of_row(&row)?;
        Ok(Space {
            room: Arc::clone(&self.room),
            id,
            geometry,
            scheme: Arc::new(Scheme::new(geometry.threshold, geometry.shares)),
            costs: self.room.bear_costs(PasswordCosts { memory_kib, passes, lanes })?,
        })
    }
}

impl Space {
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.room.core
    }

    /// Returns the properties of the space.
    pub fn info(&self) -> Result<SpaceInfo> {
        let snapshot = self.core().read()?;
        let SpaceRow::V0 {
            id,
            created_unix_millis,
            updated_unix_millis,
            capacity_bytes,
            threshold,
            shares,
            partitions,
            ..
        } = read_row(snapshot.state())?;
        let unfinished = update::unfinished(snapshot.state())?;
        Ok(SpaceInfo {
            id,
            created_unix_millis,
            updated_unix_millis,
            capacity_bytes,
            threshold,
            shares,
            partitions,
            costs: self.costs,
            bytes: self.geometry.generation_bytes(),
            unfinished: unfinished.as_ref().map(UnfinishedUpdate::of),
        })
    }

    /// Discards an interrupted update of a dead process, and deletes its objects; returns whether
    /// there was one.
    ///
    /// It waits for a running update of this process. The next update does the same, and so does an
    /// open after an hour.
    pub fn discard_unfinished(&self) -> Result<bool> {
        self.turn()?.discard()
    }

    /// Returns the probability (0 to 1) that adding loses a document.
    ///
    /// The loss concerns one unnamed partition.
    ///
    /// The addition names `kept` other partitions and not this one. 1 if there is no room for
    /// another partition.
    pub fn loss_chance(&self, kept: usize) -> f64 {
        self.geometry.loss_chance(kept)
    }

    /// Adds a partition with the document `null` and a new key.
    ///
    /// The partition has the given password.
    ///
    /// See [`add_partition_with`](Self::add_partition_with).
    pub fn add_partition(
        &self,
        password: &SecretPassword,
        keep: &[&SecretPartitionKey],
    ) -> Result<SecretPartitionKey> {
        self.add_partition_with(password, keep, LongCall::new())
    }

    /// Adds a partition, and protects the partitions of the keys `keep`.
    ///
    /// **A document whose key is not named is lost** with the probability of
    /// [`loss_chance`](Self::loss_chance), because the vault cannot see it. Every update of an
    /// overlapping partition damages it further.
    ///
    /// After `Uncertain`, a partition may exist whose key is unknown. It uses room like any
    /// partition that is not named.
    ///
    /// `Denied` if a key to keep opens no partition. `Full` if there is no room besides the named
    /// ones, or if they are already
    /// [`PARTITIONS_OF_SPACE_MAX`](crate::documents::PARTITIONS_OF_SPACE_MAX). `Invalid` for an
    /// empty password. Other errors as for [`Partition::write_with`].
    pub fn add_partition_with(
        &self,
        password: &SecretPassword,
        keep: &[&SecretPartitionKey],
        call: LongCall<'_>,
    ) -> Result<SecretPartitionKey> {
        password.bytes()?;
        if keep.len() >= PARTITIONS_OF_SPACE_MAX {
            return Err(full(format!(
                "{} partitions are named, and a space has at most {PARTITIONS_OF_SPACE_MAX}",
                keep.len()
            )));
        }
        let turn = self.turn()?;
        let base = turn.base()?;
        let cells = self.survey(base.generation(self))?;
        let (taken, cells_taken) = self.kept(&cells, keep)?;
        drop(cells);
        let key = self.draw_key(&cells_taken)?;
        let entropy = &**self.core().entropy();
        let mut random = Stream::new(&SecretKey::draw(entropy)?, &[]);
        let map =
            SlotMap::choose(&taken, self.geometry.partition, &mut random).ok_or_else(|| {
                full(format!(
                    "{} slots are free besides the named partitions, and a partition needs {}",
                    self.geometry.slots - taken.count(),
                    self.geometry.partition
                ))
            })?;
        let salt = entropy.draw()?;
        let document = key.document_key(password, &salt, self.costs)?;
        let packed = text::pack(FIRST_TEXT, &self.geometry)?;
        let draft = Draft { map, salt, document: &document, padded: packed.padded };
        draft.write(&turn, &base, &key, None, call)?;
        Ok(key)
    }

    /// Collects the slots and cells of partitions to keep.
    fn kept(
        &self,
        cells: &Cells<'_>,
        keep: &[&SecretPartitionKey],
    ) -> Result<(SlotMap, Vec<usize>)> {
        let mut taken = SlotMap::empty(self.geometry.slots);
        let mut cells_taken = Vec::new();
        for (number, key) in keep.iter().enumerate() {
            let found = find(cells, key, self.rules())?;
            found.refuse_if_lost()?;
            let Some(envelope) = found.envelope else {
                return Err(Error::new(ErrorKind::Denied, ADD)
                    .with_reason(Reason::PartitionMissing)
                    .with_detail(format!(
                        "key {} of the keys to keep opens no partition of this space",
                        number + 1
                    )));
            };
            taken.unite(&envelope.map);
            cells_taken.extend(cells_of(key));
        }
        Ok((taken, cells_taken))
    }

    /// Draws a key whose cells miss the taken ones.
    fn draw_key(&self, taken: &[usize]) -> Result<SecretPartitionKey> {
        for _ in 0..KEY_DRAWS_MAX {
            let key = SecretPartitionKey::draw(&**self.core().entropy())?;
            if !cells_of(&key).iter().any(|cell| taken.contains(cell)) {
                return Ok(key);
            }
        }
        Err(full("no key was found whose cells differ from those of the named keys".into()))
    }

    /// Opens the partition of `key` with its password.
    ///
    /// It takes the time of one attempt at the password; the handle keeps the document key.
    /// `Denied` for a wrong key, a wrong password and a missing partition, indistinguishably and in
    /// the same time. `Corrupt` if the document has more damage than its redundancy can correct.
    /// `Invalid` for an empty password, without reading anything.
    pub fn partition(
        &self,
        key: &SecretPartitionKey,
        password: &SecretPassword,
    ) -> Result<Partition> {
        Partition::open(self, key, password)
    }

    /// Destroys the partition of `key` and its document.
    ///
    /// It overwrites cells and slots with random bytes.
    ///
    /// The password is not needed. Copies of the vault's files still have the document. `Denied` if
    /// the partition does not exist. Other errors as for [`Partition::write_with`].
    pub fn destroy_partition(&self, key: &SecretPartitionKey) -> Result<()> {
        self.destroy_partition_with(key, LongCall::new())
    }

    /// Does the same with progress and cancellation. Progress is the objects written so far.
    pub fn destroy_partition_with(
        &self,
        key: &SecretPartitionKey,
        call: LongCall<'_>,
    ) -> Result<()> {
        let turn = self.turn()?;
        let base = turn.base()?;
        let cells = self.survey(base.generation(self))?;
        let found = find(&cells, key, self.rules())?;
        drop(cells);
        found.refuse_if_lost()?;
        let Envelope { map, .. } = found.envelope.ok_or_else(|| {
            Error::new(ErrorKind::Denied, DESTROY)
                .with_reason(Reason::PartitionMissing)
                .with_detail("the key opens no partition of this space")
        })?;
        let mut random = random_bytes(self.core())?;
        let mut slots = Slots::new(&self.geometry);
        slots.slots_mut().iter_mut().for_each(|slot| random.fill_bytes(slot));
        let garbage = |number| {
            let mut garbage_cell = vec![0; self.geometry.cell_bytes];
            random.fill_bytes(&mut garbage_cell);
            (number, garbage_cell)
        };
        let cells = cells_of(key).into_iter().map(garbage).collect();
        let repaint = Repaint { cells, map, slots };
        turn.run(&base, repaint, None, call, |made| {
            let left = find(&made.cells()?, key, self.rules())?;
            let read = made.gather(&SlotMap::empty(self.geometry.slots))?;
            if left.envelope.is_none() && read.blocks_lost == 0 {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Corrupt, DESTROY)
                .with_detail("the written data does not read back correctly"))
        })
    }

    /// Opens the document of `key`.
    pub(super) fn open(
        &self,
        generation: Generation<'_>,
        key: &SecretPartitionKey,
        by: DocumentCredential<'_>,
        look: ShareCheck,
    ) -> Result<OpenedDocument> {
        open(generation, key, by, look, self.rules()).map_err(|e| self.core().unless_taken_over(e))
    }

    /// Reads the cells of an update's base that opens no document; `Corrupt` if hardly any could be
    /// opened.
    ///
    /// It makes the same backend calls as opening a document.
    fn survey<'a>(&self, generation: Generation<'a>) -> Result<Cells<'a>> {
        let empty_map = SlotMap::empty(self.geometry.slots);
        let looked_at = generation.cells().and_then(|cells| {
            self.geometry.refuse_if_hopeless(generation.gather(&empty_map)?.blocks_lost)?;
            Ok(cells)
        });
        looked_at.map_err(|e| self.core().unless_taken_over(e))
    }

    pub(super) fn rules(&self) -> OpeningRules<'_> {
        let Self { id, geometry, scheme, costs, .. } = self;
        OpeningRules { space: *id, geometry, scheme, costs: *costs }
    }

    /// Returns the whole generation of a row; `Corrupt` if the row is impossible.
    pub(super) fn generation<'a>(&'a self, row: &'a GenerationRow) -> Result<Generation<'a>> {
        self.geometry.check(row)?;
        Ok(self.generation_of(row))
    }

    /// Returns the generation of a checked row, perhaps incomplete.
    pub(super) fn generation_of<'a>(&'a self, row: &'a GenerationRow) -> Generation<'a> {
        Generation { objects: self.core().objects(), row, geometry: &self.geometry, kept: &[] }
    }

    /// Returns all cells and all slots, unsealed. Only with feature `testing`.
    #[cfg(feature = "testing")]
    pub fn dump(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let snapshot = self.core().read()?;
        let row = read_row(snapshot.state())?;
        let generation = self.generation(row.generation())?;
        let mut bodies = Vec::new();
        for place in 0..self.geometry.objects() {
            bodies.push(generation.object(place)?.into_owned().body);
        }
        let slots = bodies.split_off(strongroom_format::CELL_OBJECTS).concat();
        Ok((bodies.concat(), slots))
    }
}

/// Reads the row of the space; `NotFound` if there is none.
pub(super) fn read_row(state: &StateRead) -> Result<SpaceRow> {
    let row = state.get(Table::Space, SPACE)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "open space")
            .with_reason(Reason::SpaceMissing)
            .with_detail("the vault has no share space")
    })?;
    SpaceRow::decode(row.as_slice())
}

fn full(detail: String) -> Error {
    Error::new(ErrorKind::Full, ADD).with_reason(Reason::SpaceFull).with_detail(detail)
}

const _: () = assert!(COPIES_PER_OBJECT * PARTITIONS_OF_SPACE_MAX <= CELLS_PER_OBJECT);
