//! redb's page 0, kept in two copies.
//!
//! It is the only page that redb rewrites in place.
//!
//! A write goes to the copy that is not known to be durable. A torn write therefore leaves the
//! other copy, which is redb's page 0 after the previous sync. Reading a copy does not prove that
//! it is durable. After an open, the file is therefore synced once before the first write, unless
//! both copies record a close.

use std::io;

use strongroom_base::bug::{self, Bug};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::super::storage::StateFile;
use super::super::storage_health::StorageHealth;
use super::{LastClose, Sealing};
use strongroom_crypto::{NONCE_BYTES, TAG_BYTES};
use strongroom_format::{
    Closed, SUPER_BYTES, SUPER_COPIES, SUPER_PAGE_BYTES, SUPER_PLAIN_BYTES, SuperHeader, super_at,
};

/// The two copies, and redb's later changes of page 0.
pub(super) struct SuperHeaders {
    now: SuperHeader,
    /// Set if redb wrote changes that the file does not have yet.
    changed: bool,
    /// The copy with the contents of `now`, or before the change. The other one is written next.
    current: usize,
    /// Set if that copy is known to be durable.
    durable: bool,
    /// Set while the state is closed on disk and unchanged since: redb's last synced page 0, which
    /// the file does not have yet.
    untouched: Option<[u8; SUPER_PAGE_BYTES]>,
}

impl SuperHeaders {
    /// Makes the super-header of a new state, without a written copy.
    pub(super) fn new() -> Self {
        let now = SuperHeader { sequence: 0, closed: None, page: [0; SUPER_PAGE_BYTES] };
        Self { now, changed: false, current: 1, durable: true, untouched: None }
    }

    /// Returns the recorded length of a closed state.
    pub(super) fn closed_len(&self) -> Option<u64> {
        self.now.closed.map(|closed| closed.len)
    }

    pub(super) fn read(
        &self,
        file: &dyn StateFile,
        sealing: &Sealing,
        health: &StorageHealth,
        offset: u64,
        out: &mut [u8],
    ) -> io::Result<()> {
        let span = span(offset, out.len())?;
        if self.changed {
            out.copy_from_slice(&self.now.page[span]);
            return Ok(());
        }
        // Read from the file, so that damage is found when redb looks for it.
        let read = read_copy(file, sealing, self.current)?.filter(|read| *read == self.now);
        let Some(read) = read else {
            health.distrust();
            let error = Error::new(ErrorKind::Corrupt, "read state")
                .with_reason(Reason::StateDamaged)
                .with_detail("the super-header of the state file is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        };
        out.copy_from_slice(&read.page[span]);
        Ok(())
    }

    /// Takes redb's write. It reaches the file with the next sync.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let span = span(offset, data.len())?;
        self.now.page[span].copy_from_slice(data);
        self.changed = true;
        Ok(())
    }

    /// Returns whether the file is unchanged since its close.
    ///
    /// Then it needs no sync.
    ///
    /// redb's mark that it is in use is kept in memory until then.
    pub(super) fn defer(&mut self) -> bool {
        let Some(page) = &mut self.untouched else { return false };
        *page = self.now.page;
        true
    }

    /// Durably removes the close record, before blocks or length change.
    pub(super) fn touch(
        &mut self,
        file: &dyn StateFile,
        sealing: &Sealing,
        health: &StorageHealth,
    ) -> io::Result<()> {
        let Some(synced) = self.untouched.take() else { return Ok(()) };
        if !self.durable {
            file.sync()?;
        }
        let page = std::mem::replace(&mut self.now.page, synced);
        health.note_touch(true);
        let written = self.write_next(file, sealing, None).and_then(|()| file.sync());
        health.note_touch(written.is_err());
        self.changed = page != synced;
        self.now.page = page;
        self.durable = true;
        written
    }

    /// Writes redb's changes. The caller syncs, and then calls [`note_sync`](Self::note_sync).
    pub(super) fn write_if_changed(
        &mut self,
        file: &dyn StateFile,
        sealing: &Sealing,
        health: &StorageHealth,
    ) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        if !self.durable {
            file.sync()?;
            self.durable = true;
        }
        health.note_header();
        self.write_next(file, sealing, None)?;
        self.changed = false;
        Ok(())
    }

    /// Records a sync: the last written copy is durable.
    pub(super) fn note_sync(&mut self) {
        self.durable = true;
    }

    /// Marks both copies closed, one after the other, each durable; unless they still are.
    pub(super) fn close(
        &mut self,
        file: &dyn StateFile,
        sealing: &Sealing,
        closed: Closed,
    ) -> io::Result<()> {
        if self.untouched.is_some() {
            return Ok(());
        }
        for _ in 0..SUPER_COPIES {
            self.write_next(file, sealing, Some(closed))?;
            file.sync()?;
        }
        Ok(())
    }

