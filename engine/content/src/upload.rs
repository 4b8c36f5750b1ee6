//! Storing a stream: cut, looked up, compressed, packed. What comes of it is a [`StoredContent`].
//!
//! Full packs are put and indexed as the stream goes, so an upload that a crash interrupts has stored them:
//! read from its start again, it finds their chunks and stores the rest: all but the pack that was being
//! filled, and those before it that were being put. The last pack's rows are written by the transaction
//! that refers to the content.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::Read;

use strongroom_base::Result;

use super::body::Compressor;
use super::cutter::Pieces;
use super::index::{Additions, Body, read_stored};
use super::prepare::{Prepared, Preparers, prepare};
use super::store::Content;
use super::stored::{PUT, StoredContent, UnderWay, check_limit, full};
use super::writer::{OpenPack, PackUnderWay, PutPack, Reservation};
use strongroom_base::LongCall;
use strongroom_format::{Child, ChunkId, ChunkKind, ContentRef, NodeBody, UploadRow};
use strongroom_store::commit::Tx;
use strongroom_store::state::Table;

/// A content whose chunks take at most so many bytes, stored, lies in state (at most an object's length, if
/// that is shorter): a pack costs three syncs more, which take longer than so many bytes in state.
const STATE_BYTES_MAX: usize = 256 << 10;

/// Most children of a node.
const CHILDREN_MAX: usize = 1_024;
/// A node ends behind a child whose id has this many zero bits at its beginning: after 256 on average, and
/// wherever they are inserted, at the same ones.
const NODE_BITS: u32 = 8;

/// Most packs on their way at once, each in memory: where a put takes long, more of them are faster.
const PUTTING_MAX: usize = 4;

/// So many children of new nodes are indexed at the latest, however few bytes the nodes have: a commit
/// raises the count of each.
const CHILDREN_PER_COMMIT: usize = 8_192;

/// A stream that is being stored.
pub struct Upload {
    compressor: Compressor,
    /// The pack that is being filled.
    filling: Option<OpenPack>,
    /// The buffer of one that was put.
    spare: Option<Vec<u8>>,
    /// What is to be indexed with that pack, or without one by the commit.
    batch: Batch,
    /// The full packs before it, on their way, the oldest first, and what is to be indexed with each.
    putting: VecDeque<(PackUnderWay, Batch)>,
    /// How many of them there may be.
    putting_max: usize,
    /// The stream is long: packs are put beside the rest of the work.
    is_long: bool,
    /// Children without a node, by height.
    levels: Vec<Vec<Child>>,
    since: u64,
    /// What the store may take at most, in bytes.
    limit: Option<u64>,
    // The last to go: what was reserved is due for deletion by then.
    under_way: UnderWay,
}

/// What is to be indexed together.
#[derive(Default)]
struct Batch {
    /// Chunks of it.
    new: HashSet<ChunkId>,
    additions: Additions,
    /// Children of its nodes.
    children: usize,
    /// Of its packs.
    reservations: Vec<Reservation>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

impl Upload {
    /// An upload of so many bytes, if that is known, to a store that may take so many. `Full` if they do
    /// not fit.
    pub fn new(content: &Content, limit: Option<u64>, size: Option<u64>) -> Result<Self> {
        let (core, under_way) = (content.core(), UnderWay::begin(content)?);
        if let (Some(limit), Some(size)) = (limit, size) {
            let stored = || core.read().and_then(|view| read_stored(view.state()));
            let reserved = content.uploads().reserve(under_way.id, size, limit, stored)?;
            reserved.map_err(|taken| full(taken, size, limit))?;
        }
        Ok(Self {
            compressor: content.codecs().compressor()?,
            filling: None,
            spare: None,
            batch: Batch::default(),
            putting: VecDeque::new(),
            putting_max: core.objects().at_once_max().min(PUTTING_MAX),
            is_long: false,
            levels: Vec::new(),
            since: core.clock().unix_millis(),
            limit,
            under_way,
        })
    }

