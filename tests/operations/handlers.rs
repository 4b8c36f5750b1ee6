//! Handlers that end their own jobs, and the resulting states and events.

use std::fmt;

use strongroom::operations::{
    Checkpoint, EventKind, LaneStatus, OperationState, Resumable, Subscription,
};
use strongroom::runner::{BoxError, Handler, Handlers, Job, Runner, RunnerOptions};
use strongroom::{Batch, Error, ErrorKind, Result};

use crate::latch::Latch;
use crate::runner::{await_end, single_threaded};
use crate::scene::{Scene, lane_status, resumability, row, spec, state, status};
use crate::support::group::WAIT_MAX;
use crate::support::records::{assert_error, assert_whole};

type Work = fn(&Job) -> Result<(), BoxError>;

fn warnings(from: &Subscription) -> Vec<String> {
    let events = std::iter::from_fn(|| from.next_now());
    let text = |kind| match kind {
        EventKind::Warning { text } => Some(text),
        _ => None,
    };
    events.filter_map(|event| text(event.kind)).collect()
}

#[test]
fn end_by_the_handler_is_kept() {
    let works: [(&str, Work, OperationState); 8] = [
        ("lanes", |job| Ok(job.lane("main")?.complete()?), OperationState::Completed),
        ("complete", |job| Ok(job.operation().complete()?), OperationState::Completed),
        ("pause", |job| Ok(job.operation().pause()?), OperationState::Paused),
        ("cancel", |job| Ok(job.operation().cancel()?), OperationState::Cancelled),
        ("fail", |job| Ok(job.operation().fail("by itself")?), OperationState::Failed),
        (
            "pause and err",
            |job| job.operation().pause().map_err(Into::into).and(Err("late".into())),
            OperationState::Paused,
        ),
        (
            "pause and be cancelled",
            |job| {
                job.operation().pause()?;
                Err(Error::new(ErrorKind::Cancelled, "run job").into())
            },
            OperationState::Paused,
        ),
        (
            "complete and panic",
            |job| {
                job.operation().complete()?;
                panic!("late")
            },
            OperationState::Completed,
        ),
    ];
    for (name, work, left) in works {
        let scene = Scene::with(Handlers::new().with("op", Handler::new(work)));
        let events = scene.vault.operations().subscribe(100);
        let runner = single_threaded(&scene);
        let job = runner.submit(spec("op")).unwrap();
        assert_eq!(await_end(&job), left, "{name}");
        let found = status(&scene.vault, "op");
        let tries = if left == OperationState::Failed { 3 } else { 1 };
        assert_eq!((found.state, found.generation), (left, tries), "{name}");
        assert_eq!(found.held, left == OperationState::Paused, "paused by its handle");
        assert_eq!(found.failure.is_some(), left == OperationState::Failed);
        let expected: &[&str] = match name {
            "pause and err" => &["the handler failed after the operation ended: late"],
            "complete and panic" => {
                &["the handler failed after the operation ended: panicked: late"]
            }
            _ => &[],
        };
        assert_eq!(warnings(&events), expected, "{name}");
        assert_whole(&scene.vault);
    }
}

/// An error whose `Display` panics.
#[derive(Debug)]
struct PanickingError;

impl fmt::Display for PanickingError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("the host's own bug")
    }
}

impl std::error::Error for PanickingError {}

#[test]
fn error_with_a_panicking_display_fails_the_try() {
    let handler = Handler::new(|_: &Job| Err::<(), _>(PanickingError));
    let scene = Scene::with(Handlers::new().with("op", handler));
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    assert_eq!(await_end(&job), OperationState::Failed);
    let found = status(&scene.vault, "op");
    assert_eq!(
        (found.attempts, found.failure.unwrap().error.as_str()),
        (3, "panicked: the host's own bug")
    );
    runner.shutdown(WAIT_MAX).unwrap();
}

