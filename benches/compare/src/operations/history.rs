//! A checkpoint alone, with ten of a lane kept and with one.

use std::path::Path;

use anyhow::Result;
use strongroom::{Batch, Checkpoint, ONLY_LANE, OperationSpec};

use super::{create, subfolder};
use crate::measure::{Contender, Samples};

pub(super) const NAME: &str = "history";
pub(super) const KEPT_1: &str = "a checkpoint, 1 kept";
const KEPT_10: &str = "a checkpoint, 10 kept";
const DATA_ALONE: &str = "a row of as many bytes, without an operation";

const COMMITS: usize = 50;
const BYTES: usize = 100;

pub(super) fn contenders(dir: &Path) -> Result<Vec<Contender>> {
    Ok(vec![kept(dir, KEPT_1, 1)?, kept(dir, KEPT_10, 10)?, data_alone(dir)?])
}

fn kept(dir: &Path, label: &'static str, kept: u16) -> Result<Contender> {
    let vault = create(&subfolder(dir, label)?)?;
    let operation = vault.begin_with(OperationSpec::new("import-7").checkpoints_kept(kept))?;
    let lane = operation.lane(ONLY_LANE)?;
    let turn = move |samples: &mut Samples| {
        for _ in 0..COMMITS {
            samples.time_both(1, || Ok(lane.commit(Batch::new(), Checkpoint::new([7; BYTES]))?))?;
        }
        Ok(())
    };
    Ok(Contender { label, turn: Box::new(turn) })
}

fn data_alone(dir: &Path) -> Result<Contender> {
    let vault = create(&subfolder(dir, DATA_ALONE)?)?;
    let turn = move |samples: &mut Samples| {
        for _ in 0..COMMITS {
            samples.time_both(1, || {
                let mut batch = Batch::new();
                batch.insert("records", "import-7", [7; BYTES]);
                Ok(vault.apply(batch)?)
            })?;
        }
        Ok(())
    };
    Ok(Contender { label: DATA_ALONE, turn: Box::new(turn) })
}
