//! Resuming with a callback: its lanes, their order, and the operation's end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::time::Duration;

use strongroom::operations::{
    Checkpoint, Lane, LaneStatus, OperationState, OperationStatus, Resumable,
};
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{Scene, commit, resumability, row, spec, state, status};
use crate::support::records::{assert_error, assert_whole, get};

/// Creates an operation without an owner: "b" is complete, "c" has checkpoint 3.
fn create_unfinished(vault: &Vault) {
    let operation = vault.operations().begin_with(spec("op").lanes(["d", "c", "b", "a"])).unwrap();
    operation.lane("b").unwrap().complete().unwrap();
    commit(&operation.lane("c").unwrap(), 3).unwrap();
}

/// Commits the rest of a lane's five rows, each with a checkpoint.
fn five_rows(lane: &Lane, status: &LaneStatus) -> Result<()> {
    for n in status.decode::<u32>()?.unwrap_or(0)..5 {
        lane.commit(row(&format!("{} {n}", lane.name())), Checkpoint::encode(&(n + 1))?)?;
    }
    Ok(())
}

#[test]
fn incomplete_lanes_come_in_order_with_their_status() {
    let scene = Scene::new();
    create_unfinished(&scene.vault);
    let scene = scene.reopen();
    let mut seen = Vec::new();
    let done = scene.vault.operations().resume_with("op", |lane, status| {
        assert_eq!(lane.name(), status.name);
        seen.push((status.name.clone(), status.decode::<u32>()?));
        five_rows(lane, status)
    });
    let done: OperationStatus = done.unwrap();
    assert_eq!(seen, [("a".to_owned(), None), ("c".into(), Some(3)), ("d".into(), None)]);
    assert_eq!((done.state, done.lanes_complete()), (OperationState::Completed, 4));
    assert_eq!(done, status(&scene.vault, "op"));
    assert_eq!(get(&scene.vault, "c 2"), None, "done before the resume");
    for key in ["a 0", "a 4", "c 3", "c 4", "d 4"] {
        assert_eq!(get(&scene.vault, key).unwrap(), b"row");
    }
    let again = scene.vault.operations().resume_with("op", |_, _| Ok::<_, Error>(()));
    assert_error(again, ErrorKind::AlreadyExists, "completed");
    assert_whole(&scene.vault);
}

#[test]
fn prepared_operation_begins_and_others_are_refused() {
    let vault = memory_vault().unwrap();
    vault.operations().prepare(spec("op")).unwrap();
    let done = vault.operations().resume_with("op", five_rows).unwrap();
    assert_eq!((done.state, done.generation), (OperationState::Completed, 1));

    let never = |_: &Lane, _: &LaneStatus| -> Result<()> { unreachable!("must not run") };
    assert_error(vault.operations().resume_with("none", never), ErrorKind::NotFound, "none");
    let live = vault.operations().begin_with(spec("live")).unwrap();
    assert_error(
        vault.operations().resume_with("live", never),
        ErrorKind::Locked,
        "runs in this process",
    );
    live.cancel().unwrap();
    assert_error(vault.operations().resume_with("live", never), ErrorKind::Invalid, "cancelled");
}

/// An error type of the host.
#[derive(Debug, PartialEq)]
enum HostError {
    Work,
    Vault(ErrorKind),
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self::Vault(error.kind())
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host error: {self:?}")
    }
}

#[test]
fn error_fails_the_operation_and_the_next_try_continues() {
    let vault = memory_vault().unwrap();
    create_unfinished(&vault);
    let mut seen = Vec::new();
    let outcome = vault.operations().resume_with("op", |lane, _| {
        seen.push(lane.name().to_owned());
        match lane.name() {
            "a" => Ok(()),
            _ => commit(lane, 4).map_err(HostError::from).and(Err(HostError::Work)),
        }
    });
    assert_eq!(outcome.unwrap_err(), HostError::Work);
    assert_eq!(seen, ["a", "c"], "lane \"d\" is not reached");
    let found = status(&vault, "op");
    assert_eq!(found.state, OperationState::Failed);
    assert_eq!(found.failure.as_ref().unwrap().error, "host error: Work");
    let lanes: Vec<_> = found.lanes.iter().map(|l| (l.complete, l.checkpoints)).collect();
    assert_eq!(lanes, [(true, 0), (true, 0), (false, 2), (false, 0)]);
    assert_eq!(resumability(&vault, "op"), Resumable::Ready, "no handle is left");

    let done = vault.operations().resume_with("op", |lane, status| {
        assert!(lane.name() != "a" && lane.name() != "b");
        five_rows(lane, status)
    });
    assert_eq!(done.unwrap().state, OperationState::Completed);
    assert!(get(&vault, "c 3").is_none() && get(&vault, "c 4").is_some());
}

