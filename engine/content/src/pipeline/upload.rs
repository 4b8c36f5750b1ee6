//! Storing a stream: cut, looked up, compressed, packed.
//!
//! Full packs are put and indexed while the stream is read. An upload that a crash interrupts has
//! stored them: when it is read from its start again, it finds their chunks and stores the rest. It
//! loses the pack that was being filled, and those that were being put. The commit that refers to
//! the content indexes the last pack.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::Read;
use std::sync::Arc;

use strongroom_base::Result;

use super::Pipeline;
use super::chunk_index::{Additions, ChunkIndex, NewContent, UploadIndex};
use super::chunker::Pieces;
use super::codec::{Compressor, EncodedChunk};
use super::prepare::{Prepared, Preparers, prepare};
use super::writer::{OpenPack, PackUnderWay, PutPack, Reservation};
use strongroom_base::LongCall;
use strongroom_format::{Child, ChunkId, ChunkKind, ContentRef, NodeBody};

pub(crate) const PUT: &str = "store content";

/// Longest content that the index stores itself, in stored bytes; less if objects are shorter.
///
/// A pack needs three more syncs, which take longer than these bytes in the state.
const INDEX_BYTES_MAX: usize = 256 << 10;

/// Most children of a node.
const CHILDREN_MAX: usize = 1_024;
/// Zero bits at the start of a child's id that end a node: after 256 on average.
///
/// So an insertion moves few ends of nodes.
const NODE_BITS: u32 = 8;

/// Most packs that are put in parallel, each in memory. More are faster if a put takes long.
const PUTTING_MAX: usize = 4;

/// Approximate number of children of new nodes that one commit indexes. It changes each child's
/// count.
const CHILDREN_PER_COMMIT: usize = 8_192;

/// A stream that is being stored.
pub struct Upload<U> {
    pipeline: Arc<Pipeline>,
    index: Arc<dyn ChunkIndex>,
    compressor: Compressor,
    /// The pack that is being filled.
    filling: Option<OpenPack>,
    /// The buffer of a pack that was put.
    spare: Option<Vec<u8>>,
    /// Chunks to index with that pack, or by the commit.
    batch: Batch,
    /// Earlier full packs that are being put, with batches, oldest first.
    putting: VecDeque<(PackUnderWay, Batch)>,
    /// Most packs in that list.
    putting_max: usize,
    /// Set if the stream is long. Packs are then put in parallel with the other work.
    is_long: bool,
    /// Set if a pack was indexed, or may have been.
    has_indexed: bool,
    /// Children without a node, by height.
    levels: Vec<Vec<Child>>,
    // Dropped last: its reservations are due for deletion by then.
    under_way: U,
}

/// Chunks that are indexed together.
#[derive(Default)]
struct Batch {
    /// Their ids.
    new: HashSet<ChunkId>,
    additions: Additions,
    /// Number of children of its nodes.
    children: usize,
    /// The reservations of its packs.
    reservations: Vec<Reservation>,
}

impl<U> std::fmt::Debug for Upload<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

impl<U: UploadIndex> Upload<U> {
    /// Begins to store a stream for an upload of its index.
    pub(crate) fn new(pipeline: &Arc<Pipeline>, under_way: U) -> Result<Self> {
        Ok(Self {
            pipeline: Arc::clone(pipeline),
            index: under_way.index(),
            compressor: pipeline.codecs().compressor()?,
            filling: None,
            spare: None,
            batch: Batch::default(),
            putting: VecDeque::new(),
            putting_max: pipeline.objects().at_once_max().min(PUTTING_MAX),
            is_long: false,
            has_indexed: false,
            levels: Vec::new(),
            under_way,
        })
    }

