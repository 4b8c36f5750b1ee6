//! A vault's bytes in memory, and damaged copies of them.
//!
//! An image is opened many thousand times, so copies share all unchanged pages. A copy counts the
//! vault's changes, because a refused open must make none.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom::backends::{Backend, Condition, Key, Memory};
use strongroom::storage::{StateFile, StateStorage};
use strongroom::{Error, ErrorKind, Result};

/// Offsets and sizes in a state file (docs/spec/format.md).
pub(crate) mod layout {
    use std::ops::Range;

    pub(crate) const HEADER_BYTES: usize = 4096;
    pub(crate) const SUPER_AT: usize = 8192;
    pub(crate) const SUPER_STRIDE: usize = 4096;
    pub(crate) const SUPER_BYTES: usize = 512;
    pub(crate) const BLOCKS_AT: usize = 16_384;
    pub(crate) const BLOCK_BYTES: usize = 4136;
    pub(crate) const NONCE_BYTES: usize = 24;
    pub(crate) const TAG_BYTES: usize = 16;

    /// Returns the range of the block `number`, counted from 0.
    pub(crate) fn block(number: usize) -> Range<usize> {
        let start = BLOCKS_AT + number * BLOCK_BYTES;
        start..start + BLOCK_BYTES
    }

    /// Returns the number of whole blocks in a file of `len` bytes.
    pub(crate) fn blocks(len: usize) -> usize {
        len.saturating_sub(BLOCKS_AT) / BLOCK_BYTES
    }
}

/// Bytes of a page. Its first change copies the whole page.
const PAGE_BYTES: usize = 4096;

/// A vault's bytes at one moment.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) state: Arc<Vec<u8>>,
    pub(crate) objects: BTreeMap<Key, Bytes>,
}

impl Image {
    /// Returns the current bytes of `state` and `backend`.
    pub(crate) fn of(state: &ImageStorage, backend: &Memory) -> Self {
        Self { state: Arc::new(state.bytes()), objects: objects_on(backend) }
    }

    /// Returns the numbers of the blocks that were ever written.
    pub(crate) fn written(&self) -> Vec<usize> {
        let is_written = |&n: &usize| self.state[layout::block(n)].iter().any(|&byte| byte != 0);
        (0..layout::blocks(self.state.len())).filter(is_written).collect()
    }

    pub(crate) fn block(&self, number: usize) -> &[u8] {
        &self.state[layout::block(number)]
    }

    /// Returns a damaged copy of the image.
    pub(crate) fn damaged(&self, damage: &Damage) -> (ImageStorage, Memory) {
        let (base, len) = (Arc::clone(&self.state), self.state.len());
        let state = ImageStorage::of(PagedBytes { base, len, ..PagedBytes::default() });
        state.damage(damage);
        let backend = Memory::new();
        for (key, body) in &self.objects {
            let body = damage.objects.get(key).map_or(Some(body), Option::as_ref);
            if let Some(body) = body {
                backend.put(key, body.clone(), &Condition::Any).unwrap();
            }
        }
        (state, backend)
    }
}

/// Returns all objects of a backend.
pub(crate) fn objects_on(backend: &Memory) -> BTreeMap<Key, Bytes> {
    let listed = backend.list("", None, 10_000).unwrap();
    listed
        .into_iter()
        .map(|entry| {
            let body = backend.get(&entry.key).unwrap().body;
            (entry.key, body)
        })
        .collect()
}

/// Changes to an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    pub(crate) label: String,
    /// New length of the state in bytes. The state is truncated, or extended by zeros, before
    /// writes.
    len: Option<usize>,
    /// Bytes written to the state, by offset.
    writes: Vec<(usize, Vec<u8>)>,
    /// Bodies that replace others. `None` removes the object.
    objects: BTreeMap<Key, Option<Bytes>>,
}

impl Damage {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Flips one bit of the byte at `at`. The offset determines the bit.
    pub(crate) fn flip(state: &[u8], at: usize) -> Self {
        let bit = bit(at);
        Self::new(format!("byte {at}, bit {bit:#04x}")).write(at, &[state[at] ^ bit])
    }

    pub(crate) fn labelled(self, label: String) -> Self {
        Self { label, ..self }
    }

    pub(crate) fn write(mut self, at: usize, bytes: &[u8]) -> Self {
        self.writes.push((at, bytes.to_vec()));
        self
    }

    pub(crate) fn len(mut self, len: usize) -> Self {
        self.len = Some(len);
        self
    }

    pub(crate) fn object(mut self, key: &Key, body: Option<Bytes>) -> Self {
        self.objects.insert(key.clone(), body);
        self
    }
}

/// Returns a bit that differs between neighbouring offsets.
pub(crate) fn bit(at: usize) -> u8 {
    1 << ((at ^ (at >> 3) ^ (at >> 9)) % 8)
}

/// Bytes of a state file that share unchanged pages with their base.
#[derive(Default)]
struct PagedBytes {
    base: Arc<Vec<u8>>,
    len: usize,
    changed: BTreeMap<usize, Box<[u8]>>,
    /// Number of changes that the vault has made.
    changes: u64,
}

