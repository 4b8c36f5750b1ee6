//! Storing a stream: cut, looked up, compressed, packed; and committed with whatever refers to it.
//!
//! Full packs are put and indexed as the stream goes, so an upload that a crash interrupts has stored them:
//! read from its start again, it finds their chunks and stores the rest: all but the pack that was being
//! filled, and the one before it if that was being put. The last pack's rows, and the
//! reference to the root, are written by the transaction that refers to the content.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom_backends::{Error, ErrorKind, Result};

use super::body::Compressor;
use super::cutter::Pieces;
use super::index::{Additions, Body, read_stored, refer, stored_total};
use super::prepare::{Prepared, Preparers, prepare};
use super::writer::{OpenPack, PackUnderWay, PutPack, Reservation};
use crate::content::Pin;
use crate::format::{
    Child, ChunkId, ChunkKind, ContentRef, NodeBody, StageId, UploadId, UploadRow,
};
use crate::progress::{CancelToken, Progress};
use crate::state::Table;
use crate::transaction::{Work, WriteTx};
use crate::vault::{ContentPlant, Vault};

const PUT: &str = "store content";

/// A content whose chunks take at most so many bytes, stored, lies in state (at most an object's length, if
/// that is shorter): a pack costs three syncs more, which take longer than so many bytes in state.
const STATE_BYTES_MAX: usize = 256 << 10;

/// Most children of a node.
const CHILDREN_MAX: usize = 1_024;
/// A node ends behind a child whose id has this many zero bits at its beginning: after 256 on average, and
/// wherever they are inserted, at the same ones.
const NODE_BITS: u32 = 8;

/// So many children of new nodes are indexed at the latest, however few bytes the nodes have: a commit
/// raises the count of each.
const CHILDREN_PER_COMMIT: usize = 8_192;

/// A stream that is being stored. Dropped before its commit, it leaves what it stored to be released.
pub(crate) struct Upload {
    vault: Vault,
    id: UploadId,
    /// Taken before the first look-up: see `uploads.rs`.
    pin: Option<Arc<Pin>>,
    compressor: Option<Compressor>,
    /// The pack that is being filled.
    filling: Option<OpenPack>,
    /// The buffer of one that was put.
    spare: Option<Vec<u8>>,
    /// What is to be indexed with that pack, or without one by the commit.
    batch: Batch,
    /// The full pack before it, on its way, and what is to be indexed with it.
    putting: Option<(PackUnderWay, Batch)>,
    /// The stream is long: packs are put beside the rest of the work.
    is_long: bool,
    /// Children without a node, by height.
    levels: Vec<Vec<Child>>,
    since: u64,
    /// What the store may take at most, in bytes.
    limit: Option<u64>,
    /// Its row in table `uploads` was written, or may have been.
    has_row: bool,
    committed: bool,
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

/// What an upload has read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) content: ContentRef,
    /// BLAKE3 of all of its bytes.
    pub(crate) checksum: [u8; 32],
}

impl Upload {
    /// An upload of so many bytes, if that is known, to a store that may take so many. `Full` if they do
    /// not fit.
    pub(crate) fn new(vault: &Vault, limit: Option<u64>, size: Option<u64>) -> Result<Self> {
        let inner = vault.inner();
        let id = UploadId(inner.components.entropy.draw()?);
        let compressor = inner.codecs.compressor()?;
        let pin = inner.uploads.enter(id, !inner.is_content_planted(ContentPlant::LatePin))?;
        let upload = Self {
            vault: vault.clone(),
            id,
            pin,
            compressor: Some(compressor),
            filling: None,
            spare: None,
            batch: Batch::default(),
            putting: None,
            is_long: false,
            levels: Vec::new(),
            since: inner.components.clock.unix_millis(),
            limit,
            has_row: false,
            committed: false,
        };
        if let (Some(limit), Some(size)) = (limit, size) {
            let stored = || vault.read().and_then(|snapshot| read_stored(snapshot.state()));
            let reserved = inner.uploads.reserve(id, size, limit, stored)?;
            reserved.map_err(|taken| full(taken, size, limit))?;
        }
        Ok(upload)
    }

