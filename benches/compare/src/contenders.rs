//! The contenders of each workload: a store with its rows, and the work of one turn on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Barrier;
use std::thread;

use anyhow::{Result, ensure};

use crate::data::{Key, Row, Stream};
use crate::killed;
use crate::measure::{Contender, Samples};
use crate::page_cache::{self, PageCache};
use crate::peers::{self, CACHE_BYTES, Peer, Session, Store};
use crate::workloads::{FILLED_BYTES, SCAN_ROWS, Scale, WRITTEN_BYTES, Workload};

/// Strongroom's prepared batch, next to its closure.
const PREPARED: &str = "strongroom, prepared";
/// Strongroom's data without a checkpoint.
pub(crate) const DATA_ALONE: &str = "strongroom, data alone";

/// Seed of the rows that fill a database; the keys to read derive from it too.
const FILL_SEED: u64 = 1;
/// Seed of the rows that a turn writes or picks; writers count up from it.
const TURN_SEED: u64 = 1_000;

/// Opens the databases of `workload` in `dir` and fills them.
pub(crate) fn of(workload: Workload, scale: &Scale, dir: &Path) -> Result<Vec<Contender>> {
    let site = Site { scale, dir };
    let stores = peers::stores();
    let each = |make: &dyn Fn(&'static dyn Peer) -> Result<Contender>| {
        stores.iter().map(|&peer| make(peer)).collect::<Result<Vec<_>>>()
    };
    let gets = scale.gets;
    Ok(match workload {
        Workload::Commit => {
            let mut all = each(&|peer| site.commits(peer))?;
            all.push(site.commits(peers::append())?);
            all
        }
        Workload::Batch => {
            let mut all = each(&|peer| site.batches(peer, peer.label(), commit))?;
            all.push(site.batches(peers::strongroom(), PREPARED, commit_shared)?);
            all
        }
        Workload::Get => each(&|peer| site.gets(peer, CACHE_BYTES, gets))?,
        Workload::GetUncached => each(&|peer| site.gets(peer, 0, scale.gets_uncached))?,
        Workload::GetCold => each(&|peer| site.gets_cold(peer))?,
        Workload::Range => each(&|peer| site.ranges(peer))?,
        Workload::Scan => each(&|peer| site.scans(peer, CACHE_BYTES))?,
        Workload::ScanUncached => each(&|peer| site.scans(peer, 0))?,
        Workload::Open => each(&|peer| site.opens(peer))?,
        Workload::OpenKilled => each(&|peer| site.opens_killed(peer))?,
        Workload::OpenPassword => peers::stores_with_password()
            .into_iter()
            .map(|peer| site.opens(peer))
            .collect::<Result<Vec<_>>>()?,
        Workload::Checkpoint => {
            let mut all = each(&|peer| site.checkpoints(peer))?;
            all.push(site.data_alone()?);
            all.push(site.checkpoints(peers::json_file())?);
            all
        }
        Workload::Writers1 => each(&|peer| site.writers(peer, 1))?,
        Workload::Writers2 => each(&|peer| site.writers(peer, 2))?,
        Workload::Writers8 => each(&|peer| site.writers(peer, 8))?,
    })
}

/// The place where one workload's contenders are made.
struct Site<'a> {
    scale: &'a Scale,
    dir: &'a Path,
}

/// A filled and closed store.
struct Filled {
    peer: &'static dyn Peer,
    dir: PathBuf,
    /// In order.
    keys: Vec<Key>,
}

impl Filled {
    fn open(&self, cache_bytes: usize) -> Result<Box<dyn Store>> {
        self.peer.open(&self.dir, cache_bytes)
    }

