//! The list of unfinished operations after opening, with their resumability.

use std::time::Duration;

use strongroom::operations::{
    Checkpoint, Operation, OperationSpec, OperationState, OperationsQuery, Resumable, RetryPolicy,
    UnfinishedOperation,
};
use strongroom::runner::{Handler, Handlers, Job};
use strongroom::vault::Recovery;
use strongroom::{ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{AT_ONCE, Scene, commit, resumability, row, spec, status, unfinished};
use crate::support::records::assert_error;

fn handler() -> Handler {
    Handler::new(|_: &Job| -> Result<()> { unreachable!("no job runs here") })
}

/// Returns handlers for imports and scans.
///
/// Imports have checkpoints of versions 2 and 3, which are numbers.
fn handlers() -> Handlers {
    let import = handler().versions(2..=3).checkpoints::<u32>();
    Handlers::new().with("import", import).with("scan", handler())
}

fn import(id: &str) -> OperationSpec {
    spec(id).name("import").version(2).lanes(["a", "b"])
}

fn begin(vault: &Vault, spec: OperationSpec) -> Operation {
    vault.operations().begin_with(spec).unwrap()
}

fn find(vault: &Vault, id: &str) -> UnfinishedOperation {
    let mut listed =
        vault.operations().unfinished(&OperationsQuery::new().limit(usize::MAX)).unwrap();
    listed.retain(|operation| operation.id == id);
    listed.pop().expect("the operation is listed")
}

/// Returns the listed resumability, and asserts that `can_resume` returns the same.
#[track_caller]
fn listed_resumability(vault: &Vault, id: &str) -> Resumable {
    let listed = find(vault, id).resumable;
    assert_eq!(resumability(vault, id), listed);
    listed
}

#[test]
fn open_lists_unfinished_operations_with_resumability() {
    let scene = Scene::with(handlers());
    let vault = &scene.vault;
    let retry = |attempts_max| RetryPolicy { attempts_max, ..RetryPolicy::DEFAULT };
    drop(begin(vault, import("dropped").retry(AT_ONCE)));
    vault.operations().prepare(import("prepared")).unwrap();
    begin(vault, import("held")).pause().unwrap();
    begin(vault, import("exhausted").retry(retry(1))).fail("no").unwrap();
    begin(vault, import("waiting").retry(retry(0))).fail("no").unwrap();
    begin(vault, import("unknown name").name("export")).fail("no").unwrap();
    drop(begin(vault, spec("scan")));
    drop(begin(vault, import("version 1").version(1)));
    drop(begin(vault, import("version 3").version(3)));
    drop(begin(vault, import("version 4").version(4)));
    begin(vault, import("completed")).complete().unwrap();
    begin(vault, import("cancelled")).cancel().unwrap();
    let scene = scene.reopen_with(handlers());
    let listed = &scene.vault.recovery().operations;
    let listed: Vec<_> = listed.iter().map(|op| (&op.id[..], op.resumable.clone())).collect();
    let expected = [
        ("dropped", Resumable::Ready),
        ("exhausted", Resumable::AttemptsExhausted { attempts: 1 }),
        ("held", Resumable::Held),
        ("prepared", Resumable::Ready),
        ("scan", Resumable::Ready),
        ("unknown name", Resumable::UnknownName),
        ("version 1", Resumable::UnknownVersion { version: 1 }),
        ("version 3", Resumable::Ready),
        ("version 4", Resumable::UnknownVersion { version: 4 }),
        ("waiting", Resumable::BackingOff { wait: Duration::from_secs(1) }),
    ];
    assert_eq!(listed, expected);
    assert!(scene.vault.recovery().was_clean(), "unfinished operations are no damage");
    for (id, expected) in expected {
        assert_eq!(listed_resumability(&scene.vault, id), expected);
    }
    assert_eq!(resumability(&scene.vault, "completed"), Resumable::Completed);
    assert_eq!(resumability(&scene.vault, "cancelled"), Resumable::Cancelled);
    assert_error(scene.vault.operations().can_resume("none"), ErrorKind::NotFound, "none");

    // Without handlers, only the operation's own state counts.
    let scene = scene.reopen();
    for id in ["unknown name", "version 1", "version 4"] {
        assert_eq!(listed_resumability(&scene.vault, id), Resumable::Ready);
    }
}

#[test]
fn listed_operation_has_its_status_and_age() {
    let scene = Scene::with(handlers());
    let operation = begin(&scene.vault, import("op").lanes(["a", "b", "c", "d"]));
    operation.lane("a").unwrap().complete().unwrap();
    let half = Checkpoint::encode(&7_u32).unwrap().progress(0.5);
    operation.lane("b").unwrap().commit(row("k"), half).unwrap();
    drop(operation);
    drop(scene.vault.operations().resume("op").unwrap());
    scene.clock.advance(Duration::from_millis(1_234));
    let found = find(&scene.vault, "op");
    assert_eq!((&found.id[..], &found.name[..], found.version), ("op", "import", 2));
    assert_eq!((found.state, found.attempts), (Some(OperationState::Recovering), 1));
    assert_eq!((found.lanes, found.lanes_complete, found.progress), (4, 1, 0.375));
    assert_eq!(found.age, Duration::from_millis(1_234));
    // An operation without a name gets its id as the name.
    drop(begin(&scene.vault, spec("scan")));
    assert_eq!(find(&scene.vault, "scan").name, "scan");
}

#[test]
fn live_owner_takes_precedence_over_exhausted_tries() {
    let vault = memory_vault().unwrap();
    let operation = begin(&vault, spec("op").retry(RetryPolicy { attempts_max: 1, ..AT_ONCE }));
    let lane = operation.lane("main").unwrap();
    drop(operation);
    assert_eq!(listed_resumability(&vault, "op"), Resumable::OwnerAlive { generation: 1 });
    assert!(!listed_resumability(&vault, "op").by_id());
    let fresh = vault.operations().take_over("op").unwrap();
    drop(lane);
    assert_eq!(listed_resumability(&vault, "op"), Resumable::OwnerAlive { generation: 2 });
    drop(fresh);
    assert_eq!(listed_resumability(&vault, "op"), Resumable::AttemptsExhausted { attempts: 1 });
}

#[test]
fn undecodable_checkpoint_is_unknown_data_of_its_lane() {
    let scene = Scene::with(handlers());
    for (id, data) in [("text", &b"\xa7hunter2"[..]), ("cut", b""), ("number", b"\x07")] {
        let operation = begin(&scene.vault, import(id));
        operation.lane("b").unwrap().commit(row(id), Checkpoint::new(data)).unwrap();
        // Lane "a" has no checkpoint, so no data to decode.
    }
    drop(begin(&scene.vault, import("scan").name("scan")));
    let scene = scene.reopen_with(handlers());
    for id in ["text", "cut"] {
        assert_eq!(
            listed_resumability(&scene.vault, id),
            Resumable::UnknownData { lane: "b".into() }
        );
        assert_eq!(find(&scene.vault, id).state, Some(OperationState::Running));
    }
    assert_eq!(listed_resumability(&scene.vault, "number"), Resumable::Ready);
    // A handler without a checkpoint type accepts any data.
    assert_eq!(listed_resumability(&scene.vault, "scan"), Resumable::UnknownVersion { version: 2 });
    let any = Handlers::new().with("import", handler().versions(0..=9));
    let scene = scene.reopen_with(any);
    assert_eq!(listed_resumability(&scene.vault, "text"), Resumable::Ready);
}

/// A checkpoint type whose decoding panics.
#[derive(Debug)]
struct PanickingCheckpoint;

impl<'de> serde::Deserialize<'de> for PanickingCheckpoint {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("the host's own bug")
    }
}

