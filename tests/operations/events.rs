//! What subscribers hear: all that is durable, in order, and nothing else.

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

use crate::runner::{ended, nothing, single};
use crate::scene::{Scene, commit, row, spec, stands, state};
use crate::support::calls::each_call;
use crate::support::group::PATIENCE;
use crate::support::records::{assert_error, put};

fn heard(from: &Subscription) -> Vec<Event> {
    std::iter::from_fn(|| from.next_now()).collect()
}

fn kinds(from: &Subscription) -> Vec<EventKind> {
    heard(from).into_iter().map(|event| event.kind).collect()
}

fn progress(lane: &str, progress: f64) -> EventKind {
    EventKind::Progress { lane: lane.into(), progress }
}

fn failed(error: &str) -> EventKind {
    EventKind::Failed { error: error.into() }
}

#[test]
fn a_whole_life_is_heard_in_order_with_whose_it_is_and_when() {
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
    // Whoever resumes it after that cannot know but that it died.
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
    let given_up = vault.operations().begin_with(spec("other").name("export")).unwrap();
    scene.clock.advance(Duration::from_secs(1));
    given_up.cancel().unwrap();
    let [first, last] = &heard(&from)[..] else { panic!("two events") };
    assert_eq!((&first.id[..], &first.name[..]), ("other", "export"));
    assert_eq!((&last.id[..], &last.kind), ("other", &EventKind::Cancelled));
    assert_eq!((first.unix_millis, last.unix_millis), (millis(14), millis(15)));
}

#[test]
fn one_commit_tells_all_that_it_did_in_order() {
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
fn an_event_is_sent_once_its_commit_can_be_seen() {
    let scene = Scene::new();
    let from = scene.vault.operations().subscribe(10);
    let vault = scene.vault.clone();
    let (told, looked) = channel();
    let observer = thread::spawn(move || {
        while let Some(event) = from.next_within(PATIENCE) {
            let done = event.kind == EventKind::Completed;
            told.send(state(&vault, &event.id)).unwrap();
            if done {
                break;
            }
        }
    });
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    let next = || looked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), OperationState::Running);
    operation.complete().unwrap();
    assert_eq!(next(), OperationState::Completed);
    observer.join().unwrap();
}

/// What is said of an operation within the commit's own telling: before any subscriber can ask.
#[derive(Clone, Default)]
struct Asks {
    vault: Arc<Mutex<Option<Vault>>>,
    told: Arc<Mutex<Vec<Resumable>>>,
}

impl Recorder for Asks {
    fn transition(&self, _: Option<OperationState>, _: OperationState) {
        if let Some(vault) = &*self.vault.lock() {
            self.told.lock().push(stands(vault, "op"));
        }
    }
}

#[test]
fn whoever_hears_of_an_end_finds_that_nobody_owns_the_operation() {
    let asks = Asks::default();
    let scene = Scene::heard_by(asks.clone(), Handlers::new());
    *asks.vault.lock() = Some(scene.vault.clone());
    let operation = scene.vault.operations().begin_with(spec("op")).unwrap();
    operation.pause().unwrap();
    scene.vault.operations().resume("op").unwrap().fail("no").unwrap();
    let alive = |generation| Resumable::OwnerAlive { generation };
    let expected = [alive(1), Resumable::Held, alive(2), Resumable::Ready];
    assert_eq!(*asks.told.lock(), expected);
    // It holds the vault, which holds it.
    asks.vault.lock().take();
}

#[test]
fn what_is_refused_or_taken_back_is_not_heard() {
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
    let changed_its_mind = vault.write(|tx| {
        tx.checkpoint(&lane, Checkpoint::new("").complete())?;
        Err::<(), _>(Error::new(ErrorKind::Invalid, "change its mind"))
    });
    changed_its_mind.unwrap_err();
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
    assert_eq!(heard(&from), []);
    commit(&lane, 1).unwrap();
    assert_eq!(kinds(&from), [progress("a", 0.0)], "and nothing of it comes later");
}

#[test]
fn a_commit_that_fails_is_not_heard_whether_it_has_happened_or_not() {
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
                    assert_eq!(heard(&from), [], "{error}");
                    // Nor once the vault has looked what became of it.
                    put(vault, "k", "v");
                    assert_eq!(heard(&from), [], "{error}");
                    drop(operation);
                },
            );
        }
    }
}

