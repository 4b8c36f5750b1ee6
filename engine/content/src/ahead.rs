//! Chunks fetched before they are asked for, where the backend is far: a stream that is read on and on waits
//! for the first of them, and then hardly.
//!
//! Neighbours in one pack are fetched together, by one request. What fails is left to whoever asks for the
//! chunk: they fetch it by itself, and say what is wrong.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use strongroom_base::Result;
use strongroom_base::pool::Job;

use super::body::{self, Codecs, IdKeys};
use super::index::find_chunk;
use super::pack::open_chunk;
use super::reader::Pinned;
use strongroom_format::{Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, ObjectName};
use strongroom_store::objects::Objects;

/// Most bytes of one request, and of what becomes of them.
const STRETCH_BYTES_MAX: u32 = 1 << 20;
const STRETCH_OPENED_BYTES_MAX: u32 = 4 << 20;
/// Most requests of one stream, each with its bytes in memory.
const STRETCHES_MAX: usize = 8;

/// What is on its way for one stream.
#[derive(Default)]
pub(crate) struct Ahead {
    /// In the order in which the stream comes to them.
    stretches: VecDeque<Stretch>,
    /// How many chunks in a row were asked for in order: so many requests may be under way.
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

/// A chunk in a pack.
struct Place {
    id: ChunkId,
    len: u32,
    at: u32,
    stored: u32,
}

/// Neighbours in a pack, to be fetched.
struct Run {
    pack: ObjectName,
    epoch: u32,
    places: Vec<Place>,
}

impl Run {
    fn range(&self) -> Range<u64> {
        let (first, last) = (&self.places[0], &self.places[self.places.len() - 1]);
        u64::from(first.at)..u64::from(last.at) + u64::from(last.stored)
    }

    fn takes(&self, pack: ObjectName, epoch: u32, place: &Place) -> bool {
        let range = self.range();
        let is_next = self.pack == pack && self.epoch == epoch && range.end == u64::from(place.at);
        let opened: u32 = self.places.iter().map(|place| place.len).sum();
        is_next
            && range.end - range.start + u64::from(place.stored) <= STRETCH_BYTES_MAX.into()
            && opened + place.len <= STRETCH_OPENED_BYTES_MAX
    }

    /// The bytes of its chunks; `None` if any of them is not as it should be.
    fn fetch(
        &self,
        objects: &Objects,
        codecs: &Codecs,
        keys: &IdKeys,
    ) -> Option<VecDeque<Vec<u8>>> {
        let sealed = objects.get_ahead(self.pack, self.range()).ok()?;
        let begin = self.places[0].at;
        let open = |place: &Place| {
            let from = (place.at - begin) as usize;
            let sealed = &sealed[from..from + place.stored as usize];
            let stored = open_chunk(objects, self.pack, self.epoch, place.at, sealed).ok()?;
            body::unpack(codecs, keys, ChunkKind::Data, &place.id, place.len, &stored).ok()
        };
        self.places.iter().map(open).collect()
    }
}

impl Ahead {
    /// As many requests as may be are under way from the first chunk on.
    pub(crate) fn want_at_once(&mut self) {
        self.in_order = 2 * STRETCHES_MAX;
    }

    /// Whether that was asked for, and nothing is under way.
    pub(crate) fn is_wanted_at_once(&self) -> bool {
        self.in_order >= 2 * STRETCHES_MAX && self.stretches.is_empty()
    }

    /// The bytes of the next chunk of the stream, if they were on their way. If it is another one than was
    /// expected, nothing is on its way any more.
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

    /// The stream goes on elsewhere.
    pub(crate) fn forget(&mut self) {
        self.stretches.clear();
        self.in_order = 0;
    }

    /// Has what comes next fetched: of `next`, the chunks of data behind the one that was just asked for, as
    /// many as are not on their way yet.
    pub(crate) fn go_on(&mut self, pinned: &Pinned, next: &[Child]) -> Result<()> {
        self.in_order += 1;
        let most = pinned
            .content()
            .core()
            .objects()
            .at_once_max()
            .min(STRETCHES_MAX)
            .min(self.in_order / 2);
        if self.stretches.len() >= most {
            return Ok(());
        }
        let under_way: usize = self.stretches.iter().map(|stretch| stretch.ids.len()).sum();
        let state = pinned.content().core().read_state()?;
        let mut run: Option<Run> = None;
        for child in next.iter().skip(under_way) {
            let Some(ChunkRow::V0 { kind: ChunkKind::Data, len, place, .. }) =
                find_chunk(&state, &child.id)?
            else {
                break;
            };
            let ChunkPlace::Pack { pack, epoch, at, stored } = place else { break };
            let place = Place { id: child.id, len, at, stored };
            match &mut run {
                Some(run) if run.takes(pack, epoch, &place) => run.places.push(place),
                other => {
                    if let Some(run) = other.replace(Run { pack, epoch, places: vec![place] }) {
                        self.send(pinned, run);
                        if self.stretches.len() >= most {
                            return Ok(());
                        }
                    }
                }
            }
        }
        if let Some(run) = run {
            self.send(pinned, run);
        }
        Ok(())
    }

    fn send(&mut self, pinned: &Pinned, run: Run) {
        let ids = run.places.iter().map(|place| place.id).collect();
        // Not the vault: whoever reads may drop it meanwhile, and nobody waits for what is on its way then.
        let content = pinned.content();
        let objects = content.core().objects().clone();
        let (codecs, keys) = (Arc::clone(content.codecs()), Arc::clone(content.id_keys()));
        let fetch = move || run.fetch(&objects, &codecs, &keys);
        let job = Some(content.core().objects().pool().start(fetch));
        self.stretches.push_back(Stretch { ids, job, come: VecDeque::new() });
    }
}