#[test]
fn panicking_decoder_does_not_fail_the_open() {
    let scene = Scene::new();
    let operation = begin(&scene.vault, spec("op"));
    commit(&operation.lane("main").unwrap(), 1).unwrap();
    drop(operation);
    let panicking = Handlers::new().with("op", handler().checkpoints::<PanickingCheckpoint>());
    let scene = scene.reopen_with(panicking);
    assert!(matches!(listed_resumability(&scene.vault, "op"), Resumable::UnknownData { .. }));
}

#[test]
fn list_is_paged_in_order_without_finished_operations() {
    let vault = memory_vault().unwrap();
    for n in (0..20).rev() {
        let operation = begin(&vault, spec(&format!("op {n:02}")));
        if n % 4 == 0 {
            operation.complete().unwrap();
        }
    }
    let expected: Vec<_> = (0..20).filter(|n| n % 4 != 0).map(|n| format!("op {n:02}")).collect();
    assert_eq!(unfinished(&vault), expected);
    for size in [1, 2, 7, 15, 16] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = vault
                .operations()
                .unfinished(&OperationsQuery::new().after(after.as_deref()).limit(size))
                .unwrap();
            assert!(page.len() <= size);
            let ends = page.len() < size;
            paged.extend(page.into_iter().map(|operation| operation.id));
            after = paged.last().cloned();
            if ends {
                break;
            }
        }
        assert_eq!(paged, expected, "{size} a page");
    }
    assert_eq!(vault.operations().unfinished(&OperationsQuery::new().limit(0)).unwrap(), []);
    assert_eq!(
        vault.operations().unfinished(&OperationsQuery::new().after("op 03x").limit(1)).unwrap()[0]
            .id,
        "op 05"
    );
    assert_eq!(
        vault.operations().unfinished(&OperationsQuery::new().after("z").limit(9)).unwrap(),
        []
    );
}

