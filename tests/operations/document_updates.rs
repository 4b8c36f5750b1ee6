//! Updates of documents: hidden from events, statistics, lists and the host's recorder.
//!
//! The existence and the number of updates must stay secret.

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

use crate::recorder::{LoggingRecorder, RecordedCalls};
use crate::runner::no_op;
use crate::scene::{AT_ONCE, commit, spec, unfinished};
use crate::support::clock::SharedClock;

const EIO: i32 = 5;

/// A vault with a document, an operation, a recorder and a subscription.
struct ObservedVault {
    vault: Vault,
    space: Space,
    key: SecretPartitionKey,
    partition: Partition,
    faulty: Arc<FaultyBackend>,
    recorder: LoggingRecorder,
    events: Subscription,
}

fn password(text: &str) -> SecretPassword {
    SecretPassword::new(text)
}

fn observed_vault() -> ObservedVault {
    let faulty = Arc::new(FaultyBackend::new(Arc::new(Memory::new())));
    let recorder = LoggingRecorder::default();
    let vault = Vault::options(TestKey)
        .clock(SharedClock::default())
        .cheap_passwords()
        .handlers(Handlers::new().with("op", Handler::new(no_op)))
        .recorder(recorder.clone())
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
    let events = vault.operations().subscribe(1_000);
    recorder.take();
    ObservedVault { vault, space, key, partition, faulty, recorder, events }
}

/// Formats all statistics, for comparison.
fn formatted(statistics: &Statistics) -> String {
    let latencies = |of: &Latencies| (of.count(), of.least(), of.most(), of.quantile(0.5));
    format!(
        "{statistics:?} {:?} {:?} {:?}",
        latencies(&statistics.commits),
        statistics.oldest_unfinished,
        statistics.last_failure.as_ref().map(|(id, failure)| (id, &failure.error)),
    )
}

impl ObservedVault {
    /// Asserts that no statistic, list, event or recorder call reveals `act`.
    #[track_caller]
    fn assert_hidden(&self, name: &str, act: impl FnOnce(&Self)) {
        let visible = || {
            let vault = &self.vault;
            let dry =
                ExpireOperations::new().older_than(Duration::ZERO).exhausted(true).dry_run(true);
            let expired = vault.operations().expire(&dry).unwrap();
            (formatted(&vault.operations().statistics().unwrap()), unfinished(vault), expired)
        };
        let before = visible();
        act(self);
        assert_eq!(visible(), before, "{name}");
        assert_eq!(self.recorder.take(), RecordedCalls::default(), "{name}");
        assert_eq!(self.events.next_now(), None, "{name}");
        assert_eq!(self.events.missed(), 0, "{name}");
    }

    /// Starts an update whose backend fails after `objects` objects.
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
fn finished_updates_are_hidden() {
    let observed = observed_vault();
    observed.assert_hidden("write", |l| {
        l.partition.write("\"second\"").unwrap();
    });
    observed.assert_hidden("write in background", |l| {
        l.partition.write_in_background("\"third\"").unwrap().wait().unwrap();
    });
    observed.assert_hidden("heal", |l| {
        l.partition.heal().unwrap();
    });
    observed.assert_hidden("add and write another document", |l| {
        let key = l.space.add_partition(&password("pb"), &[&l.key]).unwrap();
        let other = l.space.partition(&key, &password("pb")).unwrap();
        other.write("1").unwrap();
    });
    observed.assert_hidden("clean", |l| {
        l.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    });
}

#[test]
fn interrupted_or_cancelled_updates_are_hidden() {
    let observed = observed_vault();
    // Statistics are also taken while the update's own operation exists.
    observed.assert_hidden("interrupt", |l| l.interrupt("\"second\"", 7));
    observed.assert_hidden("interrupt again", |l| l.interrupt("\"second\"", 15));
    observed.assert_hidden("resume", |l| {
        let options = WriteOptions::new().resume(true);
        l.partition.write_with("\"second\"", &options).unwrap();
    });
    observed.assert_hidden("interrupt, and write another text", |l| {
        l.interrupt("\"third\"", 7);
        l.partition.write("\"fourth\"").unwrap();
    });
    observed.assert_hidden("cancel", |l| {
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
    assert_eq!(observed.partition.read().unwrap().text(), "\"fourth\"");
}

#[test]
fn updates_with_a_failed_backend_call_are_hidden() {
    for nth in (1..60).step_by(3) {
        let observed = observed_vault();
        observed.assert_hidden("fail", |l| {
            l.faulty.fail_at(nth, BackendFault::before(ErrorKind::Unavailable));
            // The write may also succeed despite the fault.
            l.partition.write("\"second\"").ok();
            l.faulty.clear();
        });
    }
}

#[test]
fn updates_with_a_failed_commit_are_hidden() {
    let mut failed = 0;
    for nth in (1..400).step_by(13) {
        let (world, recorder) = (World::new(), LoggingRecorder::default());
        let vault = world_options(&world, nth).recorder(recorder.clone()).create("/vault").unwrap();
        let space =
            vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1_024)).unwrap();
        let key = space.add_partition(&password("pa"), &[]).unwrap();
        let partition = space.partition(&key, &password("pa")).unwrap();
        let before = formatted(&vault.operations().statistics().unwrap());
        recorder.take();
        world.fail_at(nth, Fault::before(EIO));
        failed += u32::from(partition.write("\"first\"").is_err());
        world.clear_faults();
        partition.write("\"second\"").unwrap();
        assert_eq!(recorder.take(), RecordedCalls::default(), "call {nth}");
        assert_eq!(formatted(&vault.operations().statistics().unwrap()), before, "call {nth}");
    }
    assert!(failed > 10, "{failed} faults struck");
}

#[test]
fn operation_of_an_update_is_refused_to_host_and_runner() {
    let observed = observed_vault();
    observed.assert_hidden("interrupt", |l| l.interrupt("\"second\"", 7));
    let vault = &observed.vault;
    let id = vault
        .read()
        .unwrap()
        .operations(&OperationsQuery::new().limit(10))
        .unwrap()
        .into_iter()
        .map(|operation| operation.id)
        .find(|id| id.starts_with("strongroom."))
        .expect("the host may list the update's operation");
    observed.assert_hidden("refuse", |_| {
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
    assert_eq!((report.resumed.len(), report.left.len()), (1, 0), "only the host's operation");
    let ended = report.resumed[0].wait(crate::support::group::WAIT_MAX).unwrap();
    assert_eq!(ended, Some(OperationState::Completed));
    let everything = ExpireOperations::new().older_than(Duration::ZERO);
    assert_eq!(vault.operations().expire(&everything).unwrap().ids, ["op"]);
    observed.partition.write("\"second\"").expect("the update is still possible");
}
