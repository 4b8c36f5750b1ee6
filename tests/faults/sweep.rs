//! One run of the workload in which something fails, and what is asserted of it.

use std::collections::BTreeMap;

use strongroom::{Error, ErrorKind, Vault};

use crate::support::records::{assert_whole, try_put};
use crate::workload::{Picture, Place, STEPS, Step, picture};

/// How often a call is tried once nothing fails any more: it must succeed at the first time.
const TRIES: u32 = 1;

/// What the runs met.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    runs: u64,
    /// Runs in which no caller heard of the fault.
    unnoticed: u64,
    kinds: BTreeMap<String, u64>,
    /// `Uncertain` errors whose change had happened.
    had_happened: u64,
}

impl Tally {
    pub(crate) fn errors(&self) -> u64 {
        self.kinds.values().sum()
    }
}

struct Run<'a> {
    place: &'a dyn Place,
    expected: &'a [Picture],
    name: &'a str,
    allowed: &'a dyn Fn(ErrorKind) -> bool,
    tally: &'a mut Tally,
    met: u64,
}

/// Runs the workload at a place that is told to fail.
pub(crate) fn sweep(
    place: &dyn Place,
    expected: &[Picture],
    name: &str,
    allowed: &dyn Fn(ErrorKind) -> bool,
    tally: &mut Tally,
) {
    let mut run = Run { place, expected, name, allowed, tally, met: 0 };
    let mut vault = run.create();
    for (at, step) in STEPS.into_iter().enumerate() {
        if step == Step::Reopen {
            vault = run.reopen(vault, at);
        } else {
            run.step(&vault, step, at);
        }
        if step == Step::Clean && run.met > 0 {
            run.assert_nothing_is_left_over(&vault);
        }
    }
    run.end(vault);
}

impl Run<'_> {
    /// The error is of a kind that it may be.
    fn note(&mut self, error: &Error, during: &str) {
        let kind = error.kind();
        assert!((self.allowed)(kind), "{}: {during}: {kind:?}: {error}", self.name);
        *self.tally.kinds.entry(format!("{kind:?}")).or_default() += 1;
        self.met += 1;
    }

    #[track_caller]
    fn picture(&self, vault: &Vault, during: &str) -> Picture {
        picture(vault).unwrap_or_else(|e| panic!("{}: after {during}: {e}", self.name))
    }

    fn create(&mut self) -> Vault {
        match self.place.create() {
            Ok(vault) => vault,
            Err(error) => {
                self.note(&error, "create");
                self.place.clear_faults();
                match self.place.create() {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => self.open("create"),
                    created => {
                        created.unwrap_or_else(|e| panic!("{}: create again: {e}", self.name))
                    }
                }
            }
        }
    }

    fn open(&self, during: &str) -> Vault {
        self.place.open().unwrap_or_else(|e| panic!("{}: open after {during}: {e}", self.name))
    }

    fn reopen(&mut self, vault: Vault, at: usize) -> Vault {
        if let Err(error) = vault.close() {
            self.note(&error, "close");
            self.place.clear_faults();
        }
        let vault = match self.place.open() {
            Ok(vault) => vault,
            Err(error) => {
                self.note(&error, "open");
                self.place.clear_faults();
                self.open("open")
            }
        };
        if self.met > 0 {
            assert_eq!(self.picture(&vault, "reopen"), self.expected[at], "{}", self.name);
        }
        vault
    }

    fn step(&mut self, vault: &Vault, step: Step, at: usize) {
        let Err(error) = step.run(vault) else {
            return;
        };
        let during = format!("step {at} {step:?}");
        self.note(&error, &during);
        // If it goes on failing, so do other calls, and nothing worse.
        if let Err(other) = try_put(vault, "probe", b"1") {
            let kind = other.kind();
            let sensible = (self.allowed)(kind) || kind == ErrorKind::Unavailable;
            assert!(sensible, "{}: write after {during}: {other}", self.name);
        }
        let _ = picture(vault);
        self.place.clear_faults();
        let retried = vault.write(|tx| tx.delete("n", "probe"));
        retried.unwrap_or_else(|e| panic!("{}: write after {during}: {e}", self.name));
        let (before, after) = (&self.expected[at], &self.expected[at + 1]);
        let now = self.picture(vault, &during);
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
        assert_eq!(self.picture(vault, "again"), *after, "{}: {during} again", self.name);
    }

    /// Once it is cleaned up there is nothing but what a reader sees, without a reopening.
    fn assert_nothing_is_left_over(&self, vault: &Vault) {
        let seen = vault.read().and_then(|snapshot| snapshot.namespaces());
        let seen: u64 = seen.unwrap().iter().map(|n| n.records).sum();
        let report = assert_whole(vault);
        assert_eq!(report.records, seen, "{}: {report:?}", self.name);
    }

    fn end(&mut self, vault: Vault) {
        self.place.clear_faults();
        let last = self.expected.last().unwrap();
        assert_eq!(self.picture(&vault, "all"), *last, "{}", self.name);
        assert_whole(&vault);
        vault.close().unwrap();
        let vault = self.open("all");
        assert!(vault.recovery().was_clean(), "{}: {:?}", self.name, vault.recovery());
        assert_eq!(self.picture(&vault, "all"), *last, "{}", self.name);
        assert_whole(&vault);
        self.tally.runs += 1;
        self.tally.unnoticed += u64::from(self.met == 0);
    }
}
