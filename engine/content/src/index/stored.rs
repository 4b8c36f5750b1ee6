//! A stored content that no row refers to yet.
//!
//! Its last pack is on the backend without rows, or its few chunks are in memory. The commit that
//! refers to the content writes the rows. Until then the upload is unfinished, and everything that
//! it found or stored is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::rows::{add, added_bytes, find_chunk, read_chunk, read_stored, refer, stored_total};
use super::{Effects, LocalIndex, adopted};
use crate::pipeline::{
    Additions, ChunkIndex, FoundChunk, Location, NewContent, PUT, Pinned, PlacedChunk, Reservation,
    UploadIndex,
};
use strongroom_format::{Child, ChunkId, ContentRef, ObjectName, StageId, UploadId, UploadRow};
use strongroom_store::commit::{Tx, Work};
use strongroom_store::objects::ReadEpoch;
use strongroom_store::state::Table;

/// An unfinished upload. If it is dropped without a commit, its chunks are released.
pub struct LocalUpload {
    index: Arc<LocalIndex>,
    id: UploadId,
    /// Registered before the first look-up, held until the end; see `upload_registry.rs`.
    read_epoch: Mutex<Option<Arc<ReadEpoch>>>,
    /// Its row in table `uploads` was written, or may have been.
    has_row: bool,
    since_unix_millis: u64,
    /// Most bytes that the store may use.
    limit: Option<u64>,
    /// Set if its length was known and is reserved.
    is_sized: bool,
    committed: AtomicBool,
}

impl LocalUpload {
    /// Begins an upload to a store that may use `limit` bytes.
    ///
    /// `size` is its length in bytes, if known.
    ///
    /// `Full` if they do not fit.
    pub(crate) fn begin(
        index: &Arc<LocalIndex>,
        limit: Option<u64>,
        size: Option<u64>,
    ) -> Result<Self> {
        let core = index.core();
        let id = UploadId(core.entropy().draw()?);
        let upload = Self {
            index: Arc::clone(index),
            id,
            read_epoch: Mutex::new(index.uploads().enter(id)?),
            has_row: false,
            since_unix_millis: core.clock().unix_millis(),
            limit,
            is_sized: size.is_some(),
            committed: AtomicBool::new(false),
        };
        if let Some(size) = size {
            upload.reserve(size)?;
        }
        Ok(upload)
    }

    /// Reserves bytes of the quota. `Full` if the store has no room for them now.
    fn reserve(&self, bytes: u64) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let core = self.index.core();
        let stored = || core.read_state().and_then(|state| read_stored(&state));
        let reserved = self.index.uploads().reserve(self.id, bytes, limit, stored)?;
        reserved.map_err(|taken| full(taken, bytes, limit))
    }

    /// Reserves bytes for the missing chunks that await the commit.
    fn reserve_for(&self, additions: &Additions) -> Result<()> {
        if self.limit.is_none() {
            return Ok(());
        }
        let state = self.index.core().read_state()?;
        let bytes = added_bytes(additions, |id| find_chunk(&state, id))?;
        drop(state);
        if bytes == 0 { Ok(()) } else { self.reserve(bytes) }
    }

    /// Returns `Full` if the store would exceed its limit.
    ///
    /// Reservations of other uploads count.
    fn check(&self, tx: &Tx<'_>, additions: &Additions) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let (state, packs) = stored_total(tx)?;
        // Contents that this transaction adopted already count as stored in it.
        let own = |id| id == self.id || adopted(tx).iter().any(|stored| stored.upload.id == id);
        let others = self.index.uploads().reserved_but(own);
        let taken = state.saturating_add(packs).saturating_add(others);
        let more = added_bytes(additions, |id| read_chunk(tx, id))?;
        if more > 0 && taken.saturating_add(more) > limit {
            return Err(full(taken, more, limit));
        }
        Ok(())
    }

    /// Ends the upload: its chunks are referenced, or not needed.
    fn end(&self) {
        self.read_epoch.lock().take();
        self.index.uploads().leave(self.id);
    }
}

impl UploadIndex for LocalUpload {
    type Stored = StoredContent;

