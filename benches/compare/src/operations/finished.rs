//! Vaults with many finished operations, compared with vaults that have few.
//!
//! They are opened, and asked for a page of operations and for unfinished ones; with no unfinished
//! operation, and with a few among the finished ones, which open then reads from more pages.
//! Another vault with few operations has a state of the same size through records: after a kill the
//! whole state is checked, whatever it contains.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, ensure};
use strongroom::operations::{
    Checkpoint, Lane, ONLY_LANE, Operation, OperationSpec, OperationsQuery,
};
use strongroom::{Batch, Vault};

use super::{Scale, create, open, subfolder};
use crate::data::Stream;
use crate::killed;
use crate::measure::{Contender, Samples};
use crate::peers;

/// Finished operations of the vaults with few.
const FINISHED_FEW: usize = 100;
/// Unfinished operations, if there are any.
const UNFINISHED: usize = 10;
/// Length of a page.
const PAGE: usize = 100;
/// Operations whose checkpoints commit together while a vault is filled.
const TOGETHER: usize = 1_000;
/// Checkpoints of each operation; the last one completes it.
const CHECKPOINTS: usize = 3;
/// Commits of a process before it is killed.
const COMMITS_UNTIL_KILLED: usize = 20;

/// A vault, closed.
pub(super) struct Crowd {
    pub(super) label: &'static str,
    dir: PathBuf,
    unfinished: usize,
}

/// A measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Open,
    Page,
    Unfinished,
    OpenKilled,
}

pub(super) const FEW_ENDED: &str = "few finished, none left";
pub(super) const MANY_ENDED: &str = "many finished, none left";
pub(super) const FEW: &str = "few finished, 10 left";
pub(super) const MANY: &str = "many finished, 10 left";
pub(super) const LARGE: &str = "few finished, 10 left, records of as many bytes";

impl Part {
    /// The last one comes last, because it lengthens the files.
    pub(super) const ALL: [Self; 4] = [Self::Open, Self::Page, Self::Unfinished, Self::OpenKilled];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Page => "page",
            Self::Unfinished => "unfinished",
            Self::OpenKilled => "open-killed",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Open => "open after a clean close",
            Self::Page => "then `operations(None, 100)`",
            Self::Unfinished => "or then `unfinished(None, 100)`",
            Self::OpenKilled => "open after a process that was killed",
        }
    }

    /// Returns the turns of each contender in one round.
    pub(super) fn turns(self) -> usize {
        if self == Self::OpenKilled { 2 } else { 10 }
    }
}

pub(super) fn crowds(scale: &Scale, dir: &Path) -> Result<[Rc<Crowd>; 5]> {
    let few_ended = Crowd::ended(dir, FEW_ENDED, FINISHED_FEW)?;
    let many_ended = Crowd::ended(dir, MANY_ENDED, scale.finished)?;
    let few = few_ended.with_unfinished(dir, FEW, FINISHED_FEW)?;
    let many = many_ended.with_unfinished(dir, MANY, scale.finished)?;
    let large = few_ended.with_unfinished(dir, LARGE, FINISHED_FEW)?;
    large.grow_to(many.state_bytes()?)?;
    Ok([few_ended, many_ended, few, many, large].map(Rc::new))
}

impl Crowd {
    /// Makes a vault with `finished` operations, all of which have ended.
    fn ended(dir: &Path, label: &'static str, finished: usize) -> Result<Self> {
        let dir = subfolder(dir, label)?;
        let vault = create(&dir)?;
        let mut begun = Vec::new();
        for number in 0..finished {
            begun.push(begin(&vault, &format!("import-{number:06}"))?);
            if begun.len() == TOGETHER || number + 1 == finished {
                complete(&vault, &begun)?;
                begun.clear();
            }
        }
        vault.close()?;
        Ok(Self { label, dir, unfinished: 0 })
    }

