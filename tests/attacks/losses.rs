//! Losses by chance, compared with the predicted chances.
//!
//! A document may be lost when a partition is added without naming the document's partition, or
//! when the space loses a segment.
//!
//! Real vaults show the first loss at three sizes. The second has a chance of about 1 in 10,000,
//! too rare for real vaults. So the engine's own code draws the locations of shares for millions of
//! chunks. The test counts how many of a chunk's nine shares are in one segment. Seven are too
//! many.

use strongroom::backends::{Backend, Condition, Memory};
use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{ShareSlots, TestKey};

use crate::support::chance::{ONE_IN_A_MILLION, binomial_band};
use crate::{entropy, setting};

/// Returns the number of trials: `usual` times the factor from the environment.
fn trials(usual: u64) -> u64 {
    usual * setting("STRONGROOM_ATTACK_TRIALS", 1)
}

/// The three sizes: capacity in bytes, room in partitions, and usual trials. With 3 of 9 shares.
const SIZES: [(u32, u8, u64); 3] = [(2_400, 4, 1_000), (5_350, 3, 500), (23_000, 3, 300)];

fn options((capacity, room, _): (u32, u8, u64)) -> SpaceOptions {
    SpaceOptions::default().capacity_bytes(capacity).room_for(room)
}

#[test]
fn unnamed_document_is_lost_as_often_as_predicted() {
    let mut predictions = Vec::new();
    for (of, size) in (80..).zip(SIZES) {
        let vault = Vault::options(TestKey)
            .cheap_passwords()
            .entropy(entropy(of))
            .create_on(MemoryState::new(), Memory::new())
            .unwrap();
        let space = vault.documents().create_space(&options(size)).unwrap();
        let predicted = space.loss_chance(0);
        predictions.push(predicted);
        let password = SecretPassword::new("one for all");
        let trials = trials(size.2);
        let (mut lost, mut victim) = (0, space.add_partition(&password, &[]).unwrap());
        // Each new partition is the next victim. An addition draws all maps again, whatever they
        // were.
        for _ in 0..trials {
            let newcomer = space.add_partition(&password, &[]).unwrap();
            match space.partition(&victim, &password) {
                Ok(partition) => assert_eq!(partition.read().unwrap().text(), "null"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    lost += 1;
                }
            }
            victim = newcomer;
        }
        let band = binomial_band(trials, predicted);
        println!(
            "{} bytes, room for {}: predicted {:.2} %, measured {:.2} % ({lost} of {trials}; {band:?} \
             but for 1 in 10,000)",
            size.0,
            size.1,
            predicted * 100.0,
            lost as f64 / trials as f64 * 100.0
        );
        assert!(band.contains(&lost), "{lost} is not in {band:?}");
    }
    for (predicted, about) in predictions.into_iter().zip([0.05, 0.5, 0.95]) {
        assert!((predicted - about).abs() < 0.01, "{predicted} is not about {about}");
    }
}

/// Measures the same chance from drawn locations alone, with many more trials.
///
/// The formula treats slots as independent, which makes the chance slightly too high. Only this
/// many trials show the difference.
#[test]
fn predicted_loss_chance_is_right_within_two_percent() {
    for (of, size) in (83..).zip(SIZES) {
        let entropy = entropy(of);
        let vault = Vault::options(TestKey)
            .cheap_passwords()
            .create_on(MemoryState::new(), Memory::new())
            .unwrap();
        let predicted = vault.documents().create_space(&options(size)).unwrap().loss_chance(0);
        let trials = trials(4_000);
        let mut lost = 0;
        for _ in 0..trials {
            let document = ShareSlots::new(&options(size), &entropy).unwrap();
            let newcomer = ShareSlots::new(&options(size), &entropy).unwrap();
            let mut taken = vec![false; document.slots];
            newcomer.partition.iter().for_each(|&slot| taken[slot] = true);
            lost += u64::from(is_lost(&document, |slot| taken[slot]));
        }
        let (measured, trials) = (lost as f64 / trials as f64, trials as f64);
        let spread = (predicted * (1.0 - predicted) / trials).sqrt();
        println!(
            "{} bytes, room for {}: predicted {:.3} %, measured {:.3} % of {trials} draws, {:+.1} \
             deviations",
            size.0,
            size.1,
            predicted * 100.0,
            measured * 100.0,
            (measured - predicted) / spread
        );
        assert!(
            (measured - predicted).abs() < 4.0 * spread + 0.02 * predicted,
            "{measured}, not {predicted}"
        );
    }
}

/// Returns whether a chunk has fewer shares left than the threshold.
fn is_lost(document: &ShareSlots, gone: impl Fn(usize) -> bool) -> bool {
    let too_many = document.shares - document.threshold + 1;
    document
        .places
        .chunks(document.shares)
        .any(|chunk| chunk.iter().filter(|&&slot| gone(slot)).count() >= too_many)
}

