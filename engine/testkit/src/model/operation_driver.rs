//! Acts on operations of the driver's vault, compared with the model.

use strongroom::operations::{Lane, Operation, OperationSpec, OperationsQuery};
use strongroom::{Snapshot, Vault};
use strongroom_base::{Error, ErrorKind, Result};

use super::driver::{Driver, lane_name, operation_id};
use super::operation_model::{
    Act, CHECKPOINTS_KEPT, End, OperationModel, OperationsModel, RETRY, Who, migrated,
};

/// The text of every failure.
const FAILURE: &str = "on purpose";

fn spec(operation: u8, lanes: u8) -> OperationSpec {
    OperationSpec::new(operation_id(operation))
        .name("driven")
        .lanes((0..lanes).map(lane_name))
        .metadata("number", operation.to_string())
        .retry(RETRY)
        .checkpoints_kept(CHECKPOINTS_KEPT)
}

impl Driver {
    pub(super) fn act(&mut self, operation: u8, act: Act) -> Result<()> {
        let vault = self.vault().clone();
        let id = operation_id(operation);
        let handle = match act {
            Act::Begin(lanes) => vault.operations().begin_with(spec(operation, lanes))?,
            Act::Resume => vault.operations().resume(&id)?,
            Act::TakeOver => vault.operations().take_over(&id)?,
            Act::Prepare(lanes) => return vault.operations().prepare(spec(operation, lanes)),
            Act::LetGo => {
                self.handles.remove(&operation);
                return Ok(());
            }
            Act::End(end, who) => return self.end(operation, end, who),
            Act::CompleteLane(lane, who) => return self.lane(operation, lane, who)?.complete(),
            Act::Migrate(version, who) => {
                return self.handle(operation, who)?.migrate(version.into(), |lane| {
                    let data = String::from_utf8_lossy(&lane.data);
                    Ok(migrated(version, &data).into_bytes())
                });
            }
            Act::PauseUnowned => return vault.operations().pause(&id),
            Act::Abandon => return vault.operations().abandon(&id),
            Act::Remove => return vault.operations().delete(&id).map(drop),
        };
        self.handles.entry(operation).or_default().push(handle);
        Ok(())
    }

    fn end(&self, operation: u8, end: End, who: Who) -> Result<()> {
        let handle = self.handle(operation, who)?;
        match end {
            End::Pause => handle.pause(),
            End::Complete => handle.complete(),
            End::Fail => handle.fail(FAILURE),
            End::Cancel => handle.cancel(),
        }
    }

    fn handle(&self, operation: u8, who: Who) -> Result<&Operation> {
        let handles = self.handles.get(&operation);
        let handle = handles.and_then(|handles| match who {
            Who::Newest => handles.last(),
            Who::Oldest => handles.first(),
        });
        handle.ok_or_else(|| Error::new(ErrorKind::NotFound, "find handle"))
    }

    pub(super) fn lane(&self, operation: u8, lane: u8, who: Who) -> Result<Lane> {
        self.handle(operation, who)?.lane(&lane_name(lane))
    }
}

impl OperationsModel {
    /// Compares the operations in `snapshot` with these; the error describes the difference.
    pub(super) fn differs(&self, snapshot: &Snapshot) -> Result<(), String> {
        let found = snapshot
            .operations(&OperationsQuery::new().limit(usize::MAX))
            .map_err(|e| e.to_string())?;
        let ids: Vec<_> = found.iter().map(|status| &*status.id).collect();
        let expected: Vec<_> = self.operations.keys().map(|&number| operation_id(number)).collect();
        if ids != expected {
            return Err(format!("operations are {ids:?}, expected {expected:?}"));
        }
        for (status, expected) in found.iter().zip(self.operations.values()) {
            let as_model =
                |lane: &strongroom::operations::LaneStatus| (lane.checkpoints, lane.complete);
            let lanes: Vec<_> = status.lanes.iter().map(as_model).collect();
            let expected_lanes: Vec<_> =
                expected.lanes.iter().map(|lane| (lane.checkpoints, lane.complete)).collect();
            if status.state != expected.state
                || status.held != expected.held
                || status.generation != expected.generation
                || status.attempts != expected.attempts
                || status.version != expected.version
                || status.failure.as_ref().map(|failure| &*failure.error)
                    != expected.failed.then_some(FAILURE)
                || status.metadata != [("number".to_owned(), status.id.replace("operation-", ""))]
                || status.name != "driven"
                || lanes != expected_lanes
            {
                return Err(format!("{status:?} differs from {expected:?}"));
            }
            kept_differ(snapshot, &status.id, expected)?;
        }
        Ok(())
    }

    /// Compares the vault's list of unfinished operations, with their reasons.
    pub(super) fn unfinished_differ(&self, vault: &Vault) -> Result<(), String> {
        let found = vault
            .operations()
            .unfinished(&OperationsQuery::new().limit(usize::MAX))
            .map_err(|e| e.to_string())?;
        let listed: Vec<_> =
            found.into_iter().map(|found| (found.id, found.state, found.resumable)).collect();
        let expected: Vec<_> = self
            .unfinished()
            .into_iter()
            .map(|(number, state, resumable)| (operation_id(number), Some(state), resumable))
            .collect();
        if listed == expected {
            return Ok(());
        }
        Err(format!("the unfinished operations are {listed:?}, expected {expected:?}"))
    }
}

fn kept_differ(snapshot: &Snapshot, id: &str, expected: &OperationModel) -> Result<(), String> {
    for (number, lane) in (0..).zip(&expected.lanes) {
        let name = lane_name(number);
        let kept = snapshot.checkpoints(id, &name).map_err(|e| e.to_string())?;
        let listed: Vec<_> = kept
            .iter()
            .map(|kept| (kept.checkpoints, String::from_utf8_lossy(&kept.data).into_owned()))
            .collect();
        let sequence = (0..=lane.checkpoints).rev();
        let expected: Vec<_> = sequence.zip(lane.kept.iter().cloned()).collect();
        if listed != expected {
            return Err(format!("{id}, {name} keeps {listed:?}, expected {expected:?}"));
        }
    }
    Ok(())
}
