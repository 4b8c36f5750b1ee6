//! Preparing chunks for storage: named, looked up, and compressed if they are new.
//!
//! This is the largest part of an upload's work. A pool therefore prepares the chunks of a long
//! stream too, in any order. They are returned in the order of the stream.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use strongroom_base::component::Clock;
use strongroom_base::pool::{Job, Pool};
use strongroom_base::{Error, ErrorKind, Result};

use super::Pipeline;
use super::chunk_index::ChunkIndex;
use super::codec::{Compressor, EncodedChunk};
use strongroom_format::{ChunkId, ChunkKind};

const PREPARE: &str = "prepare chunk";

/// Most threads that prepare chunks of one pipeline.
const THREADS_MAX: usize = 4;

/// Chunks in progress for each upload thread.
const CHUNKS_PER_THREAD: usize = 3;

/// Chunks that wait for a thread. A chunk without room is prepared by its upload.
const QUEUE_MAX: usize = 1_024;

fn threads_max() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
}

/// Makes the pool on which uploads prepare chunks.
pub(crate) fn pool(clock: Arc<dyn Clock>) -> Pool {
    Pool::new("strongroom-chunks", threads_max(), QUEUE_MAX, clock)
}

/// A prepared chunk.
pub(crate) enum Prepared {
    /// The index has the chunk, and keeps it until the upload ends.
    Found {
        id: ChunkId,
        len: u32,
    },
    New(EncodedChunk),
}

impl Prepared {
    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Found { len, .. } => *len,
            Self::New(chunk) => chunk.len,
        }
    }
}

/// Prepares one chunk of an unfinished upload.
pub(crate) fn prepare(
    pipeline: &Pipeline,
    index: &dyn ChunkIndex,
    compressor: &mut Compressor,
    kind: ChunkKind,
    bytes: &[u8],
) -> Result<Prepared> {
    let id = pipeline.id_keys().id(kind, bytes);
    let len = u32::try_from(bytes.len()).expect("a chunk is short");
    if index.is_kept(&id)? {
        return Ok(Prepared::Found { id, len });
    }
    Ok(Prepared::New(EncodedChunk { id, kind, len, stored: compressor.pack(bytes) }))
}

/// The chunks of one stream on the pool, in stream order.
pub(crate) struct Preparers {
    pipeline: Arc<Pipeline>,
    index: Arc<dyn ChunkIndex>,
    under_way: VecDeque<Job<Result<Prepared>>>,
    /// Most chunks that may be in progress.
    room: usize,
}

impl Preparers {
    pub(crate) fn new(pipeline: &Arc<Pipeline>, index: &Arc<dyn ChunkIndex>) -> Self {
        let room = threads_max() * CHUNKS_PER_THREAD;
        let (pipeline, index) = (Arc::clone(pipeline), Arc::clone(index));
        Self { pipeline, index, under_way: VecDeque::with_capacity(room), room }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.under_way.len() >= self.room
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Queues a chunk.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        let (pipeline, index) = (Arc::clone(&self.pipeline), Arc::clone(&self.index));
        let job = move || {
            let codecs = pipeline.codecs();
            let mut compressor = codecs.compressor()?;
            let prepared = prepare(&pipeline, &*index, &mut compressor, ChunkKind::Data, &bytes);
            codecs.keep(compressor);
            prepared
        };
        self.under_way.push_back(self.pipeline.preparing.start(job));
    }

    /// Returns the next chunk of the stream; prepares it here if no thread has begun it.
    pub(crate) fn take(&mut self) -> Result<Prepared> {
        let job = self.under_way.pop_front().ok_or_else(ended)?;
        job.wait().unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Preparers {
    fn drop(&mut self) {
        // Jobs keep the index open, which may be closed as soon as the upload has ended.
        self.under_way.drain(..).for_each(|job| drop(job.cancel()));
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, PREPARE).with_detail("a thread has panicked")
}
