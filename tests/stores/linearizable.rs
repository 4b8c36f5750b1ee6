//! Whether what concurrent callers were answered by register cells has an order that explains it.
//!
//! A [`History`] records calls and their ends; [`History::check`] lets porcupine look, cell by
//! cell, for an order in which every call lies between its begin and its end and every answer is
//! what a register of one `u64`, 0 at first, gives. Nothing here knows what is tested.
//!
//! A call with an unknown end happens once, at any time after its begin, or never: it ends after
//! all others. Of those that ask the same the first begun comes first, and none comes where it
//! changes nothing, before `Step::Over` lets pass what never happened: so the search stays small.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// Most unknown calls that a cell should have: each that asks something else doubles the search.
pub(crate) const UNKNOWN_MAX: usize = 6;

/// What a call asks of a cell. `Add` wraps, and is answered with the sum that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Read,
    Add(u64),
    CompareAndSet { expected: u64, new: u64 },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// What a `Read` found or an `Add` wrote.
    Value(u64),
    /// Whether a `CompareAndSet` wrote.
    Swapped(bool),
    /// It has happened, will happen later, or neither. As does a call that never returns.
    Unknown,
    /// It has not happened and will not.
    Failed,
}

/// What [`History::check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order explains the answers of the cell of this name.
    Violation(String),
    /// The time was over before all was searched.
    TimedOut,
}

/// Names a call from its begin to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallId(usize);

#[derive(Debug)]
struct Call {
    client: u32,
    cell: String,
    input: Input,
    begin: Duration,
    end: Option<(Duration, Output)>,
}

/// The calls of all clients; shared by reference between their threads.
#[derive(Debug)]
pub(crate) struct History {
    start: Instant,
    calls: Mutex<Vec<Call>>,
}

impl History {
    #[allow(clippy::disallowed_methods)] // The order of real time is what is checked.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that `client` is about to ask `input` of `cell`.
    pub(crate) fn call(&self, client: u32, cell: &str, input: Input) -> CallId {
        // The time is taken before the lock here and after it in `ret`: waiting only widens a call.
        let begin = self.start.elapsed();
        let mut calls = self.calls();
        calls.push(Call { client, cell: cell.to_owned(), input, begin, end: None });
        CallId(calls.len() - 1)
    }

    /// Says how a call ended, once for each.
    pub(crate) fn ret(&self, id: CallId, output: Output) {
        let mut calls = self.calls();
        let end = (self.start.elapsed(), output);
        assert!(calls[id.0].end.replace(end).is_none(), "{id:?} has ended before");
    }

    /// Searches cell after cell, for `timeout` in all.
    pub(crate) fn check(&self, timeout: Duration) -> Verdict {
        let (all, deadline) = (self.calls(), self.start.elapsed() + timeout);
        let mut cells = BTreeMap::<&str, Vec<&Call>>::new();
        for call in all.iter() {
            cells.entry(&call.cell).or_default().push(call);
        }
        let mut verdict = Verdict::Linearizable;
        for (cell, calls) in cells {
            let left = deadline.saturating_sub(self.start.elapsed());
            match check_operations_timeout(&operations(calls), left) {
                CheckResult::Ok => {}
                CheckResult::Unknown => verdict = Verdict::TimedOut,
                CheckResult::Illegal => return Verdict::Violation(cell.to_owned()),
            }
        }
        verdict
    }
}

impl Call {
    fn is_unknown(&self) -> bool {
        self.input != Input::Read && matches!(self.end, None | Some((_, Output::Unknown)))
    }
}

/// What porcupine is to order of a cell's calls.
fn operations(mut calls: Vec<&Call>) -> Vec<Operation<Register>> {
    calls.sort_by_key(|call| call.begin);
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).expect("fewer than 292 years");
    let (mut kinds, mut operations) = (HashMap::<Input, (usize, usize)>::new(), Vec::new());
    let mut add = |client_id, call_time, return_time, op| {
        operations.push(Operation { client_id, call_time, return_time, op, metadata: None });
    };
    for call in calls {
        let (end, step) = match call.end {
            Some((end, output @ (Output::Value(_) | Output::Swapped(_)))) => {
                (nanos(end), Step::Answered(call.input, output))
            }
            _ if call.is_unknown() => {
                let fresh = (kinds.len(), 0);
                let (kind, number) = kinds.entry(call.input).or_insert(fresh);
                *number += 1;
                (i64::MAX, Step::Unknown(call.input, *kind, *number))
            }
            _ => continue,
        };
        add(Some(call.client), nanos(call.begin), end, step);
    }
    add(None, i64::MAX - 2, i64::MAX - 1, Step::Over);
    operations
}

#[derive(Clone, Debug)]
enum Step {
    Answered(Input, Output),
    /// The kind of those that ask the same, and the number among these, from 1 on.
    Unknown(Input, usize, usize),
    /// All that was answered has happened.
    Over,
}

/// A cell's value, and how many unknown calls of each kind have happened; none when all is over.
#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = Option<(u64, Vec<usize>)>;
    type Op = Step;
    type Metadata = ();

    fn init() -> Self::State {
        Some((0, Vec::new()))
    }

    fn step(state: &Self::State, step: &Step) -> (bool, Self::State) {
        let Some((value, mut happened)) = state.clone() else { return (true, None) };
        let (fits, then) = match *step {
            Step::Over => return (true, None),
            Step::Answered(Input::Read, Output::Value(found)) => (found == value, found),
            Step::Answered(Input::Add(by), Output::Value(it)) => (value.wrapping_add(by) == it, it),
            Step::Answered(Input::CompareAndSet { expected, new }, Output::Swapped(swapped)) => {
                ((value == expected) == swapped, if swapped { new } else { value })
            }
            Step::Answered(input, output) => panic!("{output:?} is no answer to {input:?}"),
            Step::Unknown(input, kind, number) => {
                happened.resize(happened.len().max(kind + 1), 0);
                happened[kind] += 1;
                let then = match input {
                    Input::Add(by) => value.wrapping_add(by),
                    Input::CompareAndSet { expected, new } if expected == value => new,
                    _ => value,
                };
                (then != value && happened[kind] == number, then)
            }
        };
        (fits, Some((then, happened)))
    }
}
