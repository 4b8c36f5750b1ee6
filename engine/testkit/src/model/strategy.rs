//! Strategies that make calls, for proptest to run and to shrink.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use strongroom::records::ROW_BYTES_MAX;

use super::operation_model::{Act, End, Who};
use super::{Call, Ending, Pattern, Step};

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

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![4 => Just(Who::Newest), 1 => Just(Who::Oldest)]
}

fn checkpoint() -> impl Strategy<Value = Call> {
    (0..OPERATIONS, 0..LANES, steps(), prop::bool::weighted(0.2), any::<bool>(), who()).prop_map(
        |(operation, lane, steps, complete, batch, who)| Call::Checkpoint {
            operation,
            lane,
            steps,
            complete,
            batch,
            who,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![
        3 => Just(End::Pause),
        1 => Just(End::Complete),
        3 => Just(End::Fail),
        1 => Just(End::Cancel),
    ];
    prop_oneof![
        5 => (0..=LANES).prop_map(Act::Begin),
        2 => (0..=LANES).prop_map(Act::Prepare),
        6 => Just(Act::Resume),
        2 => Just(Act::TakeOver),
        2 => Just(Act::LetGo),
        6 => (end, who()).prop_map(|(end, who)| Act::End(end, who)),
        2 => (0..LANES, who()).prop_map(|(lane, who)| Act::CompleteLane(lane, who)),
        1 => (any::<u8>(), who()).prop_map(|(version, who)| Act::Migrate(version, who)),
        2 => Just(Act::PauseUnowned),
        1 => Just(Act::Abandon),
        2 => Just(Act::Remove),
    ]
}

/// Makes an act on an operation, checkpoint or clock.
fn operation(jumps: bool) -> impl Strategy<Value = Call> {
    let operate =
        (0..OPERATIONS, act()).prop_map(|(operation, act)| Call::Operate { operation, act });
    let expire = (0..4_u8).prop_map(|older_secs| Call::Expire { older_secs });
    // Without jumps no operation is ever older than now.
    let jump = (-5_000..5_000_i64).prop_map(move |millis| {
        if jumps { Call::Jump { millis } } else { Call::Expire { older_secs: 0 } }
    });
    prop_oneof![12 => operate, 8 => checkpoint(), 1 => expire, 1 => jump]
}

/// Makes one call. `crashes` allows power cuts and clock jumps; otherwise the vault is only
/// reopened.
pub fn call(crashes: bool) -> impl Strategy<Value = Call> {
    let write = (steps(), ending()).prop_map(|(steps, ending)| Call::Write { steps, ending });
    let condition = prop::option::of((0..NAMESPACES, 0..KEYS, any::<bool>()));
    let apply =
        (steps(), condition).prop_map(|(steps, condition)| Call::Apply { steps, condition });
    let end = any::<u64>().prop_map(
        move |seed| {
            if crashes { Call::Crash { seed } } else { Call::Reopen }
        },
    );
    prop_oneof![
        12 => write,
        6 => apply,
        18 => operation(crashes),
        2 => pattern().prop_map(Call::StageAndDrop),
        2 => Just(Call::Hold),
        2 => Just(Call::Release),
        1 => Just(Call::Clean),
        1 => Just(Call::Check),
        1 => Just(Call::Reopen),
        2 => end,
    ]
}

/// Makes at most `most` calls.
pub fn calls(most: usize, crashes: bool) -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(crashes), 1..=most)
}

/// Makes at most `most` calls, mainly on operations.
///
/// Crashes, reopening and clock jumps are among them.
pub fn operation_calls(most: usize) -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        20 => operation(true),
        1 => Just(Call::Reopen),
        1 => any::<u64>().prop_map(|seed| Call::Crash { seed }),
        1 => Just(Call::Hold),
        1 => Just(Call::Release),
    ];
    prop::collection::vec(call, 1..=most)
}

/// Makes exactly `count` calls on operations.
///
/// There are no crashes and jumps. The same seed gives the same calls.
pub fn operation_calls_of_seed(count: usize, seed: u64) -> Vec<Call> {
    of_seed(prop::collection::vec(operation(false), count), seed)
}

/// Makes exactly `count` calls, the same for the same seed.
pub fn calls_of_seed(count: usize, crashes: bool, seed: u64) -> Vec<Call> {
    of_seed(prop::collection::vec(call(crashes), count), seed)
}

fn of_seed<S: Strategy>(strategy: S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("nothing is filtered").current()
}
