//! Chunks made ready to be stored: named, looked up, and compressed if they are new. The work of an upload
//! that takes longest, so a long stream's chunks are prepared by the vault's pool too, in whatever order, and
//! come out in theirs.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use strongroom_base::bug::{self, Bug};
use strongroom_base::component::Clock;
use strongroom_base::pool::{Job, Pool};
use strongroom_base::{Error, ErrorKind, Result};

use super::body::Compressor;
use super::index::{Body, find_chunk};
use super::store::Content;
use strongroom_format::{ChunkId, ChunkKind, ChunkPlace, ChunkRow};
use strongroom_store::state::Table;

const PREPARE: &str = "prepare chunk";

/// Most threads that prepare chunks of one vault, however many processors there are.
const THREADS_MAX: usize = 4;

/// Chunks of one upload that may be under way for each of these threads.
const CHUNKS_PER_THREAD: usize = 3;

/// Chunks that wait for a thread. What finds no room is prepared by its upload.
const QUEUE_MAX: usize = 1_024;

fn threads_max() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
}

/// A pool on which the uploads of one vault prepare chunks, each beside its own thread.
pub(crate) fn pool(clock: Arc<dyn Clock>) -> Pool {
    Pool::new("strongroom-chunks", threads_max(), QUEUE_MAX, clock)
}

/// A chunk that is ready.
pub(crate) enum Prepared {
    /// The index has it in a pack, and keeps it until the upload ends.
    Found {
        id: ChunkId,
        len: u32,
    },
    New(Body),
}

impl Prepared {
    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Found { len, .. } => *len,
            Self::New(body) => body.len,
        }
    }
}

/// Prepares one chunk, unless it is known to be new already.
pub(crate) fn prepare(
    content: &Content,
    compressor: &mut Compressor,
    kind: ChunkKind,
    bytes: &[u8],
) -> Result<Prepared> {
    let id = content.id_keys().id(kind, bytes);
    let len = u32::try_from(bytes.len()).expect("a chunk is short");
    if is_found(content, &id)? {
        return Ok(Prepared::Found { id, len });
    }
    Ok(Prepared::New(Body { id, kind, len, stored: compressor.pack(bytes) }))
}

/// Whether the index has the chunk in a pack, and keeps it until the upload ends, whose pin is older than
/// this. What lies in state is packed with the content that is, if one that has it is long.
fn is_found(content: &Content, id: &ChunkId) -> Result<bool> {
    let view = content.core().read()?;
    let state = view.state();
    let Some(ChunkRow::V0 { references, place, .. }) = find_chunk(state, id)? else {
        return Ok(false);
    };
    let is_packed = matches!(place, ChunkPlace::Pack { .. });
    let finds_released = bug::is_planted(Bug::FindsReleased);
    let is_kept = references > 0 || state.get(Table::Released, &id.0)?.is_none();
    Ok(is_packed && (is_kept || finds_released))
}

/// The chunks of one stream that are being prepared by the pool, in the order of the stream.
pub(crate) struct Preparers {
    content: Content,
    under_way: VecDeque<Job<Result<Prepared>>>,
    /// Most chunks that may be under way.
    room: usize,
}

impl Preparers {
    pub(crate) fn new(content: &Content) -> Self {
        let room = threads_max() * CHUNKS_PER_THREAD;
        Self { content: content.clone(), under_way: VecDeque::with_capacity(room), room }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.under_way.len() >= self.room
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Queues a chunk.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        let content = self.content.clone();
        let job = move || {
            let codecs = content.codecs();
            let mut compressor = codecs.compressor()?;
            let prepared = prepare(&content, &mut compressor, ChunkKind::Data, &bytes);
            codecs.keep(compressor);
            prepared
        };
        self.under_way.push_back(self.content.preparing().start(job));
    }

    /// The next chunk in the order of the stream; prepared here if no thread has begun to.
    pub(crate) fn take(&mut self) -> Result<Prepared> {
        let job = self.under_way.pop_front().ok_or_else(ended)?;
        job.wait().unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Preparers {
    fn drop(&mut self) {
        // They keep the vault open, which may be closed as soon as the upload has ended.
        self.under_way.drain(..).for_each(|job| drop(job.cancel()));
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, PREPARE).with_detail("a thread has panicked")
}
