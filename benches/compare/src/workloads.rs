//! The workloads: the operation that each measures, and its amount.

use std::fmt::Write;
use std::ops::RangeInclusive;

use clap::ValueEnum;

use crate::options::Options;

/// Lengths of written values in bytes.
pub(crate) const WRITTEN_BYTES: RangeInclusive<usize> = 100..=200;
/// Length of initial values in bytes, which are read.
pub(crate) const FILLED_BYTES: RangeInclusive<usize> = 200..=200;

/// Rows that one range reads.
pub(crate) const SCAN_ROWS: usize = 1_000;

/// The amount of work.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Turns of each contender in one round.
    turns: usize,
    /// Rows in each database before the first turn.
    pub(crate) filled_rows: usize,
    /// Rows of the large batch.
    pub(crate) batch_rows: usize,
    /// Commits of each writer in one turn.
    pub(crate) commits: usize,
    /// Commits of the process that is killed.
    pub(crate) commits_until_killed: usize,
    // Gets of one turn.
    pub(crate) gets: usize,
    pub(crate) gets_uncached: usize,
    pub(crate) gets_cold: usize,
    pub(crate) ranges: usize,
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
                commits_until_killed: 20,
                gets: 2_000,
                gets_uncached: 500,
                gets_cold: 5,
                ranges: 5,
            }
        } else {
            Self {
                rounds: 15,
                turns: 10,
                filled_rows: 100_000,
                batch_rows: 10_000,
                commits: 20,
                commits_until_killed: 100,
                gets: 5_000,
                gets_uncached: 1_000,
                gets_cold: 10,
                ranges: 25,
            }
        };
        if let Some(rounds) = options.rounds {
            scale.rounds = rounds as usize;
        }
        scale
    }
}

/// A measured workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Commit,
    Batch,
    Get,
    GetUncached,
    GetCold,
    Range,
    Scan,
    ScanUncached,
    Open,
    OpenKilled,
    OpenPassword,
    Checkpoint,
    #[value(name = "writers-1")]
    Writers1,
    #[value(name = "writers-2")]
    Writers2,
    #[value(name = "writers-8")]
    Writers8,
}

impl Workload {
    pub(crate) const ALL: [Self; 15] = [
        Self::Commit,
        Self::Batch,
        Self::Get,
        Self::GetUncached,
        Self::GetCold,
        Self::Range,
        Self::Scan,
        Self::ScanUncached,
        Self::Open,
        Self::OpenKilled,
        Self::OpenPassword,
        Self::Checkpoint,
        Self::Writers1,
        Self::Writers2,
        Self::Writers8,
    ];

    /// Returns its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Batch => "batch",
            Self::Get => "get",
            Self::GetUncached => "get-uncached",
            Self::GetCold => "get-cold",
            Self::Range => "range",
            Self::Scan => "scan",
            Self::ScanUncached => "scan-uncached",
            Self::Open => "open",
            Self::OpenKilled => "open-killed",
            Self::OpenPassword => "open-password",
            Self::Checkpoint => "checkpoint",
            Self::Writers1 => "writers-1",
            Self::Writers2 => "writers-2",
            Self::Writers8 => "writers-8",
        }
    }

    /// Returns its title in the table, which describes one operation.
    pub(crate) fn title(self, scale: &Scale) -> String {
        let mut title = match self {
            Self::Commit => "durable commit of 1 row of 100 to 200 bytes".to_owned(),
            Self::Batch => format!("{} such rows in one durable commit", scale.batch_rows),
            Self::Get => "200 bytes by key, cached, one snapshot".to_owned(),
            Self::GetUncached | Self::ScanUncached => {
                "the same, the store's cache off, the system's warm".to_owned()
            }
            Self::GetCold => "the same, both cold before each get".to_owned(),
            Self::Range => format!("{SCAN_ROWS} rows of 200 bytes in key order, cached"),
            Self::Scan => "all rows in key order, cached".to_owned(),
            Self::Open => "open after a clean close, and read one row".to_owned(),
            Self::OpenKilled => format!(
                "the same after a process that was killed after {} commits",
                scale.commits_until_killed
            ),
            Self::OpenPassword => "open by a password after a clean close".to_owned(),
            Self::Checkpoint => "durable commit of 1 row and a checkpoint".to_owned(),
            Self::Writers1 => "1 thread, each commit 1 row; wall time per commit".to_owned(),
            Self::Writers2 => "2 threads, as before".to_owned(),
            Self::Writers8 => "8 threads, as before".to_owned(),
        };
        if matches!(self, Self::Get | Self::Range | Self::Scan | Self::Open) {
            let _ = write!(title, ", of {} rows", scale.filled_rows);
        }
        title
    }

    /// Returns the turns of each contender in one round.
    ///
    /// Few of the large batch, so that the databases stay below the size from which Strongroom
    /// syncs twice a commit (see `../../README.md`), and few of slow workloads.
    pub(crate) fn turns(self, scale: &Scale) -> usize {
        match self {
            Self::Batch | Self::OpenPassword => scale.turns.div_ceil(10),
            Self::Scan | Self::ScanUncached | Self::OpenKilled => scale.turns.div_ceil(5),
            _ => scale.turns,
        }
    }
}
