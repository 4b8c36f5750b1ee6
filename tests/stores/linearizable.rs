//! Checks whether concurrent calls on register cells are linearizable.
//!
//! A [`History`] records calls and their ends. [`History::check`] searches each cell with
//! porcupine for an order that explains all answers. In this order, each call takes effect between
//! its begin and its end. Each answer must be that of a register of one `u64`, initially 0. This
//! module does not depend on the code under test.
//!
//! A call with an unknown end takes effect once, at any time after its begin, or never. In the
//! search, such calls end after all others. Two rules keep the search small: of unknown calls with
//! equal input, the one that began first is ordered first; and an unknown call is ordered only
//! where it changes the value. After `Step::Over`, calls that never took effect may follow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// Largest useful number of unknown calls of a cell.
///
/// Each unknown call with a different input doubles the search.
pub(crate) const UNKNOWN_MAX: usize = 6;

/// The input of a call. `Add` wraps, and returns the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Read,
    Add(u64),
    CompareAndSet { expected: u64, new: u64 },
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The value that a `Read` found or an `Add` wrote.
    Value(u64),
    /// The answer of a `CompareAndSet`: true if it wrote.
    Swapped(bool),
    /// The call took effect, will take effect later, or never will.
    ///
    /// A call without an end counts as unknown too.
    Unknown,
    /// The call took no effect, and never will.
    Failed,
}

/// The result of [`History::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order explains the answers of the cell with this name.
    Violation(String),
    /// The time ran out before the search ended.
    TimedOut,
}

/// Identifies a call from its begin to its end.
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

/// The calls of all clients, shared by reference between threads.
#[derive(Debug)]
pub(crate) struct History {
    start: Instant,
    calls: Mutex<Vec<Call>>,
}

impl History {
    #[allow(clippy::disallowed_methods)] // The check needs the order in real time.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), calls: Mutex::default() }
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the begin of a call of `client` on `cell`.
    pub(crate) fn begin(&self, client: u32, cell: &str, input: Input) -> CallId {
        // `begin` takes the time before the lock, and `end` after it. So a wait for the lock only
        // widens the interval of a call.
        let begin = self.start.elapsed();
        let mut calls = self.calls();
        calls.push(Call { client, cell: cell.to_owned(), input, begin, end: None });
        CallId(calls.len() - 1)
    }

    /// Records the end of a call, once for each call.
    pub(crate) fn end(&self, id: CallId, output: Output) {
        let mut calls = self.calls();
        let end = (self.start.elapsed(), output);
        assert!(calls[id.0].end.replace(end).is_none(), "{id:?} has ended before");
    }

    /// Searches one cell after another, for at most `timeout` in total.
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

/// Converts the calls of a cell to operations of porcupine.
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
    /// An unknown call: its input, the kind of equal inputs, and its rank in that kind, from 1.
    Unknown(Input, usize, usize),
    /// All answered calls took effect.
    Over,
}

/// The model of a cell.
///
/// Its state is the value and the number of unknown calls of each kind that took effect. After
/// `Step::Over` the state is `None`.
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
