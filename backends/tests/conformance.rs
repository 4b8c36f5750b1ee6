//! The conformance suite on the backends of this crate.

#![allow(clippy::unwrap_used)] // Clippy exempts tests, but not their shared code.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use strongroom_backends::component::{ManualClock, SeededEntropy};
use strongroom_backends::{
    Backend, Condition, Disk, ErrorKind, Key, ListEntry, Memory, Result, Version,
};
use strongroom_testkit::{
    DeferredBackend, Fault, FaultTiming, FaultyBackend, Layer, World, conformance, impl_backend,
};

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new())
}

/// Makes stores in separate folders below `home`.
fn disks_in(home: &tempfile::TempDir) -> impl Fn() -> Arc<dyn Backend> {
    let count = AtomicUsize::new(0);
    let home = home.path().to_path_buf();
    move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Arc::new(Disk::open(home.join(number.to_string())).unwrap())
    }
}

#[test]
fn memory_conforms() {
    conformance::run(&memory);
    conformance::race(&memory, 4, 200);
    conformance::creators_race(&memory, 8, 200);
    conformance::deleters_race(&memory, 32);
    conformance::overwriters_race(&memory, 32);
}

#[test]
fn disk_conforms() {
    let home = tempfile::tempdir().unwrap();
    conformance::run(&disks_in(&home));
}

#[test]
fn disk_on_simulated_file_system_conforms() {
    let make = || -> Arc<dyn Backend> {
        let (entropy, clock) = (SeededEntropy::new(1), ManualClock::new());
        let world = Arc::new(World::new());
        Arc::new(Disk::with(world, Arc::new(entropy), Arc::new(clock), "/").unwrap())
    };
    conformance::run(&make);
    conformance::race(&make, 4, 50);
}

/// Any call of the file system may fail, with or without effect. A certain refusal means that
/// nothing happened. No temporary file remains unless its removal is what failed.
#[test]
fn put_with_certain_failure_changes_nothing() {
    let conditions =
        [Condition::Any, Condition::Absent, Condition::Matches(Version::of_content(b"before"))];
    for condition in &conditions {
        for fault in [Fault::before(5), Fault::after(5), Fault::before(28), Fault::torn(28)] {
            for nth in 1.. {
                if !put_with_a_fault(condition, nth, fault) {
                    assert!(nth > 5, "the put makes calls that can fail");
                    break;
                }
            }
        }
    }
}

/// Returns `false` if the put ended before its call number `nth`.
fn put_with_a_fault(condition: &Condition, nth: u64, fault: Fault) -> bool {
    let world = Arc::new(World::new());
    let entropy = Arc::new(SeededEntropy::new(1));
    let disk = Disk::with(world.clone(), entropy, Arc::new(ManualClock::new()), "/").unwrap();
    let key = Key::new("a/b").unwrap();
    let before = (*condition != Condition::Absent).then_some("before");
    if let Some(before) = before {
        disk.put(&key, before.into(), &Condition::Any).unwrap();
    }

    let first = world.calls();
    world.fail_at(nth, fault);
    let result = disk.put(&key, "after".into(), condition);
    let struck = world.calls() >= first + nth;
    world.clear_faults();

    let now = disk.get(&key).ok().map(|object| object.body);
    let context = format!("{condition:?}, call {nth}, {fault:?}: {result:?}");
    match &result {
        Ok(_) => assert_eq!(now.as_deref(), Some(&b"after"[..]), "{context}"),
        Err(e) if e.kind() == ErrorKind::Uncertain => {}
        Err(_) => assert_eq!(now.as_deref(), before.map(str::as_bytes), "{context}"),
    }
    let leftovers = disk.clear_temporaries().unwrap();
    // If the answer of its creation is lost, a file looks like another writer's.
    let explained = result.is_ok() || fault.timing == FaultTiming::After;
    assert!(leftovers == 0 || explained, "{leftovers} temporary files stay: {context}");
    struck
}

