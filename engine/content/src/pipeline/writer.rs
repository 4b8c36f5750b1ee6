//! Writing packs, each under a name that the index has reserved.
//!
//! Every pack that was put is therefore known after a crash. The pool of the objects puts one pack
//! while the next is filled.

use std::sync::Arc;

use strongroom_base::pool::Job;
use strongroom_base::{Error, ErrorKind, Result};

use super::Pipeline;
use super::chunk_index::ChunkIndex;
use super::codec::EncodedChunk;
use super::pack::{Packed, Packer};
use strongroom_format::StageId;
use strongroom_store::objects::Objects;

/// The reserved name of a pack. If it is dropped before a commit names the pack, the pack is
/// deleted.
pub struct Reservation {
    index: Arc<dyn ChunkIndex>,
    stage: StageId,
    settled: bool,
}

impl Reservation {
    /// Returns the reserved stage. The commit that names the pack ends it.
    pub fn stage(&self) -> StageId {
        self.stage
    }

    /// Keeps the pack, after the commit that names it.
    pub fn settled(mut self) {
        self.settled = true;
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.index.abandon_pack(self.stage);
        }
    }
}

/// A pack that is being filled.
pub(crate) struct OpenPack {
    packer: Packer,
    objects: Objects,
    reservation: Reservation,
}

impl OpenPack {
    pub(crate) fn begin(
        pipeline: &Pipeline,
        index: &Arc<dyn ChunkIndex>,
        spare: Option<Vec<u8>>,
    ) -> Result<Self> {
        let objects = pipeline.objects().clone();
        let name = objects.draw_name()?;
        let stage = StageId(objects.entropy().draw()?);
        // Before the commit, so that a commit of unknown outcome is cleaned up like others.
        let reservation = Reservation { index: Arc::clone(index), stage, settled: false };
        index.reserve_pack(stage, name)?;
        Ok(Self { packer: Packer::new(&objects, name, spare), objects, reservation })
    }

    pub(crate) fn add(&mut self, chunk: &EncodedChunk) -> Result<()> {
        self.packer.add(&self.objects, chunk)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packer.is_full()
    }

    /// Puts the pack; durable on return.
    pub(crate) fn put(self) -> Result<PutPack> {
        let (packed, spare) = self.packer.put(&self.objects)?;
        Ok(PutPack { packed, reservation: self.reservation, spare })
    }

    /// Puts the pack in parallel with the caller's work.
    pub(crate) fn start_put(self) -> PackUnderWay {
        let Self { packer, objects, reservation } = self;
        let of_job = objects.clone();
        let job = objects.pool().start(move || packer.put(&of_job));
        PackUnderWay { job: Some(job), reservation: Some(reservation) }
    }
}

/// A pack on the backend, and its buffer for the next pack.
///
/// Buffers are long and reused, because freed memory is not always available again at once.
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
    /// Returns whether the pack has been put.
    pub(crate) fn is_done(&self) -> bool {
        self.job.as_ref().is_none_or(Job::has_ended)
    }

    /// Waits until the pack is durable; puts it here if no thread has begun to.
    pub(crate) fn wait(mut self) -> Result<PutPack> {
        let job = self.job.take().expect("taken only here");
        let (packed, spare) = job.wait().unwrap_or_else(|_| Err(panicked()))?;
        let reservation = self.reservation.take().expect("taken only here");
        Ok(PutPack { packed, reservation, spare })
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unavailable, "put pack").with_detail("the thread of the put panicked")
}

impl Drop for PackUnderWay {
    fn drop(&mut self) {
        // Before its reservation ends, so that a deleted pack has been put, or never will be.
        if let Some(job) = self.job.take()
            && let Some(put) = job.cancel()
            && let Err(error) = put.unwrap_or_else(|_| Err(panicked()))
        {
            tracing::debug!(error = %error.kind(), "pack of a dropped upload not put");
        }
    }
}
