//! All changes of a world's disk, in order.
//!
//! Every successful mutating call of the seam becomes one [`Event`]. The running view of the world
//! is its base with all events applied, and a power cut is a choice among their effects. Nothing
//! changes a disk except an event. An event names inodes, so its meaning does not depend on later
//! names. Its number is its position in the journal, from 1.
//!
//! The journal does not know which events survive.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::defect::Defect;
use super::tree::{Ino, Name, Tree};

/// One change of the disk.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A new file under a new name.
    Create { at: Slot, file: Ino },
    /// A new folder under a new name.
    CreateDir { at: Slot, dir: Ino },
    /// Bytes written.
    Write { file: Ino, offset: u64, bytes: Arc<[u8]> },
    /// The file truncated, or extended with zeros.
    SetLen { file: Ino, len: u64 },
    /// The bytes and the length of a file made durable.
    Sync { file: Ino },
    /// A file moved from one name to another.
    Rename { from: Slot, to: Slot, file: Ino },
    /// An additional name for a file.
    Link { at: Slot, file: Ino },
    /// A name removed.
    Remove { at: Slot },
    /// The names of a folder made durable.
    SyncDir { dir: Ino },
    /// An inode's name and a file's bytes, durable despite any defect. Tests place bad inputs with
    /// it.
    Settle { at: Slot, ino: Ino },
}

/// A name in a folder, used or free.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) dir: Ino,
    pub(super) name: Name,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dir, self.name)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { at, file } => write!(f, "create {at} as {file}"),
            Self::CreateDir { at, dir } => write!(f, "create folder {at} as {dir}"),
            Self::Write { file, offset, bytes } => {
                write!(f, "write {file}: {} bytes at {offset}", bytes.len())
            }
            Self::SetLen { file, len } => write!(f, "set length of {file}: {len}"),
            Self::Sync { file } => write!(f, "sync {file}"),
            Self::Rename { from, to, file } => write!(f, "rename {from} to {to}, which is {file}"),
            Self::Link { at, file } => write!(f, "link {at} to {file}"),
            Self::Remove { at } => write!(f, "remove {at}"),
            Self::SyncDir { dir } => write!(f, "sync folder {dir}"),
            Self::Settle { at, ino } => write!(f, "settle {at}, which is {ino}"),
        }
    }
}

/// The events of a world, shared with the journals taken of it.
pub(super) type Log = Arc<Mutex<Vec<Event>>>;

/// A world's disk and changes, up to the time of the journal.
///
/// A clone costs two counters. The world continues independently.
#[derive(Clone)]
pub struct Journal {
    base: Arc<Tree>,
    log: Log,
    events: u64,
    defect: Option<Defect>,
}

impl Journal {
    pub(super) fn new(base: Arc<Tree>, log: Log, defect: Option<Defect>) -> Self {
        let events = log.lock().len() as u64;
        Self { base, log, events, defect }
    }

    /// Returns the number of its events. A power cut can follow each, and precede the first.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Describes an event for people: inodes are `#n`, the root folder is `#0`.
    ///
    /// Empty if the event does not exist; the first is number 1.
    pub fn describe(&self, event: u64) -> String {
        let mut text = String::new();
        if let Some(before) = event.checked_sub(1) {
            self.each(before..event.min(self.events), |_, event| {
                text = event.to_string();
            });
        }
        text
    }

    pub(super) fn base(&self) -> &Tree {
        &self.base
    }

    pub(super) fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// Calls `visit` with number and event, after `range.start` events.
    pub(super) fn each(&self, range: std::ops::Range<u64>, mut visit: impl FnMut(u64, &Event)) {
        debug_assert!(range.end <= self.events, "only the events taken belong to the journal");
        let log = self.log.lock();
        for number in range {
            let place = usize::try_from(number).expect("the log is in memory");
            visit(number + 1, &log[place]);
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("events", &self.events)
            .field("defect", &self.defect)
            .finish_non_exhaustive()
    }
}