#[test]
fn threads_on_one_disk_handle_lose_no_update() {
    let home = tempfile::tempdir().unwrap();
    let make = disks_in(&home);
    conformance::race(&make, 4, 50);
    conformance::creators_race(&make, 8, 50);
    conformance::deleters_race(&make, 32);
    conformance::overwriters_race(&make, 32);
}

#[test]
fn disk_handles_lose_no_update() {
    let home = tempfile::tempdir().unwrap();
    let open = || Arc::new(Disk::open(home.path()).unwrap()) as Arc<dyn Backend>;
    conformance::race_between(&[open(), open(), open(), open()], 50);
}

#[test]
fn wrappers_without_faults_conform() {
    conformance::run(&|| Arc::new(FaultyBackend::new(memory())));
    for delay in [0, 1, 7, u64::MAX] {
        conformance::run(&|| Arc::new(DeferredBackend::new(memory(), delay)));
    }
}

/// A defect planted in an otherwise correct store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    MatchesComparesThenPuts,
    AbsentLooksThenPuts,
    ShortRange,
    AfterIsListed,
    PrefixEndsAtSegment,
    DeleteOfMissingFails,
    /// Deletes only the first of many keys.
    DeletesTheFirstOfAll,
}

#[derive(Debug)]
struct Defective {
    inner: Memory,
    defect: Defect,
}

fn defective(defect: Defect) -> impl Fn() -> Arc<dyn Backend> {
    move || Arc::new(Defective { inner: Memory::new(), defect })
}

impl Layer for Defective {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes> {
        if self.defect != Defect::ShortRange {
            return self.inner.get_range(key, range);
        }
        let len = self.inner.get(key)?.body.len() as u64;
        self.inner.get_range(key, range.start.min(len)..range.end.min(len))
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        let current = self.inner.get(key).map(|object| object.version);
        let holds = match (self.defect, condition) {
            (Defect::MatchesComparesThenPuts, Condition::Matches(expected)) => {
                current.is_ok_and(|current| current == *expected)
            }
            (Defect::AbsentLooksThenPuts, Condition::Absent) => current.is_err(),
            _ => false,
        };
        if !holds {
            return self.inner.put(key, body, condition);
        }
        std::thread::yield_now();
        self.inner.put(key, body, &Condition::Any)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        if self.defect == Defect::DeleteOfMissingFails {
            self.inner.get(key)?;
        }
        self.inner.delete(key)
    }

    fn delete_all(&self, keys: &[Key]) -> Result<()> {
        if self.defect == Defect::DeletesTheFirstOfAll {
            return keys.first().map_or(Ok(()), |key| Layer::delete(self, key));
        }
        keys.iter().try_for_each(|key| Layer::delete(self, key))
    }

    fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<ListEntry>> {
        let mut page = self.inner.list(prefix, after, limit)?;
        match (self.defect, after) {
            (Defect::AfterIsListed, Some(after)) if after.as_str().starts_with(prefix) => {
                let size = self.inner.get(after).map_or(0, |object| object.body.len() as u64);
                page.insert(0, ListEntry { key: after.clone(), size });
            }
            (Defect::PrefixEndsAtSegment, _) if !prefix.is_empty() => page.retain(|entry| {
                entry.key.as_str().strip_prefix(prefix).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
                })
            }),
            _ => {}
        }
        Ok(page)
    }
}

impl_backend!(Defective);

/// Canary: each planted defect fails the suite; the racy ones do so within a few long races.
#[test]
fn suite_detects_every_planted_defect() {
    let races = |make: &dyn Fn() -> Arc<dyn Backend>| {
        conformance::run(make);
        for _ in 0..20 {
            conformance::race(make, 4, 500);
            conformance::creators_race(make, 8, 500);
        }
    };
    for defect in [
        Defect::MatchesComparesThenPuts,
        Defect::AbsentLooksThenPuts,
        Defect::ShortRange,
        Defect::AfterIsListed,
        Defect::PrefixEndsAtSegment,
        Defect::DeleteOfMissingFails,
        Defect::DeletesTheFirstOfAll,
    ] {
        let caught = std::panic::catch_unwind(|| races(&defective(defect))).is_err();
        assert!(caught, "{defect:?} goes unnoticed");
    }
}
