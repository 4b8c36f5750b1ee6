//! A vault's bytes in memory, and copies of them that are damaged before they are opened.
//!
//! An image is opened many thousand times, so a copy shares all pages that nobody has changed. It
//! counts the changes that are made to it: a refusal to open must make none.

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

/// Where things lie in a state file (docs/spec/format.md).
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

    /// Where the block `number` lies, counted from 0.
    pub(crate) fn block(number: usize) -> Range<usize> {
        let start = BLOCKS_AT + number * BLOCK_BYTES;
        start..start + BLOCK_BYTES
    }

    /// How many whole blocks a file of `len` bytes has.
    pub(crate) fn blocks(len: usize) -> usize {
        len.saturating_sub(BLOCKS_AT) / BLOCK_BYTES
    }
}

/// How much is copied when a byte is changed.
const SHEET_BYTES: usize = 4096;

/// A vault's bytes at one moment.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) state: Arc<Vec<u8>>,
    pub(crate) objects: BTreeMap<Key, Bytes>,
}

impl Image {
    /// What lies in `state` and on `backend` now.
    pub(crate) fn of(state: &Shelf, backend: &Memory) -> Self {
        Self { state: Arc::new(state.bytes()), objects: objects_on(backend) }
    }

    /// The numbers of the blocks that were ever written.
    pub(crate) fn written(&self) -> Vec<usize> {
        let is_written = |&n: &usize| self.state[layout::block(n)].iter().any(|&byte| byte != 0);
        (0..layout::blocks(self.state.len())).filter(is_written).collect()
    }

    pub(crate) fn block(&self, number: usize) -> &[u8] {
        &self.state[layout::block(number)]
    }

    /// A copy of it, damaged.
    pub(crate) fn damaged(&self, damage: &Damage) -> (Shelf, Memory) {
        let (base, len) = (Arc::clone(&self.state), self.state.len());
        let state = Shelf::of(Sheets { base, len, ..Sheets::default() });
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

/// All objects of a backend.
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

/// What is done to an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    pub(crate) told: String,
    /// The new length of the state, which is cut or grown by zeros first.
    len: Option<usize>,
    /// Bytes put into the state, by place.
    writes: Vec<(usize, Vec<u8>)>,
    /// Bodies put in the place of others; `None` for an object that is removed.
    objects: BTreeMap<Key, Option<Bytes>>,
}

impl Damage {
    pub(crate) fn new(told: impl Into<String>) -> Self {
        Self { told: told.into(), ..Self::default() }
    }

    /// One bit of the byte at `at`; which one, the place says.
    pub(crate) fn flip(state: &[u8], at: usize) -> Self {
        let bit = bit(at);
        Self::new(format!("byte {at}, bit {bit:#04x}")).write(at, &[state[at] ^ bit])
    }

    pub(crate) fn told_as(self, told: String) -> Self {
        Self { told, ..self }
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

/// Another bit from place to place.
pub(crate) fn bit(at: usize) -> u8 {
    1 << ((at ^ (at >> 3) ^ (at >> 9)) % 8)
}

/// Bytes of which only what was changed is held apart.
#[derive(Default)]
struct Sheets {
    base: Arc<Vec<u8>>,
    len: usize,
    changed: BTreeMap<usize, Box<[u8]>>,
    /// How often the storage was told to change anything.
    changes: u64,
}

impl Sheets {
    fn of_base(&self, sheet: usize) -> &[u8] {
        let start = (sheet * SHEET_BYTES).min(self.base.len());
        &self.base[start..(start + SHEET_BYTES).min(self.base.len())]
    }

    fn read(&self, at: usize, mut out: &mut [u8]) {
        for (sheet, within) in sheets(at..at + out.len()) {
            let (part, rest) = std::mem::take(&mut out).split_at_mut(within.len());
            if let Some(changed) = self.changed.get(&sheet) {
                part.copy_from_slice(&changed[within]);
            } else {
                let base = self.of_base(sheet);
                let there = within.start.min(base.len())..within.end.min(base.len());
                let len = there.len();
                part[..len].copy_from_slice(&base[there]);
                part[len..].fill(0);
            }
            out = rest;
        }
    }

    fn write(&mut self, at: usize, mut bytes: &[u8]) {
        for (sheet, within) in sheets(at..at + bytes.len()) {
            let (part, rest) = bytes.split_at(within.len());
            if !self.changed.contains_key(&sheet) {
                let mut copy = vec![0; SHEET_BYTES];
                let base = self.of_base(sheet);
                copy[..base.len()].copy_from_slice(base);
                self.changed.insert(sheet, copy.into());
            }
            self.changed.get_mut(&sheet).unwrap()[within].copy_from_slice(part);
            bytes = rest;
        }
    }

    /// What is cut off and grown again reads as zeros.
    fn set_len(&mut self, len: usize) {
        if len < self.len {
            let end = self.len;
            let mut at = len;
            while at < end {
                let next = (at / SHEET_BYTES + 1) * SHEET_BYTES;
                self.write(at, &vec![0; next.min(end) - at]);
                at = next;
            }
        }
        self.len = len;
    }
}

/// The sheets that a range touches, and which part of each.
fn sheets(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let last = range.end.div_ceil(SHEET_BYTES);
    (range.start / SHEET_BYTES..last).map(move |sheet| {
        let start = sheet * SHEET_BYTES;
        let within = range.start.max(start) - start..range.end.min(start + SHEET_BYTES) - start;
        (sheet, within)
    })
}

/// A place for a vault's state. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    published: Arc<Mutex<Option<Sheet>>>,
    created: Arc<Mutex<Option<Sheet>>>,
}

type Sheet = Arc<Mutex<Sheets>>;

impl Shelf {
    fn of(sheets: Sheets) -> Self {
        let shelf = Self::default();
        *shelf.published.lock() = Some(Arc::new(Mutex::new(sheets)));
        shelf
    }

    fn state(&self) -> Sheet {
        self.published.lock().clone().expect("a state is published")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let state = self.state();
        let state = state.lock();
        let mut bytes = vec![0; state.len];
        state.read(0, &mut bytes);
        bytes
    }

    /// How often the vault has changed anything.
    pub(crate) fn changes(&self) -> u64 {
        self.state().lock().changes
    }

    /// Changes bytes behind the vault's back.
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

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl StateStorage for Shelf {
    fn exists(&self) -> Result<bool> {
        Ok(self.published.lock().is_some())
    }

    fn create(&self) -> Result<Box<dyn StateFile>> {
        let sheet = Sheet::default();
        *self.created.lock() = Some(Arc::clone(&sheet));
        Ok(Box::new(Storage(sheet)))
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
        let sheet = self.published.lock().clone();
        Ok(Box::new(Storage(sheet.ok_or_else(|| Error::new(ErrorKind::NotFound, "open state"))?)))
    }
}

struct Storage(Sheet);

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

fn place(sheets: &Sheets, offset: u64, len: usize) -> io::Result<usize> {
    let at = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    let fits = at.checked_add(len).is_some_and(|end| end <= sheets.len);
    if fits { Ok(at) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl StateFile for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sheets = self.0.lock();
        let at = place(&sheets, offset, out.len())?;
        sheets.read(at, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        let mut sheets = self.0.lock();
        sheets.changes += 1;
        sheets.set_len(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sheets = self.0.lock();
        let at = place(&sheets, offset, data.len())?;
        sheets.changes += 1;
        sheets.write(at, data);
        Ok(())
    }
}