#[test]
fn vault_error_in_the_callback_fails_the_operation() {
    let vault = memory_vault().unwrap();
    create_unfinished(&vault);
    let outcome = vault.operations().resume_with("op", |lane, _| {
        lane.commit(row(""), Checkpoint::new("x").progress(2.0))?;
        Ok::<_, HostError>(())
    });
    assert_eq!(outcome.unwrap_err(), HostError::Vault(ErrorKind::Invalid));
    assert_eq!(state(&vault, "op"), OperationState::Failed);
}

#[test]
fn panic_fails_the_operation_and_reaches_the_caller() {
    let words = |text: &str| format!("panicked: {text}");
    let acts: [fn() -> Result<()>; 3] = [
        || panic!("a literal"),
        || panic!("number {}", std::hint::black_box(7)),
        || panic_any(7_u8),
    ];
    let texts = [words("a literal"), words("number 7"), "panicked".to_owned()];
    for (act, expected) in acts.into_iter().zip(texts) {
        let vault = memory_vault().unwrap();
        create_unfinished(&vault);
        let work = |lane: &Lane, _: &LaneStatus| match lane.name() {
            "a" => Ok(()),
            _ => act(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| vault.operations().resume_with("op", work)));
        outcome.expect_err("the panic reaches the caller");
        let found = status(&vault, "op");
        assert_eq!((found.state, found.lanes_complete()), (OperationState::Failed, 2));
        assert_eq!(found.failure.unwrap().error, expected);
        assert_eq!(resumability(&vault, "op"), Resumable::Ready, "no handle is left");
        assert_eq!(
            vault.operations().resume_with("op", five_rows).unwrap().state,
            OperationState::Completed
        );
    }
}

#[test]
fn lane_completed_by_the_callback_is_accepted() {
    let vault = memory_vault().unwrap();
    create_unfinished(&vault);
    let done = vault.operations().resume_with("op", |lane, _| match lane.name() {
        "a" => lane.complete(),
        "c" => lane.commit(row("c"), Checkpoint::new("end").complete()),
        _ => Ok(()),
    });
    let done = done.unwrap();
    assert_eq!((done.state, done.lanes_complete()), (OperationState::Completed, 4));
    assert_eq!(done.lanes[2].data, b"end");
    assert_whole(&vault);
}

#[test]
fn callback_taken_over_does_not_affect_the_new_owner() {
    let vault = memory_vault().unwrap();
    create_unfinished(&vault);
    let mut fresh = None;
    let outcome = vault.operations().resume_with("op", |_, _| {
        fresh = Some(vault.operations().take_over("op")?);
        Ok::<_, Error>(())
    });
    assert_error(outcome, ErrorKind::Conflict, "fenced");
    let found = status(&vault, "op");
    assert_eq!((found.generation, found.lanes_complete()), (3, 1));
    assert_eq!((found.state, found.failure), (OperationState::Recovering, None));
    fresh.unwrap().complete().unwrap();
}

#[test]
fn error_after_the_end_is_returned_and_changes_nothing() {
    let scene = Scene::new();
    scene.vault.operations().prepare(spec("op")).unwrap();
    let outcome = scene.vault.operations().resume_with("op", |lane, _| {
        lane.complete()?;
        scene.clock.advance(Duration::from_secs(1));
        Err(Error::new(ErrorKind::Invalid, "clean up"))
    });
    assert_error(outcome, ErrorKind::Invalid, "clean up");
    let found = status(&scene.vault, "op");
    assert_eq!((found.state, found.failure), (OperationState::Completed, None));
}
