//! Read epochs: the commits that live readers may still read.
//!
//! A reader registers its read epoch, the number of the newest commit, **before** it begins its
//! redb read. The read then sees that commit or a later one. Every object that the reader can reach
//! is referenced, or was doomed by a commit after its read epoch. An object doomed at commit `c` is
//! unreachable once every live read epoch is at `c` or later.
//!
//! In the other order, a commit and a clean-up could happen between the begin of the read and the
//! registration (`Bug::ReadBeforeEpoch`, planted by `tests/reader_epochs.rs`).
//!
//! Numbers count the commits of one session. They only order commits.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The newest commit, and the live read epochs.
#[derive(Debug)]
pub struct ReadEpochs {
    inner: Mutex<LiveEpochs>,
}

#[derive(Debug)]
struct LiveEpochs {
    newest: u64,
    /// Number of live read epochs at each commit.
    live: BTreeMap<u64, usize>,
}

/// A registered read epoch. It keeps everything that was readable at its commit, and the vault
/// open.
#[derive(Debug)]
pub struct ReadEpoch {
    read_epochs: Arc<ReadEpochs>,
    commit: u64,
    /// The vault. If it were closed, the next process could delete data that is being read.
    _keeps: Arc<dyn Any + Send + Sync>,
}

impl ReadEpochs {
    /// Makes the registry; `newest` is the number of the last commit before this session.
    pub fn new(newest: u64) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(LiveEpochs { newest, live: BTreeMap::new() }) })
    }

    /// Registers a read epoch at the newest commit; it keeps `vault` alive.
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

    /// Returns the commit number of the next write.
    pub fn next(&self) -> u64 {
        self.inner.lock().newest + 1
    }

    /// Records commit `number` as the newest.
    pub fn publish(&self, number: u64) {
        let mut inner = self.inner.lock();
        inner.newest = inner.newest.max(number);
    }

    /// Returns the newest commit whose doomed objects no reader can reach.
    pub fn due(&self) -> u64 {
        let inner = self.inner.lock();
        inner.live.keys().next().copied().unwrap_or(inner.newest)
    }

    /// Returns the number of live read epochs.
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
    fn oldest_live_epoch_decides_which_deletes_are_due() {
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