    fn index(&self) -> Arc<dyn ChunkIndex> {
        Arc::<LocalIndex>::clone(&self.index)
    }

    fn add(&mut self, additions: Additions, reservations: Vec<Reservation>) -> Result<()> {
        // Set before the commit, so that a commit of unknown outcome is cleaned up like others.
        self.has_row = true;
        let change = |tx: &mut Tx<'_>| {
            self.check(tx, &additions)?;
            let row = UploadRow::V0 { since_unix_millis: self.since_unix_millis };
            tx.state.put(Table::Uploads, &self.id.0, &row.encode())?;
            add(tx, &additions, Some(self.id))?;
            // Under the write turn, so that no other upload counts these bytes twice.
            let (uploads, id) = (Arc::clone(&self.index.uploads), self.id);
            let indexed = additions.packs.iter().map(|pack| pack.bytes).sum();
            tx.on_commit(move |_| uploads.settle(id, indexed));
            settle(tx, &reservations)
        };
        self.index.core().write(PUT, change)?;
        reservations.into_iter().for_each(Reservation::settled);
        Ok(())
    }

    fn finish(self, new: NewContent) -> Result<StoredContent> {
        let NewContent { content, checksum, additions, reservations } = new;
        let reservations = Mutex::new(reservations);
        let stored = StoredContent { content, checksum, additions, reservations, upload: self };
        if !stored.upload.is_sized {
            stored.upload.reserve_for(&stored.additions)?;
        }
        Ok(stored)
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if !self.committed.load(Ordering::Acquire) && self.has_row {
            // The drop may happen inside a write, so the next commit, or the close, marks the row.
            self.index.uploads().give_up(self.id);
        }
        self.end();
    }
}

/// Removes the pending rows of packs that now have rows.
fn settle(tx: &mut Tx<'_>, reservations: &[Reservation]) -> Result<()> {
    reservations
        .iter()
        .try_for_each(|reserved| tx.state.delete(Table::Pending, &reserved.stage().key(0)))
}

/// A stored content that waits for a commit. If it is dropped without one, it is released.
pub struct StoredContent {
    content: ContentRef,
    checksum: [u8; 32],
    additions: Additions,
    /// The reservations of its packs.
    reservations: Mutex<Vec<Reservation>>,
    // Dropped last: its reservations are due for deletion by then.
    upload: LocalUpload,
}

impl std::fmt::Debug for StoredContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredContent").field("len", &self.content.len).finish_non_exhaustive()
    }
}

impl StoredContent {
    /// Returns the reference for a row.
    pub fn content(&self) -> ContentRef {
        self.content
    }

    /// Returns the BLAKE3 hash of all of its bytes.
    pub fn checksum(&self) -> [u8; 32] {
        self.checksum
    }

    /// Returns the approximate bytes of memory that it uses until its commit.
    pub fn bytes_in_memory(&self) -> u64 {
        self.additions.chunks.iter().map(|chunk| chunk.stored.len() as u64).sum()
    }

    /// Returns `Full` if the store would exceed its limit.
    pub fn check(&self, tx: &Tx<'_>) -> Result<()> {
        self.upload.check(tx, &self.additions)
    }

    /// Writes its rows and a reference to it.
    ///
    /// The transaction keeps it until the commit.
    ///
    /// After a [check](Self::check) only the storage can fail it.
    pub fn adopt(self: &Arc<Self>, tx: &mut Tx<'_>) -> Result<()> {
        self.write(tx)?;
        tx.parts.get_mut::<Effects>().adopted.push(Arc::clone(self));
        Ok(())
    }

    fn write(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.state.delete(Table::Uploads, &self.upload.id.0)?;
        add(tx, &self.additions, None)?;
        settle(tx, &self.reservations.lock())?;
        refer(tx, &self.content.root)
    }

    /// Ends its upload after the commit that refers to it.
    pub(crate) fn settle(&self) {
        self.reservations.lock().drain(..).for_each(Reservation::settled);
        self.upload.committed.store(true, Ordering::Release);
        // A reader of its transaction may keep it for longer.
        self.upload.end();
    }