impl PagedBytes {
    fn of_base(&self, page: usize) -> &[u8] {
        let start = (page * PAGE_BYTES).min(self.base.len());
        &self.base[start..(start + PAGE_BYTES).min(self.base.len())]
    }

    fn read(&self, at: usize, mut out: &mut [u8]) {
        for (page, within) in pages(at..at + out.len()) {
            let (part, rest) = std::mem::take(&mut out).split_at_mut(within.len());
            if let Some(changed) = self.changed.get(&page) {
                part.copy_from_slice(&changed[within]);
            } else {
                let base = self.of_base(page);
                let there = within.start.min(base.len())..within.end.min(base.len());
                let len = there.len();
                part[..len].copy_from_slice(&base[there]);
                part[len..].fill(0);
            }
            out = rest;
        }
    }

    fn write(&mut self, at: usize, mut bytes: &[u8]) {
        for (page, within) in pages(at..at + bytes.len()) {
            let (part, rest) = bytes.split_at(within.len());
            if !self.changed.contains_key(&page) {
                let mut copy = vec![0; PAGE_BYTES];
                let base = self.of_base(page);
                copy[..base.len()].copy_from_slice(base);
                self.changed.insert(page, copy.into());
            }
            self.changed.get_mut(&page).unwrap()[within].copy_from_slice(part);
            bytes = rest;
        }
    }

    /// Sets the length. Bytes that are cut off and grown again read as zeros.
    fn set_len(&mut self, len: usize) {
        if len < self.len {
            let end = self.len;
            let mut at = len;
            while at < end {
                let next = (at / PAGE_BYTES + 1) * PAGE_BYTES;
                self.write(at, &vec![0; next.min(end) - at]);
                at = next;
            }
        }
        self.len = len;
    }
}

/// Returns the touched pages of a range, with the touched parts.
fn pages(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let last = range.end.div_ceil(PAGE_BYTES);
    (range.start / PAGE_BYTES..last).map(move |page| {
        let start = page * PAGE_BYTES;
        let within = range.start.max(start) - start..range.end.min(start + PAGE_BYTES) - start;
        (page, within)
    })
}

/// An in-memory storage of a vault's state. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct ImageStorage {
    published: Arc<Mutex<Option<SharedBytes>>>,
    created: Arc<Mutex<Option<SharedBytes>>>,
}

type SharedBytes = Arc<Mutex<PagedBytes>>;

impl ImageStorage {
    fn of(pages: PagedBytes) -> Self {
        let storage = Self::default();
        *storage.published.lock() = Some(Arc::new(Mutex::new(pages)));
        storage
    }

    fn state(&self) -> SharedBytes {
        self.published.lock().clone().expect("a state is published")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let state = self.state();
        let state = state.lock();
        let mut bytes = vec![0; state.len];
        state.read(0, &mut bytes);
        bytes
    }

    /// Returns the number of changes that the vault has made.
    pub(crate) fn changes(&self) -> u64 {
        self.state().lock().changes
    }

    /// Changes bytes without the vault's knowledge.
    pub(crate) fn damage(&self, damage: &Damage) {
        let state = self.state();
        let mut state = state.lock();
        if let Some(len) = damage.len {
            state.set_len(len);
        }
        for (at, bytes) in &damage.writes {
            state.write(*at, bytes);
        }
    }
}

impl fmt::Debug for ImageStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageStorage").finish_non_exhaustive()
    }
}

impl StateStorage for ImageStorage {
    fn exists(&self) -> Result<bool> {
        Ok(self.published.lock().is_some())
    }

    fn create(&self) -> Result<Box<dyn StateFile>> {
        let page = SharedBytes::default();
        *self.created.lock() = Some(Arc::clone(&page));
        Ok(Box::new(Storage(page)))
    }

    fn publish(&self) -> Result<()> {
        *self.published.lock() = self.created.lock().take();
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn discard(&self) -> Result<()> {
        *self.created.lock() = None;
        Ok(())
    }

    fn available_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }

    fn open(&self) -> Result<Box<dyn StateFile>> {
        let page = self.published.lock().clone();
        Ok(Box::new(Storage(page.ok_or_else(|| Error::new(ErrorKind::NotFound, "open state"))?)))
    }
}

struct Storage(SharedBytes);

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

fn offset_within(pages: &PagedBytes, offset: u64, len: usize) -> io::Result<usize> {
    let at = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let fits = at.checked_add(len).is_some_and(|end| end <= pages.len);
    if fits { Ok(at) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl StateFile for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = self.0.lock();
        let at = offset_within(&pages, offset, out.len())?;
        pages.read(at, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        let mut pages = self.0.lock();
        pages.changes += 1;
        pages.set_len(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = self.0.lock();
        let at = offset_within(&pages, offset, data.len())?;
        pages.changes += 1;
        pages.write(at, data);
        Ok(())
    }
}