    /// Stores all of `source`; what is left is to commit it.
    pub fn store(
        mut self,
        source: &mut dyn Read,
        size: Option<u64>,
        call: LongCall<'_>,
    ) -> Result<StoredContent> {
        let store = self.under_way.content.clone();
        let mut stream = Stream {
            pieces: Pieces::new(store.cutter(), source),
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
        let Self { compressor, batch, limit, under_way, .. } = self;
        store.codecs().keep(compressor);
        let Batch { additions, reservations, .. } = batch;
        let stored =
            StoredContent::new(under_way, content, checksum, additions, reservations, limit);
        if size.is_none() {
            stored.reserve()?;
        }
        Ok(stored)
    }

    /// Prepares the chunks of a stream on the pool, while this thread reads and packs.
    fn store_long(&mut self, stream: &mut Stream<'_>, first: Option<Vec<u8>>) -> Result<()> {
        let mut preparers = Preparers::new(&self.under_way.content);
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
        prepare(&self.under_way.content, &mut self.compressor, kind, bytes)
    }

    /// The next chunk of the stream.
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

    /// Keeps a chunk if it is new: for state while all of them are short, in a pack from then on.
    fn hold(&mut self, prepared: Prepared) -> Result<ChunkId> {
        let body = match prepared {
            Prepared::New(body) if !self.is_new(&body.id) => body,
            Prepared::New(Body { id, .. }) | Prepared::Found { id, .. } => return Ok(id),
        };
        let id = body.id;
        self.batch.new.insert(id);
        self.batch.additions.bodies.push(body);
        let held = self.batch.additions.bodies.iter().map(|body| body.stored.len()).sum::<usize>();
        let objects = self.under_way.content.core().objects();
        let is_small = held <= STATE_BYTES_MAX.min(objects.object_bytes());
        let is_packed =
            self.filling.is_some() || !self.putting.is_empty() || self.under_way.has_row;
        if is_small && !is_packed {
            return Ok(id);
        }
        let pack = match &mut self.filling {
            Some(pack) => pack,
            none => none.insert(OpenPack::begin(self.under_way.content.core(), self.spare.take())?),
        };
        let bodies = std::mem::take(&mut self.batch.additions.bodies);
        bodies
            .iter()
            .try_for_each(|body| pack.add(self.under_way.content.core().objects(), body))?;
        Ok(id)
    }

    /// Puts and indexes what is there, if that is much. Between two chunks: each node is there with its
    /// list.
    fn index_if_full(&mut self) -> Result<()> {
        while self.putting.front().is_some_and(|(pack, _)| pack.is_done()) {
            // As soon as it is there: a crash costs what is not indexed.
            self.index_oldest()?;
        }
        let Some(pack) = &self.filling else { return Ok(()) };
        if !pack.is_full() && self.batch.children < CHILDREN_PER_COMMIT {
            return Ok(());
        }
        // Those before it go first: nodes list chunks of earlier packs.
        let room = if self.is_long { self.putting_max } else { 1 };
        while self.putting.len() >= room {
            self.index_oldest()?;
        }
        let pack = self.filling.take().expect("seen above");
        let mut batch = std::mem::take(&mut self.batch);
        if self.is_long {
            self.putting.push_back((pack.put_beside(), batch));
            return Ok(());
        }
        self.spare = batch.take(pack.put()?);
        self.index(batch)
    }

    /// Indexes the oldest of the packs that are on their way, once it is there.
    fn index_oldest(&mut self) -> Result<()> {
        let Some((pack, mut batch)) = self.putting.pop_front() else { return Ok(()) };
        self.spare = batch.take(pack.wait()?);
        self.index(batch)
    }

    fn index(&mut self, batch: Batch) -> Result<()> {
        // Before the commit: one whose outcome is unknown is given up like the others.
        self.under_way.has_row = true;
        let change = |tx: &mut Tx<'_>| {
            check_limit(
                &self.under_way.content,
                tx,
                self.under_way.id,
                self.limit,
                &batch.additions,
            )?;
            let row = UploadRow::V0 { since_unix_millis: self.since };
            tx.state.put(Table::Uploads, &self.under_way.id.0, &row.encode())?;
            batch.additions.write(tx, Some(self.under_way.id))?;
            // Under the turn: no other upload may count these bytes twice.
            let (content, id) = (self.under_way.content.clone(), self.under_way.id);
            let indexed = batch.additions.packs.iter().map(|pack| pack.bytes).sum();
            tx.on_commit(move |_| content.uploads().settle(id, indexed));
            batch.reservations.iter().try_for_each(|reservation| {
                tx.state.delete(Table::Pending, &reservation.stage().key(0))
            })
        };
        self.under_way.content.core().write(PUT, change)?;
        batch.reservations.into_iter().for_each(Reservation::settled);
        Ok(())
    }

    /// One more child at a height; a node above it where one ends.
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

    /// The root, once the stream has ended.
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
    /// Takes a pack that is to be indexed with it; its buffer.
    fn take(&mut self, put: PutPack) -> Option<Vec<u8>> {
        self.additions.packs.push(put.packed);
        self.reservations.push(put.reservation);
        put.spare
    }
}

/// What is being read, and who hears of it.
struct Stream<'a> {
    pieces: Pieces<'a>,
    checksum: blake3::Hasher,
    size: Option<u64>,
    call: LongCall<'a>,
    /// Bytes of chunks that are held.
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
