//! A content that is stored, and that nothing refers to yet: on its way into a commit.
//!
//! Its last pack is on the backend without its rows, or its few chunks are in memory: the commit that refers
//! to it writes them. Until then the upload counts as under way: whatever it has found or stored stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::body;
use super::index::{Additions, find_chunk, read_chunk, read_stored, refer, stored_total};
use super::pack::read_chunk as read_packed;
use super::store::{Content, Effects, adopted};
use super::writer::Reservation;
use strongroom_format::{ChunkId, ChunkKind, ContentRef, UploadId};
use strongroom_store::commit::{Tx, Work};
use strongroom_store::objects::Pin;
use strongroom_store::state::Table;

pub(crate) const PUT: &str = "store content";

/// An upload that is under way. Dropped before its commit, what it stored is given up.
pub(crate) struct UnderWay {
    pub(crate) content: Content,
    pub(crate) id: UploadId,
    /// Taken before the first look-up, kept until it ends: see `uploads.rs`.
    pin: Mutex<Option<Arc<Pin>>>,
    /// Its row in table `uploads` was written, or may have been.
    pub(crate) has_row: bool,
    committed: AtomicBool,
}

impl UnderWay {
    pub(crate) fn begin(content: &Content) -> Result<Self> {
        let id = UploadId(content.core().entropy().draw()?);
        let pin = content.uploads().enter(id)?;
        let (pin, committed) = (Mutex::new(pin), AtomicBool::new(false));
        Ok(Self { content: content.clone(), id, pin, has_row: false, committed })
    }

    /// What it has found and stored is referred to, or not needed.
    fn end(&self) {
        self.pin.lock().take();
        self.content.uploads().leave(self.id);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.committed.load(Ordering::Acquire) && self.has_row {
            // It may be dropped within a write: the next commit, or the close, says so in its row.
            self.content.uploads().give_up(self.id);
        }
        self.end();
    }
}

/// A content that is stored and waits for a commit to refer to it. Dropped without one, it is given up.
pub struct StoredContent {
    content: ContentRef,
    checksum: [u8; 32],
    additions: Additions,
    /// Of the packs among those.
    reservations: Mutex<Vec<Reservation>>,
    /// What the store may take at most, in bytes.
    limit: Option<u64>,
    // The last to go: what was reserved is due for deletion by then.
    upload: UnderWay,
}

impl std::fmt::Debug for StoredContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredContent").field("len", &self.content.len).finish_non_exhaustive()
    }
}

impl StoredContent {
    pub(crate) fn new(
        upload: UnderWay,
        content: ContentRef,
        checksum: [u8; 32],
        additions: Additions,
        reservations: Vec<Reservation>,
        limit: Option<u64>,
    ) -> Self {
        let reservations = Mutex::new(reservations);
        Self { content, checksum, additions, reservations, limit, upload }
    }

    /// What a row names it by.
    pub fn content(&self) -> ContentRef {
        self.content
    }

    /// BLAKE3 of all of its bytes.
    pub fn checksum(&self) -> [u8; 32] {
        self.checksum
    }

    /// How much memory it takes until its commit, in bytes, about.
    pub fn bytes_in_memory(&self) -> u64 {
        self.additions.bodies.iter().map(|body| body.stored.len() as u64).sum()
    }

    /// `Full` if the store would take more than it may.
    pub fn check(&self, tx: &Tx<'_>) -> Result<()> {
        check_limit(&self.upload.content, tx, self.upload.id, self.limit, &self.additions)
    }