#[test]
fn open_lists_a_thousand_and_the_query_lists_the_rest() {
    let scene = Scene::new();
    let ids: Vec<_> =
        (0..Recovery::OPERATIONS_LISTED_MAX + 3).map(|n| format!("op {n:04}")).collect();
    for id in &ids {
        scene.vault.operations().prepare(spec(id)).unwrap();
    }
    let scene = scene.reopen();
    let listed: Vec<_> =
        scene.vault.recovery().operations.iter().map(|operation| operation.id.clone()).collect();
    assert_eq!(listed, ids[..Recovery::OPERATIONS_LISTED_MAX]);
    let rest = scene
        .vault
        .operations()
        .unfinished(&OperationsQuery::new().after(listed.last().map(|id| &id[..])).limit(10))
        .unwrap();
    let rest: Vec<_> = rest.into_iter().map(|operation| operation.id).collect();
    assert_eq!(rest, ids[Recovery::OPERATIONS_LISTED_MAX..]);
}

#[test]
fn clock_set_back_gives_zero_age_and_no_longer_wait() {
    let scene = Scene::new();
    let wait = |secs| Resumable::BackingOff { wait: Duration::from_secs(secs) };
    let retry = RetryPolicy { attempts_max: 0, ..RetryPolicy::DEFAULT };
    let operation = begin(&scene.vault, spec("op").retry(retry));
    commit(&operation.lane("main").unwrap(), 1).unwrap();
    drop(operation);
    scene.clock.advance(Duration::from_secs(60));
    scene.vault.operations().resume("op").unwrap().fail("no").unwrap();
    let changed = status(&scene.vault, "op").updated_unix_millis;

    scene.clock.jump(-3_600_000);
    let found = find(&scene.vault, "op");
    assert_eq!((found.age, found.resumable), (Duration::ZERO, wait(1)));
    // A change after the clock went back gets no earlier time than the change before it.
    scene.vault.operations().resume("op").unwrap().fail("again").unwrap();
    let found = status(&scene.vault, "op");
    assert_eq!((found.updated_unix_millis, found.attempts), (changed, 2));
    assert_eq!(found.failure.unwrap().unix_millis, changed);
    assert_eq!(listed_resumability(&scene.vault, "op"), wait(2), "at most the wait of the policy");

    scene.clock.jump(3_600_000 + 5_000);
    let found = find(&scene.vault, "op");
    assert_eq!((found.age, found.resumable), (Duration::from_secs(5), Resumable::Ready));
    // A clock before the Unix epoch counts as the epoch.
    scene.clock.jump(i64::MIN / 4);
    assert_eq!(find(&scene.vault, "op").age, Duration::ZERO);
}
