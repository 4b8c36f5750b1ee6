//! What becomes of a damaged image that is opened, read, written and opened again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use strongroom::backends::Memory;
use strongroom::{ErrorKind, Vault};

use crate::flips::all_bytes;
use crate::image::{Damage, Shelf, objects_on};
use crate::scene::{Left, Seen, View, options};
use crate::support::records::{check, try_put};

/// Longest that one image may take.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
const WORKER: &str = "judge";
/// Fates that are told one by one, at most.
const TOLD_MAX: usize = 20;

/// What became of a damaged image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does not open, and was not changed.
    Refused(ErrorKind),
    /// It does not open, had been closed, and yet was changed: the next open would be lenient.
    ChangedAndRefused(ErrorKind),
    /// It opens; something that is asked of it is refused, all else is right.
    ReadRefused(ErrorKind),
    /// By [`Vault::check`] alone: redb's checksums tell an older copy of a page.
    ByCheck,
    /// All that was written is there.
    Harmless,
    /// The last commit is missing, and the recovery report says that it may be.
    FellBack,
    /// What must never be.
    Wrong(String),
}

/// How much the damage may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// None of them was ever sealed for that place: reads alone must tell.
    Unauthentic,
    /// They are the vault's own, of an earlier moment, in their place: reads may show them, the
    /// check must tell.
    Older,
}

/// In the full run, one case in so many is written to and opened again; in the short one all.
const USED_EVERY: usize = 16;

/// Whether an image that reads right is gone on with.
fn is_used(n: usize) -> bool {
    !all_bytes() || n.is_multiple_of(USED_EVERY)
}

/// What a run found.
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
    /// Panics inside redb, which the engine turned into errors.
    pub(crate) caught: u64,
}

impl Tally {
    pub(crate) fn detected(&self) -> u64 {
        self.refused + self.read_refused + self.by_check
    }

    fn add(&mut self, told: &str, fate: Fate) {
        self.cases += 1;
        match fate {
            Fate::Refused(_) => self.refused += 1,
            Fate::ChangedAndRefused(_) => {
                self.refused += 1;
                self.changed.push(told.to_owned());
            }
            Fate::ReadRefused(_) => self.read_refused += 1,
            Fate::ByCheck => self.by_check += 1,
            Fate::Harmless => self.harmless += 1,
            Fate::FellBack => self.fell_back += 1,
            Fate::Wrong(wrong) => self.wrong.push(format!("{told}: {wrong}")),
        }
    }

    /// Prints it, and fails on what must never be.
    #[track_caller]
    pub(crate) fn expect_none_wrong(self, what: &str) -> Self {
        println!("{what}: {self}");
        let some = &self.wrong[..self.wrong.len().min(TOLD_MAX)];
        assert!(some.is_empty(), "{what}: {} wrong: {some:#?}", self.wrong.len());
        let some = &self.changed[..self.changed.len().min(TOLD_MAX)];
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

/// Counts the panics of workers, and keeps them off the output.
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

/// Judges `count` images: `left`, each with its own damage.
pub(crate) fn judge_all(
    left: &Left,
    bytes: Bytes,
    count: usize,
    damage: impl Fn(usize) -> Damage + Send + Sync + 'static,
) -> Tally {
    static TURN: Mutex<()> = Mutex::new(());
    // One run at a time: they share the count of panics, and the processors.
    let _turn = TURN.lock();
    count_panics();
    let panics_before = PANICS.load(Ordering::Relaxed);
    let (next, damage) = (Arc::new(AtomicUsize::new(0)), Arc::new(damage));
    let under_way = Arc::new(Mutex::new([0; WORKERS]));
    let (sender, fates) = channel();
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
            let fate = judged.unwrap_or_else(|_| Fate::Wrong("it panics".into()));
            if sender.send((damage.told, fate)).is_err() {
                return;
            }
        };
        thread::Builder::new().name(WORKER.into()).spawn(work).unwrap();
    }
    let mut tally = Tally::default();
    for _ in 0..count {
        let Ok((told, fate)) = fates.recv_timeout(PATIENCE) else {
            panic!("{}: one of the cases {:?} hangs", left.name, under_way.lock());
        };
        tally.add(&told, fate);
    }
    tally.caught = PANICS.load(Ordering::Relaxed) - panics_before;
    tally
}

