//! What is lost by chance, against what is said of it: a document whose partition was not named
//! when another was added, and one of a space that lost a segment.
//!
//! Real vaults show the first at three sizes. The second is rare, 1 in 10,000, so it is shown by
//! where shares come to lie, drawn by the engine's own code: how many of a chunk's nine are in one
//! segment is counted over millions of chunks, up to the seven that are too many.

use strongroom::backends::{Backend, Condition, Memory};
use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::storage::MemoryState;
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{PlacesLab, TestKey};

use crate::support::chance::{ONE_IN_A_MILLION, binomial_band};
use crate::{entropy, setting};

/// How many times as many trials as usual.
fn trials(usual: u64) -> u64 {
    usual * setting("STRONGROOM_ATTACK_TRIALS", 1)
}

/// The three sizes: bytes, and room for how many partitions. 3 of 9 shares.
const SIZES: [(u32, u8, u64); 3] = [(2_400, 4, 1_000), (5_350, 3, 500), (23_000, 3, 300)];

fn options((capacity, room, _): (u32, u8, u64)) -> SpaceOptions {
    SpaceOptions::default().capacity_bytes(capacity).room_for(room)
}

#[test]
fn a_blind_addition_destroys_a_document_as_often_as_the_warning_says() {
    let mut predictions = Vec::new();
    for (of, size) in (80..).zip(SIZES) {
        let vault = Vault::options(TestKey)
            .cheap_passwords()
            .entropy(entropy(of))
            .create_on(MemoryState::new(), Memory::new())
            .unwrap();
        let space = vault.documents().create_space(&options(size)).unwrap();
        let said = space.loss_chance(0);
        predictions.push(said);
        let password = SecretPassword::new("one for all");
        let trials = trials(size.2);
        let (mut lost, mut victim) = (0, space.add_partition(&password, &[]).unwrap());
        // Each newcomer is the next one's victim: maps are drawn anew, whatever was there before.
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
        let band = binomial_band(trials, said);
        println!(
            "{} bytes, room for {}: said {:.2} %, measured {:.2} % ({lost} of {trials}; {band:?} \
             but for 1 in 10,000)",
            size.0,
            size.1,
            said * 100.0,
            lost as f64 / trials as f64 * 100.0
        );
        assert!(band.contains(&lost), "{lost} is not in {band:?}");
    }
    for (said, about) in predictions.into_iter().zip([0.05, 0.5, 0.95]) {
        assert!((said - about).abs() < 0.01, "{said} is about {about}");
    }
}

/// The same by where the shares lie, with many more trials: the formula takes slots for
/// independent of each other, which makes the chance too high by so little that it needs these.
#[test]
fn the_warning_is_right_to_a_few_in_a_hundred() {
    for (of, size) in (83..).zip(SIZES) {
        let entropy = entropy(of);
        let vault = Vault::options(TestKey)
            .cheap_passwords()
            .create_on(MemoryState::new(), Memory::new())
            .unwrap();
        let said = vault.documents().create_space(&options(size)).unwrap().loss_chance(0);
        let trials = trials(4_000);
        let mut lost = 0;
        for _ in 0..trials {
            let document = PlacesLab::new(&options(size), &entropy).unwrap();
            let newcomer = PlacesLab::new(&options(size), &entropy).unwrap();
            let mut taken = vec![false; document.slots];
            newcomer.partition.iter().for_each(|&slot| taken[slot] = true);
            lost += u64::from(is_lost(&document, |slot| taken[slot]));
        }
        let (measured, trials) = (lost as f64 / trials as f64, trials as f64);
        let spread = (said * (1.0 - said) / trials).sqrt();
        println!(
            "{} bytes, room for {}: said {:.3} %, measured {:.3} % of {trials} draws, {:+.1} \
             deviations",
            size.0,
            size.1,
            said * 100.0,
            measured * 100.0,
            (measured - said) / spread
        );
        assert!((measured - said).abs() < 4.0 * spread + 0.02 * said, "{measured}, not {said}");
    }
}

/// Whether a chunk has too few shares left.
fn is_lost(document: &PlacesLab, gone: impl Fn(usize) -> bool) -> bool {
    let too_many = document.shares - document.threshold + 1;
    document
        .places
        .chunks(document.shares)
        .any(|chunk| chunk.iter().filter(|&&slot| gone(slot)).count() >= too_many)
}

/// The chance that exactly `k` of `n` slots are among `marked` of `all`.
fn hypergeometric(k: usize, n: usize, marked: usize, all: usize) -> f64 {
    let ways = |of: usize, take: usize| -> f64 {
        (0..take).map(|i| (of - i) as f64 / (i + 1) as f64).product()
    };
    ways(marked, k) * ways(all - marked, n - k) / ways(all, n)
}

#[test]
fn a_lost_segment_of_sixteen_destroys_a_document_as_rarely_as_is_said() {
    let options = SpaceOptions::default();
    let entropy = entropy(90);
    let layouts = trials(4_000);
    let first = PlacesLab::new(&options, &entropy).unwrap();
    let (n, too_many) = (first.shares, first.shares - first.threshold + 1);
    assert_eq!((first.segments, n, too_many), (16, 9, 7));
    let chunks = first.places.len() / n;
    let in_segment = |segment: usize| {
        let from = segment * first.segment_slots;
        first.slots.min(from + first.segment_slots) - from
    };

    // By arithmetic, whichever segment it is; the last one has fewer slots.
    let mut expected = [0.0; 10];
    let mut said = 0.0;
    for segment in 0..first.segments {
        for (k, expected) in expected.iter_mut().enumerate() {
            *expected += hypergeometric(k, n, in_segment(segment), first.slots);
        }
        let one: f64 =
            (too_many..=n).map(|k| hypergeometric(k, n, in_segment(segment), first.slots)).sum();
        said += -(chunks as f64 * (-one).ln_1p()).exp_m1() / first.segments as f64;
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
        "a lost segment: {design:.2e} by the sixteenth, {said:.2e} by the segments as they are"
    );
    assert!((design - 1.2e-4).abs() < 0.05e-4 && (0.8..1.25).contains(&(said / design)));

    let mut met = [0_u64; 10];
    let mut lost = 0_u64;
    for _ in 0..layouts {
        let document = PlacesLab::new(&options, &entropy).unwrap();
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
        // Anscombe's scale, as some are few. The nine of a chunk bind its segments together, so
        // those of few shares vary less than this allows.
        let off = 2.0 * ((met as f64 + 0.375).sqrt() - (expected + 0.125).sqrt());
        assert!(off.abs() < ONE_IN_A_MILLION || (met as f64 / expected - 1.0).abs() < 1e-3);
    }
    let trials = layouts * 16;
    let band = binomial_band(trials, said);
    println!("{lost} of {trials} losses of a segment destroyed the document; {band:?} expected");
    assert!(band.contains(&lost), "{lost} is not in {band:?}");
}

#[test]
fn a_real_space_reads_on_without_any_one_of_its_segments() {
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
        // By chance one in 8,000 of these is lost; from this seed none is.
        let damage = space.partition(&key, &password).unwrap().verify().unwrap();
        assert_eq!(damage.copies, 0);
        blocks += damage.blocks;
        shares.push(damage.shares.unwrap());
        memory.put(&key_of_segment, body, &Condition::Any).unwrap();
    }
    println!("shares in each of 16 segments: {shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), 9_225, "each is in one segment");
    assert_eq!(blocks, 597, "those with slots, of 16 times 38");
}
