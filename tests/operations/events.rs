//! Events for subscribers: one for each durable change, in order, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::operations::{
    Checkpoint, Event, EventKind, Operation, OperationState, Recorder, Resumable, Subscription,
};
use strongroom::runner::{Handler, Handlers, Job};
use strongroom::{Batch, Error, ErrorKind, Result, Vault};
use strongroom_testkit::{FaultTiming, ManualClock};

use crate::runner::{await_end, no_op, single_threaded};
use crate::scene::{Scene, commit, resumability, row, spec, state};
use crate::support::calls::each_call;
use crate::support::group::WAIT_MAX;
use crate::support::records::{assert_error, put};

fn drain(from: &Subscription) -> Vec<Event> {
    std::iter::from_fn(|| from.next_now()).collect()
}

fn kinds(from: &Subscription) -> Vec<EventKind> {
    drain(from).into_iter().map(|event| event.kind).collect()
}

fn progress(lane: &str, progress: f64) -> EventKind {
    EventKind::Progress { lane: lane.into(), progress }
}

fn failed(error: &str) -> EventKind {
    EventKind::Failed { error: error.into() }
}

#[test]
fn events_of_an_operation_come_in_order_with_id_and_time() {
    let scene = Scene::new();
    let vault = &scene.vault;
    let from = vault.operations().subscribe(100);
    let expect = |expected: &[EventKind]| {
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(kinds(&from), expected);
    };
    vault.operations().prepare(spec("op").name("import").lanes(["a", "b"])).unwrap();
    expect(&[]);
    let operation = vault.operations().resume("op").unwrap();
    expect(&[EventKind::Started]);
    let lane = operation.lane("a").unwrap();
    lane.commit(row("1"), Checkpoint::new("1").progress(0.25)).unwrap();
    lane.commit(row("2"), Checkpoint::new("2")).unwrap();
    expect(&[progress("a", 0.25), progress("a", 0.25)]);
    operation.pause().unwrap();
    expect(&[EventKind::Paused]);
    vault.operations().pause("op").unwrap();
    expect(&[]);
    drop((lane, operation));
    drop(vault.operations().resume("op").unwrap());
    expect(&[EventKind::Started]);
    // The handle was dropped without an end, so the next resume counts as a recovery.
    let operation = vault.operations().resume("op").unwrap();
    expect(&[EventKind::Recovered]);
    commit(&operation.lane("a").unwrap(), 3).unwrap();
    expect(&[progress("a", 0.25)]);
    let taken = vault.operations().take_over("op").unwrap();
    expect(&[EventKind::Recovered]);
    taken.migrate(1, |_| Ok(Vec::new())).unwrap();
    expect(&[]);
    taken.fail("no").unwrap();
    expect(&[failed("no")]);
    let operation = vault.operations().resume("op").unwrap();
    operation.lane("a").unwrap().complete().unwrap();
    expect(&[EventKind::Recovered]);
    operation.lane("b").unwrap().commit(row("b"), Checkpoint::new("").complete()).unwrap();
    expect(&[progress("b", 1.0), EventKind::Completed]);
    drop(operation);
    assert!(vault.operations().delete("op").unwrap());
    expect(&[]);

    let millis = |secs: u64| ManualClock::START_UNIX_MILLIS + secs * 1_000;
    let cancelled = vault.operations().begin_with(spec("other").name("export")).unwrap();
    scene.clock.advance(Duration::from_secs(1));
    cancelled.cancel().unwrap();
    let [first, last] = &drain(&from)[..] else { panic!("two events") };
    assert_eq!((&first.id[..], &first.name[..]), ("other", "export"));
    assert_eq!((&last.id[..], &last.kind), ("other", &EventKind::Cancelled));
    assert_eq!((first.unix_millis, last.unix_millis), (millis(14), millis(15)));
}

#[test]
fn one_commit_sends_its_events_in_order() {
    let scene = Scene::new();
    let operation = scene.vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
    let lanes = ["b", "a"].map(|name| operation.lane(name).unwrap());
    let from = scene.vault.operations().subscribe(100);
    let mut batch = row("k");
    for (lane, done) in lanes.iter().zip([0.5, 1.0]) {
        batch.checkpoint(lane, Checkpoint::new("").progress(done));
    }
    scene.vault.apply(batch).unwrap();
    assert_eq!(kinds(&from), [progress("b", 0.5), progress("a", 1.0)]);
    let done = scene.vault.write(|tx| {
        tx.checkpoint(&lanes[1], Checkpoint::new("").complete())?;
        tx.checkpoint(&lanes[0], Checkpoint::new("").complete())
    });
    done.unwrap();
    let expected = [progress("a", 1.0), progress("b", 1.0), EventKind::Completed];
    assert_eq!(kinds(&from), expected);
}

