//! The workloads: what each peer does in one turn, and how much of it.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::slice;
use std::sync::Barrier;
use std::thread;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::data::{Key, Row, Stream};
use crate::measure::{Contender, Samples};
use crate::options::Options;
use crate::peers::{Append, JsonFile, Peer, Redb, Session, Sqlite, Strongroom};

/// Strongroom's prepared batch beside its closure.
pub(crate) const PREPARED: &str = "strongroom, prepared";
/// Strongroom's data without a checkpoint, beside both.
pub(crate) const DATA_ALONE: &str = "strongroom, data alone";

/// Seed of the rows that a database is filled with; the keys to read come from it too.
const FILL_SEED: u64 = 1;
/// Seed of what a turn writes or picks; writers count up from it.
const TURN_SEED: u64 = 1_000;

/// Value lengths of what is written, in bytes.
const WRITTEN_BYTES: std::ops::RangeInclusive<usize> = 100..=200;
/// Value length of what is filled in and read, in bytes.
const FILLED_BYTES: std::ops::RangeInclusive<usize> = 200..=200;

/// How many rows one scan reads.
const SCAN_ROWS: usize = 1_000;

/// How much is done.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Turns of each contender in one round.
    turns: usize,
    /// Rows in each database before the first turn.
    filled_rows: usize,
    /// Rows of the large batch.
    batch_rows: usize,
    /// Commits of each writer in one turn.
    commits: usize,
    gets: usize,
    scans: usize,
}

impl Scale {
    pub(crate) fn of(options: &Options) -> Self {
        let mut scale = if options.quick {
            Self {
                rounds: 2,
                turns: 2,
                filled_rows: 10_000,
                batch_rows: 1_000,
                commits: 5,
                gets: 2_000,
                scans: 5,
            }
        } else {
            Self {
                rounds: 15,
                turns: 10,
                filled_rows: 100_000,
                batch_rows: 10_000,
                commits: 20,
                gets: 5_000,
                scans: 25,
            }
        };
        if let Some(rounds) = options.rounds {
            scale.rounds = rounds as usize;
        }
        scale
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Commit,
    Batch,
    Get,
    Range,
    Checkpoint,
    #[value(name = "writers-1")]
    Writers1,
    #[value(name = "writers-2")]
    Writers2,
    #[value(name = "writers-8")]
    Writers8,
}

impl Workload {
    pub(crate) const ALL: [Self; 8] = [
        Self::Commit,
        Self::Batch,
        Self::Get,
        Self::Range,
        Self::Checkpoint,
        Self::Writers1,
        Self::Writers2,
        Self::Writers8,
    ];

    /// As the command line names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Batch => "batch",
            Self::Get => "get",
            Self::Range => "range",
            Self::Checkpoint => "checkpoint",
            Self::Writers1 => "writers-1",
            Self::Writers2 => "writers-2",
            Self::Writers8 => "writers-8",
        }
    }

    /// As the table tells it: what one operation is.
    pub(crate) fn title(self, scale: &Scale) -> String {
        let mut title = match self {
            Self::Commit => "durable commit of 1 row of 100 to 200 bytes".to_owned(),
            Self::Batch => format!("{} such rows in one durable commit", scale.batch_rows),
            Self::Get => "200 bytes by key, cached, one snapshot".to_owned(),
            Self::Range => format!("{SCAN_ROWS} rows of 200 bytes in key order, cached"),
            Self::Checkpoint => "durable commit of 1 row and a checkpoint".to_owned(),
            Self::Writers1 => "1 thread, each commit 1 row; wall time per commit".to_owned(),
            Self::Writers2 => "2 threads, as before".to_owned(),
            Self::Writers8 => "8 threads, as before".to_owned(),
        };
        if matches!(self, Self::Get | Self::Range) {
            let _ = write!(title, ", of {} rows", scale.filled_rows);
        }
        title
    }

    /// Turns of each contender in one round: few of the large batch, so that the databases stay
    /// below the size from which Strongroom syncs twice a commit (see `../../README.md`).
    pub(crate) fn turns(self, scale: &Scale) -> usize {
        match self {
            Self::Batch => scale.turns.div_ceil(10),
            _ => scale.turns,
        }
    }

    /// Opens the contenders' databases in `dir` and fills them.
    pub(crate) fn contenders(self, scale: &Scale, dir: &Path) -> Result<Vec<Contender>> {
        let site = Site { scale, dir };
        Ok(match self {
            Self::Commit => vec![
                site.commits::<Redb>()?,
                site.commits::<Strongroom>()?,
                site.commits::<Sqlite>()?,
                site.commits::<Append>()?,
            ],
            Self::Batch => vec![
                site.batches::<Redb>(Redb::LABEL, commit)?,
                site.batches::<Strongroom>(Strongroom::LABEL, commit)?,
                site.batches::<Strongroom>(PREPARED, commit_shared)?,
                site.batches::<Sqlite>(Sqlite::LABEL, commit)?,
            ],
            Self::Get => {
                vec![site.gets::<Redb>()?, site.gets::<Strongroom>()?, site.gets::<Sqlite>()?]
            }
            Self::Range => {
                vec![site.scans::<Redb>()?, site.scans::<Strongroom>()?, site.scans::<Sqlite>()?]
            }
            Self::Checkpoint => vec![
                site.checkpoints::<Redb>()?,
                site.checkpoints::<Strongroom>()?,
                site.data_alone()?,
                site.checkpoints::<Sqlite>()?,
                site.checkpoints::<JsonFile>()?,
            ],
            Self::Writers1 => site.all_writers(1)?,
            Self::Writers2 => site.all_writers(2)?,
            Self::Writers8 => site.all_writers(8)?,
        })
    }
}

