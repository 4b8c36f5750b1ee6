//! A job of items of one millisecond of CPU time.
//!
//! The contenders record its progress in different ways.
//!
//! The ways are: not at all, by a policy, after every item; with a subscriber that never reads; in
//! `SQLite`. Two jobs of two seconds differ by more than a policy costs if other programs use the
//! machine. So the time of the items is measured too, within the job. The rest belongs to the
//! store, whatever the speed of the machine.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use strongroom::Vault;
use strongroom::operations::{Checkpoint, CheckpointPolicy, ONLY_LANE};

use super::{Scale, create, subfolder};
use crate::data::{Key, Row};
use crate::measure::{self, Contender, Samples, Series, Taken};
use crate::peers;

pub(super) const NAME: &str = "job";
/// The time of a job without its items.
pub(super) const REST: &str = "rest";
pub(super) const ITEMS: &str = "the items";
pub(super) const BARE: &str = "no store: results kept in memory";
pub(super) const DEFAULT: &str = "strongroom, default policy";
pub(super) const DEFAULT_UNREAD: &str = "strongroom, default policy, a subscriber that never reads";
pub(super) const EACH: &str = "strongroom, each item";
pub(super) const EACH_UNREAD: &str = "strongroom, each item, a subscriber that never reads";
const SQLITE_SECOND: &str = "SQLite, every 1,000 items";
const SQLITE_EACH: &str = "SQLite, each item";

const ITEM: Duration = Duration::from_millis(1);
/// Items that `SQLite` commits together if it does not commit each: about a second of work.
const SECOND: usize = 1_000;
const RESULT_BYTES: usize = 100;
const NAMESPACE: &str = "results";

/// Makes the contenders, and the collector of their times without items.
pub(super) fn contenders(scale: &Scale, dir: &Path) -> Result<(Vec<Contender>, Rc<RestTimes>)> {
    let (work, rest) = (Rc::new(Work::calibrated()), Rc::default());
    let site = Site { work, rest: Rc::clone(&rest), items: scale.items, dir };
    let (default, each) = (CheckpointPolicy::DEFAULT, CheckpointPolicy::EACH);
    let contenders = vec![
        site.bare(),
        site.paced(DEFAULT, default, Subscriber::None)?,
        site.paced(DEFAULT_UNREAD, default, Subscriber::NeverReads)?,
        site.sqlite(SQLITE_SECOND, SECOND)?,
        site.paced(EACH, each, Subscriber::None)?,
        site.paced(EACH_UNREAD, each, Subscriber::NeverReads)?,
        site.sqlite(SQLITE_EACH, 1)?,
    ];
    Ok((contenders, rest))
}

/// Time per item of the items and of the rest.
///
/// There is one value for each turn and round.
#[derive(Default)]
pub(super) struct RestTimes {
    turns: RefCell<Vec<(&'static str, Taken)>>,
}

impl RestTimes {
    fn note(&self, label: &'static str, whole: Taken, items: Taken, count: u64) {
        let of_one = |nanos: u64| nanos / count.max(1);
        let part = |nanos, processor| Taken { nanos: of_one(nanos), processor: of_one(processor) };
        let mut turns = self.turns.borrow_mut();
        if label == BARE {
            turns.push((ITEMS, part(items.nanos, items.processor)));
        }
        let nanos = whole.nanos.saturating_sub(items.nanos);
        let processor = whole.processor.saturating_sub(items.processor);
        turns.push((label, part(nanos, processor)));
    }

    /// Returns the series without the round that warmed up; the items come first.
    pub(super) fn series(&self, contenders: &[Series]) -> Vec<Series> {
        let turns = self.turns.borrow();
        let labels = std::iter::once(ITEMS).chain(contenders.iter().map(|other| other.label));
        let series = |label| {
            let own = turns.iter().filter(|(other, _)| *other == label).skip(1);
            let (rounds, processor) =
                own.map(|(_, taken)| (vec![taken.nanos], vec![taken.processor])).unzip();
            Series { label, rounds, processor }
        };
        labels.map(series).collect()
    }
}

/// The work of an item: always the same, whatever the machine does meanwhile.
struct Work {
    block: [u8; 1024],
    /// Number of times that the block is hashed.
    runs: u64,
    /// Time of the items of this turn.
    taken: RefCell<Taken>,
}

impl Work {
    /// Calibrates an item to take [`ITEM`] when nothing else runs.
    fn calibrated() -> Self {
        // Long enough that the overhead of an item does not count.
        let mut work = Self { block: [7; 1024], runs: 20, taken: RefCell::default() };
        let items = measure::runs_within(ITEM, || {
            std::hint::black_box(work.hash(1));
        });
        work.runs *= items;
        work
    }