    /// Commits `with` and a reference to the content.
    ///
    /// The commit may be shared.
    ///
    /// `check` decides whether the commit may happen. After the check only the storage can fail it.
    pub fn commit<T: Send + 'static>(
        self,
        action: &'static str,
        check: impl Fn(&Tx<'_>) -> Result<()> + Send + 'static,
        with: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (content, value) = (Arc::new(self), Arc::new(Mutex::new(None)));
        let work = ContentCommit {
            content: Arc::clone(&content),
            check,
            with: Some(with),
            value: Arc::clone(&value),
        };
        content.upload.index.core().submit(action, Box::new(work))?;
        let value = value.lock().take().expect("applied, or an error");
        Ok(value)
    }

    /// Returns an index view that includes its chunks, before its commit.
    pub fn shown_in(self: &Arc<Self>, pinned: &Pinned) -> Pinned {
        pinned.with_index(|index| Arc::new(Uncommitted { index, stored: Arc::clone(self) }))
    }

    /// Finds a chunk among those that its commit will index.
    fn find(&self, id: &ChunkId) -> Option<FoundChunk> {
        let Additions { chunks, packs, .. } = &self.additions;
        if let Some(chunk) = chunks.iter().find(|chunk| chunk.id == *id) {
            let (kind, len) = (chunk.kind, chunk.len);
            return Some(FoundChunk { kind, len, location: Location::Index(chunk.stored.clone()) });
        }
        packs.iter().find_map(|pack| {
            let chunk = pack.chunks.iter().find(|chunk| chunk.id == *id)?;
            let location = Location::Pack(pack.place(chunk));
            Some(FoundChunk { kind: chunk.kind, len: chunk.len, location })
        })
    }
}

/// The index with the chunks of a content without certain commit.
struct Uncommitted {
    index: Arc<dyn ChunkIndex>,
    stored: Arc<StoredContent>,
}

impl ChunkIndex for Uncommitted {
    fn find(&self, id: &ChunkId) -> Result<Option<FoundChunk>> {
        let found = self.index.find(id)?;
        if let None | Some(FoundChunk { location: Location::Lost, .. }) = found
            && let Some(chunk) = self.stored.find(id)
        {
            return Ok(Some(chunk));
        }
        Ok(found)
    }

    fn places(&self, chunks: &[Child], visit: &mut dyn FnMut(PlacedChunk) -> bool) -> Result<()> {
        self.index.places(chunks, visit)
    }

    fn is_kept(&self, id: &ChunkId) -> Result<bool> {
        self.index.is_kept(id)
    }

    fn enter_epoch(&self) -> Arc<ReadEpoch> {
        self.index.enter_epoch()
    }

    fn reserve_pack(&self, stage: StageId, name: ObjectName) -> Result<()> {
        self.index.reserve_pack(stage, name)
    }

    fn abandon_pack(&self, stage: StageId) {
        self.index.abandon_pack(stage);
    }

    fn explain(&self, error: Error) -> Error {
        self.index.explain(error)
    }
}

/// The commit of a content.
struct ContentCommit<T, C, W> {
    content: Arc<StoredContent>,
    /// Decides whether the commit may happen.
    check: C,
    /// Writes the rows that refer to the content; taken when it runs.
    with: Option<W>,
    /// The result of `with`.
    value: Arc<Mutex<Option<T>>>,
}

impl<T, C, W> Work for ContentCommit<T, C, W>
where
    T: Send,
    C: Fn(&Tx<'_>) -> Result<()> + Send,
    W: FnOnce(&mut Tx<'_>) -> Result<T> + Send,
{
    fn check(&self, tx: &Tx<'_>) -> Result<()> {
        (self.check)(tx)?;
        self.content.check(tx)
    }

    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.content.adopt(tx)?;
        let with = self.with.take().expect("applied once");
        *self.value.lock() = Some(with(tx)?);
        Ok(())
    }
}

fn full(taken: u64, more: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Full, PUT)
        .with_reason(Reason::QuotaExceeded)
        .with_detail(format!("{more} bytes do not fit: {taken} of {limit} are stored or reserved"))
}