#[test]
fn event_is_sent_after_its_commit_is_visible() {
    let scene = Scene::new();
    let from = scene.vault.operations().subscribe(10);
    let vault = scene.vault.clone();
    let (sender, states) = channel();
    let observer = thread::spawn(move || {
        while let Some(event) = from.next_within(WAIT_MAX) {
            let done = event.kind == EventKind::Completed;
            sender.send(state(&vault, &event.id)).unwrap();
            if done {
                break;
            }
        }
    });
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let next = || states.recv_timeout(WAIT_MAX).unwrap();
    assert_eq!(next(), OperationState::Running);
    operation.complete().unwrap();
    assert_eq!(next(), OperationState::Completed);
    observer.join().unwrap();
}

/// A recorder that queries the resumability of an operation in each transition.
///
/// The recorder runs before any subscriber gets the event.
#[derive(Clone, Default)]
struct ResumabilityRecorder {
    vault: Arc<Mutex<Option<Vault>>>,
    seen: Arc<Mutex<Vec<Resumable>>>,
}

impl Recorder for ResumabilityRecorder {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(vault) = &*self.vault.lock() {
            self.seen.lock().push(resumability(vault, "op"));
        }
    }
}

#[test]
fn ended_operation_has_no_owner_when_its_event_is_sent() {
    let recorder = ResumabilityRecorder::default();
    let scene = Scene::with_recorder(recorder.clone(), Handlers::new());
    *recorder.vault.lock() = Some(scene.vault.clone());
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    operation.pause().unwrap();
    scene.vault.operations().resume("op").unwrap().fail("no").unwrap();
    let alive = |generation| Resumable::OwnerAlive { generation };
    let expected = [alive(1), Resumable::Held, alive(2), Resumable::Ready];
    assert_eq!(*recorder.seen.lock(), expected);
    // Breaks the cycle: the recorder has the vault, and the vault has the recorder.
    recorder.vault.lock().take();
}

#[test]
fn refused_or_rolled_back_calls_send_no_event() {
    let scene = Scene::new();
    let vault = &scene.vault;
    let operation = vault.operations().begin_with(spec("op").lanes(["a", "b"])).unwrap();
    let lane = operation.lane("a").unwrap();
    let stale = vault.operations().begin_with(spec("stale")).unwrap();
    let _fresh = vault.operations().take_over("stale").unwrap();
    let from = vault.operations().subscribe(100);
    vault.operations().begin_with(spec("op")).unwrap_err();
    vault.operations().begin_with(spec("")).unwrap_err();
    vault.operations().resume("op").unwrap_err();
    vault.operations().begin_or_resume_with(spec("op")).unwrap_err();
    vault.operations().pause("op").unwrap_err();
    commit(&stale.lane("main").unwrap(), 1).unwrap_err();
    stale.pause().unwrap_err();
    lane.commit(row("k"), Checkpoint::new("").progress(2.0)).unwrap_err();
    let mut conflict = row("k");
    conflict.require_present("n", "none");
    lane.commit(conflict, Checkpoint::new("")).unwrap_err();
    let rolled_back = vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::new("").complete())?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "roll back"))
    });
    rolled_back.unwrap_err();
    let panicked = thread::scope(|scope| {
        let write = || {
            vault.write(|tx| -> Result<()> {
                tx.checkpoint(&lane, Checkpoint::new(""))?;
                panic!("the host's own bug")
            })
        };
        scope.spawn(write).join()
    });
    panicked.unwrap_err();
    operation.migrate(1, |_| Ok(Vec::new())).unwrap();
    put(vault, "k", "v");
    assert_eq!(drain(&from), []);
    commit(&lane, 1).unwrap();
    assert_eq!(kinds(&from), [progress("a", 0.0)], "no event of a refused call comes later");
}

#[test]
fn failed_commit_sends_no_event() {
    type Act = fn(&Vault, &Operation) -> Result<()>;
    let acts: [Act; 3] = [
        |_, operation| commit(&operation.lane("main")?, 1),
        |_, operation| operation.fail("no"),
        |vault, _| vault.operations().begin_with(spec("other")).map(drop),
    ];
    for act in acts {
        for timing in [FaultTiming::Before, FaultTiming::After, FaultTiming::Torn] {
            each_call(
                timing,
                |vault| {
                    let operation = vault.operations().begin_with(spec("op")).unwrap();
                    (vault.operations().subscribe(10), operation)
                },
                |vault, (_, operation)| act(vault, operation),
                |_, vault, (from, operation), error| {
                    assert_eq!(drain(&from), [], "{error}");
                    // The write makes the vault reread its state, which sends no event either.
                    put(vault, "k", "v");
                    assert_eq!(drain(&from), [], "{error}");
                    drop(operation);
                },
            );
        }
    }
}

#[test]
fn each_subscription_gets_all_later_events() {
    let scene = Scene::new();
    let lane = scene.vault.operations().begin_with(spec("op")).unwrap().lane("main").unwrap();
    let commit = |done| lane.commit(Batch::new(), Checkpoint::new("").progress(done)).unwrap();
    let first = scene.vault.operations().subscribe(100);
    commit(0.25);
    let second = scene.vault.clone().operations().subscribe(100);
    commit(0.5);
    assert_eq!(kinds(&first), [progress("main", 0.25), progress("main", 0.5)]);
    drop(first);
    commit(0.75);
    assert_eq!(kinds(&second), [progress("main", 0.5), progress("main", 0.75)]);
    assert_eq!(
        (second.missed(), scene.vault.operations().statistics().unwrap().events_missed),
        (0, 0)
    );
    // Events are not counted as missed for a dropped subscription.
    drop(second);
    commit(1.0);
    assert_eq!(scene.vault.operations().statistics().unwrap().events_missed, 0);
}

