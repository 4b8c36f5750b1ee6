//! Conversion between pages and blocks.

use std::io;

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason};

use super::pending::{Page, Pages};
use super::{SealedInner, Sealing};
use strongroom_crypto::{NONCE_BYTES, TAG_BYTES};
use strongroom_format::{BLOCK_BYTES, PAGE_BYTES, block_at};

/// Most neighbouring blocks in one write: 1 MiB.
const RUN_BLOCKS_MAX: usize = 256;

/// Returns the associated data of a block: the file, and its position there.
fn associated_data(sealing: &Sealing, page: u64) -> [u8; 24] {
    let mut place = [0; 24];
    place[..16].copy_from_slice(sealing.file.as_bytes());
    place[16..].copy_from_slice(&page.to_le_bytes());
    place
}

/// Seals a page: nonce 24, ciphertext 4,096, tag 16.
fn seal(sealing: &Sealing, number: u64, page: &Page, nonce: &[u8], block: &mut [u8]) {
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().expect("as long");
    let (head, rest) = block.split_at_mut(NONCE_BYTES);
    let (message, tail) = rest.split_at_mut(PAGE_BYTES);
    head.copy_from_slice(nonce);
    tail.copy_from_slice(&sealing.key.seal_into(
        nonce,
        &associated_data(sealing, number),
        &page[..],
        message,
    ));
}

/// Opens a block into `out`; returns whether it is authentic.
fn open(sealing: &Sealing, page: u64, block: &[u8], out: &mut [u8]) -> bool {
    let (nonce, rest) = block.split_at(NONCE_BYTES);
    let (message, tag) = rest.split_at(PAGE_BYTES);
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().expect("as long");
    let tag: &[u8; TAG_BYTES] = tag.try_into().expect("as long");
    sealing.key.open(nonce, &associated_data(sealing, page), message, tag, out).is_ok()
}

/// Returns the error of an unreadable page.
fn damaged(page: u64) -> io::Error {
    let error = Error::new(ErrorKind::Corrupt, "read state")
        .with_reason(Reason::BlockDamaged)
        .with_detail(format!("block {page} of the state file is damaged"));
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn misaligned() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not whole pages")
}

/// Returns the first page, and the number of pages.
fn span(offset: u64, len: usize) -> io::Result<(u64, usize)> {
    let page = PAGE_BYTES as u64;
    if !offset.is_multiple_of(page) || !len.is_multiple_of(PAGE_BYTES) {
        return Err(misaligned());
    }
    Ok((offset / page, len / PAGE_BYTES))
}

impl SealedInner {
    pub(super) fn read_pages(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, count) = span(offset, out.len())?;
        let none_pending = self.pending.is_empty();
        if count == 1 {
            if !none_pending && self.pending.read(first, out) {
                return Ok(());
            }
            let mut block = [0; BLOCK_BYTES];
            self.file.read(block_at(first), &mut block)?;
            return self.open_page(first, &block, out);
        }
        // First the pending pages, then the file, because pages move from the former to the latter.
        let pages = (first..).zip(out.chunks_exact_mut(PAGE_BYTES));
        let held: Vec<bool> =
            pages.map(|(number, page)| !none_pending && self.pending.read(number, page)).collect();
        let mut blocks = vec![0; count * BLOCK_BYTES];
        self.file.read(block_at(first), &mut blocks)?;
        let pages = out.chunks_exact_mut(PAGE_BYTES).zip(blocks.chunks_exact(BLOCK_BYTES));
        for ((number, (page, block)), held) in (first..).zip(pages).zip(held) {
            if !held {
                self.open_page(number, block, page)?;
            }
        }
        Ok(())
    }

    fn open_page(&self, number: u64, block: &[u8], page: &mut [u8]) -> io::Result<()> {
        if open(&self.sealing, number, block, page) {
            return Ok(());
        }
        if self.lenient.load(std::sync::atomic::Ordering::Acquire) {
            self.torn.lock().insert(number);
            page.fill(0);
            return Ok(());
        }
        self.health.distrust();
        Err(damaged(number))
    }

    pub(super) fn write_pages(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, _) = span(offset, data.len())?;
        let mut many = false;
        for (number, page) in (first..).zip(data.chunks_exact(PAGE_BYTES)) {
            many = self.pending.insert(number, page.try_into().expect("a page"));
            if bug::is_planted(Bug::LargerBlocks) {
                self.rewrite_neighbours(number)?;
            }
        }
        if many { self.flush() } else { Ok(()) }
    }

    /// Rewrites neighbours, as blocks of four pages would, for [`Bug::LargerBlocks`].
    fn rewrite_neighbours(&self, number: u64) -> io::Result<()> {
        let first = number / 4 * 4;
        for neighbour in (first..first + 4).filter(|&page| page != number && page > 0) {
            let (mut block, mut page) = ([0; BLOCK_BYTES], [0; PAGE_BYTES]);
            if self.pending.read(neighbour, &mut page)
                || block_at(neighbour + 1) > self.file.len()?
            {
                continue;
            }
            self.file.read(block_at(neighbour), &mut block)?;
            if open(&self.sealing, neighbour, &block, &mut page) {
                self.pending.insert(neighbour, &page);
            }
        }
        Ok(())
    }

    /// Seals and writes the pending pages, neighbours together. Not durable yet.
    pub(super) fn flush(&self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.supers.lock().touch(&*self.file, &self.sealing, &self.health)?;
        let flush = self.pending.begin_flush();
        // Recorded before the next flush may begin: redb does not remember every failed write, and
        // no sync may be acknowledged after one.
        let written = self.write_sealed(flush.pages()).inspect_err(|_| self.health.fail());
        drop(flush);
        written
    }

    fn write_sealed(&self, pages: &Pages) -> io::Result<()> {
        let pages: Vec<(u64, &Page)> = pages.iter().map(|(number, page)| (*number, page)).collect();
        let mut nonces = vec![0; pages.len() * NONCE_BYTES];
        self.sealing.entropy.fill(&mut nonces)?;
        let mut nonces = nonces.chunks_exact(NONCE_BYTES);
        let mut blocks = Vec::new();
        for run in runs(&pages) {
            blocks.resize(run.len() * BLOCK_BYTES, 0);
            for ((number, page), block) in run.iter().zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
                seal(&self.sealing, *number, page, nonces.next().expect("one each"), block);
            }
            self.file.write(block_at(run[0].0), &blocks)?;
        }
        Ok(())
    }
}

/// Groups neighbouring pages, in the order of their numbers.
fn runs<'a>(pages: &'a [(u64, &'a Page)]) -> impl Iterator<Item = &'a [(u64, &'a Page)]> {
    pages.chunk_by(|(a, _), (b, _)| a + 1 == *b).flat_map(|run| run.chunks(RUN_BLOCKS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_written_together() {
        let page = || Box::new([0; PAGE_BYTES]);
        let pages: Pages = [9, 3, 4, 5, 7, 8].map(|number| (number, page())).into();
        let pages: Vec<(u64, &Page)> = pages.iter().map(|(n, page)| (*n, page)).collect();
        let found: Vec<Vec<u64>> =
            runs(&pages).map(|run| run.iter().map(|(number, _)| *number).collect()).collect();
        assert_eq!(found, [vec![3, 4, 5], vec![7, 8, 9]]);
    }
}
