//! Chunks fetched before they are read, where the backend is far.
//!
//! A stream that is read forward waits for the first of them, and then hardly. Neighbours in one pack are
//! fetched together, by one request. The reader fetches a chunk by itself if that failed, and reports why.

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

/// Most bytes of one request, and of the chunks in it.
const STRETCH_BYTES_MAX: u32 = 1 << 20;
const STRETCH_OPENED_BYTES_MAX: u32 = 4 << 20;
/// Most requests of one stream, each with its bytes in memory.
const STRETCHES_MAX: usize = 8;

/// The chunks on their way for one stream.
#[derive(Default)]
pub(crate) struct ReadAhead {
    /// In the order of the stream.
    stretches: VecDeque<Stretch>,
    /// How many chunks in a row were read in order. It bounds the requests under way.
    in_order: usize,
}

/// Chunks that come together.
struct Stretch {
    ids: VecDeque<ChunkId>,
    /// Brings them, until it is waited for.
    job: Option<Job<Option<VecDeque<Vec<u8>>>>>,
    /// Those of them that have come.
    come: VecDeque<Vec<u8>>,
}

/// Neighbours in a pack, to be fetched.
struct Run {
    chunks: Vec<PlacedChunk>,
}

impl Run {
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
    /// Sends as many requests as allowed from the first chunk on.
    pub(crate) fn want_at_once(&mut self) {
        self.in_order = 2 * STRETCHES_MAX;
    }

    /// Returns whether that was asked for, and nothing is under way.
    pub(crate) fn is_wanted_at_once(&self) -> bool {
        self.in_order >= 2 * STRETCHES_MAX && self.stretches.is_empty()
    }

    /// Returns the bytes of the next chunk of the stream, if they were on their way.
    ///
    /// If the chunk is not the expected one, nothing is on its way any more.
    pub(crate) fn take(&mut self, id: &ChunkId) -> Option<Vec<u8>> {
        let front = self.stretches.front_mut()?;
        if front.ids.front() != Some(id) {
            self.forget();
            return None;
        }
        if let Some(job) = front.job.take() {
            front.come = job.wait().ok().flatten().unwrap_or_default();
        }
        front.ids.pop_front();
        let bytes = front.come.pop_front();
        if front.ids.is_empty() {
            self.stretches.pop_front();
        }
        bytes
    }

    /// Drops all that is on its way: the stream is read elsewhere.
    pub(crate) fn forget(&mut self) {
        self.stretches.clear();
        self.in_order = 0;
    }

    /// Fetches chunks of `next`, those of data behind the one just read, that are not on their way.
    pub(crate) fn go_on(&mut self, pinned: &Pinned, next: &[Child]) -> Result<()> {
        self.in_order += 1;
        let most = pinned.objects().at_once_max().min(STRETCHES_MAX).min(self.in_order / 2);
        if self.stretches.len() >= most {
            return Ok(());
        }
        let under_way: usize = self.stretches.iter().map(|stretch| stretch.ids.len()).sum();
        let mut run: Option<Run> = None;
        let mut visit = |chunk: PlacedChunk| {
            if chunk.kind != ChunkKind::Data {
                return false;
            }
            match &mut run {
                Some(run) if run.takes(&chunk) => run.chunks.push(chunk),
                other => {
                    if let Some(run) = other.replace(Run { chunks: vec![chunk] }) {
                        self.send(pinned, run);
                    }
                }
            }
            self.stretches.len() < most
        };
        pinned.index().places(next.get(under_way..).unwrap_or_default(), &mut visit)?;
        if let Some(run) = run
            && self.stretches.len() < most
        {
            self.send(pinned, run);
        }
        Ok(())
    }

    fn send(&mut self, pinned: &Pinned, run: Run) {
        let ids = run.chunks.iter().map(|chunk| chunk.id).collect();
        // Not the index: the reader may drop it meanwhile, and no close waits for a request ahead.
        let (pipeline, objects) = (pinned.pipeline(), pinned.objects().clone());
        let (codecs, keys) = (Arc::clone(pipeline.codecs()), Arc::clone(pipeline.id_keys()));
        let fetch = move || run.fetch(&objects, &codecs, &keys);
        let job = Some(pinned.objects().pool().start(fetch));
        self.stretches.push_back(Stretch { ids, job, come: VecDeque::new() });
    }
}
