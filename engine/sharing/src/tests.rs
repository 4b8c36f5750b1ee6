//! The arithmetic and the scheme against num-bigint, above all with long carries.

use num_bigint::{BigInt, BigUint};
use proptest::prelude::*;
use zeroize::Zeroize;

use super::*;

/// Points of 13 shares whose weights add up to 60 bits.
pub(super) const FAR_FLUNG: [u8; 13] = [1, 4, 8, 10, 11, 12, 13, 15, 16, 22, 26, 29, 31];

pub(super) fn modulus() -> BigUint {
    (BigUint::from(1u8) << 521u32) - 1u8
}

pub(super) fn number(element: Element) -> BigUint {
    let number = BigUint::from_bytes_le(&element.to_bytes());
    assert!(number < modulus(), "an element is canonical");
    number
}

fn bytes(number: &BigUint) -> [u8; ELEMENT_BYTES] {
    let mut bytes = [0; ELEMENT_BYTES];
    let significant = number.to_bytes_le();
    bytes[..significant.len()].copy_from_slice(&significant);
    bytes
}

/// Makes the element of a number below 2^528.
fn element(number: &BigUint) -> Element {
    let element = Element::of_bytes(&bytes(number));
    assert_eq!(self::number(element), (number % (modulus() + 1u8)) % modulus());
    element
}

/// Draws limbs, of which half let carries propagate or stop them.
pub(super) fn limb() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX - 1),
        Just(u64::MAX),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    ]
}

fn any_element() -> impl Strategy<Value = Element> {
    prop::array::uniform9(limb()).prop_map(|limbs| {
        let mut bytes = [0; 72];
        bytes.copy_from_slice(limbs.map(u64::to_le_bytes).as_flattened());
        Element::of_bytes(bytes.first_chunk().unwrap())
    })
}

fn near(number: &BigUint) -> impl Iterator<Item = BigUint> {
    let p = modulus();
    let number = number.clone() + &p * 2u8;
    (0..5u8).map(move |offset| (&number + offset - 2u8) % &p)
}

/// Returns numbers below p at which carries begin, end or pass through.
///
/// They are near zero and p, near the bits at the ends of limbs, and all combinations of limbs of
/// ones or zeros.
fn edges() -> Vec<BigUint> {
    let one = BigUint::from(1u8);
    let mut edges: Vec<_> = near(&modulus()).collect();
    for limb in 0..9u32 {
        for bit in [64 * limb, 64 * limb + 1, 64 * limb + 8, 64 * limb + 63] {
            if bit <= 520 {
                edges.extend(near(&(&one << bit)));
            }
        }
    }
    for ones in 0..1u32 << 9 {
        let limbs = (0..9).filter(|limb| ones >> limb & 1 == 1);
        let limbs = limbs.map(|limb| {
            let bits = if limb == 8 { 9u32 } else { 64 };
            ((&one << bits) - 1u8) << (64 * limb)
        });
        edges.push(limbs.sum::<BigUint>() % modulus());
    }
    edges.sort();
    edges.dedup();
    edges
}

fn check_pair(a: (&BigUint, Element), b: (&BigUint, Element)) {
    let p = modulus();
    let wrap = |number: BigUint| if number < p { number } else { number - &p };
    assert_eq!(number(a.1.add(b.1)), wrap(a.0 + b.0), "{a:x?} + {b:x?}");
    assert_eq!(number(a.1.sub(b.1)), wrap(a.0 + &p - b.0), "{a:x?} - {b:x?}");
    assert_eq!(number(a.1.mul(b.1)), a.0 * b.0 % &p, "{a:x?} * {b:x?}");
}

#[test]
fn operations_match_at_pairs_of_edge_values() {
    let edges: Vec<_> = edges().into_iter().map(|edge| (element(&edge), edge)).collect();
    assert!(edges.len() > 600);
    for (a, a_number) in &edges {
        for (b, b_number) in &edges {
            check_pair((a_number, *a), (b_number, *b));
        }
    }
}