#[test]
fn full_subscription_counts_missed_events_and_blocks_no_job() {
    const COMMITS: u64 = 500;
    let handler = Handler::new(|job: &Job| {
        let lane = job.lane("main")?;
        (0..COMMITS).try_for_each(|_| lane.commit(Batch::new(), Checkpoint::new("")))
    });
    let scene = Scene::with(Handlers::new().with("work", handler));
    // A length of 0 counts as 1.
    let (none, few) =
        (scene.vault.operations().subscribe(0), scene.vault.operations().subscribe(3));
    let all = scene.vault.operations().subscribe(usize::try_from(COMMITS).unwrap() + 2);
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("work")).unwrap();
    assert_eq!(await_end(&job), OperationState::Completed);
    let events = COMMITS + 2;
    assert_eq!((none.missed(), few.missed(), all.missed()), (events - 1, events - 3, 0));
    assert_eq!(scene.vault.operations().statistics().unwrap().events_missed, 2 * events - 4);
    assert_eq!(drain(&all).len() as u64, events);
    // The first events are kept.
    assert_eq!(kinds(&none), [EventKind::Started]);
    assert_eq!(kinds(&few), [EventKind::Started, progress("main", 0.0), progress("main", 0.0)]);
    // Reading the events made room for new ones.
    scene.vault.operations().begin_with(spec("next")).unwrap().cancel().unwrap();
    assert_eq!(kinds(&few), [EventKind::Started, EventKind::Cancelled]);
    assert_eq!(none.missed(), events);
}

#[test]
fn group_commits_send_each_event_once_in_order_of_its_lane() {
    const LANES: u32 = 8;
    const COMMITS: u32 = 50;
    let scene = Scene::new();
    let names: Vec<_> = (0..LANES).map(|n| format!("lane {n}")).collect();
    let operation = scene.vault.operations().begin_with(spec("op").lanes(&names)).unwrap();
    let from = scene.vault.operations().subscribe(10_000);
    thread::scope(|scope| {
        for name in &names {
            let lane = operation.lane(name).unwrap();
            scope.spawn(move || {
                for n in 1..=COMMITS {
                    let done = Checkpoint::new("").progress(f64::from(n) / f64::from(COMMITS));
                    lane.commit(row(&format!("{} {n}", lane.name())), done).unwrap();
                }
                lane.complete().unwrap();
            });
        }
    });
    let mut by_lane: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let events = kinds(&from);
    assert_eq!(events.last(), Some(&EventKind::Completed));
    for kind in &events[..events.len() - 1] {
        let EventKind::Progress { lane, progress } = kind else { panic!("{kind:?}") };
        by_lane.entry(lane.clone()).or_default().push(*progress);
    }
    let expected: Vec<_> = (1..=COMMITS).map(|n| f64::from(n) / f64::from(COMMITS)).collect();
    assert_eq!(by_lane, names.into_iter().map(|name| (name, expected.clone())).collect());
    assert_eq!(from.missed(), 0);
}

#[test]
fn subscription_waits_for_events_of_a_runner() {
    let scene = Scene::with(Handlers::new().with("op", Handler::new(no_op)));
    let from = scene.vault.operations().subscribe(10);
    assert_eq!(from.next_within(Duration::ZERO), None);
    let runner = single_threaded(&scene);
    let job = runner.submit(spec("op")).unwrap();
    let next = || from.next_within(WAIT_MAX).unwrap().kind;
    assert_eq!([next(), next()], [EventKind::Started, EventKind::Completed]);
    await_end(&job);
    assert_error(runner.cancel("op"), ErrorKind::NotFound, "does not have the operation");
    assert_eq!(from.next_now(), None);
}

#[test]
fn debug_output_contains_no_host_data() {
    let handler = Handler::new(|job: &Job| {
        job.warn("secret warning");
        Err::<(), _>(Error::new(ErrorKind::Denied, "secret error"))
    });
    let scene = Scene::with(Handlers::new().with("secret name", handler));
    let from = scene.vault.operations().subscribe(100);
    let runner = single_threaded(&scene);
    let secret = |id: &str| spec(id).name("secret name").lanes(["secret lane"]);
    assert_eq!(await_end(&runner.submit(secret("secret 1")).unwrap()), OperationState::Failed);
    let operation = scene.vault.operations().begin_with(secret("secret 2")).unwrap();
    let lane = operation.lane("secret lane").unwrap();
    lane.commit(row("secret row"), Checkpoint::new("secret data")).unwrap();
    let shown = format!("{:?} {from:?} {runner:?} {:?}", drain(&from), scene.vault);
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("Failed") && shown.contains("Progress") && shown.contains("Warning"));
}
