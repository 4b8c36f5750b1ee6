//! Replaying a journal, and cutting the power at any point.
//!
//! A replay keeps the durable and the later versions of every file and folder while events pass. An
//! image is one choice among the possible remains. A replay only moves forward, so trying every
//! event of a run costs one pass.
//!
//! Only this file implements defects: it skips a sync.
//!
//! Invariant: a file without any name, durable or not, has no history, because no power cut can
//! bring it back.

use std::collections::BTreeMap;

use super::World;
use super::defect::Defect;
use super::fate::{Fate, Unsynced};
use super::history::{DirHistory, FileHistory};
use super::journal::{Event, Journal, Slot};
use super::tree::{Ino, Node, ROOT, Tree};

/// A position in a [`Journal`] for power cuts. A clone can be passed to another thread.
#[derive(Clone, Debug)]
pub struct Replay {
    journal: Journal,
    event: u64,
    files: BTreeMap<Ino, FileHistory>,
    dirs: BTreeMap<Ino, DirHistory>,
    /// The first move of each file, for [`Defect::LateSync`] only.
    first_moves: BTreeMap<Ino, u64>,
}

impl Replay {
    /// Makes a replay before the first event.
    pub fn new(journal: &Journal) -> Self {
        let mut replay = Self {
            journal: journal.clone(),
            event: 0,
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
            first_moves: BTreeMap::new(),
        };
        replay.take_base();
        if journal.defect() == Some(Defect::LateSync) {
            replay.find_moves();
        }
        replay
    }

    fn take_base(&mut self) {
        let base = self.journal.base();
        for (ino, node) in base.inodes() {
            match node {
                Node::File(content) => drop(self.files.insert(ino, FileHistory::durable(content))),
                Node::Dir(names) => drop(self.dirs.insert(ino, DirHistory::durable(names))),
            }
        }
        for (_, node) in base.inodes() {
            let Node::Dir(names) = node else { continue };
            for ino in names.values() {
                if let Some(file) = self.files.get_mut(ino) {
                    file.names += 1;
                }
            }
        }
    }

    fn find_moves(&mut self) {
        let (base, moves) = (&self.files, &mut self.first_moves);
        self.journal.each(0..self.journal.events(), |number, event| {
            if let Event::Rename { file, .. } | Event::Link { file, .. } = event
                && !base.contains_key(file)
            {
                moves.entry(*file).or_insert(number);
            }
        });
    }

    /// Returns the number of passed events.
    pub fn event(&self) -> u64 {
        self.event
    }

    /// Returns the number of events that a power cut here may undo. Without any, all images here
    /// are equal.
    pub fn unsynced(&self) -> usize {
        let Unsynced { names, data } = self.unsynced_events();
        names.len() + data.len()
    }

    /// Moves forward until `event` events have passed.
    ///
    /// # Panics
    ///
    /// If that is before the present position, or past the end of the journal.
    pub fn advance_to(&mut self, event: u64) {
        assert!(self.event <= event, "a replay at event {} cannot go back to {event}", self.event);
        let events = self.journal.events();
        assert!(event <= events, "a journal of {events} events has no event {event}");
        let journal = self.journal.clone();
        journal.each(self.event..event, |number, event| self.apply(number, event));
        self.event = event;
    }

    /// Returns the world after a power cut here; `seed` selects one of the possible images.
    ///
    /// The same journal, event and seed make the same world. Everything in it is durable. It has
    /// the defect of its origin, but no faults, no capacity and no locks.
    pub fn image(&self, seed: u64) -> World {
        let mut fate = Fate::draw(seed, self.event, &self.unsynced_events());
        let mut tree = Tree::new();
        let mut found = vec![ROOT];
        while let Some(dir) = found.pop() {
            let names = self.dirs[&dir].survivor(&mut fate);
            for ino in names.values() {
                match self.files.get(ino) {
                    Some(file) => tree.restore_file(*ino, || file.survivor(&mut fate)),
                    None => found.push(*ino),
                }
            }
            tree.restore_dir(dir, names);
        }
        World::from_tree(tree, self.journal.defect())
    }

    fn unsynced_events(&self) -> Unsynced {
        let data = self.files.values().flat_map(|file| file.events().iter().copied());
        let names = self.dirs.values().flat_map(DirHistory::events);
        Unsynced { names: names.collect(), data: data.collect() }
    }
}

/// Effects of events on the histories.
impl Replay {
    fn apply(&mut self, number: u64, event: &Event) {
        match event {
            Event::Create { at, file } => {
                self.files.insert(*file, FileHistory::default());
                self.bind(number, at, Some(*file));
            }
            Event::CreateDir { at, dir } => {
                self.dirs.insert(*dir, DirHistory::default());
                self.bind(number, at, Some(*dir));
            }
            Event::Write { file, offset, bytes } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.write(number, bytes, *offset);
                }
            }
            Event::SetLen { file, len } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.set_len(number, *len);
                }
            }
            Event::Sync { file } => {
                if self.keeps_sync(number, *file) {
                    self.sync_file(*file);
                }
            }
            Event::Rename { from, to, file } => {
                self.bind(number, to, Some(*file));
                self.bind(number, from, None);
            }
            Event::Link { at, file } => self.bind(number, at, Some(*file)),
            Event::Remove { at } => self.bind(number, at, None),
            Event::SyncDir { dir } => {
                if self.keeps_dir_sync() {
                    let released = self.dir(*dir).sync();
                    self.release(released);
                }
            }
            Event::Settle { at, ino } => {
                self.sync_file(*ino);
                let released = self.dir(at.dir).settle(&at.name);
                self.release(released);
            }
        }
    }

    fn keeps_sync(&self, number: u64, file: Ino) -> bool {
        let moves_later = self.first_moves.get(&file).is_some_and(|moved| *moved > number);
        self.journal.defect() != Some(Defect::SyncWithoutEffect) && !moves_later
    }

    fn keeps_dir_sync(&self) -> bool {
        !matches!(self.journal.defect(), Some(Defect::SyncWithoutEffect | Defect::NoDirSync))
    }

    fn sync_file(&mut self, file: Ino) {
        if let Some(file) = self.files.get_mut(&file) {
            file.sync();
        }
    }

    fn dir(&mut self, dir: Ino) -> &mut DirHistory {
        self.dirs.get_mut(&dir).expect("a folder is made before it is used, and stays")
    }

    fn bind(&mut self, number: u64, at: &Slot, ino: Option<Ino>) {
        self.dir(at.dir).bind(number, &at.name, ino);
        if let Some(file) = ino.and_then(|ino| self.files.get_mut(&ino)) {
            file.names += 1;
        }
    }

    /// Removes names of files.
    fn release(&mut self, inos: Vec<Ino>) {
        for ino in inos {
            if let Some(file) = self.files.get_mut(&ino) {
                file.names -= 1;
                if file.names == 0 {
                    self.files.remove(&ino);
                }
            }
        }
    }
}
