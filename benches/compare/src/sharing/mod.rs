//! Splitting and joining secrets on one thread: the field alone, and all layers of a document's
//! shares, compared with `blahaj` and `vsss-rs`.

mod peers;
mod report;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, ensure};

use crate::environment::Environment;
use crate::measure::{self, Contender, Samples, Series};
use crate::options::Options;
use crate::write_results;
use peers::Sharer;

/// Rounds that count, unless another number is requested.
const ROUNDS: usize = 9;
/// Turns of each contender in one round.
const TURNS: usize = 5;

/// Capacities of a document in bytes: the default of a space, and the largest.
const USUAL_BYTES: u32 = 64 << 10;
const LARGEST_BYTES: u32 = 4 << 20;

/// A secret's size and sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    threshold: u8,
    shares: u8,
    capacity: u32,
}

impl Case {
    const fn usual(threshold: u8, shares: u8) -> Self {
        Self { threshold, shares, capacity: USUAL_BYTES }
    }

    const ALL: [Self; 5] = [
        Self::usual(2, 3),
        Self::HELD,
        Self::usual(5, 8),
        Self::usual(10, 20),
        Self { capacity: LARGEST_BYTES, ..Self::HELD },
    ];

    /// The case of the goals.
    const HELD: Self = Self::usual(3, 9);

    fn name(self) -> String {
        let Self { threshold, shares, capacity } = self;
        format!("{threshold} of {shares}, {} KiB", capacity >> 10)
    }

    /// Returns whether peers are measured; they take many turns' time for large secrets.
    fn has_peers(self) -> bool {
        self.capacity == USUAL_BYTES
    }
}

/// All samples of one case.
struct Outcome {
    case: Case,
    /// Length of the secret.
    bytes: usize,
    split: Vec<Series>,
    join: Vec<Series>,
}

/// Measures every case, and writes the results.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.refuse_workloads()?;
    let (_folder, environment): (_, Environment) = crate::site(options)?;
    let rounds = options.rounds_of(ROUNDS);
    let outcomes =
        Case::ALL.into_iter().map(|case| measure(case, rounds)).collect::<Result<Vec<_>>>()?;
    let table = report::table(&environment, rounds, &outcomes);
    println!("{table}");
    let out = options.out_dir(&environment.date, "sharing");
    write_results(&out, &table, &report::raw(&environment, &outcomes))
}

fn measure(case: Case, rounds: usize) -> Result<Outcome> {
    eprintln!("{}: {} rounds", case.name(), rounds + 1);
    let (secret, sharers) = peers::of(case)?;
    let (mut splits, mut joins) = (Vec::new(), Vec::new());
    for sharer in sharers {
        let label = sharer.label();
        let sharer = Rc::new(RefCell::new(sharer));
        // Shares to join exist before the first turn.
        sharer.borrow_mut().split()?;
        let (splitter, secret) = (Rc::clone(&sharer), secret.clone());
        let split = move |samples: &mut Samples| {
            let mut sharer = splitter.borrow_mut();
            samples.time(1, || sharer.split())
        };
        let join = move |samples: &mut Samples| {
            let joined = samples.time(1, || sharer.borrow().join())?;
            ensure!(*joined == *secret, "{label} joined another secret");
            Ok(())
        };
        splits.push(Contender { label, turn: Box::new(split) });
        joins.push(Contender { label, turn: Box::new(join) });
    }
    Ok(Outcome {
        case,
        bytes: secret.len(),
        split: measure::series(rounds, TURNS, &mut splits)?,
        join: measure::series(rounds, TURNS, &mut joins)?,
    })
}

type Boxed = Box<dyn Sharer>;