    /// Stores all of `source`. The caller commits.
    pub fn store(
        mut self,
        source: &mut dyn Read,
        size: Option<u64>,
        call: LongCall<'_>,
    ) -> Result<U::Stored> {
        let pipeline = Arc::clone(&self.pipeline);
        let mut stream = Stream {
            pieces: Pieces::new(&pipeline.chunker, source),
            checksum: blake3::Hasher::new(),
            size,
            call,
            done: 0,
        };
        let mut first = stream.next()?.map(<[u8]>::to_vec);
        self.is_long = stream.pieces.is_long();
        if self.is_long {
            self.store_long(&mut stream, first)?;
        } else {
            while let Some(piece) = first {
                let prepared = self.prepare(ChunkKind::Data, &piece)?;
                self.take(prepared, &mut stream)?;
                first = stream.next()?.map(<[u8]>::to_vec);
            }
        }
        if stream.done == 0 {
            let prepared = self.prepare(ChunkKind::Data, &[])?;
            self.take(prepared, &mut stream)?;
        }
        let (root, height) = self.close()?;
        while !self.putting.is_empty() {
            self.index_oldest()?;
        }
        if let Some(pack) = self.filling.take() {
            self.spare = self.batch.take(pack.put()?);
        }
        let content = ContentRef { len: stream.done, root, height };
        let checksum = *stream.checksum.finalize().as_bytes();
        let Self { compressor, batch, under_way, .. } = self;
        pipeline.codecs().keep(compressor);
        let Batch { additions, reservations, .. } = batch;
        under_way.finish(NewContent { content, checksum, additions, reservations })
    }

    /// Prepares a stream's chunks on the pool while this thread packs.
    fn store_long(&mut self, stream: &mut Stream<'_>, first: Option<Vec<u8>>) -> Result<()> {
        let mut preparers = Preparers::new(&self.pipeline, &self.index);
        let mut next = first;
        loop {
            while let Some(piece) = next.take() {
                preparers.send(piece);
                next = stream.next()?.map(<[u8]>::to_vec);
                if preparers.is_full() {
                    break;
                }
            }
            if preparers.is_empty() {
                return Ok(());
            }
            self.take(preparers.take()?, stream)?;
        }
    }

