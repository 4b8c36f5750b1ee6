//! A single checkpoint, with ten kept of a lane and with one: durable, and in memory, where no disk
//! hides its cost.

use std::path::Path;

use anyhow::{Result, ensure};
use strongroom::operations::{Checkpoint, ONLY_LANE, OperationSpec};
use strongroom::{Batch, Vault};
use strongroom_testkit::memory_vault;

use super::{create, subfolder};
use crate::measure::{Contender, Samples};

pub(super) const NAME: &str = "history";
pub(super) const KEPT_1: &str = "a checkpoint, 1 kept";
pub(super) const KEPT_10: &str = "a checkpoint, 10 kept";
pub(super) const KEPT_10_UNREAD: &str = "a checkpoint, 10 kept, a subscriber that never reads";
const DATA_ALONE: &str = "a row of as many bytes, without an operation";

pub(super) const MEMORY: &str = "history-memory";

/// Samples of a turn: few, because a disk may tolerate only a limited number in a row.
const SAMPLES: usize = 20;
/// Commits of one sample: more if one is short.
const COMMITS: usize = 1;
const COMMITS_IN_MEMORY: usize = 25;
const BYTES: usize = 100;

/// Makes contenders on the disk.
pub(super) fn contenders(dir: &Path) -> Result<Vec<Contender>> {
    of(COMMITS, |label| create(&subfolder(dir, label)?))
}

/// Makes contenders in memory.
pub(super) fn contenders_in_memory() -> Result<Vec<Contender>> {
    of(COMMITS_IN_MEMORY, |_| Ok(memory_vault()?))
}

fn of(commits: usize, vault: impl Fn(&str) -> Result<Vault>) -> Result<Vec<Contender>> {
    Ok(vec![
        kept(KEPT_1, vault(KEPT_1)?, 1, None, commits)?,
        kept(KEPT_10, vault(KEPT_10)?, 10, None, commits)?,
        kept(KEPT_10_UNREAD, vault(KEPT_10_UNREAD)?, 10, Some(1), commits)?,
        data_alone(vault(DATA_ALONE)?, commits),
    ])
}

/// Makes a contender.
///
/// If its channel has room, it has a subscriber that never reads.
fn kept(
    label: &'static str,
    vault: Vault,
    kept: u16,
    room: Option<usize>,
    commits: usize,
) -> Result<Contender> {
    let unread = room.map(|room| vault.operations().subscribe(room));
    let operation =
        vault.operations().begin_with(OperationSpec::new("import-7").checkpoints_kept(kept))?;
    let lane = operation.lane(ONLY_LANE)?;
    let turn = move |samples: &mut Samples| {
        for _ in 0..SAMPLES {
            samples.time_both(commits, || {
                let commit = |_| lane.commit(Batch::new(), Checkpoint::new([7; BYTES]));
                Ok((0..commits).try_for_each(commit)?)
            })?;
        }
        ensure!(unread.as_ref().is_none_or(|unread| unread.missed() > 0), "nothing was missed");
        Ok(())
    };
    Ok(Contender { label, turn: Box::new(turn) })
}

fn data_alone(vault: Vault, commits: usize) -> Contender {
    let turn = move |samples: &mut Samples| {
        for _ in 0..SAMPLES {
            samples.time_both(commits, || {
                let commit = |_| {
                    let mut batch = Batch::new();
                    batch.insert("records", "import-7", [7; BYTES]);
                    vault.apply(batch)
                };
                Ok((0..commits).try_for_each(commit)?)
            })?;
        }
        Ok(())
    };
    Contender { label: DATA_ALONE, turn: Box::new(turn) }
}