    fn item(&self, item: u64) -> [u8; RESULT_BYTES] {
        self.taken.borrow_mut().time(|| self.hash(item))
    }

    fn hash(&self, item: u64) -> [u8; RESULT_BYTES] {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(item);
        for _ in 0..self.runs {
            hasher.write(&self.block);
        }
        let digest = hasher.finish().to_be_bytes();
        std::array::from_fn(|place| digest[place % digest.len()])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subscriber {
    None,
    /// The channel has room for one event, so it fills at once.
    NeverReads,
}

/// The place where contenders are made.
struct Site<'a> {
    work: Rc<Work>,
    rest: Rc<RestTimes>,
    items: u64,
    dir: &'a Path,
}

impl Site<'_> {
    /// Makes a contender of which each turn is one job; `job` gets the number of the turn.
    fn contender(
        &self,
        label: &'static str,
        mut job: impl FnMut(&Work, u64) -> Result<()> + 'static,
    ) -> Contender {
        let (work, rest, items) = (Rc::clone(&self.work), Rc::clone(&self.rest), self.items);
        let mut turns = 0..;
        let turn = move |samples: &mut Samples| {
            let turn = turns.next().expect("turns do not end");
            work.taken.take();
            let ((), whole) = samples.time_both(count(items), || job(&work, turn))?;
            rest.note(label, whole, work.taken.take(), items);
            Ok(())
        };
        Contender { label, turn: Box::new(turn) }
    }

    fn bare(&self) -> Contender {
        let items = self.items;
        self.contender(BARE, move |work, _| {
            let results: Vec<_> = (0..items).map(|item| work.item(item)).collect();
            ensure!(results.len() == count(items), "items are missing");
            Ok(())
        })
    }

    /// Each turn is a separate operation, begun and completed.
    fn paced(
        &self,
        label: &'static str,
        policy: CheckpointPolicy,
        subscriber: Subscriber,
    ) -> Result<Contender> {
        let vault = create(&subfolder(self.dir, label)?)?;
        let unread =
            (subscriber == Subscriber::NeverReads).then(|| vault.operations().subscribe(1));
        let items = self.items;
        Ok(self.contender(label, move |work, turn| {
            run(&vault, work, policy, turn, items)?;
            ensure!(vault.read()?.count(NAMESPACE)? == (turn + 1) * items, "results are missing");
            ensure!(unread.as_ref().is_none_or(|unread| unread.missed() > 0), "nothing was missed");
            Ok(())
        }))
    }

    /// One row of results for each item, and one progress row.
    fn sqlite(&self, label: &'static str, together: usize) -> Result<Contender> {
        let store = peers::sqlite().create(&subfolder(self.dir, label)?, peers::CACHE_BYTES)?;
        let mut session = store.session()?;
        let items = self.items;
        Ok(self.contender(label, move |work, turn| {
            // Open as long as its session.
            let _ = &store;
            let mut rows = Vec::new();
            for item in 0..items {
                rows.push(Row { key: key(turn, item), value: work.item(item).to_vec() });
                if rows.len() == together || item + 1 == items {
                    session.commit_with_checkpoint(&rows, &(item + 1).to_be_bytes())?;
                    rows.clear();
                }
            }
            Ok(())
        }))
    }
}

/// Runs the job as a host would write it.
fn run(vault: &Vault, work: &Work, policy: CheckpointPolicy, turn: u64, items: u64) -> Result<()> {
    let operation = vault.operations().begin(&format!("job-{turn:06}"), [ONLY_LANE])?;
    let lane = operation.lane(ONLY_LANE)?;
    let mut paced = lane.auto_checkpoint(policy, 0)?.total(items);
    for item in 0..items {
        paced.insert(NAMESPACE, key(turn, item), work.item(item));
        paced.step(|| Checkpoint::encode(&(item + 1)))?;
    }
    Ok(paced.finish(Checkpoint::encode(&items)?)?)
}

fn key(turn: u64, item: u64) -> Key {
    let mut key = Key::default();
    key[..8].copy_from_slice(&turn.to_be_bytes());
    key[8..].copy_from_slice(&item.to_be_bytes());
    key
}

fn count(items: u64) -> usize {
    usize::try_from(items).expect("a count")
}