#[test]
fn carries_ripple_through_every_limb() {
    // For an edge paired with its complement to p, with itself, or with neighbours of these, the
    // sum or the difference wraps around.
    for edge in edges() {
        for other in near(&(modulus() - &edge)).chain(near(&edge)) {
            let (a, b) = (element(&edge), element(&other));
            check_pair((&edge, a), (&other, b));
            check_pair((&other, b), (&edge, a));
        }
    }
}

#[test]
fn negatives_and_small_products_match_at_edge_values() {
    let p = modulus();
    let ends = [0, 1, 2, 3, 5, 255, 511, 512, 513, 0xffff, 0x1_0000];
    let factors = ends.into_iter().chain(ends.map(|end| u32::MAX - end)).chain([1 << 31]);
    let factors: Vec<u32> = factors.collect();
    for edge in edges() {
        let element = element(&edge);
        assert_eq!(number(element.neg()), (&p - &edge) % &p, "-{edge:x}");
        for &factor in &factors {
            assert_eq!(number(element.mul_small(factor)), &edge * factor % &p, "{edge:x} {factor}");
        }
    }
}

#[test]
fn element_times_inverse_is_one() {
    for edge in near(&modulus()).chain(near(&(BigUint::from(1u8) << 512u32))) {
        let expected = edge.modinv(&modulus()).unwrap_or_default();
        assert_eq!(number(element(&edge).inverse()), expected, "{edge:x}");
    }
    let wide = 0x1234_5678_9abc_def0_ffff_ffff_ffff_fffe;
    assert_eq!(number(Element::from(wide)), BigUint::from(wide));
    assert_eq!(number(Element::from(wide).inverse().mul(Element::from(wide))), 1u8.into());
}

#[test]
fn bytes_are_masked_to_521_bits_and_p_is_zero() {
    let p = modulus();
    for edge in edges().into_iter().chain([p.clone()]) {
        for garbage in [0, 0x02, 0x80, 0xfe] {
            let mut bytes = bytes(&edge);
            bytes[ELEMENT_BYTES - 1] |= garbage;
            let of_bytes = Element::of_bytes(&bytes);
            assert_eq!(number(of_bytes), &edge % &p, "{edge:x} {garbage}");
            let sampled = Element::sample(&bytes).map(number);
            assert_eq!(sampled, (edge < p).then(|| edge.clone()), "{edge:x} {garbage}");
        }
    }
    assert!(Element::sample(&[0xff; ELEMENT_BYTES]).is_none());
    assert_eq!(Element::ZERO.to_bytes(), [0; ELEMENT_BYTES]);
}

#[test]
fn secret_is_the_lower_512_bits() {
    for edge in edges() {
        let secret = element(&edge).to_secret();
        assert_eq!(secret, bytes(&edge)[..SECRET_BYTES], "{edge:x}");
        let expected = edge % (BigUint::from(1u8) << 512u32);
        assert_eq!(number(Element::of_secret(&secret)), expected);
    }
}

#[test]
fn element_is_zeroized_and_never_printed() {
    let mut element = Element::of_secret(&[0xa5; SECRET_BYTES]);
    assert_eq!(format!("{element:?}"), "Element(..)");
    element.zeroize();
    assert_eq!(element.to_bytes(), Element::ZERO.to_bytes());
}

/// Joins any shares, right or wrong, by Lagrange's formula in num-bigint.
fn lagrange(places: &[u8], shares: &[Element]) -> BigUint {
    let p = BigInt::from(modulus());
    let mut secret = BigInt::ZERO;
    for (&place, &share) in places.iter().zip(shares) {
        let (mut above, mut below) = (BigInt::from(number(share)), BigInt::from(1));
        for &other in places.iter().filter(|&&other| other != place) {
            above *= other;
            below *= i32::from(other) - i32::from(place);
        }
        secret += above * below.modinv(&p).unwrap();
    }
    let (_, secret) = ((secret % &p + &p) % &p).into_parts();
    secret
}