    /// Copies the vault and adds unfinished operations, evenly among the others.
    fn with_unfinished(&self, dir: &Path, label: &'static str, finished: usize) -> Result<Self> {
        let dir = subfolder(dir, label)?;
        copy(&self.dir, &dir)?;
        let vault = open(&dir)?;
        for number in (0..UNFINISHED).map(|n| n * finished / UNFINISHED) {
            let (_owner, lane) = begin(&vault, &format!("import-{number:06}-left"))?;
            lane.commit(Batch::new(), checkpoint())?;
        }
        vault.close()?;
        Ok(Self { label, dir, unfinished: UNFINISHED })
    }

    pub(super) fn state_bytes(&self) -> Result<u64> {
        let vault = open(&self.dir)?;
        let bytes = vault.info()?.state_bytes;
        vault.close()?;
        Ok(bytes)
    }

    /// Adds records until its closed state has about `state_bytes` bytes.
    fn grow_to(&self, state_bytes: u64) -> Result<()> {
        let mut stream = Stream::new(1, 200..=200);
        loop {
            let missing = state_bytes.saturating_sub(self.state_bytes()?);
            if missing <= state_bytes / 50 {
                return Ok(());
            }
            let vault = open(&self.dir)?;
            // At least half of a page of 4 KiB is used, so a row takes less than this.
            for _ in 0..missing.div_ceil(600 * 1_000) {
                let mut batch = Batch::new();
                for row in stream.rows(1_000) {
                    batch.insert("filling", row.key, row.value);
                }
                vault.apply(batch)?;
            }
            vault.close()?;
        }
    }

    pub(super) fn contender(crowd: &Rc<Self>, part: Part) -> Contender {
        let (own, mut seeds) = (Rc::clone(crowd), 1_000..);
        let turn = move |samples: &mut Samples| {
            let seed = seeds.next().expect("seeds do not end");
            own.turn(samples, part, seed)
        };
        Contender { label: crowd.label, turn: Box::new(turn) }
    }

    fn turn(&self, samples: &mut Samples, part: Part, seed: u64) -> Result<()> {
        if part == Part::OpenKilled {
            killed::leave_killed(peers::strongroom(), &self.dir, COMMITS_UNTIL_KILLED, seed)?;
        }
        let opens = matches!(part, Part::Open | Part::OpenKilled);
        let vault =
            if opens { samples.time_both(1, || open(&self.dir))?.0 } else { open(&self.dir)? };
        let recovery = vault.recovery();
        ensure!(
            recovery.state_repaired == (part == Part::OpenKilled),
            "the state was found closed or not, contrary to how it was left"
        );
        ensure!(recovery.operations.len() == self.unfinished, "open lists what is not finished");
        match part {
            Part::Page => {
                let (page, _) = samples.time_both(1, || {
                    Ok(vault.read()?.operations(&OperationsQuery::new().limit(PAGE))?)
                })?;
                ensure!(page.len() == PAGE, "the page is not full");
            }
            Part::Unfinished => {
                let (page, _) = samples.time_both(1, || {
                    Ok(vault.operations().unfinished(&OperationsQuery::new().limit(PAGE))?)
                })?;
                ensure!(page.len() == self.unfinished, "others are unfinished");
            }
            Part::Open | Part::OpenKilled => {}
        }
        Ok(vault.close()?)
    }
}

/// Copies a closed vault.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

fn begin(vault: &Vault, id: &str) -> Result<(Operation, Lane)> {
    let operation = vault.operations().begin_with(OperationSpec::new(id).name("import"))?;
    let lane = operation.lane(ONLY_LANE)?;
    Ok((operation, lane))
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new([7; 100])
}

/// Commits the checkpoints of all; the last ones complete them.
fn complete(vault: &Vault, begun: &[(Operation, Lane)]) -> Result<()> {
    for number in 1..=CHECKPOINTS {
        let mut batch = Batch::new();
        for (_, lane) in begun {
            let last = number == CHECKPOINTS;
            batch.checkpoint(lane, if last { checkpoint().complete() } else { checkpoint() });
        }
        vault.apply(batch)?;
    }
    Ok(())
}
