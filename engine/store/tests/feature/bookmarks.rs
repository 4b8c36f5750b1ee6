//! Bookmarks: numbers under names, and their count. A complete feature with its own rows.
//!
//! It needs only `Core`. The count is a row that changes in the same commit as the bookmarks: the
//! hook adds it, whichever room writes the transaction. The count in memory changes after the
//! commit, and never before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_base::{Error, ErrorKind, Result};
use strongroom_store::commit::{CommitInfo, Core, Hook, Tx};
use strongroom_store::state::{StateRead, Table};

const COUNT: &[u8] = b"example/bookmarks";
const NAME_BYTES_MAX: usize = 128;

/// The bookmarks of a vault. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bookmarks {
    core: Arc<Core>,
    counted: Arc<Counted>,
}

/// The feature's hook, and its data in memory.
#[derive(Default)]
struct Counted {
    bookmarks: AtomicU64,
}

/// Changes of one transaction to bookmarks.
#[derive(Default)]
struct Part {
    added: u64,
    /// The count after its commit.
    count: Option<u64>,
}

impl Bookmarks {
    /// Makes the feature, and the hook that the composition root registers.
    pub(crate) fn new(core: &Arc<Core>) -> (Self, Arc<dyn Hook>) {
        let counted = Arc::<Counted>::default();
        let hook: Arc<dyn Hook> = Arc::<Counted>::clone(&counted);
        (Self { core: Arc::clone(core), counted }, hook)
    }

    /// Sets a bookmark; durable on return. `Invalid` for a name of more than 128 bytes.
    pub(crate) fn set(&self, name: &str, at: u64) -> Result<()> {
        self.core.write("set bookmark", |tx| set_in(tx, name, at))
    }

    /// Returns the value of a bookmark, if it exists.
    pub(crate) fn get(&self, name: &str) -> Result<Option<u64>> {
        let row = self.core.read()?.state().get(Table::Settings, &key(name))?;
        row.map(|row| decode(row.as_slice())).transpose()
    }

    /// Returns the number of bookmarks after the last commit.
    pub(crate) fn count(&self) -> u64 {
        self.counted.bookmarks.load(Ordering::Acquire)
    }
}

/// Sets a bookmark in a transaction of another room.
pub(crate) fn set_in(tx: &mut Tx<'_>, name: &str, at: u64) -> Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::new(ErrorKind::Invalid, "set bookmark")
            .with_detail(format!("the name has {} bytes, at most {NAME_BYTES_MAX}", name.len())));
    }
    let row = at.to_be_bytes();
    let is_new = tx.state.insert(Table::Settings, &key(name), &row, |old| old.is_none())?;
    tx.parts.get_mut::<Part>().added += u64::from(is_new);
    Ok(())
}

impl Hook for Counted {
    fn before_commit(&self, tx: &mut Tx<'_>) -> Result<()> {
        let Some(added) = tx.parts.get::<Part>().map(|part| part.added) else { return Ok(()) };
        let count = self.bookmarks.load(Ordering::Acquire) + added;
        tx.state.put(Table::Settings, COUNT, &count.to_be_bytes())?;
        tx.parts.get_mut::<Part>().count = Some(count);
        Ok(())
    }

    fn committed(self: Arc<Self>, _core: &Arc<Core>, info: &mut CommitInfo) {
        if let Some(count) = info.parts.get::<Part>().and_then(|part| part.count) {
            self.bookmarks.store(count, Ordering::Release);
        }
    }

    fn opened(&self, state: &StateRead) -> Result<()> {
        let row = state.get(Table::Settings, COUNT)?;
        let count = row.map(|row| decode(row.as_slice())).transpose()?;
        self.bookmarks.store(count.unwrap_or(0), Ordering::Release);
        Ok(())
    }
}

fn key(name: &str) -> Vec<u8> {
    [COUNT, b"/", name.as_bytes()].concat()
}

fn decode(row: &[u8]) -> Result<u64> {
    let wrong = |_| Error::new(ErrorKind::Corrupt, "read bookmark row");
    row.try_into().map(u64::from_be_bytes).map_err(wrong)
}
