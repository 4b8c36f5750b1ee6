//! Strategies that make calls, for proptest to run and to shrink.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::model::{Call, Ending, Pattern, Step};
use crate::ROW_BYTES_MAX;

const NAMESPACES: u8 = 3;
const KEYS: u8 = 8;
const OPERATIONS: u8 = 2;
const LANES: u8 = 3;

fn pattern() -> impl Strategy<Value = Pattern> {
    let limit = u32::try_from(ROW_BYTES_MAX).expect("a row is short");
    let len = prop_oneof![
        12 => 0..200_u32,
        2 => 3_000..9_000_u32,
        1 => Just(limit),
        3 => limit + 1..limit + 60_000,
    ];
    (len, any::<u8>()).prop_map(|(len, seed)| Pattern { len, seed })
}

fn step() -> impl Strategy<Value = Step> {
    let insert = (0..NAMESPACES, 0..KEYS, pattern())
        .prop_map(|(namespace, key, value)| Step::Insert { namespace, key, value });
    let remove =
        (0..NAMESPACES, 0..KEYS).prop_map(|(namespace, key)| Step::Remove { namespace, key });
    let drop = (0..NAMESPACES).prop_map(|namespace| Step::Drop { namespace });
    prop_oneof![8 => insert, 3 => remove, 1 => drop]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..5)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![8 => Just(Ending::Commit), 1 => Just(Ending::Error), 1 => Just(Ending::Panic)]
}

fn checkpoint() -> impl Strategy<Value = Call> {
    (
        0..OPERATIONS,
        0..LANES,
        steps(),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(operation, lane, steps, complete, batch, stale)| Call::Checkpoint {
            operation,
            lane,
            steps,
            complete,
            batch,
            stale,
        })
}

/// One call; `crashes` says whether the power may be cut, or the vault is only reopened then.
pub fn call(crashes: bool) -> impl Strategy<Value = Call> {
    let write = (steps(), ending()).prop_map(|(steps, ending)| Call::Write { steps, ending });
    let condition = prop::option::of((0..NAMESPACES, 0..KEYS, any::<bool>()));
    let apply =
        (steps(), condition).prop_map(|(steps, condition)| Call::Apply { steps, condition });
    let begin =
        (0..OPERATIONS, 0..=LANES).prop_map(|(operation, lanes)| Call::Begin { operation, lanes });
    let end = any::<u64>().prop_map(
        move |seed| {
            if crashes { Call::Crash { seed } } else { Call::Reopen }
        },
    );
    prop_oneof![
        12 => write,
        6 => apply,
        8 => checkpoint(),
        2 => pattern().prop_map(Call::StageAndDrop),
        2 => begin,
        2 => (0..OPERATIONS).prop_map(|operation| Call::Resume { operation }),
        1 => (0..OPERATIONS).prop_map(|operation| Call::TakeOver { operation }),
        1 => (0..OPERATIONS).prop_map(|operation| Call::LetGo { operation }),
        2 => Just(Call::Hold),
        2 => Just(Call::Release),
        1 => Just(Call::Clean),
        1 => Just(Call::Check),
        1 => Just(Call::Reopen),
        2 => end,
    ]
}

/// Up to `most` calls in a row.
pub fn calls(most: usize, crashes: bool) -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(crashes), 1..=most)
}

/// Exactly `count` calls, the same for the same seed.
pub fn calls_of_seed(count: usize, crashes: bool, seed: u64) -> Vec<Call> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    prop::collection::vec(call(crashes), count)
        .new_tree(&mut runner)
        .expect("nothing is filtered")
        .current()
}