#[test]
fn a_subscription_hears_what_comes_after_it_and_each_hears_all() {
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
    // One that is dropped with all that it has heard costs nobody anything.
    drop(second);
    commit(1.0);
    assert_eq!(scene.vault.operations().statistics().unwrap().events_missed, 0);
}

#[test]
fn who_never_listens_misses_what_does_not_fit_and_holds_up_nobody() {
    const COMMITS: u64 = 500;
    let handler = Handler::new(|job: &Job| {
        let lane = job.lane("main")?;
        (0..COMMITS).try_for_each(|_| lane.commit(Batch::new(), Checkpoint::new("")))
    });
    let scene = Scene::with(Handlers::new().with("work", handler));
    // None is no length to keep; the least is one.
    let (none, few) =
        (scene.vault.operations().subscribe(0), scene.vault.operations().subscribe(3));
    let all = scene.vault.operations().subscribe(usize::try_from(COMMITS).unwrap() + 2);
    let runner = single(&scene);
    let job = runner.submit(spec("work")).unwrap();
    assert_eq!(ended(&job), OperationState::Completed);
    let events = COMMITS + 2;
    assert_eq!((none.missed(), few.missed(), all.missed()), (events - 1, events - 3, 0));
    assert_eq!(scene.vault.operations().statistics().unwrap().events_missed, 2 * events - 4);
    assert_eq!(heard(&all).len() as u64, events);
    // What is kept is the beginning.
    assert_eq!(kinds(&none), [EventKind::Started]);
    assert_eq!(kinds(&few), [EventKind::Started, progress("main", 0.0), progress("main", 0.0)]);
    // There is room again.
    scene.vault.operations().begin_with(spec("next")).unwrap().cancel().unwrap();
    assert_eq!(kinds(&few), [EventKind::Started, EventKind::Cancelled]);
    assert_eq!(none.missed(), events);
}

#[test]
fn commits_that_threads_share_are_heard_once_each_and_every_lane_s_in_order() {
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
    let mut heard_of: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let events = kinds(&from);
    assert_eq!(events.last(), Some(&EventKind::Completed));
    for kind in &events[..events.len() - 1] {
        let EventKind::Progress { lane, progress } = kind else { panic!("{kind:?}") };
        heard_of.entry(lane.clone()).or_default().push(*progress);
    }
    let expected: Vec<_> = (1..=COMMITS).map(|n| f64::from(n) / f64::from(COMMITS)).collect();
    assert_eq!(heard_of, names.into_iter().map(|name| (name, expected.clone())).collect());
    assert_eq!(from.missed(), 0);
}

#[test]
fn the_channel_can_be_waited_on_with_others() {
    let scene = Scene::with(Handlers::new().with("op", Handler::new(nothing)));
    let from = scene.vault.operations().subscribe(10);
    assert_eq!(from.next_within(Duration::ZERO), None);
    let runner = single(&scene);
    let job = runner.submit(spec("op")).unwrap();
    let next = || from.next_within(PATIENCE).unwrap().kind;
    assert_eq!([next(), next()], [EventKind::Started, EventKind::Completed]);
    ended(&job);
    assert_error(runner.cancel("op"), ErrorKind::NotFound, "does not have the operation");
    assert_eq!(from.next_now(), None);
}

#[test]
fn an_event_s_debug_tells_nothing_of_the_host_s() {
    let handler = Handler::new(|job: &Job| {
        job.warn("secret warning");
        Err::<(), _>(Error::new(ErrorKind::Denied, "secret error"))
    });
    let scene = Scene::with(Handlers::new().with("secret name", handler));
    let from = scene.vault.operations().subscribe(100);
    let runner = single(&scene);
    let secret = |id: &str| spec(id).name("secret name").lanes(["secret lane"]);
    assert_eq!(ended(&runner.submit(secret("secret 1")).unwrap()), OperationState::Failed);
    let operation = scene.vault.operations().begin_with(secret("secret 2")).unwrap();
    let lane = operation.lane("secret lane").unwrap();
    lane.commit(row("secret row"), Checkpoint::new("secret data")).unwrap();
    let told = format!("{:?} {from:?} {runner:?} {:?}", heard(&from), scene.vault);
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("Failed") && told.contains("Progress") && told.contains("Warning"));
}