#[test]
fn handler_migrates_older_checkpoints_and_continues() {
    let handler = Handler::new(|job: &Job| {
        if job.status().version < 2 {
            // Encodes a pair: the old number and a word.
            let migrate = |lane: &LaneStatus| Ok([b"\x92", &lane.data[..], b"\xa3new"].concat());
            job.operation().migrate(2, migrate)?;
        }
        let lane = job.lane("main")?;
        assert_eq!(lane.status()?.decode()?, Some((7_u32, "new".to_owned())));
        lane.commit(Batch::new(), Checkpoint::encode(&(8, "new"))?.complete())
    });
    let scene = Scene::with(Handlers::new().with("op", handler.versions(1..=2)));
    let operation = scene.vault.operations().begin_with(spec("op").version(1)).unwrap();
    operation.lane("main").unwrap().commit(row("7"), Checkpoint::encode(&7).unwrap()).unwrap();
    drop(operation);
    let runner = single_threaded(&scene);
    let job = runner.resume("op").unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
    assert_eq!(status(&scene.vault, "op").version, 2);
}

#[test]
fn checkpoint_of_another_type_ends_the_tries() {
    let handler = Handler::new(|job: &Job| {
        job.lane("main")?.commit(Batch::new(), Checkpoint::encode(&"a word")?)?;
        Err::<(), _>(Error::new(ErrorKind::Unavailable, "reach a host"))
    });
    let scene = Scene::with(Handlers::new().with("op", handler.checkpoints::<u32>()));
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    assert_eq!(await_end(&job), OperationState::Failed);
    assert_eq!(status(&scene.vault, "op").generation, 1);
    assert_eq!(resumability(&scene.vault, "op"), Resumable::UnknownData { lane: "main".into() });
}

#[test]
fn warning_events_have_id_and_name_of_the_operation() {
    let handler = Handler::new(|job: &Job| {
        job.warn("first");
        job.warn(String::from("second"));
        Ok::<_, Error>(())
    });
    let scene = Scene::with(Handlers::new().with("work", handler));
    let events = scene.vault.operations().subscribe(100);
    let runner = single_threaded(&scene);
    await_end(&runner.submit(spec("op").name("work")).unwrap());
    let events: Vec<_> = std::iter::from_fn(|| events.next_now()).collect();
    assert!(events.iter().all(|event| event.id == "op" && event.name == "work"));
    let kinds: Vec<_> = events.into_iter().map(|event| event.kind).collect();
    let warning = |text: &str| EventKind::Warning { text: text.into() };
    let expected = [EventKind::Started, warning("first"), warning("second"), EventKind::Completed];
    assert_eq!(kinds, expected);
}

#[test]
fn job_taken_over_ends_with_conflict_and_no_commit() {
    let latch = Latch::default();
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        let lane = job.lane("main")?;
        in_job.wait();
        lane.commit(row("late"), Checkpoint::new("late"))
    });
    let scene = Scene::with(Handlers::new().with("op", handler));
    let events = scene.vault.operations().subscribe(100);
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    latch.await_waiters(1);
    let fresh = scene.vault.operations().take_over("op").unwrap();
    latch.release();
    assert_error(job.wait(WAIT_MAX), ErrorKind::Conflict, "fenced");
    assert_eq!(state(&scene.vault, "op"), OperationState::Recovering);
    assert_eq!(lane_status(&scene.vault, "op", "main").checkpoints, 0);
    assert!(
        matches!(&warnings(&events)[..], [text] if text.contains("could not run the operation"))
    );
    fresh.complete().unwrap();
}

#[test]
fn job_of_a_closed_vault_ends_with_closed() {
    let latch = Latch::default();
    let in_job = latch.clone();
    let handler = Handler::new(move |job: &Job| {
        in_job.wait();
        job.lane("main")?.commit(row("late"), Checkpoint::new("late"))
    });
    let handlers = Handlers::new().with("op", handler);
    let scene = Scene::with(handlers.clone());
    let runner = Runner::start(&scene.vault, RunnerOptions::new()).unwrap();
    let job = runner.submit(spec("op")).unwrap();
    latch.await_waiters(1);
    let scene = scene.reopen_with(handlers);
    latch.release();
    assert_error(job.wait(WAIT_MAX), ErrorKind::Closed, "closed");
    assert_error(runner.submit(spec("next").name("op")), ErrorKind::Closed, "closed");
    runner.shutdown(WAIT_MAX).unwrap();
    let next = single_threaded(&scene);
    let report = next.resume_all().unwrap();
    assert_eq!(await_end(&report.resumed[0]), OperationState::Completed);
    assert_eq!(lane_status(&scene.vault, "op", "main").data, b"late");
    assert_whole(&scene.vault);
}
