//! Updates of documents are in no event, no statistic and no list of operations, and the host's
//! metrics do not hear of them: whether there was one, and how many, is nobody's business.

use std::sync::Arc;
use std::time::Duration;

use strongroom::backends::Memory;
use strongroom::content::GcOptions;
use strongroom::documents::{Partition, SecretPartitionKey, Space, SpaceOptions, WriteOptions};
use strongroom::operations::{
    ExpireOperations, Latencies, OperationState, OperationsQuery, Statistics, Subscription,
};
use strongroom::runner::{Handler, Handlers, Runner, RunnerOptions};
use strongroom::storage::MemoryState;
use strongroom::{CancelToken, ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{BackendFault, Fault, FaultyBackend, TestKey, World, world_options};

use crate::recorder::{Ear, Heard};
use crate::runner::nothing;
use crate::scene::{AT_ONCE, commit, spec, unfinished};
use crate::support::clock::SharedClock;

const EIO: i32 = 5;

/// A vault with a document and an operation of the host's, and all ears.
struct Listener {
    vault: Vault,
    space: Space,
    key: SecretPartitionKey,
    partition: Partition,
    faulty: Arc<FaultyBackend>,
    ear: Ear,
    from: Subscription,
}

fn password(text: &str) -> SecretPassword {
    SecretPassword::new(text)
}

fn listen() -> Listener {
    let faulty = Arc::new(FaultyBackend::new(Arc::new(Memory::new())));
    let ear = Ear::default();
    let vault = Vault::options(TestKey)
        .clock(SharedClock::default())
        .cheap_passwords()
        .handlers(Handlers::new().with("op", Handler::new(nothing)))
        .recorder(ear.clone())
        .create_on(MemoryState::new(), Arc::clone(&faulty))
        .unwrap();
    let space =
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(2_048)).unwrap();
    let key = space.add_partition(&password("pa"), &[]).unwrap();
    let partition = space.partition(&key, &password("pa")).unwrap();
    partition.write("\"first\"").unwrap();
    let operation = vault.operations().begin_with(spec("op").retry(AT_ONCE)).unwrap();
    commit(&operation.lane("main").unwrap(), 1).unwrap();
    operation.fail("no").unwrap();
    let from = vault.operations().subscribe(1_000);
    ear.take();
    Listener { vault, space, key, partition, faulty, ear, from }
}

/// All of it, in a form that can be compared.
fn told(statistics: &Statistics) -> String {
    let latencies = |of: &Latencies| (of.count(), of.least(), of.most(), of.quantile(0.5));
    format!(
        "{statistics:?} {:?} {:?} {:?}",
        latencies(&statistics.commits),
        statistics.oldest_unfinished,
        statistics.last_failure.as_ref().map(|(id, failure)| (id, &failure.error)),
    )
}

impl Listener {
    /// Runs `act`, during which and after which nothing is told of anything.
    #[track_caller]
    fn hears_nothing(&self, name: &str, act: impl FnOnce(&Self)) {
        let picture = || {
            let vault = &self.vault;
            let dry =
                ExpireOperations::new().older_than(Duration::ZERO).exhausted(true).dry_run(true);
            let expired = vault.operations().expire(&dry).unwrap();
            (told(&vault.operations().statistics().unwrap()), unfinished(vault), expired)
        };
        let before = picture();
        act(self);
        assert_eq!(picture(), before, "{name}");
        assert_eq!(self.ear.take(), Heard::default(), "{name}");
        assert_eq!(self.from.next_now(), None, "{name}");
        assert_eq!(self.from.missed(), 0, "{name}");
    }