    /// Stores all of `source`; what is left is to [commit](Self::commit) it.
    pub(crate) fn store(
        &mut self,
        source: &mut dyn Read,
        progress: &dyn Progress,
        size: Option<u64>,
        cancel: &CancelToken,
    ) -> Result<Stored> {
        let vault = self.vault.clone();
        let mut stream = Stream {
            pieces: Pieces::new(&vault.inner().cutter, source),
            checksum: blake3::Hasher::new(),
            progress,
            size,
            cancel,
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
        self.index_putting()?;
        if let Some(pack) = self.filling.take() {
            self.spare = self.batch.take(pack.put()?);
        }
        let content = ContentRef { len: stream.done, root, height };
        Ok(Stored { content, checksum: *stream.checksum.finalize().as_bytes() })
    }

    /// Has the chunks of a stream prepared by other threads, while this one reads and packs.
    fn store_long(&mut self, stream: &mut Stream<'_>, first: Option<Vec<u8>>) -> Result<()> {
        let vault = self.vault.clone();
        std::thread::scope(|scope| {
            let mut preparers = Preparers::start(scope, &vault)?;
            let mut next = first;
            loop {
                while let Some(piece) = next.take() {
                    preparers.send(piece)?;
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
        })
    }

    /// Commits `with` together with a reference to what was stored, in a commit that others may share.
    /// `check` says whether it may happen: nothing but the storage can fail it after that.
    pub(crate) fn commit<T: Send + 'static>(
        mut self,
        operation: &'static str,
        stored: &Stored,
        check: impl Fn(&WriteTx<'_>) -> Result<()> + Send + 'static,
        with: impl FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Batch { additions, reservations, .. } = std::mem::take(&mut self.batch);
        let value = Arc::new(Mutex::new(None));
        let work = UploadCommit {
            upload: self.id,
            root: stored.content.root,
            additions,
            stages: reservations.iter().map(Reservation::stage).collect(),
            limit: self.limit,
            check: Box::new(check),
            with: Some(Box::new(with)),
            value: Arc::clone(&value),
        };
        self.vault.inner().submit(operation, Box::new(work))?;
        reservations.into_iter().for_each(Reservation::settled);
        self.committed = true;
        let (value, state_bytes) = value.lock().take().expect("applied, or an error");
        self.vault.inner().pack_if_much(state_bytes);
        Ok(value)
    }

    /// Prepares a chunk on this thread.
    fn prepare(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<Prepared> {
        let compressor = self.compressor.as_mut().expect("given back only when dropped");
        prepare(&self.vault, compressor, kind, bytes)
    }

    /// The next chunk of the stream.
    fn take(&mut self, prepared: Prepared, stream: &mut Stream<'_>) -> Result<()> {
        let len = u64::from(prepared.len());
        let id = self.hold(prepared)?;
        self.link(0, Child { id, len })?;
        stream.done += len;
        stream.progress.report(stream.done, stream.size);
        Ok(())
    }

    fn is_new(&self, id: &ChunkId) -> bool {
        let is_put = self.putting.as_ref().is_some_and(|(_, batch)| batch.new.contains(id));
        is_put || self.batch.new.contains(id)
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
        let objects = &self.vault.inner().objects;
        let is_small = held <= STATE_BYTES_MAX.min(objects.object_bytes());
        let is_packed = self.filling.is_some() || self.putting.is_some() || self.has_row;
        if is_small && !is_packed {
            return Ok(id);
        }
        let pack = match &mut self.filling {
            Some(pack) => pack,
            none => none.insert(OpenPack::begin(self.vault.inner(), self.spare.take())?),
        };
        let bodies = std::mem::take(&mut self.batch.additions.bodies);
        bodies.iter().try_for_each(|body| pack.add(&self.vault.inner().objects, body))?;
        Ok(id)
    }

    /// Puts and indexes what is there, if that is much. Between two chunks: each node is there with its
    /// list.
    fn index_if_full(&mut self) -> Result<()> {
        if self.putting.as_ref().is_some_and(|(pack, _)| pack.is_done()) {
            // As soon as it is there: a crash costs what is not indexed.
            self.index_putting()?;
        }
        let Some(pack) = &self.filling else { return Ok(()) };
        if !pack.is_full() && self.batch.children < CHILDREN_PER_COMMIT {
            return Ok(());
        }
        // The one before it goes first: nodes list chunks of earlier packs.
        self.index_putting()?;
        let pack = self.filling.take().expect("seen above");
        let mut batch = std::mem::take(&mut self.batch);
        if self.is_long {
            self.putting = Some((pack.put_beside()?, batch));
            return Ok(());
        }
        self.spare = batch.take(pack.put()?);
        self.index(batch)
    }

    /// Indexes the pack that is on its way, once it is there.
    fn index_putting(&mut self) -> Result<()> {
        let Some((pack, mut batch)) = self.putting.take() else { return Ok(()) };
        self.spare = batch.take(pack.wait()?);
        self.index(batch)
    }

    fn index(&mut self, batch: Batch) -> Result<()> {
        // Before the commit: one whose outcome is unknown is given up like the others.
        self.has_row = true;
        let change = |tx: &mut WriteTx<'_>| {
            check_limit(tx, self.id, self.limit, &batch.additions)?;
            let row = UploadRow::V0 { since_unix_millis: self.since };
            tx.state.put(Table::Uploads, &self.id.0, &row.encode())?;
            batch.additions.write(tx, Some(self.id))?;
            batch.reservations.iter().try_for_each(|reservation| {
                tx.state.delete(Table::Pending, &reservation.stage().key(0))
            })
        };
        let indexed = batch.additions.packs.iter().map(|pack| pack.bytes).sum();
        let settle = |(): &()| self.vault.inner().uploads.settle(self.id, indexed);
        self.vault.inner().write(PUT, change, settle)?;
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

/// What an upload commits.
struct UploadCommit<T> {
    upload: UploadId,
    root: ChunkId,
    additions: Additions,
    /// Of its packs' pending rows.
    stages: Vec<StageId>,
    limit: Option<u64>,
    check: Check,
    with: Option<With<T>>,
    /// What that gave, and how much lies in state then.
    value: Arc<Mutex<Option<(T, u64)>>>,
}

type Check = Box<dyn Fn(&WriteTx<'_>) -> Result<()> + Send>;
type With<T> = Box<dyn FnOnce(&mut WriteTx<'_>) -> Result<T> + Send>;

impl<T: Send> Work for UploadCommit<T> {
    fn check(&self, tx: &WriteTx<'_>) -> Result<()> {
        (self.check)(tx)?;
        check_limit(tx, self.upload, self.limit, &self.additions)
    }

    fn apply(&mut self, tx: &mut WriteTx<'_>) -> Result<()> {
        tx.state.delete(Table::Uploads, &self.upload.0)?;
        self.additions.write(tx, None)?;
        for stage in &self.stages {
            tx.state.delete(Table::Pending, &stage.key(0))?;
        }
        refer(tx, &self.root)?;
        let with = self.with.take().expect("applied once");
        let value = with(tx)?;
        *self.value.lock() = Some((value, stored_total(tx)?.0));
        // It is counted as stored from here on.
        tx.vault.uploads.settle(self.upload, u64::MAX);
        Ok(())
    }
}

/// `Full` if the store would take more than it may with these, beside what others have reserved.
fn check_limit(
    tx: &WriteTx<'_>,
    upload: UploadId,
    limit: Option<u64>,
    additions: &Additions,
) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let (state, packs) = stored_total(tx)?;
    let others = tx.vault.uploads.reserved_by_others(upload);
    let taken = state.saturating_add(packs).saturating_add(others);
    let more = additions.bytes(tx)?;
    if more > 0 && taken.saturating_add(more) > limit {
        return Err(full(taken, more, limit));
    }
    Ok(())
}

/// What is being read, and who hears of it.
struct Stream<'a> {
    pieces: Pieces<'a>,
    checksum: blake3::Hasher,
    progress: &'a dyn Progress,
    size: Option<u64>,
    cancel: &'a CancelToken,
    /// Bytes of chunks that are held.
    done: u64,
}

impl Stream<'_> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.cancel.check(PUT)?;
        let piece = self.pieces.next()?;
        if let Some(piece) = piece {
            self.checksum.update(piece);
        }
        Ok(piece)
    }
}

fn full(taken: u64, more: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Full, PUT)
        .with_detail(format!("{more} bytes do not fit: {taken} of {limit} are stored or reserved"))
}

impl Drop for Upload {
    fn drop(&mut self) {
        // First: the state may have to be opened again, which waits for readers.
        self.pin = None;
        if let Some(compressor) = self.compressor.take() {
            self.vault.inner().codecs.keep(compressor);
        }
        if !self.committed && self.has_row {
            // What is not gone on with is released by the next clean-up; if this fails, after a day.
            let change = |tx: &mut WriteTx<'_>| {
                let row = UploadRow::V0 { since_unix_millis: 0 };
                tx.state.put(Table::Uploads, &self.id.0, &row.encode())
            };
            if let Err(error) = self.vault.inner().write(PUT, change, |()| ()) {
                tracing::warn!(error = %error.kind(), "unfinished upload not given up yet");
            }
        }
        self.vault.inner().uploads.leave(self.id);
    }
}
