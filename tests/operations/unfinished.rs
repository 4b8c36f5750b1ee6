//! What is left to do, as the next process is told of it: which operations, and why each is left.

use std::time::Duration;

use strongroom::operations::{
    Checkpoint, Operation, OperationSpec, OperationState, OperationsQuery, Resumable, RetryPolicy,
    UnfinishedOperation,
};
use strongroom::runner::{Handler, Handlers, Job};
use strongroom::vault::Recovery;
use strongroom::{ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::scene::{AT_ONCE, Scene, commit, row, spec, stands, status, unfinished};
use crate::support::records::assert_error;

fn handler() -> Handler {
    Handler::new(|_: &Job| -> Result<()> { unreachable!("nothing is run here") })
}

/// Handlers for imports whose checkpoints of version 2 and 3 are numbers, and for scans.
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
    listed.pop().expect("it is listed")
}

/// What the list says of an operation, which `can_resume` must say as well.
#[track_caller]
fn told(vault: &Vault, id: &str) -> Resumable {
    let told = find(vault, id).resumable;
    assert_eq!(stands(vault, id), told);
    told
}

#[test]
fn an_opening_lists_what_is_left_and_why() {
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
    assert!(scene.vault.recovery().was_clean(), "that work is left is no trouble");
    for (id, expected) in expected {
        assert_eq!(told(&scene.vault, id), expected);
    }
    assert_eq!(stands(&scene.vault, "completed"), Resumable::Completed);
    assert_eq!(stands(&scene.vault, "cancelled"), Resumable::Cancelled);
    assert_error(scene.vault.operations().can_resume("none"), ErrorKind::NotFound, "none");

    // Without handlers only the operation itself is judged.
    let scene = scene.reopen();
    for id in ["unknown name", "version 1", "version 4"] {
        assert_eq!(told(&scene.vault, id), Resumable::Ready);
    }
}

#[test]
fn what_is_told_of_an_operation_is_what_it_is() {
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
    // Without a name the id stands for it.
    drop(begin(&scene.vault, spec("scan")));
    assert_eq!(find(&scene.vault, "scan").name, "scan");
}

#[test]
fn a_live_handle_is_told_until_it_ends_whatever_else_is_against_it() {
    let vault = memory_vault().unwrap();
    let operation = begin(&vault, spec("op").retry(RetryPolicy { attempts_max: 1, ..AT_ONCE }));
    let lane = operation.lane("main").unwrap();
    drop(operation);
    assert_eq!(told(&vault, "op"), Resumable::OwnerAlive { generation: 1 });
    assert!(!told(&vault, "op").by_id());
    let fresh = vault.operations().take_over("op").unwrap();
    drop(lane);
    assert_eq!(told(&vault, "op"), Resumable::OwnerAlive { generation: 2 });
    drop(fresh);
    assert_eq!(told(&vault, "op"), Resumable::AttemptsExhausted { attempts: 1 });
}

#[test]
fn data_that_its_handler_does_not_write_is_told_with_the_lane_and_not_with_the_data() {
    let scene = Scene::with(handlers());
    for (id, data) in [("text", &b"\xa7hunter2"[..]), ("cut", b""), ("number", b"\x07")] {
        let operation = begin(&scene.vault, import(id));
        operation.lane("b").unwrap().commit(row(id), Checkpoint::new(data)).unwrap();
        // Of "a", which has had none, nothing is to decode.
    }
    drop(begin(&scene.vault, import("scan").name("scan")));
    let scene = scene.reopen_with(handlers());
    for id in ["text", "cut"] {
        assert_eq!(told(&scene.vault, id), Resumable::UnknownData { lane: "b".into() });
        assert_eq!(find(&scene.vault, id).state, Some(OperationState::Running));
    }
    assert_eq!(told(&scene.vault, "number"), Resumable::Ready);
    // A handler that does not say what it writes takes all.
    assert_eq!(told(&scene.vault, "scan"), Resumable::UnknownVersion { version: 2 });
    let any = Handlers::new().with("import", handler().versions(0..=9));
    let scene = scene.reopen_with(any);
    assert_eq!(told(&scene.vault, "text"), Resumable::Ready);
}

/// Panics at whatever it is asked to decode.
#[derive(Debug)]
struct Fussy;

impl<'de> serde::Deserialize<'de> for Fussy {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("the host's own bug")
    }
}

#[test]
fn a_type_that_panics_at_decoding_keeps_no_vault_from_opening() {
    let scene = Scene::new();
    let operation = begin(&scene.vault, spec("op"));
    commit(&operation.lane("main").unwrap(), 1).unwrap();
    drop(operation);
    let fussy = Handlers::new().with("op", handler().checkpoints::<Fussy>());
    let scene = scene.reopen_with(fussy);
    assert!(matches!(told(&scene.vault, "op"), Resumable::UnknownData { .. }));
}

#[test]
fn the_list_comes_in_pages_in_order_and_without_what_is_finished() {
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
fn an_opening_lists_a_thousand_and_the_vault_the_rest() {
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
fn a_clock_that_goes_back_makes_no_age_and_no_longer_wait() {
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
    // What happens now is not told as older than what has happened.
    scene.vault.operations().resume("op").unwrap().fail("again").unwrap();
    let found = status(&scene.vault, "op");
    assert_eq!((found.updated_unix_millis, found.attempts), (changed, 2));
    assert_eq!(found.failure.unwrap().unix_millis, changed);
    assert_eq!(told(&scene.vault, "op"), wait(2), "and no longer than the policy says");

    scene.clock.jump(3_600_000 + 5_000);
    let found = find(&scene.vault, "op");
    assert_eq!((found.age, found.resumable), (Duration::from_secs(5), Resumable::Ready));
    // Before the epoch it is the epoch.
    scene.clock.jump(i64::MIN / 4);
    assert_eq!(find(&scene.vault, "op").age, Duration::ZERO);
}
