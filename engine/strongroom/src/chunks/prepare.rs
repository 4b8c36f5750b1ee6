//! Chunks made ready to be stored: named, looked up, and compressed if they are new. The work of an upload
//! that takes longest, so a long stream's chunks are prepared by several threads, in whatever order, and
//! come out in theirs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Scope, available_parallelism};

use crossbeam_channel::{Receiver, Sender, bounded};
use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Result};

use super::body::Compressor;
use super::index::{Body, find_chunk};
use crate::vault::Vault;
use strongroom_format::{ChunkId, ChunkKind, ChunkPlace, ChunkRow};
use strongroom_store::state::Table;

const PREPARE: &str = "prepare chunk";

/// Most threads that one upload prepares on.
const THREADS_MAX: usize = 4;

/// Chunks that may be under way for each of these threads.
const CHUNKS_PER_THREAD: usize = 3;

/// A chunk that is ready.
pub(super) enum Prepared {
    /// The index has it in a pack, and keeps it until the upload ends.
    Found {
        id: ChunkId,
        len: u32,
    },
    New(Body),
}

impl Prepared {
    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Found { len, .. } => *len,
            Self::New(body) => body.len,
        }
    }
}

/// Prepares one chunk, unless it is known to be new already.
pub(super) fn prepare(
    vault: &Vault,
    compressor: &mut Compressor,
    kind: ChunkKind,
    bytes: &[u8],
) -> Result<Prepared> {
    let id = vault.inner().id_keys.id(kind, bytes);
    let len = u32::try_from(bytes.len()).expect("a chunk is short");
    if is_found(vault, &id)? {
        return Ok(Prepared::Found { id, len });
    }
    Ok(Prepared::New(Body { id, kind, len, stored: compressor.pack(bytes) }))
}

/// Whether the index has the chunk in a pack, and keeps it until the upload ends, whose pin is older than
/// this. What lies in state is packed with the content that is, if one that has it is long.
fn is_found(vault: &Vault, id: &ChunkId) -> Result<bool> {
    let snapshot = vault.read()?;
    let state = snapshot.state();
    let Some(ChunkRow::V0 { references, place, .. }) = find_chunk(state, id)? else {
        return Ok(false);
    };
    let is_packed = matches!(place, ChunkPlace::Pack { .. });
    let is_kept = references > 0 || state.get(Table::Released, &id.0)?.is_none();
    Ok(is_packed && (is_kept || bug::is_planted(Bug::FindsReleased)))
}

/// Threads that prepare the chunks of one stream.
pub(super) struct Preparers {
    jobs: Sender<(u64, Vec<u8>)>,
    done: Receiver<(u64, Result<Prepared>)>,
    /// Chunks that came out before one that comes first.
    early: BTreeMap<u64, Result<Prepared>>,
    sent: u64,
    taken: u64,
    /// Most chunks that may be under way.
    room: u64,
}

impl Preparers {
    /// Starts them. They end when this is dropped.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        vault: &'env Vault,
    ) -> Result<Self> {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let room = threads * CHUNKS_PER_THREAD;
        // Nobody ever waits to send: there is room for all that may be under way.
        let (jobs, queue) = bounded::<(u64, Vec<u8>)>(room);
        let (results, done) = bounded(room);
        for _ in 0..threads {
            let (queue, results) = (queue.clone(), results.clone());
            std::thread::Builder::new()
                .name("strongroom-chunks".into())
                .spawn_scoped(scope, bug::carry(move || work(vault, &queue, &results)))
                .map_err(|e| Error::io(PREPARE, e))?;
        }
        Ok(Self { jobs, done, early: BTreeMap::new(), sent: 0, taken: 0, room: room as u64 })
    }

    pub(super) fn is_full(&self) -> bool {
        self.sent - self.taken >= self.room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.taken
    }

    /// Hands on a chunk. There is room, unless [`is_full`](Self::is_full).
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.jobs.send((self.sent, bytes)).map_err(|_| ended())?;
        self.sent += 1;
        Ok(())
    }

    /// The next chunk in the order of the stream; waits for it.
    pub(super) fn take(&mut self) -> Result<Prepared> {
        let next = loop {
            if let Some(next) = self.early.remove(&self.taken) {
                break next;
            }
            let (number, prepared) = self.done.recv().map_err(|_| ended())?;
            self.early.insert(number, prepared);
        };
        self.taken += 1;
        next
    }
}

fn work(
    vault: &Vault,
    queue: &Receiver<(u64, Vec<u8>)>,
    results: &Sender<(u64, Result<Prepared>)>,
) {
    let codecs = &vault.inner().codecs;
    let mut compressor = codecs.compressor();
    for (number, bytes) in queue {
        let prepared = match &mut compressor {
            Ok(compressor) => {
                let work = || prepare(vault, compressor, ChunkKind::Data, &bytes);
                // A chunk that never came out would be waited for for ever.
                catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ended()))
            }
            Err(e) => Err(e.clone()),
        };
        if results.send((number, prepared)).is_err() {
            break;
        }
    }
    if let Ok(compressor) = compressor {
        codecs.keep(compressor);
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, PREPARE).with_detail("a thread has panicked")
}