/// As a new process sees it.
fn judge(left: &Left, bytes: Bytes, damage: &Damage, n: usize) -> Fate {
    let (state, backend) = left.image.damaged(damage);
    let given = objects_on(&backend);
    let vault = match open(&state, &backend, n) {
        Ok(vault) => vault,
        Err(kind) => {
            let is_changed = state.changes() > 0 || objects_on(&backend) != given;
            // redb closes what it has found wrong by itself, and so writes: the storage below had
            // nothing to refuse.
            let may_change = !left.is_closed || bytes == Bytes::Older;
            let fate = judge_refusal(left, kind, is_changed, &state, &backend);
            return match fate {
                Fate::Refused(kind) if is_changed && !may_change => Fate::ChangedAndRefused(kind),
                fate => fate,
            };
        }
    };
    let (seen, view) = look(left, &vault);
    match (seen, view) {
        (Seen::Right, view) if !is_used(n) => right(left, view),
        (Seen::Right, view) => match use_on(vault, view, &state, &backend, n) {
            Ok(()) => right(left, view),
            Err(fate) => fate,
        },
        (Seen::Refused(kind), _) if is_damage(kind) => {
            drop(vault);
            open_again(left, kind, &state, &backend).map_or_else(|wrong| wrong, Fate::ReadRefused)
        }
        (Seen::Refused(kind), _) => Fate::Wrong(format!("a read is {kind:?}")),
        // An older copy of a page opens; only redb's checksums tell, and the check asks them.
        (Seen::Wrong(wrong), _) if bytes == Bytes::Older => match check(&vault) {
            Ok(report) if report.is_ok() => Fate::Wrong(format!("{wrong}; the check is content")),
            Ok(_) => Fate::ByCheck,
            Err(error) if is_damage(error.kind()) => Fate::ByCheck,
            Err(error) => Fate::Wrong(format!("{wrong}; the check: {error}")),
        },
        (Seen::Wrong(wrong), _) => Fate::Wrong(format!("{wrong}; {}", told_by(&vault))),
    }
}

/// What the vault shows, and which view that was compared with: the one before its last commit,
/// if that may be missing.
fn look<'a>(left: &'a Left, vault: &Vault) -> (Seen, &'a View) {
    let seen = left.now.compare(vault);
    let may_be_missing = vault.recovery().last_commit_may_be_missing;
    if may_be_missing && matches!(seen, Seen::Wrong(_)) {
        return (left.before.compare(vault), &left.before);
    }
    (seen, &left.now)
}

fn right(left: &Left, view: &View) -> Fate {
    if *view == *left.now { Fate::Harmless } else { Fate::FellBack }
}

/// What the recovery report says.
fn told_by(vault: &Vault) -> String {
    let found = vault.recovery();
    format!(
        "repaired {}, may be missing {}, torn {}, header {}",
        found.state_repaired,
        found.last_commit_may_be_missing,
        found.torn_blocks,
        found.header_repaired
    )
}

fn open(state: &Shelf, backend: &Memory, n: usize) -> Result<Vault, ErrorKind> {
    // Another seed than those that made the image: no two processes draw the same.
    let options = options(1 << 40 | n as u64);
    options.open_on(state.clone(), backend.clone()).map_err(|e| e.kind())
}

fn is_damage(kind: ErrorKind) -> bool {
    kind == ErrorKind::Corrupt
}

/// A refusal names the damage, and leaves the files alone; but redb may have begun to repair a
/// state that was not closed.
fn judge_refusal(
    left: &Left,
    kind: ErrorKind,
    is_changed: bool,
    state: &Shelf,
    backend: &Memory,
) -> Fate {
    if !matches!(kind, ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Denied) {
        return Fate::Wrong(format!("it is refused as {kind:?}"));
    }
    if !is_changed {
        return Fate::Refused(kind);
    }
    match open_again(left, kind, state, backend) {
        Ok(kind) => Fate::Refused(kind),
        Err(wrong) => wrong,
    }
}

/// The damage was told. The next process hears of it too, or finds all right, or without the last
/// commit and is told so.
fn open_again(
    left: &Left,
    kind: ErrorKind,
    state: &Shelf,
    backend: &Memory,
) -> Result<ErrorKind, Fate> {
    let Ok(vault) = open(state, backend, 0) else { return Ok(kind) };
    match look(left, &vault).0 {
        Seen::Right => Ok(kind),
        Seen::Refused(kind) if is_damage(kind) => Ok(kind),
        other => Err(Fate::Wrong(format!("refused at first, then {other:?}: {}", told_by(&vault)))),
    }
}

/// Everything reads right, and it must go on so: the check, a write, and the next open either
/// work or tell of damage.
fn use_on(
    vault: Vault,
    view: &View,
    state: &Shelf,
    backend: &Memory,
    n: usize,
) -> Result<(), Fate> {
    let told = |what: &str, kind: ErrorKind| {
        if is_damage(kind) {
            Fate::ReadRefused(kind)
        } else {
            Fate::Wrong(format!("{what} is {kind:?}"))
        }
    };
    let report = check(&vault).map_err(|e| told("the check", e.kind()))?;
    if !report.is_ok() {
        return Err(Fate::ByCheck);
    }
    try_put(&vault, "written since", b"x").map_err(|e| told("a write", e.kind()))?;
    vault.close().map_err(|e| told("a close", e.kind()))?;
    let vault = open(state, backend, n + 1).map_err(|kind| told("the next open", kind))?;
    let mut view = view.clone();
    view.records.insert(("n".into(), b"written since".to_vec()), b"x".to_vec());
    match view.compare(&vault) {
        Seen::Right if vault.recovery().was_clean() => Ok(()),
        Seen::Right => Err(Fate::Wrong(format!("not clean: {:?}", vault.recovery()))),
        Seen::Refused(kind) => Err(told("a read after the next open", kind)),
        Seen::Wrong(wrong) => Err(Fate::Wrong(format!("after the next open: {wrong}"))),
    }
}

/// The cases of a list.
pub(crate) fn judge_each(left: &Left, bytes: Bytes, cases: Vec<Damage>) -> Tally {
    let count = cases.len();
    judge_all(left, bytes, count, move |n| cases[n].clone())
}
