//! Judges a damaged image that is opened, read, written and opened again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::Memory;
use strongroom::{ErrorKind, Reason, Vault};

use crate::flips::all_bytes;
use crate::image::{Damage, ImageStorage, objects_on};
use crate::scene::{Comparison, LeftVault, View, options};
use crate::support::records::{check, try_put};

/// Longest time for one image.
const IMAGE_TIME_MAX: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
const WORKER: &str = "judge";
/// Most outcomes that a failure lists.
const LISTED_MAX: usize = 20;

/// The outcome of a damaged image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The image does not open and was not changed.
    Refused(ErrorKind),
    /// The image of a closed vault does not open but was changed.
    ///
    /// So the next open would be lenient.
    ChangedAndRefused(ErrorKind),
    /// The image opens and a read is refused. All other reads are right.
    ReadRefused(ErrorKind),
    /// Detected by [`Vault::check`] only. redb's checksums detect an older copy of a page.
    ByCheck,
    /// All data is there.
    Harmless,
    /// The last commit is missing, as the recovery report says.
    FellBack,
    /// An outcome that must never happen.
    Wrong(String),
}

/// The bytes that the damage consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DamageBytes {
    /// Bytes that were never sealed for their location. Reads must detect them.
    Unauthentic,
    /// Bytes of a content object that were never sealed for it.
    ///
    /// Reads detect damage in a chunk. Only the check reads the rest of a pack, so it runs in
    /// every case.
    Content,
    /// Bytes of the key copy.
    ///
    /// The vault is readable, and can be written to only after the state was adopted.
    KeyCopy,
    /// Older bytes of the vault in their own location. Reads may return them. The check must detect
    /// them.
    Older,
}

/// Distance between the cases that are used further, in the full run.
const USED_EVERY: usize = 16;

/// Returns whether a readable image is written to and opened again.
fn is_used(n: usize) -> bool {
    !all_bytes() || n.is_multiple_of(USED_EVERY)
}

/// Counts of the outcomes of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    pub(crate) refused: u64,
    pub(crate) changed: Vec<String>,
    pub(crate) read_refused: u64,
    pub(crate) by_check: u64,
    pub(crate) harmless: u64,
    pub(crate) fell_back: u64,
    pub(crate) wrong: Vec<String>,
    /// Panics inside redb that the engine turned into errors.
    pub(crate) caught: u64,
}

impl Tally {
    pub(crate) fn detected(&self) -> u64 {
        self.refused + self.read_refused + self.by_check
    }

    fn add(&mut self, label: &str, outcome: Outcome) {
        self.cases += 1;
        match outcome {
            Outcome::Refused(_) => self.refused += 1,
            Outcome::ChangedAndRefused(_) => {
                self.refused += 1;
                self.changed.push(label.to_owned());
            }
            Outcome::ReadRefused(_) => self.read_refused += 1,
            Outcome::ByCheck => self.by_check += 1,
            Outcome::Harmless => self.harmless += 1,
            Outcome::FellBack => self.fell_back += 1,
            Outcome::Wrong(wrong) => self.wrong.push(format!("{label}: {wrong}")),
        }
    }

    /// Prints the tally, and fails on outcomes that must never happen.
    #[track_caller]
    pub(crate) fn expect_none_wrong(self, what: &str) -> Self {
        println!("{what}: {self}");
        let some = &self.wrong[..self.wrong.len().min(LISTED_MAX)];
        assert!(some.is_empty(), "{what}: {} wrong: {some:#?}", self.wrong.len());
        let some = &self.changed[..self.changed.len().min(LISTED_MAX)];
        let len = self.changed.len();
        assert!(some.is_empty(), "{what}: {len} refused and changed: {some:#?}");
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, detected {} (open {}, read {}, check {}), harmless {}, fell back {}, \
             wrong {}, refused but changed {}, panics of redb caught {}",
            self.cases,
            self.detected(),
            self.refused,
            self.read_refused,
            self.by_check,
            self.harmless,
            self.fell_back,
            self.wrong.len(),
            self.changed.len(),
            self.caught
        )
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts the panics of workers, and keeps their messages off the output.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name() == Some(WORKER) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            } else {
                usual(panic);
            }
        }));
    });
}

