//! Checks the rows of operations against one another.

use std::collections::{HashMap, HashSet};

use strongroom_base::Result;

use super::Check;
use strongroom_format::{CheckpointRow, OWN_OPERATION_PREFIX, OperationFields};
use strongroom_store::state::{Entry, StateRead, Table};

/// Number of lanes of one operation.
#[derive(Default, PartialEq, Eq)]
struct LaneCounts {
    all: u32,
    open: u32,
}

impl Check<'_> {
    /// Checks operations, lanes and checkpoints.
    ///
    /// Each operation must count its lanes, each lane have an operation, and each earlier
    /// checkpoint a lane. Exactly the host's unfinished operations must be listed as unfinished.
    pub(super) fn operations(&mut self, state: &StateRead) -> Result<()> {
        let mut lanes: HashMap<Vec<u8>, LaneCounts> = HashMap::new();
        self.scan(state, Table::Checkpoints, |check, entry| {
            let counted = lanes.entry(operation_of(entry).to_vec()).or_default();
            match CheckpointRow::decode(entry.row.as_slice()) {
                Ok(CheckpointRow::V0 { complete, .. }) => {
                    counted.all += 1;
                    counted.open += u32::from(!complete);
                }
                Err(e) => check.wrong(Table::Checkpoints, e.to_string()),
            }
            Ok(())
        })?;
        self.history(state)?;
        let mut unfinished: HashSet<Vec<u8>> = HashSet::new();
        self.scan(state, Table::Unfinished, |_, entry| {
            unfinished.insert(entry.key.as_slice().to_vec());
            Ok(())
        })?;
        self.scan(state, Table::Operations, |check, entry| {
            check.report.operations += 1;
            let id = entry.key.as_slice();
            let counted = lanes.remove(id).unwrap_or_default();
            let listed = unfinished.remove(id);
            let row = match OperationFields::decode(entry.row.as_slice()) {
                Ok(row) => row,
                Err(e) => {
                    check.wrong(Table::Operations, e.to_string());
                    return Ok(());
                }
            };
            if (LaneCounts { all: row.lanes, open: row.lanes_open }) != counted {
                let detail = format!(
                    "an operation counts {} open of {} lanes, but has {} of {}",
                    row.lanes_open, row.lanes, counted.open, counted.all
                );
                check.wrong(Table::Operations, detail);
            }
            let own = id.starts_with(OWN_OPERATION_PREFIX.as_bytes());
            if listed != (!own && !row.state.is_finished()) {
                let (is, or) = if listed { ("finished", "") } else { ("unfinished", "not ") };
                let detail = format!("an operation is {is} and {or}listed as unfinished");
                check.wrong(Table::Unfinished, detail);
            }
            Ok(())
        })?;
        if !lanes.is_empty() {
            let detail = format!("{} operations have lanes but no row", lanes.len());
            self.wrong(Table::Checkpoints, detail);
        }
        if !unfinished.is_empty() {
            let detail = format!("{} operations are listed but have no row", unfinished.len());
            self.wrong(Table::Unfinished, detail);
        }
        Ok(())
    }

    fn history(&mut self, state: &StateRead) -> Result<()> {
        self.scan(state, Table::History, |check, entry| {
            let key = entry.key.as_slice();
            // The key without the history position and the zero byte before it.
            let lane = key.get(..key.len().saturating_sub(3)).unwrap_or(&[]);
            if state.get(Table::Checkpoints, lane)?.is_none() {
                check.wrong(Table::History, "an earlier checkpoint has no lane");
            }
            if let Err(e) = CheckpointRow::decode(entry.row.as_slice()) {
                check.wrong(Table::History, e.to_string());
            }
            Ok(())
        })
    }
}

/// Returns the operation's id in a lane's key.
fn operation_of(entry: &Entry) -> &[u8] {
    entry.key.as_slice().split(|&byte| byte == 0).next().unwrap_or(&[])
}
