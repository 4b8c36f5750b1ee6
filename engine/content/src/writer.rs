//! Packs being written: each under a name that a pending row reserves, so that after a crash whatever was
//! put is known; and each put by the pool of the objects, while the next one is filled.

use std::sync::Arc;

use strongroom_base::pool::Job;
use strongroom_base::{Error, ErrorKind, Result};

use super::index::Body;
use super::pack::{Packed, Packer};
use strongroom_format::StageId;
use strongroom_store::commit::Core;
use strongroom_store::objects::Objects;

/// The pending row of a pack. Dropped before a commit refers to the pack, it has that deleted.
pub(crate) struct Reservation {
    core: Arc<Core>,
    stage: StageId,
    settled: bool,
}

impl Reservation {
    /// Where the row is: removed by the transaction that refers to the pack.
    pub(crate) fn stage(&self) -> StageId {
        self.stage
    }

    /// That transaction has committed.
    pub(crate) fn settled(mut self) {
        self.settled = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.core.abandon(self.stage);
        }
    }
}

/// A pack that is being filled.
pub(crate) struct OpenPack {
    packer: Packer,
    reservation: Reservation,
}

impl OpenPack {
    pub(crate) fn begin(core: &Arc<Core>, spare: Option<Vec<u8>>) -> Result<Self> {
        let name = core.objects().draw_name()?;
        let stage = StageId(core.entropy().draw()?);
        // Before the commit: one whose outcome is unknown is cleaned up like the others.
        let reservation = Reservation { core: Arc::clone(core), stage, settled: false };
        core.reserve(stage, 0, &[name])?;
        Ok(Self { packer: Packer::new(core.objects(), name, spare), reservation })
    }

    pub(crate) fn add(&mut self, objects: &Objects, body: &Body) -> Result<()> {
        self.packer.add(objects, body.id, body.kind, body.len, &body.stored)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packer.is_full()
    }

    /// Puts it; durable on return.
    pub(crate) fn put(self) -> Result<PutPack> {
        let (packed, spare) = self.packer.put(self.reservation.core.objects())?;
        Ok(PutPack { packed, reservation: self.reservation, spare })
    }

    /// Puts it beside the caller's work.
    pub(crate) fn put_beside(self) -> PackUnderWay {
        let Self { packer, reservation } = self;
        let objects = reservation.core.objects().clone();
        let job = reservation.core.objects().pool().start(move || packer.put(&objects));
        PackUnderWay { job: Some(job), reservation: Some(reservation) }
    }
}

/// A pack that is on the backend, and its buffer for the next one: long ones are not to be had anew for each
/// pack, for what is given back is not always free again at once.
pub(crate) struct PutPack {
    pub(crate) packed: Packed,
    pub(crate) reservation: Reservation,
    pub(crate) spare: Option<Vec<u8>>,
}

/// A pack that was put, and its buffer.
type Sealed = (Packed, Option<Vec<u8>>);

/// A pack that is being put.
pub(crate) struct PackUnderWay {
    job: Option<Job<Result<Sealed>>>,
    reservation: Option<Reservation>,
}

impl PackUnderWay {
    /// Whether there is nothing left to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.job.as_ref().is_none_or(Job::has_ended)
    }

    /// The pack, once it is durable; put here if no thread has begun to.
    pub(crate) fn wait(mut self) -> Result<PutPack> {
        let job = self.job.take().expect("taken only here");
        let (packed, spare) = job.wait().unwrap_or_else(|_| Err(panicked()))?;
        let reservation = self.reservation.take().expect("taken only here");
        Ok(PutPack { packed, reservation, spare })
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unavailable, "put pack").with_detail("its thread panicked")
}

impl Drop for PackUnderWay {
    fn drop(&mut self) {
        // Before its reservation goes: what is deleted then must have been put, or never will be.
        if let Some(job) = self.job.take()
            && let Some(put) = job.cancel()
            && let Err(error) = put.unwrap_or_else(|_| Err(panicked()))
        {
            tracing::debug!(error = %error.kind(), "pack of a dropped upload not put");
        }
    }
}