    /// An update that ends after so many objects.
    fn interrupt(&self, text: &str, objects: u64) {
        let progress = |done, _| {
            if done == objects {
                self.faulty.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
            }
        };
        let options = WriteOptions::new().progress(&progress);
        let error = self.partition.write_with(text, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        self.faulty.clear();
        let unfinished = self.space.info().unwrap().unfinished.unwrap();
        assert_eq!(unfinished.objects_done as u64, objects);
    }
}

#[test]
fn updates_that_come_to_their_end_are_not_told_of() {
    let listener = listen();
    listener.hears_nothing("write", |l| {
        l.partition.write("\"second\"").unwrap();
    });
    listener.hears_nothing("write in background", |l| {
        l.partition.write_in_background("\"third\"").unwrap().wait().unwrap();
    });
    listener.hears_nothing("heal", |l| {
        l.partition.heal().unwrap();
    });
    listener.hears_nothing("add and write another document", |l| {
        let key = l.space.add_partition(&password("pb"), &[&l.key]).unwrap();
        let other = l.space.partition(&key, &password("pb")).unwrap();
        other.write("1").unwrap();
    });
    listener.hears_nothing("clean", |l| {
        l.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    });
}

#[test]
fn updates_that_are_interrupted_or_taken_back_are_not_told_of() {
    let listener = listen();
    // The statistics are taken while its operation is there.
    listener.hears_nothing("interrupt", |l| l.interrupt("\"second\"", 7));
    listener.hears_nothing("interrupt again", |l| l.interrupt("\"second\"", 15));
    listener.hears_nothing("resume", |l| {
        let options = WriteOptions::new().resume(true);
        l.partition.write_with("\"second\"", &options).unwrap();
    });
    listener.hears_nothing("interrupt, and write another text", |l| {
        l.interrupt("\"third\"", 7);
        l.partition.write("\"fourth\"").unwrap();
    });
    listener.hears_nothing("cancel", |l| {
        let cancel = CancelToken::new();
        let progress = |done: u64, _| {
            if done == 9 {
                cancel.cancel();
            }
        };
        let options = WriteOptions::new().progress(&progress).cancel(&cancel);
        let error = l.partition.write_with("\"fifth\"", &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    });
    assert_eq!(listener.partition.read().unwrap().text(), "\"fourth\"");
}

#[test]
fn updates_whose_every_call_of_the_backend_fails_are_not_told_of() {
    for nth in (1..60).step_by(3) {
        let listener = listen();
        listener.hears_nothing("fail", |l| {
            l.faulty.fail_at(nth, BackendFault::before(ErrorKind::Unavailable));
            // It may also get around it.
            l.partition.write("\"second\"").ok();
            l.faulty.clear();
        });
    }
}

#[test]
fn commits_of_updates_that_fail_are_not_told_of() {
    let mut failed = 0;
    for nth in (1..400).step_by(13) {
        let (world, ear) = (World::new(), Ear::default());
        let vault = world_options(&world, nth).recorder(ear.clone()).create("/vault").unwrap();
        let space =
            vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1_024)).unwrap();
        let key = space.add_partition(&password("pa"), &[]).unwrap();
        let partition = space.partition(&key, &password("pa")).unwrap();
        let before = told(&vault.operations().statistics().unwrap());
        ear.take();
        world.fail_at(nth, Fault::before(EIO));
        failed += u32::from(partition.write("\"first\"").is_err());
        world.clear_faults();
        partition.write("\"second\"").unwrap();
        assert_eq!(ear.take(), Heard::default(), "call {nth}");
        assert_eq!(told(&vault.operations().statistics().unwrap()), before, "call {nth}");
    }
    assert!(failed > 10, "{failed} faults struck");
}

#[test]
fn no_runner_and_no_host_touches_the_operation_of_an_update() {
    let listener = listen();
    listener.hears_nothing("interrupt", |l| l.interrupt("\"second\"", 7));
    let vault = &listener.vault;
    let id = vault
        .read()
        .unwrap()
        .operations(&OperationsQuery::new().limit(10))
        .unwrap()
        .into_iter()
        .map(|operation| operation.id)
        .find(|id| id.starts_with("strongroom."))
        .expect("hosts may see it");
    listener.hears_nothing("refuse", |_| {
        let outcomes = [
            vault.operations().resume(&id).map(drop),
            vault.operations().take_over(&id).map(drop),
            vault.operations().pause(&id),
            vault.operations().abandon(&id),
            vault.operations().delete(&id).map(drop),
            vault.operations().can_resume(&id).map(drop),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid);
        }
    });
    let runner = Runner::start(vault, RunnerOptions::new()).unwrap();
    let report = runner.resume_all().unwrap();
    assert_eq!((report.resumed.len(), report.left.len()), (1, 0), "the host's own");
    let ended = report.resumed[0].wait(crate::support::group::PATIENCE).unwrap();
    assert_eq!(ended, Some(OperationState::Completed));
    let everything = ExpireOperations::new().older_than(Duration::ZERO);
    assert_eq!(vault.operations().expire(&everything).unwrap().ids, ["op"]);
    listener.partition.write("\"second\"").expect("it goes on");
}
