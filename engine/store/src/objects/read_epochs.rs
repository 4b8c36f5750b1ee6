//! Which commits are still being read.
//!
//! A reader registers its read epoch, the number of the newest commit, **before** it begins its redb
//! read. So the read sees that commit or a later one, and every object that the reader can reach
//! is either referenced or doomed by a commit after its read epoch. An object doomed at commit `c` is
//! out of reach once every live read epoch is at `c` or past it. The other order would let a commit
//! and a clean-up slip in between the beginning and the read epoch (`Bug::ReadBeforeEpoch`, planted by
//! `tests/reader_epochs.rs`).
//!
//! Numbers count the commits of one session; they order, and mean nothing else.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The newest commit, and the read epochs of live readers.
#[derive(Debug)]
pub struct ReadEpochs {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    newest: u64,
    /// How many live read epochs there are at each commit.
    live: BTreeMap<u64, usize>,
}

/// Keeps what could be read at its commit, and the vault open; dropped by its last holder.
#[derive(Debug)]
pub struct ReadEpoch {
    read_epochs: Arc<ReadEpochs>,
    commit: u64,
    /// The vault: were it closed, the next process could remove what is read here.
    _keeps: Arc<dyn Any + Send + Sync>,
}

impl ReadEpochs {
    /// No readers; `newest` is the number of the last commit before this session.
    pub fn new(newest: u64) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { newest, live: BTreeMap::new() }) })
    }

    /// Enters the read epoch of the newest commit, and keeps `vault` alive with it.
    pub fn enter_epoch(self: &Arc<Self>, vault: Arc<dyn Any + Send + Sync>) -> Arc<ReadEpoch> {
        let mut inner = self.inner.lock();
        let commit = inner.newest;
        *inner.live.entry(commit).or_default() += 1;
        Arc::new(ReadEpoch { read_epochs: Arc::clone(self), commit, _keeps: vault })
    }

    /// Returns the number of the newest commit.
    pub fn newest(&self) -> u64 {
        self.inner.lock().newest
    }

    /// The number that the write under way commits under, if it does.
    pub fn next(&self) -> u64 {
        self.inner.lock().newest + 1
    }

    /// Tells that commit `number` has happened.
    pub fn publish(&self, number: u64) {
        let mut inner = self.inner.lock();
        inner.newest = inner.newest.max(number);
    }

    /// What is doomed at this commit or before is out of every reader's reach.
    pub fn due(&self) -> u64 {
        let inner = self.inner.lock();
        inner.live.keys().next().copied().unwrap_or(inner.newest)
    }

    /// How many read epochs are live.
    pub fn live(&self) -> usize {
        self.inner.lock().live.values().sum()
    }
}

impl Drop for ReadEpoch {
    fn drop(&mut self) {
        let mut inner = self.read_epochs.inner.lock();
        if let Some(count) = inner.live.get_mut(&self.commit) {
            *count -= 1;
            if *count == 0 {
                inner.live.remove(&self.commit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_live_pin_decides_what_is_due() {
        let read_epochs = ReadEpochs::new(7);
        assert_eq!(read_epochs.due(), 7);
        let old = read_epochs.enter_epoch(Arc::new(()));
        read_epochs.publish(read_epochs.next());
        let young = read_epochs.enter_epoch(Arc::new(()));
        read_epochs.publish(read_epochs.next());
        assert_eq!((read_epochs.due(), read_epochs.live()), (7, 2));
        drop(old);
        assert_eq!(read_epochs.due(), 8);
        drop(young);
        assert_eq!((read_epochs.due(), read_epochs.live()), (9, 0));
    }
}
