//! Pages that redb has written and the file does not have.
//!
//! redb writes the pages of a commit one by one and in any order. Holding them back until the sync
//! needs one draw of entropy for all nonces, and one write for neighbours.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};

use strongroom_format::PAGE_BYTES;

/// A page in memory.
pub(super) type Page = Box<[u8; PAGE_BYTES]>;
/// Pages by number.
pub(super) type Pages = BTreeMap<u64, Page>;

/// Most pages that are held back: 4 MiB. Beyond that they are written.
const PENDING_PAGES_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Pending {
    held: RwLock<PendingPages>,
    /// One flush at a time.
    flush: Mutex<()>,
}

#[derive(Default)]
struct PendingPages {
    fresh: Pages,
    /// Pages that are being written. The file may or may not have them.
    leaving: Arc<Pages>,
}

impl Pending {
    /// Holds `page`; returns whether the pages should be written now.
    pub(super) fn insert(&self, number: u64, page: &[u8; PAGE_BYTES]) -> bool {
        let mut held = self.held.write();
        match held.fresh.get_mut(&number) {
            Some(place) => **place = *page,
            None => drop(held.fresh.insert(number, Box::new(*page))),
        }
        held.fresh.len() >= PENDING_PAGES_MAX
    }

    /// Copies the page into `out` if it is held; returns whether it is.
    pub(super) fn read(&self, number: u64, out: &mut [u8]) -> bool {
        let held = self.held.read();
        let page = held.fresh.get(&number).or_else(|| held.leaving.get(&number));
        if let Some(page) = page {
            out.copy_from_slice(&page[..]);
        }
        page.is_some()
    }

    /// Returns whether no page is held.
    pub(super) fn is_empty(&self) -> bool {
        let held = self.held.read();
        held.fresh.is_empty() && held.leaving.is_empty()
    }

    /// Forgets the pages from `count` on, before a truncation.
    ///
    /// No flush runs or begins until the result is dropped.
    pub(super) fn cut(&self, count: u64) -> MutexGuard<'_, ()> {
        let turn = self.flush.lock();
        drop(self.held.write().fresh.split_off(&count));
        turn
    }

    /// Takes all pages for writing. They stay readable here until the flush is dropped.
    pub(super) fn begin_flush(&self) -> Flush<'_> {
        let turn = self.flush.lock();
        let mut held = self.held.write();
        let pages = Arc::new(std::mem::take(&mut held.fresh));
        held.leaving = Arc::clone(&pages);
        Flush { pending: self, pages, _turn: turn }
    }
}

/// Pages that are being written.
pub(super) struct Flush<'a> {
    pending: &'a Pending,
    pages: Arc<Pages>,
    _turn: MutexGuard<'a, ()>,
}

impl Flush<'_> {
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        self.pending.held.write().leaving = Arc::default();
    }
}
