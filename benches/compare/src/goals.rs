//! The goals of sealed Strongroom: its time as a multiple of a peer's, workload by workload.

use crate::contenders::DATA_ALONE;
use crate::measure::{Measured, Spread};
use crate::peers::{REDB, SQLCIPHER, STRONGROOM};
use crate::workloads::Workload;

/// Limit of a cached get that counts as equal to plain redb: nothing is opened or sealed there.
const EQUAL_RATIO_MAX: f64 = 1.05;
/// Limit for data with its checkpoint, relative to the data alone.
const CHECKPOINT_RATIO_MAX: f64 = 1.10;

/// One goal, and the measured value.
pub(crate) struct Goal {
    pub(crate) title: String,
    pub(crate) ratio: Spread,
    pub(crate) met: bool,
}

/// Returns the limit as a multiple of plain redb's time; `None` if there is none.
pub(crate) fn redb_ratio_max(workload: Workload) -> Option<f64> {
    match workload {
        Workload::Commit
        | Workload::Checkpoint
        | Workload::Writers1
        | Workload::Writers2
        | Workload::Writers8 => Some(1.15),
        Workload::Batch => Some(1.4),
        Workload::Get => Some(EQUAL_RATIO_MAX),
        Workload::GetUncached | Workload::GetCold => Some(4.0),
        Workload::Open | Workload::OpenKilled => Some(1.5),
        Workload::Range | Workload::Scan | Workload::ScanUncached | Workload::OpenPassword => None,
    }
}

/// Returns whether Strongroom should be ahead of `SQLCipher`.
///
/// It should everywhere except where both spend time on purpose to slow an attacker.
pub(crate) fn is_race(workload: Workload) -> bool {
    workload != Workload::OpenPassword
}

/// Lists all goals of a workload whose peers were measured.
pub(crate) fn of(measured: &Measured) -> Vec<Goal> {
    let name = measured.workload.name();
    let goal = |title: String, peer: &str, holds: &dyn Fn(f64) -> bool| {
        let own = measured.series(STRONGROOM)?;
        let ratio = own.ratio_to(measured.series(peer)?);
        Some(Goal { title, ratio, met: holds(ratio.median) })
    };
    let mut goals = Vec::new();
    if measured.workload == Workload::Checkpoint {
        let title = format!("{name}: at most {CHECKPOINT_RATIO_MAX:.2} of the data alone");
        goals.extend(goal(title, DATA_ALONE, &|ratio| ratio <= CHECKPOINT_RATIO_MAX));
    }
    if let Some(at_most) = redb_ratio_max(measured.workload) {
        let title = format!("{name}: at most {at_most:.2} of plain redb");
        goals.extend(goal(title, REDB, &|ratio| ratio <= at_most));
    }
    if is_race(measured.workload) {
        let title = format!("{name}: ahead of SQLCipher");
        goals.extend(goal(title, SQLCIPHER, &|ratio| ratio < 1.0));
    }
    goals
}
