//! A simulated host with an operation in every state.

use std::time::Duration;

use strongroom::backends::component::{Clock, SystemClock};
use strongroom::keys::KeySource;
use strongroom::operations::{Checkpoint, Lane, Operation, OperationSpec, RetryPolicy};
use strongroom::{Batch, SecretKey, Vault};

use crate::{Cli, KEY};

/// Failure text of a host, with control characters.
pub(crate) const FAILURE: &str = "no answer:\n\u{1b}[31m timeout \u{9b}2J\u{7f}\\";

/// A host's clock that is behind, for actions in the past.
#[derive(Debug)]
struct Behind {
    clock: SystemClock,
    by: Duration,
}

impl Clock for Behind {
    fn unix_millis(&self) -> u64 {
        let by = u64::try_from(self.by.as_millis()).expect("below an age of the world");
        self.clock.unix_millis() - by
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

/// Lets a host work in the vault `v`, `days` days ago.
pub(crate) fn days_ago(cli: &Cli, days: u64, work: impl FnOnce(&Vault)) {
    at(cli, "v", SecretKey::new(KEY), days, work);
}

/// Lets a host work in the vault `name`, which `key` opens.
pub(crate) fn at(
    cli: &Cli,
    name: &str,
    key: impl KeySource + 'static,
    days: u64,
    work: impl FnOnce(&Vault),
) {
    let by = Duration::from_secs(days * 24 * 60 * 60);
    let clock = Behind { clock: SystemClock::new(), by };
    let vault = Vault::options(key).clock(clock).open(cli.path(name)).expect("opens");
    work(&vault);
    vault.close().expect("closes");
}

/// Returns the specification of an operation `import` with lanes `a` and `b`.
pub(crate) fn import(id: &str) -> OperationSpec {
    OperationSpec::new(id).name("import").lanes(["a", "b"])
}

/// Returns the same specification with one attempt.
pub(crate) fn tried_once(id: &str) -> OperationSpec {
    import(id).retry(RetryPolicy { attempts_max: 1, ..RetryPolicy::DEFAULT })
}

pub(crate) fn begin(vault: &Vault, spec: OperationSpec) -> Operation {
    vault.operations().begin_with(spec).expect("begins")
}

pub(crate) fn lane(operation: &Operation, lane: &str) -> Lane {
    operation.lane(lane).expect("opens")
}

pub(crate) fn commit(lane: &Lane, checkpoint: Checkpoint) {
    lane.commit(Batch::new(), checkpoint).expect("commits");
}

/// Leaves one operation in each state, with the state as its id.
///
/// Two more have failed: `exhausted` has no attempt left, and `waiting` will be retried.
pub(crate) fn every_state(vault: &Vault) {
    vault.operations().prepare(import("initialized")).expect("is made known");
    let running = begin(vault, import("running"));
    commit(&lane(&running, "b"), Checkpoint::new("half").progress(0.5));
    drop(begin(vault, import("recovering")));
    drop(vault.operations().resume("recovering").expect("resumes"));
    begin(vault, import("paused")).pause().expect("pauses");
    begin(vault, import("completed")).complete().expect("completes");
    begin(vault, import("failed")).fail("a first failure").expect("fails");
    begin(vault, tried_once("exhausted")).fail(FAILURE).expect("fails");
    let long = Duration::from_secs(1_000 * 24 * 60 * 60);
    let slow = RetryPolicy { attempts_max: 0, backoff_first: long, backoff_max: long };
    begin(vault, import("waiting").retry(slow)).fail("a second failure").expect("fails");
    begin(vault, import("cancelled")).cancel().expect("is given up");
}

/// Creates a vault `v` with [`every_state`], `days` days ago.
pub(crate) fn with_every_state(days: u64) -> Cli {
    let cli = Cli::new();
    days_ago(&cli, days, every_state);
    cli
}
