//! Creating the share space: a generation of random bytes, and the row that makes it valid.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zeroize::Zeroizing;

use super::generation::waves;
use super::geometry::{CAPACITY_BYTES, Geometry, PARTITIONS_MIN};
use super::room::Documents;
use super::space::Space;
use super::update::lock_updates;
use strongroom_base::LongCall;
use strongroom_crypto::PasswordCosts;
use strongroom_format::{CostsRow, GenerationRow, ObjectName, SPACE, SpaceRow, StageId};
use strongroom_store::commit::Core;
use strongroom_store::objects::Cut;
use strongroom_store::state::Table;

const CREATE: &str = "create space";

/// Most names that one pending row reserves.
const NAMES_PER_ROW: usize = 256;

/// Options for creating a share space.
#[derive(Clone, Copy, Debug)]
pub struct SpaceOptions {
    capacity: u32,
    threshold: u8,
    shares: u8,
    partitions: u8,
    costs: Option<PasswordCosts>,
}

impl Default for SpaceOptions {
    /// Documents of 64 KiB, 3 of 9 shares, room for three partitions.
    fn default() -> Self {
        let (capacity, partitions) = (CAPACITY_BYTES, PARTITIONS_MIN);
        Self { capacity, threshold: 3, shares: 9, partitions, costs: None }
    }
}

impl SpaceOptions {
    /// Sets the capacity of a document in bytes, after compression; every text of that length fits.
    ///
    /// 64 KiB by default, 1 KiB to 4 MiB.
    pub fn capacity_bytes(self, capacity: u32) -> Self {
        Self { capacity, ..self }
    }

    /// Sets the shares of a chunk: how many restore it, and how many are stored; 3 of 9 by default.
    ///
    /// At least 2 of 2, at most 32 stored.
    pub fn shares(self, threshold: u8, shares: u8) -> Self {
        Self { threshold, shares, ..self }
    }

    /// Sets the number of partitions whose slots fit; 3 by default, at most 12.
    ///
    /// With 64 KiB and 3 of 9, adding a partition without naming the others destroys one of them
    /// with a probability below 0.2 % in a space of 12, and nearly always in a space of 3.
    /// [`Space::loss_chance`] computes other cases.
    pub fn room_for(self, partitions: u8) -> Self {
        Self { partitions, ..self }
    }

    /// Sets the cost of an attempt at a document's password.
    ///
    /// It is fixed for the life of the space.
    ///
    /// By default, and at least, the costs of the vault's handle.
    pub fn password_costs(self, costs: PasswordCosts) -> Self {
        Self { costs: Some(costs), ..self }
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::new(self.capacity, self.threshold, self.shares, self.partitions)
    }
}

/// Creation of the share space.
impl Documents {
    /// Creates the vault's share space. See [`create_space_with`](Self::create_space_with).
    pub fn create_space(&self, options: &SpaceOptions) -> Result<Space> {
        self.create_space_with(options, LongCall::new())
    }

    /// Creates the vault's share space. Progress is the objects written so far.
    ///
    /// A vault has one space. For a larger one, create another vault and copy the documents.
    /// `AlreadyExists` if the vault has a space, `Invalid` for impossible sizes, `Full` without
    /// enough room. A crash, an error or a cancelled call leaves no space.
    pub fn create_space_with(&self, options: &SpaceOptions, call: LongCall<'_>) -> Result<Space> {
        let _span = tracing::debug_span!("create space").entered();
        let SpaceOptions { capacity, threshold, shares, partitions, costs } = *options;
        let geometry = options.geometry()?;
        let core = &self.room.core;
        let PasswordCosts { memory_kib, passes, lanes } = self.room.document_costs(costs)?;
        let _turn = lock_updates(&self.room, CREATE)?;
        if core.read()?.state().get(Table::Space, SPACE)?.is_some() {
            return Err(exists());
        }
        core.objects().expect_room(CREATE, geometry.generation_bytes())?;
        let stage = StageId(core.entropy().draw()?);
        let staging = Staging { core, stage };
        let row = |generation| {
            Ok(SpaceRow::V0 {
                id: core.draw_uuid()?,
                created_unix_millis: core.clock().unix_millis(),
                updated_unix_millis: None,
                capacity_bytes: capacity,
                threshold,
                shares,
                partitions,
                costs: CostsRow { memory_kib, passes, lanes },
                generation,
            })
        };
        let made = first_generation(core, &geometry, stage, call)
            .and_then(row)
            .and_then(|row| found_space(core, stage, &geometry, &row));
        drop(staging);
        made?;
        self.space()
    }
}

/// Objects that are being put.
///
/// When it ends, objects that the founding commit did not take over are due for deletion. No
/// pending row of the others is left.
struct Staging<'a> {
    core: &'a Core,
    stage: StageId,
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        self.core.abandon(self.stage);
    }
}

fn exists() -> Error {
    Error::new(ErrorKind::AlreadyExists, CREATE)
        .with_reason(Reason::SpaceExists)
        .with_detail("the vault already has a share space")
}

/// Makes a generator of random bytes, seeded by the vault's entropy.
pub(super) fn random_bytes(core: &Core) -> Result<ChaCha20Rng> {
    let seed = Zeroizing::new(core.entropy().draw()?);
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// Puts a generation of random bytes. Pending rows reserve its names.
fn first_generation(
    core: &Arc<Core>,
    geometry: &Geometry,
    stage: StageId,
    call: LongCall<'_>,
) -> Result<GenerationRow> {
    let total = geometry.objects();
    let names: Vec<ObjectName> =
        (0..total).map(|_| core.objects().draw_name()).collect::<Result<_>>()?;
    for (row, names) in (0..).zip(names.chunks(NAMES_PER_ROW)) {
        core.reserve(stage, row, names)?;
    }
    let mut objects = Vec::with_capacity(total);
    let mut random = random_bytes(core)?;
    for wave in waves(core.objects(), geometry, 0..total) {
        call.check(CREATE)?;
        let end = wave.end;
        let mut bodies = Vec::with_capacity(wave.len());
        for place in wave {
            let mut body = vec![0; geometry.object_bytes(place)];
            random.fill_bytes(&mut body);
            bodies.push((names[place], Cut::of_space(place), body));
        }
        let put = |(name, cut, body): &(ObjectName, Cut, Vec<u8>)| {
            core.objects().put_again(*name, *cut, body)
        };
        objects.extend(core.objects().for_all(&bodies, put)?);
        call.report(end as u64, Some(total as u64));
    }
    Ok(GenerationRow { id: core.draw_uuid()?, objects })
}

/// Makes the commit from which the space exists.
fn found_space(
    core: &Arc<Core>,
    stage: StageId,
    geometry: &Geometry,
    row: &SpaceRow,
) -> Result<()> {
    let rows = u32::try_from(geometry.objects().div_ceil(NAMES_PER_ROW)).expect("few objects");
    core.write("create space", |tx| {
        if tx.state.get(Table::Space, SPACE, |row| row.is_some())? {
            return Err(exists());
        }
        tx.state.put(Table::Space, SPACE, &row.encode())?;
        (0..rows).try_for_each(|row| tx.state.delete(Table::Pending, &stage.key(row)))
    })
}