    /// Opens the store, reads one row and closes it; only closing is not measured.
    ///
    /// If a store postpones work to its first use, that work is measured too.
    fn time_open(&self, samples: &mut Samples, key: Key, was_killed: bool) -> Result<()> {
        let (store, session) = samples.time(1, || {
            let store = self.open(CACHE_BYTES)?;
            let mut session = store.session()?;
            let sum = session.get(&[key])?;
            ensure!(sum > 0, "nothing was read");
            Ok((store, session))
        })?;
        ensure!(
            store.recovered() == was_killed,
            "{} found its store closed or not, contrary to how it was left",
            self.peer.label()
        );
        drop(session);
        store.close()
    }
}

type Commit = fn(&mut dyn Session, &[Row]) -> Result<()>;

fn commit(session: &mut dyn Session, rows: &[Row]) -> Result<()> {
    session.commit(rows)
}

fn commit_shared(session: &mut dyn Session, rows: &[Row]) -> Result<()> {
    session.commit_shared(rows)
}

fn picks() -> Stream {
    Stream::new(TURN_SEED, WRITTEN_BYTES)
}

impl Site<'_> {
    /// Makes a store with the initial rows, open for writing.
    fn written(&self, peer: &'static dyn Peer, label: &str) -> Result<(Box<dyn Store>, Filled)> {
        let dir = self.dir.join(label);
        fs::create_dir(&dir)?;
        let store = peer.create(&dir, CACHE_BYTES)?;
        let mut session = store.session()?;
        let rows = Stream::new(FILL_SEED, FILLED_BYTES).rows(self.scale.filled_rows);
        for part in rows.chunks(10_000) {
            session.commit(part)?;
        }
        let mut keys: Vec<Key> = rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        Ok((store, Filled { peer, dir, keys }))
    }

    /// Makes the same contender, closed.
    ///
    /// Later reads then use the database and not a log.
    fn filled(&self, peer: &'static dyn Peer) -> Result<Filled> {
        let (store, filled) = self.written(peer, peer.label())?;
        store.close()?;
        Ok(filled)
    }

    fn one_row(
        &self,
        peer: &'static dyn Peer,
        label: &'static str,
        mut work: impl FnMut(&mut dyn Session, &Row, &[u8]) -> Result<()> + 'static,
    ) -> Result<Contender> {
        let (store, _) = self.written(peer, label)?;
        let mut session = store.session()?;
        let mut stream = picks();
        let commits = self.scale.commits;
        let turn = move |samples: &mut Samples| {
            for _ in 0..commits {
                let (row, checkpoint) = (stream.row(), stream.checkpoint());
                samples.time(1, || work(&mut *session, &row, &checkpoint))?;
            }
            Ok(())
        };
        Ok(Contender { label, turn: Box::new(turn) })
    }

    fn commits(&self, peer: &'static dyn Peer) -> Result<Contender> {
        self.one_row(peer, peer.label(), |session, row, _| session.commit(slice::from_ref(row)))
    }

    fn checkpoints(&self, peer: &'static dyn Peer) -> Result<Contender> {
        self.one_row(peer, peer.label(), |session, row, checkpoint| {
            session.commit_with_checkpoint(slice::from_ref(row), checkpoint)
        })
    }

    fn data_alone(&self) -> Result<Contender> {
        self.one_row(peers::strongroom(), DATA_ALONE, |session, row, _| {
            session.commit_shared(slice::from_ref(row))
        })
    }

    fn batches(
        &self,
        peer: &'static dyn Peer,
        label: &'static str,
        commit: Commit,
    ) -> Result<Contender> {
        let (store, _) = self.written(peer, label)?;
        let mut session = store.session()?;
        let mut stream = picks();
        let rows = self.scale.batch_rows;
        let turn = move |samples: &mut Samples| {
            let rows = stream.rows(rows);
            samples.time(1, || commit(&mut *session, &rows))
        };
        Ok(Contender { label, turn: Box::new(turn) })
    }

    fn gets(&self, peer: &'static dyn Peer, cache_bytes: usize, count: usize) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut session = filled.open(cache_bytes)?.session()?;
        let keys = filled.keys;
        let mut stream = picks();
        let turn = move |samples: &mut Samples| {
            let picked: Vec<Key> = (0..count).map(|_| keys[stream.below(keys.len())]).collect();
            let sum = samples.time(count, || session.get(&picked))?;
            ensure!(sum > 0, "nothing was read");
            Ok(())
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    /// Makes gets without a cache of the store or system.
    fn gets_cold(&self, peer: &'static dyn Peer) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut session = filled.open(0)?.session()?;
        let pages = PageCache::of(&filled.dir)?;
        let keys = filled.keys;
        let mut stream = picks();
        let count = self.scale.gets_cold;
        let turn = move |samples: &mut Samples| {
            for _ in 0..count {
                let key = keys[stream.below(keys.len())];
                pages.forget()?;
                let sum = page_cache::reading_from_disk(|| {
                    samples.time(1, || session.get(slice::from_ref(&key)))
                })?;
                ensure!(sum > 0, "nothing was read");
            }
            Ok(())
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    fn ranges(&self, peer: &'static dyn Peer) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut session = filled.open(CACHE_BYTES)?.session()?;
        let keys = filled.keys;
        let mut stream = picks();
        let count = self.scale.ranges;
        let turn = move |samples: &mut Samples| {
            // Far enough from the end for a whole scan.
            let starts = keys.len() - SCAN_ROWS;
            let picked: Vec<Key> = (0..count).map(|_| keys[stream.below(starts)]).collect();
            let sum = samples.time(count, || session.scan(&picked, SCAN_ROWS))?;
            ensure!(sum > 0, "nothing was read");
            Ok(())
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    fn scans(&self, peer: &'static dyn Peer, cache_bytes: usize) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut session = filled.open(cache_bytes)?.session()?;
        let rows = filled.keys.len();
        let turn = move |samples: &mut Samples| {
            let sum = samples.time(1, || session.scan(&[Key::default()], rows))?;
            ensure!(sum > 0, "nothing was read");
            Ok(())
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    fn opens(&self, peer: &'static dyn Peer) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut stream = picks();
        let turn = move |samples: &mut Samples| {
            let key = filled.keys[stream.below(filled.keys.len())];
            filled.time_open(samples, key, false)
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    fn opens_killed(&self, peer: &'static dyn Peer) -> Result<Contender> {
        let filled = self.filled(peer)?;
        let mut stream = picks();
        let mut seeds = TURN_SEED..;
        let commits = self.scale.commits_until_killed;
        let turn = move |samples: &mut Samples| {
            let seed = seeds.next().expect("seeds do not end");
            killed::leave_killed(peer, &filled.dir, commits, seed)?;
            let key = filled.keys[stream.below(filled.keys.len())];
            filled.time_open(samples, key, true)
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }

    fn writers(&self, peer: &'static dyn Peer, threads: usize) -> Result<Contender> {
        let (store, _) = self.written(peer, peer.label())?;
        let mut writers = Vec::new();
        for seed in (TURN_SEED..).take(threads) {
            writers.push((store.session()?, Stream::new(seed, WRITTEN_BYTES)));
        }
        let commits = self.scale.commits;
        let turn = move |samples: &mut Samples| {
            let start = Barrier::new(threads + 1);
            let start = &start;
            thread::scope(|scope| {
                let mut running = Vec::new();
                for (session, stream) in &mut writers {
                    let rows = stream.rows(commits);
                    running.push(scope.spawn(move || {
                        start.wait();
                        rows.iter().try_for_each(|row| session.commit_shared(slice::from_ref(row)))
                    }));
                }
                start.wait();
                samples.time(threads * commits, || {
                    running
                        .into_iter()
                        .try_for_each(|writer| writer.join().expect("a writer does not panic"))
                })
            })
        };
        Ok(Contender { label: peer.label(), turn: Box::new(turn) })
    }
}
