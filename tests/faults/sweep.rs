//! One run of the workload with a fault, and its assertions.

use std::collections::BTreeMap;

use strongroom::{Error, ErrorKind, Vault};

use crate::support::records::{assert_whole, try_put};
use crate::workload::{Environment, STEPS, Step, VisibleState, visible_state};

/// Attempts after the faults are cleared. The first one must succeed.
const TRIES: u32 = 1;

/// Counts of the runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    runs: u64,
    /// Runs in which no call returned an error.
    unnoticed: u64,
    kinds: BTreeMap<String, u64>,
    /// `Uncertain` errors of calls whose change happened.
    had_happened: u64,
}

impl Tally {
    pub(crate) fn errors(&self) -> u64 {
        self.kinds.values().sum()
    }
}

struct Run<'a> {
    environment: &'a dyn Environment,
    expected: &'a [VisibleState],
    name: &'a str,
    allowed: &'a dyn Fn(ErrorKind) -> bool,
    tally: &'a mut Tally,
    met: u64,
}

/// Runs the workload in an environment with a planned fault.
pub(crate) fn sweep(
    environment: &dyn Environment,
    expected: &[VisibleState],
    name: &str,
    allowed: &dyn Fn(ErrorKind) -> bool,
    tally: &mut Tally,
) {
    let mut run = Run { environment, expected, name, allowed, tally, met: 0 };
    let mut vault = run.create();
    for (at, step) in STEPS.into_iter().enumerate() {
        if step == Step::Reopen {
            vault = run.reopen(vault, at);
        } else {
            run.step(&vault, step, at);
        }
        if step == Step::Clean && run.met > 0 {
            run.assert_no_leftovers(&vault);
        }
    }
    run.end(vault);
}

impl Run<'_> {
    /// Counts an error, whose kind must be allowed.
    fn note(&mut self, error: &Error, during: &str) {
        let kind = error.kind();
        assert!((self.allowed)(kind), "{}: {during}: {kind:?}: {error}", self.name);
        *self.tally.kinds.entry(format!("{kind:?}")).or_default() += 1;
        self.met += 1;
    }

    #[track_caller]
    fn visible_state(&self, vault: &Vault, during: &str) -> VisibleState {
        visible_state(vault).unwrap_or_else(|e| panic!("{}: after {during}: {e}", self.name))
    }

    fn create(&mut self) -> Vault {
        match self.environment.create() {
            Ok(vault) => vault,
            Err(error) => {
                self.note(&error, "create");
                self.environment.clear_faults();
                match self.environment.create() {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => self.open("create"),
                    created => {
                        created.unwrap_or_else(|e| panic!("{}: create again: {e}", self.name))
                    }
                }
            }
        }
    }

    fn open(&self, during: &str) -> Vault {
        self.environment
            .open()
            .unwrap_or_else(|e| panic!("{}: open after {during}: {e}", self.name))
    }

    fn reopen(&mut self, vault: Vault, at: usize) -> Vault {
        if let Err(error) = vault.close() {
            self.note(&error, "close");
            self.environment.clear_faults();
        }
        let vault = match self.environment.open() {
            Ok(vault) => vault,
            Err(error) => {
                self.note(&error, "open");
                self.environment.clear_faults();
                self.open("open")
            }
        };
        if self.met > 0 {
            assert_eq!(self.visible_state(&vault, "reopen"), self.expected[at], "{}", self.name);
        }
        vault
    }

    fn step(&mut self, vault: &Vault, step: Step, at: usize) {
        let Err(error) = step.run(vault) else {
            return;
        };
        let during = format!("step {at} {step:?}");
        self.note(&error, &during);
        // While the fault lasts, other calls may fail too, with allowed kinds only.
        if let Err(other) = try_put(vault, "probe", b"1") {
            let kind = other.kind();
            let is_allowed = (self.allowed)(kind) || kind == ErrorKind::Unavailable;
            assert!(is_allowed, "{}: write after {during}: {other}", self.name);
        }
        let _ = visible_state(vault);
        self.environment.clear_faults();
        let retried = vault.write(|tx| tx.delete("n", "probe"));
        retried.unwrap_or_else(|e| panic!("{}: write after {during}: {e}", self.name));
        let (before, after) = (&self.expected[at], &self.expected[at + 1]);
        let now = self.visible_state(vault, &during);
        if now == *after && now != *before {
            assert_eq!(
                error.kind(),
                ErrorKind::Uncertain,
                "{}: {during} happened: {error}",
                self.name
            );
            self.tally.had_happened += 1;
            return;
        }
        assert_eq!(now, *before, "{}: {during}: {error}", self.name);
        for _ in 0..TRIES {
            step.run(vault).unwrap_or_else(|e| panic!("{}: {during} again: {e}", self.name));
        }
        assert_eq!(self.visible_state(vault, "again"), *after, "{}: {during} again", self.name);
    }

    /// Asserts that the clean-up leaves only the records of a reader.
    ///
    /// The vault has not been reopened.
    fn assert_no_leftovers(&self, vault: &Vault) {
        let seen = vault.read().and_then(|snapshot| snapshot.namespaces());
        let seen: u64 = seen.unwrap().iter().map(|n| n.records).sum();
        let report = assert_whole(vault);
        assert_eq!(report.records, seen, "{}: {report:?}", self.name);
    }

    fn end(&mut self, vault: Vault) {
        self.environment.clear_faults();
        let last = self.expected.last().unwrap();
        assert_eq!(self.visible_state(&vault, "all"), *last, "{}", self.name);
        assert_whole(&vault);
        vault.close().unwrap();
        let vault = self.open("all");
        assert!(vault.recovery().was_clean(), "{}: {:?}", self.name, vault.recovery());
        assert_eq!(self.visible_state(&vault, "all"), *last, "{}", self.name);
        assert_whole(&vault);
        self.tally.runs += 1;
        self.tally.unnoticed += u64::from(self.met == 0);
    }
}