    /// `Full` if the store has no room for it now; else that is reserved, as it is at the beginning of a
    /// stream whose length is known.
    pub(crate) fn reserve(&self) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let (content, core) = (&self.upload.content, self.upload.content.core());
        let state = core.read_state()?;
        let bytes = self.additions.bytes(|id| find_chunk(&state, id))?;
        drop(state);
        if bytes == 0 {
            return Ok(());
        }
        let stored = || core.read_state().and_then(|state| read_stored(&state));
        let reserved = content.uploads().reserve(self.upload.id, bytes, limit, stored)?;
        reserved.map_err(|taken| full(taken, bytes, limit))
    }

    /// Writes its rows and a reference to it, in a transaction that keeps it until the commit.
    ///
    /// Once it was [checked](Self::check), only the storage can fail it.
    pub fn adopt(self: &Arc<Self>, tx: &mut Tx<'_>) -> Result<()> {
        self.write(tx)?;
        tx.parts.get_mut::<Effects>().adopted.push(Arc::clone(self));
        Ok(())
    }

    fn write(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.state.delete(Table::Uploads, &self.upload.id.0)?;
        self.additions.write(tx, None)?;
        for reservation in &*self.reservations.lock() {
            tx.state.delete(Table::Pending, &reservation.stage().key(0))?;
        }
        refer(tx, &self.content.root)
    }

    /// The commit that refers to it has happened.
    pub(crate) fn settle(&self) {
        self.reservations.lock().drain(..).for_each(Reservation::settled);
        self.upload.committed.store(true, Ordering::Release);
        // Whoever read it within its transaction may keep it for longer.
        self.upload.end();
    }

    /// Commits `with` together with a reference to it, in a commit that others may share. `check` says
    /// whether it may happen: nothing but the storage can fail it after that.
    pub fn commit<T: Send + 'static>(
        self,
        action: &'static str,
        check: impl Fn(&Tx<'_>) -> Result<()> + Send + 'static,
        with: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (content, value) = (Arc::new(self), Arc::new(Mutex::new(None)));
        let work = ContentCommit {
            content: Arc::clone(&content),
            check: Box::new(check),
            with: Some(Box::new(with)),
            value: Arc::clone(&value),
        };
        content.upload.content.core().submit(action, Box::new(work))?;
        let value = value.lock().take().expect("applied, or an error");
        Ok(value)
    }

    /// The bytes of a chunk whose row this content brings, for whoever reads it before its commit; `None` if
    /// it brings none.
    pub(crate) fn fetch(&self, kind: ChunkKind, id: &ChunkId) -> Result<Option<Vec<u8>>> {
        let content = &self.upload.content;
        let unpack = |len, stored: &[u8]| {
            body::unpack(content.codecs(), content.id_keys(), kind, id, len, stored)
        };
        let Additions { bodies, packs, .. } = &self.additions;
        if let Some(body) = bodies.iter().find(|body| body.id == *id) {
            return unpack(body.len, &body.stored).map(Some);
        }
        for pack in packs {
            if let Some(chunk) = pack.chunks.iter().find(|chunk| chunk.id == *id) {
                let (at, stored) = (chunk.at, chunk.stored);
                let stored =
                    read_packed(content.core().objects(), pack.name, pack.epoch, at, stored)?;
                return unpack(chunk.len, &stored).map(Some);
            }
        }
        Ok(None)
    }
}

/// A content's own commit.
struct ContentCommit<T> {
    content: Arc<StoredContent>,
    check: Check,
    with: Option<With<T>>,
    /// What that gave.
    value: Arc<Mutex<Option<T>>>,
}

type Check = Box<dyn Fn(&Tx<'_>) -> Result<()> + Send>;
type With<T> = Box<dyn FnOnce(&mut Tx<'_>) -> Result<T> + Send>;

impl<T: Send> Work for ContentCommit<T> {
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

/// `Full` if the store would take more than it may with these, beside what others have reserved.
pub(crate) fn check_limit(
    content: &Content,
    tx: &Tx<'_>,
    upload: UploadId,
    limit: Option<u64>,
    additions: &Additions,
) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let (state, packs) = stored_total(tx)?;
    // What this transaction has adopted counts as stored in it already.
    let own = |id| id == upload || adopted(tx).iter().any(|stored| stored.upload.id == id);
    let others = content.uploads().reserved_but(own);
    let taken = state.saturating_add(packs).saturating_add(others);
    let more = additions.bytes(|id| read_chunk(tx, id))?;
    if more > 0 && taken.saturating_add(more) > limit {
        return Err(full(taken, more, limit));
    }
    Ok(())
}

pub(crate) fn full(taken: u64, more: u64, limit: u64) -> Error {
    Error::new(ErrorKind::Full, PUT)
        .with_reason(Reason::QuotaExceeded)
        .with_detail(format!("{more} bytes do not fit: {taken} of {limit} are stored or reserved"))
}