/// Where one workload's contenders are made.
struct Site<'a> {
    scale: &'a Scale,
    dir: &'a Path,
}

type Commit = fn(&mut dyn Session, &[Row]) -> Result<()>;

fn commit(session: &mut dyn Session, rows: &[Row]) -> Result<()> {
    session.commit(rows)
}

fn commit_shared(session: &mut dyn Session, rows: &[Row]) -> Result<()> {
    session.commit_shared(rows)
}

impl Site<'_> {
    /// A peer with the rows that every one begins with, and their keys in order.
    fn filled<P: Peer>(&self, label: &str) -> Result<(P, Vec<Key>)> {
        let dir = self.dir.join(label);
        fs::create_dir(&dir)?;
        let peer = P::create(&dir)?;
        let mut session = peer.session()?;
        let rows = Stream::new(FILL_SEED, FILLED_BYTES).rows(self.scale.filled_rows);
        for part in rows.chunks(10_000) {
            session.commit(part)?;
        }
        let mut keys: Vec<Key> = rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        Ok((peer, keys))
    }

    fn one_row<P: Peer>(
        &self,
        label: &'static str,
        mut work: impl FnMut(&mut dyn Session, &Row, &[u8]) -> Result<()> + 'static,
    ) -> Result<Contender> {
        let (peer, _) = self.filled::<P>(label)?;
        let mut session = peer.session()?;
        let mut stream = Stream::new(TURN_SEED, WRITTEN_BYTES);
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

    fn commits<P: Peer>(&self) -> Result<Contender> {
        self.one_row::<P>(P::LABEL, |session, row, _| session.commit(slice::from_ref(row)))
    }

    fn checkpoints<P: Peer>(&self) -> Result<Contender> {
        self.one_row::<P>(P::LABEL, |session, row, checkpoint| {
            session.commit_with_checkpoint(slice::from_ref(row), checkpoint)
        })
    }

    fn data_alone(&self) -> Result<Contender> {
        self.one_row::<Strongroom>(DATA_ALONE, |session, row, _| {
            session.commit_shared(slice::from_ref(row))
        })
    }

    fn batches<P: Peer>(&self, label: &'static str, commit: Commit) -> Result<Contender> {
        let (peer, _) = self.filled::<P>(label)?;
        let mut session = peer.session()?;
        let mut stream = Stream::new(TURN_SEED, WRITTEN_BYTES);
        let rows = self.scale.batch_rows;
        let turn = move |samples: &mut Samples| {
            let rows = stream.rows(rows);
            samples.time(1, || commit(&mut *session, &rows))
        };
        Ok(Contender { label, turn: Box::new(turn) })
    }

    fn gets<P: Peer>(&self) -> Result<Contender> {
        let (peer, keys) = self.filled::<P>(P::LABEL)?;
        let mut session = peer.session()?;
        let mut stream = Stream::new(TURN_SEED, WRITTEN_BYTES);
        let count = self.scale.gets;
        let turn = move |samples: &mut Samples| {
            let picked: Vec<Key> = (0..count).map(|_| keys[stream.below(keys.len())]).collect();
            let sum = samples.time(count, || session.get(&picked))?;
            ensure!(sum > 0, "nothing was read");
            Ok(())
        };
        Ok(Contender { label: P::LABEL, turn: Box::new(turn) })
    }

    fn scans<P: Peer>(&self) -> Result<Contender> {
        let (peer, keys) = self.filled::<P>(P::LABEL)?;
        let mut session = peer.session()?;
        let mut stream = Stream::new(TURN_SEED, WRITTEN_BYTES);
        let count = self.scale.scans;
        let turn = move |samples: &mut Samples| {
            // Far enough from the end for a whole scan.
            let starts = keys.len() - SCAN_ROWS;
            let picked: Vec<Key> = (0..count).map(|_| keys[stream.below(starts)]).collect();
            let sum = samples.time(count, || session.scan(&picked, SCAN_ROWS))?;
            ensure!(sum > 0, "nothing was read");
            Ok(())
        };
        Ok(Contender { label: P::LABEL, turn: Box::new(turn) })
    }

    fn all_writers(&self, threads: usize) -> Result<Vec<Contender>> {
        Ok(vec![
            self.writers::<Redb>(threads)?,
            self.writers::<Strongroom>(threads)?,
            self.writers::<Sqlite>(threads)?,
        ])
    }

    fn writers<P: Peer>(&self, threads: usize) -> Result<Contender> {
        let (peer, _) = self.filled::<P>(P::LABEL)?;
        let mut writers = Vec::new();
        for seed in (TURN_SEED..).take(threads) {
            writers.push((peer.session()?, Stream::new(seed, WRITTEN_BYTES)));
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
        Ok(Contender { label: P::LABEL, turn: Box::new(turn) })
    }
}
