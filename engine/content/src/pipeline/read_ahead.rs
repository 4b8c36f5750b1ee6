//! Fetching chunks before they are read, on a remote backend.
//!
//! A stream that is read forward waits only for its first chunks. Neighbours in one pack are
//! fetched by one request. If that fails, the reader fetches a chunk itself and reports the cause.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use strongroom_base::Result;
use strongroom_base::pool::Job;

use super::chunk_index::PlacedChunk;
use super::codec::{Codecs, IdKeys, unpack};
use super::pack::open_chunk;
use super::reader::Pinned;
use strongroom_format::{Child, ChunkId, ChunkKind};
use strongroom_store::objects::Objects;

/// Most bytes of one request, and of its chunks.
const STRETCH_BYTES_MAX: u32 = 1 << 20;
const STRETCH_OPENED_BYTES_MAX: u32 = 4 << 20;
/// Most parallel requests of one stream. Each keeps its bytes in memory.
const STRETCHES_MAX: usize = 8;

/// The chunks that are being fetched for one stream.
#[derive(Default)]
pub(crate) struct ReadAhead {
    /// In the order of the stream.
    fetches: VecDeque<Fetch>,
    /// Number of consecutive chunks that were read in order. It limits the parallel requests.
    in_order: usize,
}

/// Chunks that one request fetches.
struct Fetch {
    ids: VecDeque<ChunkId>,
    /// The request, until its result is taken.
    job: Option<Job<Option<VecDeque<Vec<u8>>>>>,
    /// Fetched chunks.
    fetched: VecDeque<Vec<u8>>,
}

/// Neighbouring chunks in a pack, for one request.
struct AdjacentChunks {
    chunks: Vec<PlacedChunk>,
}

impl AdjacentChunks {
    fn range(&self) -> Range<u64> {
        let (first, last) = (&self.chunks[0], &self.chunks[self.chunks.len() - 1]);
        u64::from(first.place.at)..u64::from(last.place.at) + u64::from(last.place.stored)
    }

    fn takes(&self, next: &PlacedChunk) -> bool {
        let (range, place, own) = (self.range(), next.place, self.chunks[0].place);
        let is_next =
            own.pack == place.pack && own.epoch == place.epoch && range.end == u64::from(place.at);
        let opened: u32 = self.chunks.iter().map(|chunk| chunk.len).sum();
        is_next
            && range.end - range.start + u64::from(place.stored) <= STRETCH_BYTES_MAX.into()
            && opened + next.len <= STRETCH_OPENED_BYTES_MAX
    }

    /// Fetches the bytes of its chunks; `None` if any of them is damaged.
    fn fetch(
        &self,
        objects: &Objects,
        codecs: &Codecs,
        keys: &IdKeys,
    ) -> Option<VecDeque<Vec<u8>>> {
        let begin = self.chunks[0].place;
        let sealed = objects.get_ahead(begin.pack, self.range()).ok()?;
        let open = |chunk: &PlacedChunk| {
            let from = (chunk.place.at - begin.at) as usize;
            let sealed = &sealed[from..from + chunk.place.stored as usize];
            let stored = open_chunk(objects, &chunk.place, sealed).ok()?;
            unpack(codecs, keys, ChunkKind::Data, &chunk.id, chunk.len, &stored).ok()
        };
        self.chunks.iter().map(open).collect()
    }
}

impl ReadAhead {
    /// Allows the full number of requests from the first chunk on.
    pub(crate) fn want_at_once(&mut self) {
        self.in_order = 2 * STRETCHES_MAX;
    }

    /// Returns whether all requests are allowed and none is in progress.
    pub(crate) fn is_wanted_at_once(&self) -> bool {
        self.in_order >= 2 * STRETCHES_MAX && self.fetches.is_empty()
    }

    /// Returns the next chunk's bytes, if they were being fetched.
    ///
    /// If the chunk is not the expected one, all fetched chunks are dropped.
    pub(crate) fn take(&mut self, id: &ChunkId) -> Option<Vec<u8>> {
        let front = self.fetches.front_mut()?;
        if front.ids.front() != Some(id) {
            self.forget();
            return None;
        }
        if let Some(job) = front.job.take() {
            front.fetched = job.wait().ok().flatten().unwrap_or_default();
        }
        front.ids.pop_front();
        let bytes = front.fetched.pop_front();
        if front.ids.is_empty() {
            self.fetches.pop_front();
        }
        bytes
    }

    /// Drops all fetched chunks, because the stream continues elsewhere.
    pub(crate) fn forget(&mut self) {
        self.fetches.clear();
        self.in_order = 0;
    }

    /// Fetches chunks of `next` that are not fetched yet.
    ///
    /// `next` is the data after the chunk just read.
    pub(crate) fn fetch_next(&mut self, pinned: &Pinned, next: &[Child]) -> Result<()> {
        self.in_order += 1;
        let most = pinned.objects().at_once_max().min(STRETCHES_MAX).min(self.in_order / 2);
        if self.fetches.len() >= most {
            return Ok(());
        }
        let under_way: usize = self.fetches.iter().map(|fetch| fetch.ids.len()).sum();
        let mut run: Option<AdjacentChunks> = None;
        let mut visit = |chunk: PlacedChunk| {
            if chunk.kind != ChunkKind::Data {
                return false;
            }
            match &mut run {
                Some(run) if run.takes(&chunk) => run.chunks.push(chunk),
                other => {
                    if let Some(run) = other.replace(AdjacentChunks { chunks: vec![chunk] }) {
                        self.send(pinned, run);
                    }
                }
            }
            self.fetches.len() < most
        };
        pinned.index().places(next.get(under_way..).unwrap_or_default(), &mut visit)?;
        if let Some(run) = run
            && self.fetches.len() < most
        {
            self.send(pinned, run);
        }
        Ok(())
    }

    fn send(&mut self, pinned: &Pinned, run: AdjacentChunks) {
        let ids = run.chunks.iter().map(|chunk| chunk.id).collect();
        // Without the index: the reader may drop it meanwhile, and no close waits for read-ahead.
        let (pipeline, objects) = (pinned.pipeline(), pinned.objects().clone());
        let (codecs, keys) = (Arc::clone(pipeline.codecs()), Arc::clone(pipeline.id_keys()));
        let fetch = move || run.fetch(&objects, &codecs, &keys);
        let job = Some(pinned.objects().pool().start(fetch));
        self.fetches.push_back(Fetch { ids, job, fetched: VecDeque::new() });
    }
}