/// Splits, and compares each share with num-bigint's value of the polynomial.
fn split(scheme: &Scheme, secret: Element, coefficients: &[Element]) -> Vec<Element> {
    let mut shares = vec![element(&(modulus() - 1u8)); scheme.shares];
    scheme.split(secret, coefficients, &mut shares);
    for (place, &share) in (1u32..).zip(&shares) {
        let higher = coefficients.iter().rev().fold(BigUint::ZERO, |sum, &coefficient| {
            (sum + number(coefficient)) * place % modulus()
        });
        let expected = (higher + number(secret)) % modulus();
        assert_eq!(number(share), expected, "place {place} of {scheme:?}");
    }
    shares
}

fn pick(places: &[u8], shares: &[Element]) -> Vec<Element> {
    places.iter().map(|&place| shares[usize::from(place) - 1]).collect()
}

/// Lists all choices of `threshold` of the points 1 to `n`.
fn subsets(threshold: usize, n: usize) -> impl Iterator<Item = Vec<u8>> {
    (0u32..1 << n)
        .filter(move |set| set.count_ones() as usize == threshold)
        .map(|set| (1..=32).filter(|place| set >> (place - 1) & 1 == 1).collect())
}

#[test]
fn every_scheme_splits_and_joins_extremes() {
    let extremes = [BigUint::ZERO, 1u8.into(), modulus() - 1u8, modulus() >> 9u32];
    let extremes = extremes.map(|extreme| element(&extreme));
    for shares in 1..=SHARES_MAX {
        for threshold in 1..=shares {
            let scheme = Scheme::new(threshold, shares);
            let joiner = scheme.joiner(&(1..=32).collect::<Vec<_>>()[..threshold]);
            for (shift, secret) in extremes.into_iter().enumerate() {
                // All coefficients at their largest, and mixed.
                let mixed = extremes.into_iter().cycle().skip(shift).take(threshold - 1);
                for coefficients in [vec![extremes[2]; threshold - 1], mixed.collect()] {
                    let shares = split(&scheme, secret, &coefficients);
                    let first = &shares[..threshold];
                    assert_eq!(number(scheme.join_first(first)), number(secret), "{scheme:?}");
                    assert_eq!(number(joiner.join(first)), number(secret), "{scheme:?}");
                }
            }
        }
    }
}

#[test]
fn any_shares_of_small_schemes_join() {
    let all = edges();
    let mut edges = all.iter().step_by(7).map(element).cycle();
    for (threshold, n) in (1..=7).flat_map(|n| (1..=n).map(move |t| (t, n))).chain([(3, 9)]) {
        let scheme = Scheme::new(threshold, n);
        let secret = edges.next().unwrap();
        let coefficients: Vec<_> = edges.by_ref().take(threshold - 1).collect();
        let shares = split(&scheme, secret, &coefficients);
        for places in subsets(threshold, n) {
            let joined = scheme.joiner(&places).join(&pick(&places, &shares));
            assert_eq!(number(joined), number(secret), "{places:?} of {scheme:?}");
        }
    }
}

#[test]
fn mixed_shares_join_to_the_lagrange_value() {
    let (low, high) = (Element::ZERO, element(&(modulus() - 1u8)));
    let all: Vec<u8> = (1..=32).collect();
    let first = |threshold| all[..threshold].to_vec();
    let places = (1..=32).map(first).chain([FAR_FLUNG.to_vec(), vec![3, 1], vec![32, 7, 19, 2]]);
    for places in places {
        let scheme = Scheme::new(places.len(), 32);
        let joiner = scheme.joiner(&places);
        // The largest weighted sum: positive terms at their maximum, negative terms zero.
        for pattern in [[high, low], [low, high], [high, high], [low, low]] {
            let shares: Vec<_> = pattern.into_iter().cycle().take(places.len()).collect();
            let expected = lagrange(&places, &shares);
            assert_eq!(number(joiner.join(&shares)), expected, "{places:?}");
            if places == first(places.len()) {
                assert_eq!(number(scheme.join_first(&shares)), expected, "{places:?}");
            }
        }
    }
}