    /// Prepares a chunk on this thread.
    fn prepare(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<Prepared> {
        prepare(&self.pipeline, &*self.index, &mut self.compressor, kind, bytes)
    }

    /// Takes the next chunk of the stream.
    fn take(&mut self, prepared: Prepared, stream: &mut Stream<'_>) -> Result<()> {
        let len = u64::from(prepared.len());
        let id = self.hold(prepared)?;
        self.link(0, Child { id, len })?;
        stream.done += len;
        stream.call.report(stream.done, stream.size);
        Ok(())
    }

    fn is_new(&self, id: &ChunkId) -> bool {
        let mut putting = self.putting.iter();
        putting.any(|(_, batch)| batch.new.contains(id)) || self.batch.new.contains(id)
    }

    /// Keeps a chunk if it is new: in memory for a short content, otherwise in a pack.
    fn hold(&mut self, prepared: Prepared) -> Result<ChunkId> {
        let chunk = match prepared {
            Prepared::New(chunk) if !self.is_new(&chunk.id) => chunk,
            Prepared::New(EncodedChunk { id, .. }) | Prepared::Found { id, .. } => return Ok(id),
        };
        let id = chunk.id;
        self.batch.new.insert(id);
        let held = &mut self.batch.additions.chunks;
        held.push(chunk);
        let bytes = held.iter().map(|chunk| chunk.stored.len()).sum::<usize>();
        let is_small = bytes <= INDEX_BYTES_MAX.min(self.pipeline.objects().object_bytes());
        let is_packed = self.filling.is_some() || !self.putting.is_empty() || self.has_indexed;
        if is_small && !is_packed {
            return Ok(id);
        }
        let pack = match &mut self.filling {
            Some(pack) => pack,
            none => none.insert(OpenPack::begin(&self.pipeline, &self.index, self.spare.take())?),
        };
        let chunks = std::mem::take(&mut self.batch.additions.chunks);
        chunks.iter().try_for_each(|chunk| pack.add(chunk))?;
        Ok(id)
    }

    /// Puts and indexes the pack, if it is full.
    ///
    /// It runs between two chunks, when each node has its list.
    fn index_if_full(&mut self) -> Result<()> {
        while self.putting.front().is_some_and(|(pack, _)| pack.is_done()) {
            // As soon as it is durable, because a crash costs the packs that are not indexed.
            self.index_oldest()?;
        }
        let Some(pack) = &self.filling else { return Ok(()) };
        if !pack.is_full() && self.batch.children < CHILDREN_PER_COMMIT {
            return Ok(());
        }
        // Earlier packs first, because nodes list chunks of earlier packs.
        let room = if self.is_long { self.putting_max } else { 1 };
        while self.putting.len() >= room {
            self.index_oldest()?;
        }
        let pack = self.filling.take().expect("seen above");
        let mut batch = std::mem::take(&mut self.batch);
        if self.is_long {
            self.putting.push_back((pack.start_put(), batch));
            return Ok(());
        }
        self.spare = batch.take(pack.put()?);
        self.index(batch)
    }

    /// Indexes the oldest pack that is being put, after it is durable.
    fn index_oldest(&mut self) -> Result<()> {
        let Some((pack, mut batch)) = self.putting.pop_front() else { return Ok(()) };
        self.spare = batch.take(pack.wait()?);
        self.index(batch)
    }

    fn index(&mut self, batch: Batch) -> Result<()> {
        self.has_indexed = true;
        self.under_way.add(batch.additions, batch.reservations)
    }

    /// Adds a child at a height, and a finished node above it.
    fn link(&mut self, height: usize, child: Child) -> Result<()> {
        if self.levels.len() == height {
            self.levels.push(Vec::new());
        }
        self.levels[height].push(child);
        self.index_if_full()?;
        let ends = child.id.0[0].leading_zeros() >= NODE_BITS;
        if ends || self.levels[height].len() == CHILDREN_MAX {
            self.end_node(height)?;
        }
        Ok(())
    }

    fn end_node(&mut self, height: usize) -> Result<()> {
        let children = std::mem::take(&mut self.levels[height]);
        let len = children.iter().map(|child| child.len).sum();
        let distinct: BTreeSet<ChunkId> = children.iter().map(|child| child.id).collect();
        let prepared = self.prepare(ChunkKind::Node, &NodeBody::V0 { children }.encode())?;
        let id = self.hold(prepared)?;
        if self.batch.new.contains(&id) {
            self.batch.children += distinct.len();
            self.batch.additions.nodes.insert(id, distinct.into_iter().collect());
        }
        self.link(height + 1, Child { id, len })
    }

    /// Returns the root and the height after the end of the stream.
    fn close(&mut self) -> Result<(ChunkId, u8)> {
        let mut height = 0;
        loop {
            let is_top = self.levels[height + 1..].iter().all(Vec::is_empty);
            match self.levels[height][..] {
                [only] if is_top => {
                    return Ok((only.id, u8::try_from(height).expect("a tree is low")));
                }
                [] => {}
                _ => self.end_node(height)?,
            }
            height += 1;
        }
    }
}

impl Batch {
    /// Takes a pack to index with it; returns the pack's buffer.
    fn take(&mut self, put: PutPack) -> Option<Vec<u8>> {
        self.additions.packs.push(put.packed);
        self.reservations.push(put.reservation);
        put.spare
    }
}

/// The source stream, and its progress.
struct Stream<'a> {
    pieces: Pieces<'a>,
    checksum: blake3::Hasher,
    size: Option<u64>,
    call: LongCall<'a>,
    /// Bytes of chunks that were taken.
    done: u64,
}

impl Stream<'_> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.call.check(PUT)?;
        let piece = self.pieces.next()?;
        if let Some(piece) = piece {
            self.checksum.update(piece);
        }
        Ok(piece)
    }
}