    fn write_next(
        &mut self,
        file: &dyn StateFile,
        sealing: &Sealing,
        closed: Option<Closed>,
    ) -> io::Result<()> {
        self.now.sequence += 1;
        self.now.closed = closed;
        self.current = 1 - self.current;
        if bug::is_planted(Bug::SingleSuperHeader) {
            self.current = 0;
        }
        self.durable = false;
        write_copy(file, sealing, self.current, &self.now)
    }
}

/// Reads both copies; the higher sequence is valid. `Corrupt` if neither opens.
pub(super) fn open(file: &dyn StateFile, sealing: &Sealing) -> Result<(SuperHeaders, LastClose)> {
    let io = |e| Error::io("open vault", e);
    let copies =
        [read_copy(file, sealing, 0).map_err(io)?, read_copy(file, sealing, 1).map_err(io)?];
    let mut damaged = copies.iter().any(Option::is_none);
    if let [Some(first), Some(second)] = &copies
        && first.closed.is_some()
        && second.closed.is_some()
    {
        if first.page == second.page && first.sequence.abs_diff(second.sequence) == 1 {
            // If the process died during the close, the copy that was marked last may not be
            // durable. It was marked after the other one was durable.
            let current = usize::from(second.sequence < first.sequence);
            let now = if current == 0 { first } else { second }.clone();
            let fresh = now.closed.is_some_and(|closed| closed.fresh);
            let left = LastClose { closed: true, fresh, damaged };
            let untouched = Some(now.page);
            let supers = SuperHeaders { now, changed: false, current, durable: true, untouched };
            return Ok((supers, left));
        }
        // No close leaves this: one copy belongs to an earlier close and was put back.
        damaged = true;
    }
    let newest = copies.into_iter().enumerate().filter_map(|(n, copy)| Some((n, copy?)));
    let Some((current, now)) = newest.max_by_key(|(_, copy)| copy.sequence) else {
        return Err(Error::new(ErrorKind::Corrupt, "open vault")
            .with_reason(Reason::StateDamaged)
            .with_detail("both copies of the state file's super-header are damaged"));
    };
    let fresh = now.closed.is_some_and(|closed| closed.fresh);
    let left = LastClose { closed: now.closed.is_some(), fresh, damaged };
    let untouched = left.closed.then_some(now.page);
    Ok((SuperHeaders { now, changed: false, current, durable: false, untouched }, left))
}

fn span(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(len)?))
        .filter(|span| span.end <= SUPER_PAGE_BYTES)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "beyond the super-header"))
}

/// Returns the associated data of a copy: the file, and a position that no block has.
fn associated_data(sealing: &Sealing, copy: usize) -> [u8; 24] {
    let mut place = [0xff; 24];
    place[..16].copy_from_slice(sealing.file.as_bytes());
    place[23] = u8::try_from(copy).expect("two copies");
    place
}

/// Seals and writes a copy: nonce 24, ciphertext 472, tag 16.
fn write_copy(
    file: &dyn StateFile,
    sealing: &Sealing,
    copy: usize,
    header: &SuperHeader,
) -> io::Result<()> {
    let mut sealed = [0; SUPER_BYTES];
    let (head, rest) = sealed.split_at_mut(NONCE_BYTES);
    let (message, tail) = rest.split_at_mut(SUPER_PLAIN_BYTES);
    let nonce: [u8; NONCE_BYTES] = sealing.entropy.draw()?;
    head.copy_from_slice(&nonce);
    message.copy_from_slice(&header.encode());
    tail.copy_from_slice(&sealing.key.seal(&nonce, &associated_data(sealing, copy), message));
    file.write(super_at(copy), &sealed)
}

/// Returns the copy, if it opens.
fn read_copy(
    file: &dyn StateFile,
    sealing: &Sealing,
    copy: usize,
) -> io::Result<Option<SuperHeader>> {
    let mut sealed = [0; SUPER_BYTES];
    file.read(super_at(copy), &mut sealed)?;
    let (nonce, rest) = sealed.split_at(NONCE_BYTES);
    let (message, tag) = rest.split_at(SUPER_PLAIN_BYTES);
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().expect("as long");
    let tag: &[u8; TAG_BYTES] = tag.try_into().expect("as long");
    let mut plain = [0; SUPER_PLAIN_BYTES];
    let opened = sealing.key.open(nonce, &associated_data(sealing, copy), message, tag, &mut plain);
    Ok(opened.ok().map(|()| SuperHeader::decode(&plain)))
}