/// Judges `count` images, each a copy of `left` with its own damage.
pub(crate) fn judge_all(
    left: &LeftVault,
    bytes: DamageBytes,
    count: usize,
    damage: impl Fn(usize) -> Damage + Send + Sync + 'static,
) -> Tally {
    static TURN: Mutex<()> = Mutex::new(());
    // One run at a time, because runs share the count of panics and the processors.
    let _turn = TURN.lock();
    count_panics();
    let panics_before = PANICS.load(Ordering::Relaxed);
    let (next, damage) = (Arc::new(AtomicUsize::new(0)), Arc::new(damage));
    let under_way = Arc::new(Mutex::new([0; WORKERS]));
    let (sender, outcomes) = channel();
    for worker in 0..WORKERS {
        let (next, damage, under_way) = (next.clone(), damage.clone(), under_way.clone());
        let (sender, left) = (sender.clone(), left.clone());
        let work = move || loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            under_way.lock()[worker] = n;
            let damage = damage(n);
            let judged = catch_unwind(AssertUnwindSafe(|| judge(&left, bytes, &damage, n)));
            let outcome = judged.unwrap_or_else(|_| Outcome::Wrong("the vault panics".into()));
            if sender.send((damage.label, outcome)).is_err() {
                return;
            }
        };
        thread::Builder::new().name(WORKER.into()).spawn(work).unwrap();
    }
    let mut tally = Tally::default();
    for _ in 0..count {
        let Ok((label, outcome)) = outcomes.recv_timeout(IMAGE_TIME_MAX) else {
            panic!("{}: one of the cases {:?} hangs", left.name, under_way.lock());
        };
        tally.add(&label, outcome);
    }
    tally.caught = PANICS.load(Ordering::Relaxed) - panics_before;
    tally
}

/// Judges one image, in the way of a new process.
fn judge(left: &LeftVault, bytes: DamageBytes, damage: &Damage, n: usize) -> Outcome {
    let (state, backend) = left.image.damaged(damage);
    let given = objects_on(&backend);
    let vault = match open(&state, &backend, n) {
        Ok(vault) => vault,
        Err(kind) => {
            let is_changed = state.changes() > 0 || objects_on(&backend) != given;
            // redb itself closes a file in which it detects damage, and so writes. The storage
            // below it has detected nothing that would refuse the write.
            let may_change = !left.is_closed || bytes == DamageBytes::Older;
            let outcome = judge_refusal(left, kind, is_changed, &state, &backend);
            return match outcome {
                Outcome::Refused(kind) if is_changed && !may_change => {
                    Outcome::ChangedAndRefused(kind)
                }
                outcome => outcome,
            };
        }
    };
    if bytes == DamageBytes::KeyCopy {
        return judge_key_copy(left, vault, &state, &backend, n);
    }
    let (seen, view) = compare(left, &vault);
    match (seen, view) {
        (Comparison::Right, view) if bytes != DamageBytes::Content && !is_used(n) => {
            right(left, view)
        }
        (Comparison::Right, view) => match use_on(vault, view, &state, &backend, n) {
            Ok(()) => right(left, view),
            Err(outcome) => outcome,
        },
        (Comparison::Refused(kind), _) if is_damage(kind) => {
            drop(vault);
            open_again(left, kind, &state, &backend)
                .map_or_else(|wrong| wrong, Outcome::ReadRefused)
        }
        (Comparison::Refused(kind), _) => Outcome::Wrong(format!("a read is {kind:?}")),
        // An older copy of a page opens. Only redb's checksums detect it, and only the check uses
        // them.
        (Comparison::Wrong(wrong), _) if bytes == DamageBytes::Older => match check(&vault) {
            Ok(report) if report.is_ok() => {
                Outcome::Wrong(format!("{wrong}; the check reports nothing"))
            }
            Ok(_) => Outcome::ByCheck,
            Err(error) if is_damage(error.kind()) => Outcome::ByCheck,
            Err(error) => Outcome::Wrong(format!("{wrong}; the check: {error}")),
        },
        (Comparison::Wrong(wrong), _) => {
            Outcome::Wrong(format!("{wrong}; {}", recovery_text(&vault)))
        }
    }
}

/// Judges a vault whose key copy is damaged: it refuses writes until its state is adopted.
fn judge_key_copy(
    left: &LeftVault,
    vault: Vault,
    state: &ImageStorage,
    backend: &Memory,
    n: usize,
) -> Outcome {
    if !matches!(compare(left, &vault).0, Comparison::Right) {
        return Outcome::Wrong(format!("not readable; {}", recovery_text(&vault)));
    }
    match try_put(&vault, "judged", b"1") {
        Err(error) if error.reason() == Some(Reason::KeyCopyUnverified) => drop(vault),
        outcome => return Outcome::Wrong(format!("a write before the adoption: {outcome:?}")),
    }
    let adopting = options(1 << 41 | n as u64).adopt_older_state(true);
    let vault = match adopting.open_on(state.clone(), backend.clone()) {
        Ok(vault) => vault,
        Err(error) => return Outcome::Wrong(format!("not adopted: {error}")),
    };
    match compare(left, &vault) {
        (Comparison::Right, view) => match use_on(vault, view, state, backend, n) {
            Ok(()) => right(left, view),
            Err(outcome) => outcome,
        },
        _ => Outcome::Wrong("not readable after the adoption".into()),
    }
}

