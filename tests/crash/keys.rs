//! Changes of the key set, and rotations, cut at every event.
//!
//! Cuts happen between the copies of the header, and between the header and the key copy on the
//! backend. They also happen anywhere in the copying of the state.
//!
//! After each cut the vault opens with the acknowledged keys, possibly with the change under way.
//! Every key is tried, and no other set of keys opens the vault.

use std::collections::BTreeSet;

use strongroom::Vault;
use strongroom::keys::{KeySource, NewKey};
use strongroom_testkit::{BoxError, CrashOptions, CrashSummary, NumberedKey, Scene, crash_test};

use super::images;

/// A call of the workload.
#[derive(Clone, Debug)]
enum Act {
    /// Inserts a record. A long value is stored on the backend.
    Put(u32, usize),
    Add(u8),
    Remove(u8),
    Replace(u8, u8),
    Rewrap(u8),
    Rotate(Vec<u8>),
}

/// Number of keys that the workload uses.
const KEYS: u8 = 8;

impl Act {
    fn run(&self, vault: &Vault) -> Result<(), BoxError> {
        let id = |key: u8| vault.keys().find(&NumberedKey(key));
        match self {
            Self::Put(number, len) => {
                let key = number.to_be_bytes();
                if *len > strongroom::records::ROW_BYTES_MAX {
                    let staged = vault.stage(&value(*number, *len)[..])?;
                    vault.write(|tx| tx.insert("n", key, staged))?;
                } else {
                    vault.write(|tx| tx.insert("n", key, value(*number, *len)))?;
                }
            }
            Self::Add(key) => drop(vault.keys().add(&NewKey::new(&NumberedKey(*key)))?),
            Self::Remove(key) => vault.keys().delete(id(*key)?)?,
            Self::Replace(old, new) => vault.keys().replace(id(*old)?, &NumberedKey(*new))?,
            Self::Rewrap(key) => drop(vault.keys().rewrap(&NumberedKey(*key))?),
            Self::Rotate(keys) => {
                let keys: Vec<_> = keys.iter().map(|&key| NumberedKey(key)).collect();
                let keys: Vec<_> =
                    keys.iter().map(|key| NewKey::new(key as &dyn KeySource)).collect();
                vault.keys().rotate(&keys)?;
            }
        }
        Ok(())
    }
}

fn value(number: u32, len: usize) -> Vec<u8> {
    (0..).map(|at: u32| at.wrapping_mul(number + 7).to_be_bytes()[2]).take(len).collect()
}

/// The keys and records that the vault must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    keys: BTreeSet<u8>,
    records: Vec<(u32, usize)>,
}

impl Expected {
    fn after<'a>(acts: impl IntoIterator<Item = &'a Act>) -> Self {
        let mut expected = Self { keys: [0].into(), records: Vec::new() };
        for act in acts {
            expected.apply(act);
        }
        expected
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Put(number, len) => self.records.push((*number, *len)),
            Act::Add(key) => drop(self.keys.insert(*key)),
            Act::Remove(key) => drop(self.keys.remove(key)),
            Act::Replace(old, new) => {
                self.keys.remove(old);
                self.keys.insert(*new);
            }
            Act::Rewrap(_) => {}
            Act::Rotate(keys) => self.keys = keys.iter().copied().collect(),
        }
    }

    fn of(vault: &Vault) -> Result<Self, BoxError> {
        let keys = (0..KEYS).filter(|&key| vault.keys().find(&NumberedKey(key)).is_ok()).collect();
        let snapshot = vault.read()?;
        let mut records = Vec::new();
        for record in snapshot.range::<&[u8]>("n", ..)? {
            let record = record?;
            let number = u32::from_be_bytes(record.key().try_into()?);
            let read = record.into_value().bytes()?;
            if read != value(number, read.len()) {
                return Err(format!("record {number} has another value").into());
            }
            records.push((number, read.len()));
        }
        Ok(Self { keys, records })
    }
}

fn judge(vault: &Vault, done: &[Act], under_way: &[Act]) -> Result<(), BoxError> {
    let found = Expected::of(vault)?;
    let old = Expected::after(done);
    let new = Expected::after(done.iter().chain(under_way));
    if found == old || found == new {
        return Ok(());
    }
    Err(format!("found {found:?}, neither {old:?} nor, with {under_way:?}, {new:?}").into())
}

fn work(acts: Vec<Act>) -> impl FnOnce(&mut Scene<Act>) -> Result<(), BoxError> {
    move |scene| {
        for act in acts {
            scene.attempt(act.clone(), |vault| act.run(vault))?;
        }
        Ok(())
    }
}

fn cut(name: &str, images: u64, acts: &[Act]) {
    let mut summary = CrashSummary::default();
    for seed in 0..2 {
        let other_keys = (1..KEYS).map(NumberedKey).collect();
        let images = images / 2;
        let options = CrashOptions { images, seed, other_keys, ..CrashOptions::default() };
        summary.merge(crash_test(&options, work(acts.to_vec()), judge));
    }
    println!("{name}: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

#[test]
fn key_change_is_complete_or_absent() {
    use Act::{Add, Put, Remove, Replace, Rewrap};
    let acts = [
        Put(1, 100),
        Add(1),
        Add(2),
        Put(2, 100),
        Remove(1),
        Replace(2, 3),
        Put(3, 70_000),
        Rewrap(3),
        Add(4),
        Remove(0),
        Replace(3, 5),
        Add(0),
        Remove(4),
    ];
    cut("key changes", images() / 4, &acts);
}

#[test]
fn rotation_leaves_the_old_or_the_new_state() {
    use Act::{Add, Put, Rotate};
    let mut acts: Vec<Act> = (0..60).map(|n| Put(n, 3_000)).collect();
    acts.extend([
        Put(100, 70_000),
        Add(1),
        Rotate(vec![2, 3]),
        Put(101, 100),
        Add(4),
        Put(102, 70_000),
        Rotate(vec![0]),
        Put(103, 100),
    ]);
    cut("rotations", images() / 4, &acts);
}
