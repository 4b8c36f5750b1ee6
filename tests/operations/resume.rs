//! Resuming by a callback: which lanes it gets, in which order, and what becomes of the operation.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::time::Duration;

use strongroom::operations::{
    Checkpoint, Lane, LaneStatus, OperationState, OperationStatus, Resumable,
};
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{Scene, commit, row, spec, stands, state, status};
use crate::support::records::{assert_error, assert_whole, get};

/// An operation that nobody runs: lane "b" is complete, and "c" has had checkpoint 3.
fn left_behind(vault: &Vault) {
    let operation = vault.operations().begin_with(spec("op").lanes(["d", "c", "b", "a"])).unwrap();
    operation.lane("b").unwrap().complete().unwrap();
    commit(&operation.lane("c").unwrap(), 3).unwrap();
}

/// Five rows a lane, each with its checkpoint.
fn five_rows(lane: &Lane, stands: &LaneStatus) -> Result<()> {
    for n in stands.decode::<u32>()?.unwrap_or(0)..5 {
        lane.commit(row(&format!("{} {n}", lane.name())), Checkpoint::encode(&(n + 1))?)?;
    }
    Ok(())
}

#[test]
fn lanes_come_in_order_from_where_they_stood_and_complete_ones_do_not() {
    let scene = Scene::new();
    left_behind(&scene.vault);
    let scene = scene.reopen();
    let mut seen = Vec::new();
    let done = scene.vault.operations().resume_with("op", |lane, stands| {
        assert_eq!(lane.name(), stands.name);
        seen.push((stands.name.clone(), stands.decode::<u32>()?));
        five_rows(lane, stands)
    });
    let done: OperationStatus = done.unwrap();
    assert_eq!(seen, [("a".to_owned(), None), ("c".into(), Some(3)), ("d".into(), None)]);
    assert_eq!((done.state, done.lanes_complete()), (OperationState::Completed, 4));
    assert_eq!(done, status(&scene.vault, "op"));
    assert_eq!(get(&scene.vault, "c 2"), None, "that one was done already");
    for key in ["a 0", "a 4", "c 3", "c 4", "d 4"] {
        assert_eq!(get(&scene.vault, key).unwrap(), b"row");
    }
    let again = scene.vault.operations().resume_with("op", |_, _| Ok::<_, Error>(()));
    assert_error(again, ErrorKind::AlreadyExists, "completed");
    assert_whole(&scene.vault);
}

#[test]
fn what_is_prepared_is_begun_and_what_cannot_be_resumed_is_not_touched() {
    let vault = memory_vault().unwrap();
    vault.operations().prepare(spec("op")).unwrap();
    let done = vault.operations().resume_with("op", five_rows).unwrap();
    assert_eq!((done.state, done.generation), (OperationState::Completed, 1));

    let never = |_: &Lane, _: &LaneStatus| -> Result<()> { unreachable!("it may not be run") };
    assert_error(vault.operations().resume_with("none", never), ErrorKind::NotFound, "none");
    let live = vault.operations().begin_with(spec("live")).unwrap();
    assert_error(vault.operations().resume_with("live", never), ErrorKind::Locked, "running");
    live.cancel().unwrap();
    assert_error(vault.operations().resume_with("live", never), ErrorKind::Invalid, "cancelled");
}

/// An error of the host's.
#[derive(Debug, PartialEq)]
enum Trouble {
    OfItsOwn,
    OfTheVault(ErrorKind),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::OfTheVault(error.kind())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trouble: {self:?}")
    }
}

#[test]
fn an_error_fails_the_operation_and_the_next_try_goes_on_with_what_is_left() {
    let vault = memory_vault().unwrap();
    left_behind(&vault);
    let mut seen = Vec::new();
    let outcome = vault.operations().resume_with("op", |lane, _| {
        seen.push(lane.name().to_owned());
        match lane.name() {
            "a" => Ok(()),
            _ => commit(lane, 4).map_err(Trouble::from).and(Err(Trouble::OfItsOwn)),
        }
    });
    assert_eq!(outcome.unwrap_err(), Trouble::OfItsOwn);
    assert_eq!(seen, ["a", "c"], "the fourth was not reached");
    let found = status(&vault, "op");
    assert_eq!(found.state, OperationState::Failed);
    assert_eq!(found.failure.as_ref().unwrap().error, "trouble: OfItsOwn");
    let lanes: Vec<_> = found.lanes.iter().map(|l| (l.complete, l.checkpoints)).collect();
    assert_eq!(lanes, [(true, 0), (true, 0), (false, 2), (false, 0)]);
    assert_eq!(stands(&vault, "op"), Resumable::Ready, "no handle is left");

    let done = vault.operations().resume_with("op", |lane, stands| {
        assert!(lane.name() != "a" && lane.name() != "b");
        five_rows(lane, stands)
    });
    assert_eq!(done.unwrap().state, OperationState::Completed);
    assert!(get(&vault, "c 3").is_none() && get(&vault, "c 4").is_some());
}

#[test]
fn an_error_of_the_vault_within_the_work_fails_it_too() {
    let vault = memory_vault().unwrap();
    left_behind(&vault);
    let outcome = vault.operations().resume_with("op", |lane, _| {
        lane.commit(row(""), Checkpoint::new("x").progress(2.0))?;
        Ok::<_, Trouble>(())
    });
    assert_eq!(outcome.unwrap_err(), Trouble::OfTheVault(ErrorKind::Invalid));
    assert_eq!(state(&vault, "op"), OperationState::Failed);
}

#[test]
fn a_panic_fails_the_operation_and_goes_on() {
    let words = |text: &str| format!("panicked: {text}");
    let acts: [fn() -> Result<()>; 3] = [
        || panic!("a literal"),
        || panic!("number {}", std::hint::black_box(7)),
        || panic_any(7_u8),
    ];
    let told = [words("a literal"), words("number 7"), "panicked".to_owned()];
    for (act, told) in acts.into_iter().zip(told) {
        let vault = memory_vault().unwrap();
        left_behind(&vault);
        let work = |lane: &Lane, _: &LaneStatus| match lane.name() {
            "a" => Ok(()),
            _ => act(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| vault.operations().resume_with("op", work)));
        outcome.expect_err("the panic goes on");
        let found = status(&vault, "op");
        assert_eq!((found.state, found.lanes_complete()), (OperationState::Failed, 2));
        assert_eq!(found.failure.unwrap().error, told);
        assert_eq!(stands(&vault, "op"), Resumable::Ready, "no handle is left");
        assert_eq!(
            vault.operations().resume_with("op", five_rows).unwrap().state,
            OperationState::Completed
        );
    }
}

#[test]
fn a_lane_that_the_work_completes_itself_is_complete_once() {
    let vault = memory_vault().unwrap();
    left_behind(&vault);
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
fn work_that_is_taken_over_meanwhile_ends_nothing_of_the_new_owner() {
    let vault = memory_vault().unwrap();
    left_behind(&vault);
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
fn errors_after_the_end_are_told_and_change_nothing() {
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
