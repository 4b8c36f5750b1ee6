//! A file's bytes, in pages that are shared until written.
//!
//! Tens of thousands of power cuts are tried on the same file, and each image differs from the next
//! in a few sectors. So a clone costs two words. The first write after it costs the table of pages
//! and one page; all images share the rest.
//!
//! This file knows no names, syncs or crashes.
//!
//! Invariants: `len` is at most [`FILE_BYTES_MAX`]; no page is entirely past `len`; the bytes of
//! the last page past `len` are zero. An absent page reads as zeros.

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

/// The unit that a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
/// The unit that is copied when a shared byte is written.
pub(super) const PAGE_BYTES: usize = 4096;
/// Sectors in a page, one bit of a `u8` each.
pub(super) const PAGE_SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;
/// Longest file; a longer one is refused with `FileTooLarge`. It bounds the table of pages to 128
/// MiB.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 36;

/// One page of a file; `None` if it was never written.
pub(super) type Page = Option<Arc<[u8; PAGE_BYTES]>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    pages: Arc<Vec<Page>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the page of that number; an absent one past the end.
    pub(super) fn page(&self, number: usize) -> &Page {
        self.pages.get(number).unwrap_or(&None)
    }

    /// Returns the numbers of the pages with bytes at or after `offset`.
    pub(super) fn pages_from(&self, offset: u64) -> Range<usize> {
        let first = index(offset) / PAGE_BYTES;
        first..self.pages.len().max(first)
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends earlier.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for piece in pieces(offset, buffer.len()) {
            let target = &mut buffer[piece.outside];
            match self.page(piece.page) {
                Some(page) => target.copy_from_slice(&page[piece.inside]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    /// Returns all bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.len)];
        self.read(&mut bytes, 0).expect("a file can be read up to its length");
        bytes
    }

    /// Writes `bytes` at `offset`, which the caller has checked with [`end_of`].
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = index(offset) + bytes.len();
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() < end.div_ceil(PAGE_BYTES) {
            pages.resize(end.div_ceil(PAGE_BYTES), None);
        }
        for piece in pieces(offset, bytes.len()) {
            let source = &bytes[piece.outside];
            let page = &mut pages[piece.page];
            if let Ok(whole) = <&[u8; PAGE_BYTES]>::try_from(source) {
                *page = Some(Arc::new(*whole));
            } else {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
                Arc::make_mut(page)[piece.inside].copy_from_slice(source);
            }
        }
        self.len = self.len.max(end as u64);
    }

    /// Truncates the file, or extends it with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        let shrinks = len < self.len;
        self.len = len;
        if shrinks {
            self.trim();
        }
    }

    /// Returns this content with some pages replaced and another length.
    pub(super) fn patched(&self, pages: impl Iterator<Item = (usize, Page)>, len: u64) -> Self {
        let mut patched = self.clone();
        let table = Arc::make_mut(&mut patched.pages);
        for (number, page) in pages {
            if table.len() <= number {
                table.resize(number + 1, None);
            }
            table[number] = page;
        }
        patched.len = len;
        patched.trim();
        patched
    }

    /// Restores the invariants about the bytes past `len`.
    fn trim(&mut self) {
        let end = index(self.len);
        let pages = Arc::make_mut(&mut self.pages);
        pages.truncate(end.div_ceil(PAGE_BYTES));
        let inside = end % PAGE_BYTES;
        if inside > 0
            && let Some(Some(page)) = pages.get_mut(end / PAGE_BYTES)
            && page[inside..].iter().any(|byte| *byte != 0)
        {
            Arc::make_mut(page)[inside..].fill(0);
        }
    }
}

/// Returns the end of a range of bytes that begins at `offset`; `FileTooLarge` past the limit.
pub(super) fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    offset
        .checked_add(len as u64)
        .filter(|end| *end <= FILE_BYTES_MAX)
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// The part of a range of bytes in one page.
pub(super) struct Piece {
    /// Number of the page.
    pub(super) page: usize,
    /// Bytes of the page.
    pub(super) inside: Range<usize>,
    /// Bytes of the range.
    pub(super) outside: Range<usize>,
}

impl Piece {
    /// Returns the sectors of the page that it touches, one bit each.
    pub(super) fn sectors(&self) -> u8 {
        sector_bits(&self.inside)
    }
}

/// Splits `len` bytes at `offset` at page boundaries.
pub(super) fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let offset = index(offset);
    let mut done = 0;
    iter::from_fn(move || {
        let (page, start) = ((offset + done) / PAGE_BYTES, (offset + done) % PAGE_BYTES);
        let size = (PAGE_BYTES - start).min(len - done);
        let piece = Piece { page, inside: start..start + size, outside: done..done + size };
        done += size;
        (size > 0).then_some(piece)
    })
}

/// Returns a bit for each sector that a range touches.
///
/// The range is within one page.
pub(super) fn sector_bits(inside: &Range<usize>) -> u8 {
    (inside.start / SECTOR_BYTES..inside.end.div_ceil(SECTOR_BYTES))
        .fold(0, |bits, sector| bits | 1 << sector)
}

/// Converts a position to an index in memory.
pub(super) fn index(position: u64) -> usize {
    usize::try_from(position).expect("files are bounded by FILE_BYTES_MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_truncated_bytes_read_as_zeros() {
        let mut content = Content::default();
        content.write(b"far", 10_000);
        content.set_len(10_001);
        content.set_len(10_003);
        let bytes = content.to_vec();
        assert_eq!(bytes.len(), 10_003);
        assert!(bytes[..10_000].iter().all(|byte| *byte == 0));
        assert_eq!(&bytes[10_000..], b"f\0\0");
    }

    #[test]
    fn clone_keeps_its_bytes_and_shares_other_pages() {
        let mut content = Content::default();
        content.write(&[1; 3 * PAGE_BYTES], 0);
        let before = content.clone();
        content.write(&[2; 10], PAGE_BYTES as u64 - 5);
        assert!(before.to_vec().iter().all(|byte| *byte == 1));
        assert_eq!(content.to_vec().into_iter().filter(|byte| *byte == 2).count(), 10);
        let (Some(old), Some(new)) = (before.page(2), content.page(2)) else {
            panic!("the third page was written");
        };
        assert!(Arc::ptr_eq(old, new));
    }

    #[test]
    fn write_touches_the_sectors_it_overlaps() {
        assert_eq!(sector_bits(&(0..1)), 0b1);
        assert_eq!(sector_bits(&(511..513)), 0b11);
        assert_eq!(sector_bits(&(512..1024)), 0b10);
        assert_eq!(sector_bits(&(0..PAGE_BYTES)), 0xff);
    }

    #[test]
    fn file_longer_than_the_limit_is_refused() {
        assert_eq!(end_of(FILE_BYTES_MAX - 1, 1).expect("fits"), FILE_BYTES_MAX);
        for (offset, len) in [(FILE_BYTES_MAX, 1), (u64::MAX, 1)] {
            let error = end_of(offset, len).expect_err("too long");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