/// Returns the chance that exactly `k` of `n` slots are marked.
///
/// `marked` of `all` slots are marked.
fn hypergeometric(k: usize, n: usize, marked: usize, all: usize) -> f64 {
    let ways = |of: usize, take: usize| -> f64 {
        (0..take).map(|i| (of - i) as f64 / (i + 1) as f64).product()
    };
    ways(marked, k) * ways(all - marked, n - k) / ways(all, n)
}

#[test]
fn lost_segment_destroys_a_document_as_rarely_as_predicted() {
    let options = SpaceOptions::default();
    let entropy = entropy(90);
    let layouts = trials(4_000);
    let first = ShareSlots::new(&options, &entropy).unwrap();
    let (n, too_many) = (first.shares, first.shares - first.threshold + 1);
    assert_eq!((first.segments, n, too_many), (16, 9, 7));
    let chunks = first.places.len() / n;
    let in_segment = |segment: usize| {
        let from = segment * first.segment_slots;
        first.slots.min(from + first.segment_slots) - from
    };

    // The expected counts for any segment. The last segment has fewer slots.
    let mut expected = [0.0; 10];
    let mut predicted = 0.0;
    for segment in 0..first.segments {
        for (k, expected) in expected.iter_mut().enumerate() {
            *expected += hypergeometric(k, n, in_segment(segment), first.slots);
        }
        let one: f64 =
            (too_many..=n).map(|k| hypergeometric(k, n, in_segment(segment), first.slots)).sum();
        predicted += -(chunks as f64 * (-one).ln_1p()).exp_m1() / first.segments as f64;
    }
    let sixteenth: f64 = (too_many..=n)
        .map(|k| {
            let ways: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
            ways * (1.0 / 16_f64).powi(k.try_into().unwrap())
                * (15.0 / 16_f64).powi((n - k).try_into().unwrap())
        })
        .sum();
    let design = chunks as f64 * sixteenth;
    println!(
        "a lost segment: {design:.2e} by the sixteenth, {predicted:.2e} by the segments as they are"
    );
    assert!((design - 1.2e-4).abs() < 0.05e-4 && (0.8..1.25).contains(&(predicted / design)));

    let mut met = [0_u64; 10];
    let mut lost = 0_u64;
    for _ in 0..layouts {
        let document = ShareSlots::new(&options, &entropy).unwrap();
        let mut worst = [0; 16];
        for chunk in document.places.chunks(n) {
            let mut counts = [0_usize; 16];
            for slot in chunk {
                counts[slot / document.segment_slots] += 1;
            }
            for (worst, &count) in worst.iter_mut().zip(&counts) {
                met[count] += 1;
                *worst = count.max(*worst);
            }
        }
        lost += worst.iter().filter(|&&count| count >= too_many).count() as u64;
    }
    for (k, (&met, expected)) in met.iter().zip(expected).enumerate() {
        let expected = expected * (layouts * chunks as u64) as f64;
        println!("{k} shares of a chunk in one segment: {met}, expected {expected:.1}");
        // Anscombe's scale, because some counts are small. The nine shares of a chunk make its
        // segments dependent, so small counts vary less than this bound allows.
        let off = 2.0 * ((met as f64 + 0.375).sqrt() - (expected + 0.125).sqrt());
        assert!(off.abs() < ONE_IN_A_MILLION || (met as f64 / expected - 1.0).abs() < 1e-3);
    }
    let trials = layouts * 16;
    let band = binomial_band(trials, predicted);
    println!("{lost} of {trials} losses of a segment destroyed the document; {band:?} expected");
    assert!(band.contains(&lost), "{lost} is not in {band:?}");
}

#[test]
fn space_reads_without_any_single_segment() {
    let memory = Memory::new();
    let vault = Vault::options(TestKey)
        .cheap_passwords()
        .entropy(entropy(91))
        .create_on(MemoryState::new(), memory.clone())
        .unwrap();
    let space = vault.documents().create_space(&SpaceOptions::default()).unwrap();
    let password = SecretPassword::new("pa");
    let key = space.add_partition(&password, &[]).unwrap();
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let segments: Vec<_> = memory
        .list("content/", None, 100)
        .unwrap()
        .into_iter()
        .map(|entry| (memory.get(&entry.key).unwrap().body, entry.key))
        .filter(|(body, _)| body.starts_with(b"STRNGSLT"))
        .collect();
    assert_eq!(segments.len(), 16);
    let (mut shares, mut blocks) = (Vec::new(), 0);
    for (body, key_of_segment) in segments {
        memory.delete(&key_of_segment).unwrap();
        // The chance that one of these reads fails is 1 in 8,000. With this seed none fails.
        let damage = space.partition(&key, &password).unwrap().verify().unwrap();
        assert_eq!(damage.copies, 0);
        blocks += damage.blocks;
        shares.push(damage.shares.unwrap());
        memory.put(&key_of_segment, body, &Condition::Any).unwrap();
    }
    println!("shares in each of 16 segments: {shares:?}");
    assert_eq!(
        shares.iter().sum::<usize>(),
        9_225,
        "the segments' shares do not add up to all shares"
    );
    assert_eq!(blocks, 597, "of 16 times 38 blocks, not all with slots are missing");
}