/// Compares the vault with the view at its last commit.
///
/// If the last commit may be missing, the vault is also compared with the view before that commit.
/// Returns the result, and the view that it refers to.
fn compare<'a>(left: &'a LeftVault, vault: &Vault) -> (Comparison, &'a View) {
    let seen = left.now.compare(vault);
    let may_be_missing = vault.recovery().last_commit_may_be_missing;
    if may_be_missing && matches!(seen, Comparison::Wrong(_)) {
        return (left.before.compare(vault), &left.before);
    }
    (seen, &left.now)
}

fn right(left: &LeftVault, view: &View) -> Outcome {
    if *view == *left.now { Outcome::Harmless } else { Outcome::FellBack }
}

/// Returns the recovery report as text.
fn recovery_text(vault: &Vault) -> String {
    let found = vault.recovery();
    format!(
        "repaired {}, may be missing {}, torn {}, header {}",
        found.state_repaired,
        found.last_commit_may_be_missing,
        found.torn_blocks,
        found.header_repaired
    )
}

fn open(state: &ImageStorage, backend: &Memory, n: usize) -> Result<Vault, ErrorKind> {
    // The seed differs from those that made the image, because no two processes draw equal values.
    let options = options(1 << 40 | n as u64);
    options.open_on(state.clone(), backend.clone()).map_err(|e| e.kind())
}

fn is_damage(kind: ErrorKind) -> bool {
    kind == ErrorKind::Corrupt
}

/// Judges a refused open: it must be an error of damage and leave the files unchanged.
///
/// redb may have begun to repair a state that was not closed. Then the next open decides.
fn judge_refusal(
    left: &LeftVault,
    kind: ErrorKind,
    is_changed: bool,
    state: &ImageStorage,
    backend: &Memory,
) -> Outcome {
    if !matches!(kind, ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Denied) {
        return Outcome::Wrong(format!("the open is refused as {kind:?}"));
    }
    if !is_changed {
        return Outcome::Refused(kind);
    }
    match open_again(left, kind, state, backend) {
        Ok(kind) => Outcome::Refused(kind),
        Err(wrong) => wrong,
    }
}

/// Judges the next open after a reported damage.
///
/// The next process must detect the damage too, or read everything right. It may miss the last
/// commit only if the recovery report says so.
fn open_again(
    left: &LeftVault,
    kind: ErrorKind,
    state: &ImageStorage,
    backend: &Memory,
) -> Result<ErrorKind, Outcome> {
    let Ok(vault) = open(state, backend, 0) else { return Ok(kind) };
    match compare(left, &vault).0 {
        Comparison::Right => Ok(kind),
        Comparison::Refused(kind) if is_damage(kind) => Ok(kind),
        other => Err(Outcome::Wrong(format!(
            "refused at first, then {other:?}: {}",
            recovery_text(&vault)
        ))),
    }
}

/// Uses a vault that reads right: the check, a write, and the next open.
///
/// Each of them must work or detect damage.
fn use_on(
    vault: Vault,
    view: &View,
    state: &ImageStorage,
    backend: &Memory,
    n: usize,
) -> Result<(), Outcome> {
    let outcome_of = |what: &str, kind: ErrorKind| {
        if is_damage(kind) {
            Outcome::ReadRefused(kind)
        } else {
            Outcome::Wrong(format!("{what} is {kind:?}"))
        }
    };
    let report = check(&vault).map_err(|e| outcome_of("the check", e.kind()))?;
    if !report.is_ok() {
        return Err(Outcome::ByCheck);
    }
    try_put(&vault, "written since", b"x").map_err(|e| outcome_of("a write", e.kind()))?;
    vault.close().map_err(|e| outcome_of("a close", e.kind()))?;
    let vault = open(state, backend, n + 1).map_err(|kind| outcome_of("the next open", kind))?;
    let mut view = view.clone();
    view.records.insert(("n".into(), b"written since".to_vec()), b"x".to_vec());
    match view.compare(&vault) {
        Comparison::Right if vault.recovery().was_clean() => Ok(()),
        Comparison::Right => Err(Outcome::Wrong(format!("not clean: {:?}", vault.recovery()))),
        Comparison::Refused(kind) => Err(outcome_of("a read after the next open", kind)),
        Comparison::Wrong(wrong) => Err(Outcome::Wrong(format!("after the next open: {wrong}"))),
    }
}

/// Judges one image for each damage in a list.
pub(crate) fn judge_each(left: &LeftVault, bytes: DamageBytes, cases: Vec<Damage>) -> Tally {
    let count = cases.len();
    judge_all(left, bytes, count, move |n| cases[n].clone())
}
