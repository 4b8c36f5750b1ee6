//! What Strongroom, sealed, is held to: its time as a multiple of a peer's, workload by workload.

use crate::contenders::DATA_ALONE;
use crate::measure::{Measured, Spread};
use crate::peers::{REDB, SQLCIPHER, STRONGROOM};
use crate::workloads::Workload;

/// Most that a get from a warm cache may take of plain redb's time and still be called equal:
/// nothing is opened or sealed on that way.
const EQUAL_RATIO_MAX: f64 = 1.05;
/// Most that data with its checkpoint may take of the time of the data alone.
const CHECKPOINT_RATIO_MAX: f64 = 1.10;

/// One goal, and what was measured.
pub(crate) struct Goal {
    pub(crate) told: String,
    pub(crate) ratio: Spread,
    pub(crate) met: bool,
}

/// Most that Strongroom may take of plain redb's time; `None` where that is not limited.
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

/// Whether Strongroom is to be ahead of `SQLCipher`: everywhere but where each takes the time that
/// it means an attacker to take.
pub(crate) fn is_race(workload: Workload) -> bool {
    workload != Workload::OpenPassword
}

/// All goals of a workload whose peers were measured.
pub(crate) fn of(measured: &Measured) -> Vec<Goal> {
    let name = measured.workload.name();
    let goal = |told: String, peer: &str, holds: &dyn Fn(f64) -> bool| {
        let own = measured.series(STRONGROOM)?;
        let ratio = own.ratio_to(measured.series(peer)?);
        Some(Goal { told, ratio, met: holds(ratio.median) })
    };
    let mut goals = Vec::new();
    if measured.workload == Workload::Checkpoint {
        let told = format!("{name}: at most {CHECKPOINT_RATIO_MAX:.2} of the data alone");
        goals.extend(goal(told, DATA_ALONE, &|ratio| ratio <= CHECKPOINT_RATIO_MAX));
    }
    if let Some(at_most) = redb_ratio_max(measured.workload) {
        let told = format!("{name}: at most {at_most:.2} of plain redb");
        goals.extend(goal(told, REDB, &|ratio| ratio <= at_most));
    }
    if is_race(measured.workload) {
        let told = format!("{name}: ahead of SQLCipher");
        goals.extend(goal(told, SQLCIPHER, &|ratio| ratio < 1.0));
    }
    goals
}
