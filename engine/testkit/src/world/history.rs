//! A power cut's choices, for one file and one folder.
//!
//! A history has the durable version and every later one. [`Fate`] makes the choice; this file has
//! the alternatives:
//!
//! - for each sector of 512 bytes, its bytes after any event that touched it
//! - for the length, any that the file has had
//! - for each name, anything that it has referred to, or nothing
//!
//! Version 0 is the durable one, and version `n` the one after the `n`th event of the sector,
//! length or name. The history keeps versions of pages, not of sectors, because a page is shared
//! with the running content. A bit for each sector shows which of them the event touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{
    Content, PAGE_BYTES, PAGE_SECTORS, Page, SECTOR_BYTES, index, pieces, sector_bits,
};
use super::fate::Fate;
use super::tree::{Ino, Name, Names};

/// The durable version of a file, and its later events.
#[derive(Clone, Debug, Default)]
pub(super) struct FileHistory {
    durable: Content,
    latest: Content,
    pages: BTreeMap<usize, Vec<PageVersion>>,
    lens: Vec<(u64, u64)>,
    events: Vec<u64>,
    /// Number of its names, durable or not. Without any it can never be found again.
    pub(super) names: usize,
}

/// A page after an event.
#[derive(Clone, Debug)]
struct PageVersion {
    event: u64,
    touched: u8,
    page: Page,
}

impl PageVersion {
    fn touches(&self, sector: usize) -> bool {
        self.touched >> sector & 1 == 1
    }
}

impl FileHistory {
    /// Makes the history of a durable file.
    pub(super) fn durable(content: &Content) -> Self {
        Self { durable: content.clone(), latest: content.clone(), ..Self::default() }
    }

    /// Returns the events that a power cut may undo.
    pub(super) fn events(&self) -> &[u64] {
        &self.events
    }

    pub(super) fn write(&mut self, event: u64, bytes: &[u8], offset: u64) {
        self.events.push(event);
        let len = self.latest.len();
        self.latest.write(bytes, offset);
        for piece in pieces(offset, bytes.len()) {
            self.remember(event, piece.page, piece.sectors());
        }
        if self.latest.len() != len {
            self.lens.push((event, self.latest.len()));
        }
    }

    pub(super) fn set_len(&mut self, event: u64, len: u64) {
        self.events.push(event);
        self.lens.push((event, len));
        let cut = self.latest.pages_from(len);
        let shrinks = len < self.latest.len();
        self.latest.set_len(len);
        if shrinks {
            // Truncated bytes are zeros if the file grows again.
            for page in cut {
                let start = index(len).saturating_sub(page * PAGE_BYTES);
                self.remember(event, page, sector_bits(&(start..PAGE_BYTES)));
            }
        }
    }

    fn remember(&mut self, event: u64, page: usize, touched: u8) {
        let version = PageVersion { event, touched, page: self.latest.page(page).clone() };
        self.pages.entry(page).or_default().push(version);
    }

    /// Makes the latest bytes and length durable.
    pub(super) fn sync(&mut self) {
        self.durable = self.latest.clone();
        self.pages.clear();
        self.lens.clear();
        self.events.clear();
    }

    /// Returns the file after a power cut.
    pub(super) fn survivor(&self, fate: &mut Fate) -> Content {
        if self.events.is_empty() {
            return self.durable.clone();
        }
        let version = fate.of_data(self.lens.iter().map(|(event, _)| *event));
        let len = version.checked_sub(1).map_or(self.durable.len(), |last| self.lens[last].1);
        let pages = self.pages.iter().map(|(number, versions)| {
            (*number, surviving_page(self.durable.page(*number), versions, fate))
        });
        self.durable.patched(pages, len)
    }
}

/// Makes a page of which each sector has its own fate.
fn surviving_page(durable: &Page, versions: &[PageVersion], fate: &mut Fate) -> Page {
    let sources: [Option<&Page>; PAGE_SECTORS] = std::array::from_fn(|sector| {
        let touching = versions.iter().filter(|version| version.touches(sector));
        touching.clone().next()?;
        let chosen = fate.of_data(touching.clone().map(|version| version.event));
        let mut choices = std::iter::once(durable).chain(touching.map(|version| &version.page));
        Some(choices.nth(chosen).expect("a fate is one of the versions"))
    });
    // An untouched sector is the same in all versions, so one page is usually enough.
    let mut chosen = sources.iter().flatten();
    let first = chosen.next().copied().unwrap_or(durable);
    if chosen.all(|page| same_page(page, first)) {
        return first.clone();
    }
    let mut mixed = [0; PAGE_BYTES];
    for (sector, source) in sources.iter().enumerate() {
        if let Some(page) = source.unwrap_or(durable) {
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            mixed[range.clone()].copy_from_slice(&page[range]);
        }
    }
    Some(Arc::new(mixed))
}

fn same_page(a: &Page, b: &Page) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// The file behind a name after an event.
#[derive(Clone, Copy, Debug)]
struct Binding {
    event: u64,
    ino: Option<Ino>,
}

/// The durable names of a folder, and the later events of each.
#[derive(Clone, Debug, Default)]
pub(super) struct DirHistory {
    durable: Arc<Names>,
    pending: BTreeMap<Name, Vec<Binding>>,
}

impl DirHistory {
    /// Makes the history of a folder with durable names.
    pub(super) fn durable(names: &Arc<Names>) -> Self {
        Self { durable: names.clone(), pending: BTreeMap::new() }
    }

    /// Returns the events that a power cut may undo.
    pub(super) fn events(&self) -> impl Iterator<Item = u64> {
        self.pending.values().flatten().map(|binding| binding.event)
    }

    pub(super) fn bind(&mut self, event: u64, name: &Name, ino: Option<Ino>) {
        self.pending.entry(name.clone()).or_default().push(Binding { event, ino });
    }

    /// Makes all names durable.
    ///
    /// Returns the inodes that are behind fewer of its versions than before, once for each version.
    pub(super) fn sync(&mut self) -> Vec<Ino> {
        let mut released = Vec::new();
        for (name, bindings) in std::mem::take(&mut self.pending) {
            released.extend(self.settle_bindings(name, bindings));
        }
        released
    }

    /// Makes one name durable; returns the same as [`sync`](Self::sync).
    pub(super) fn settle(&mut self, name: &Name) -> Vec<Ino> {
        match self.pending.remove_entry(name) {
            Some((name, bindings)) => self.settle_bindings(name, bindings),
            None => Vec::new(),
        }
    }

    fn settle_bindings(&mut self, name: Name, mut bindings: Vec<Binding>) -> Vec<Ino> {
        let last = bindings.pop().expect("a pending name has a binding");
        let names = Arc::make_mut(&mut self.durable);
        let replaced = match last.ino {
            Some(ino) => names.insert(name, ino),
            None => names.remove(&name),
        };
        replaced.into_iter().chain(bindings.into_iter().filter_map(|old| old.ino)).collect()
    }

    /// Returns the names after a power cut.
    pub(super) fn survivor(&self, fate: &mut Fate) -> Arc<Names> {
        let mut names = self.durable.clone();
        for (name, bindings) in &self.pending {
            let version = fate.of_name(bindings.iter().map(|binding| binding.event));
            let Some(last) = version.checked_sub(1) else {
                continue;
            };
            match bindings[last].ino {
                Some(ino) => Arc::make_mut(&mut names).insert(name.clone(), ino),
                None => Arc::make_mut(&mut names).remove(name),
            };
        }
        names
    }
}