#[test]
fn secrets_round_trip() {
    let coefficients = [modulus() - 1u8, BigUint::from(1u8) << 520u32];
    let coefficients = coefficients.map(|coefficient| element(&coefficient));
    let scheme = Scheme::new(3, 9);
    let places = [9, 2, 5];
    let others = scheme.joiner(&places);
    for (rest, byte) in [(0x00, 0xff), (0xff, 0x00), (0x00, 0x80), (0xff, 0x7f), (0x00, 0x00)] {
        for at in 0..SECRET_BYTES {
            let mut secret = [rest; SECRET_BYTES];
            secret[at] = byte;
            let shares = split(&scheme, Element::of_secret(&secret), &coefficients);
            let first = scheme.join_first(&shares[..3]);
            let others = others.join(&pick(&places, &shares));
            for secret_joined in [first.to_secret(), others.to_secret()] {
                assert_eq!(secret_joined, secret, "{byte:x} at {at} of {rest:x}");
            }
        }
    }
}

#[test]
fn fewer_shares_are_consistent_with_any_secret() {
    // For two shares of 3 of 9 and any other secret, coefficients exist that give both.
    let scheme = Scheme::new(3, 9);
    let secret = Element::of_secret(&[7; SECRET_BYTES]);
    let shares = split(&scheme, secret, &[element(&(modulus() - 2u8)), element(&5u8.into())]);
    let other = Element::of_secret(&[0xff; SECRET_BYTES]);
    // f(4) = other + 4 a + 16 b and f(9) = other + 9 a + 81 b.
    let (four, nine) = (shares[3].sub(other), shares[8].sub(other));
    let b = nine.mul_small(4).sub(four.mul_small(9)).mul(Element::from(180).inverse());
    let a = four.sub(b.mul_small(16)).mul(Element::from(4).inverse());
    let forged = split(&scheme, other, &[a, b]);
    for place in [4, 9] {
        assert_eq!(number(forged[place - 1]), number(shares[place - 1]), "place {place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

    #[test]
    fn operations_match_big_integers(a in any_element(), b in any_element(), factor in any::<u32>()) {
        let (x, y) = (number(a), number(b));
        check_pair((&x, a), (&y, b));
        prop_assert_eq!(number(a.neg()), (modulus() - &x) % modulus());
        prop_assert_eq!(number(a.mul_small(factor)), x * factor % modulus());
    }

    #[test]
    fn any_shares_join(
        (threshold, n) in (1..=SHARES_MAX).prop_flat_map(|n| (1..=n, Just(n))),
        elements in prop::collection::vec(any_element(), SHARES_MAX),
        places in Just((1..=32u8).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let scheme = Scheme::new(threshold, n);
        let shares = split(&scheme, elements[0], &elements[1..threshold]);
        prop_assert_eq!(number(scheme.join_first(&shares[..threshold])), number(elements[0]));
        let places = places.into_iter().filter(|&place| usize::from(place) <= n);
        let places: Vec<_> = places.take(threshold).collect();
        let joiner = scheme.joiner(&places);
        prop_assert_eq!(number(joiner.join(&pick(&places, &shares))), number(elements[0]));
        // Shares that do not belong together.
        let wrong = &elements[..threshold];
        prop_assert_eq!(number(joiner.join(wrong)), lagrange(&places, wrong));
        let first: Vec<_> = (1..=32).take(threshold).collect();
        prop_assert_eq!(number(scheme.join_first(wrong)), lagrange(&first, wrong));
    }
}
