//! Splitting a secret into shares, and joining them.
//!
//! The shares belong to the points 1, 2, .. `n`, which are small and consecutive, so neither
//! direction needs a product of two elements. Splitting uses forward differences: from one share to
//! the next, additions only. Joining weighs the shares with Lagrange's coefficients at zero. These
//! are integers for the first shares, and small integers over a common divisor for nearly all other
//! choices.
//!
//! Thresholds, points and all values derived from them are public, so code may branch on them.

use super::field::{Element, LIMBS, Sum};

/// Most shares of a secret.
pub const SHARES_MAX: usize = 32;

/// Capacity of a [`Sum`] of nine limbs: less than 2^55 times p, since 576 = 521 + 55.
const MULTIPLE_BITS: u32 = 55;

/// Limbs of the sums for high thresholds.
///
/// Eleven limbs hold 2^183 times p. The largest share is 32^0 + 32^1 + .. + 32^31 times p, below
/// 2^156 times.
const WIDE_LIMBS: usize = 11;

/// Most orders of differences in sums of nine limbs.
///
/// With 15 the threshold is 16, and there are at least 16 shares. The highest power of the last one
/// alone is 16^15 = 2^60.
const NARROW_ORDERS_MAX: usize = 14;
const WIDE_ORDERS_MAX: usize = SHARES_MAX - 1;

/// k! for each k below 32, as two factors. The second is 1 up to 20!, the last one that fits in 64
/// bits.
const FACTORIALS: [(u64, u64); SHARES_MAX] = {
    let mut factorials = [(1, 1); SHARES_MAX];
    let mut k = 1;
    while k < SHARES_MAX {
        let (low, high) = factorials[k - 1];
        factorials[k] = if k <= 20 { (low * k as u64, 1) } else { (low, high * k as u64) };
        k += 1;
    }
    factorials
};

/// A threshold of `t` of `n` shares.
#[derive(Clone, Debug)]
pub struct Scheme {
    threshold: usize,
    pub(super) shares: usize,
    /// Sums of nine limbs hold every share before it is reduced.
    narrow: bool,
    /// Weights of the first `t` shares.
    weights: Vec<Weight>,
}

/// The factor of a share.
#[derive(Clone, Copy, Debug)]
struct Weight {
    magnitude: u64,
    negative: bool,
}

impl Scheme {
    /// Makes a scheme. The caller has checked that 1 <= `threshold` <= `shares` <= [`SHARES_MAX`].
    pub fn new(threshold: usize, shares: usize) -> Self {
        assert!(
            1 <= threshold && threshold <= shares && shares <= SHARES_MAX,
            "the caller has checked that there is a scheme {threshold} of {shares}",
        );
        // The last share is the largest: less than this times p, before it is reduced.
        let largest = (1..threshold)
            .try_fold(1u64, |sum, _| sum.checked_mul(shares as u64)?.checked_add(1))
            .unwrap_or(u64::MAX);
        let (t, mut binomial) = (threshold as u64, 1);
        let weight = |i: u64| {
            binomial = binomial * (t + 1 - i) / i;
            Weight { magnitude: binomial, negative: i.is_multiple_of(2) }
        };
        Self {
            threshold,
            shares,
            narrow: largest < 1 << MULTIPLE_BITS,
            weights: (1..=t).map(weight).collect(),
        }
    }

    /// Fills `shares`: `shares[i]` is the share of point `i + 1`.
    ///
    /// There are `t - 1` `coefficients`, of the powers 1 to `t - 1`, drawn for each secret
    /// ([`Element::sample`]).
    #[inline]
    pub fn split(&self, secret: Element, coefficients: &[Element], shares: &mut [Element]) {
        assert_eq!(coefficients.len(), self.threshold - 1, "one coefficient per power above zero");
        assert_eq!(shares.len(), self.shares, "one place for each share");
        // Separate loops for the usual thresholds are a quarter faster.
        match coefficients.len() {
            0 => shares.fill(secret),
            1 => tabulate(&mut [Sum::<LIMBS>::ZERO; 1], secret, coefficients, shares),
            2 => tabulate(&mut [Sum::<LIMBS>::ZERO; 2], secret, coefficients, shares),
            3 => tabulate(&mut [Sum::<LIMBS>::ZERO; 3], secret, coefficients, shares),
            4 => tabulate(&mut [Sum::<LIMBS>::ZERO; 4], secret, coefficients, shares),
            orders if self.narrow => {
                let differences = &mut [Sum::<LIMBS>::ZERO; NARROW_ORDERS_MAX][..orders];
                tabulate(differences, secret, coefficients, shares);
            }
            orders => {
                let differences = &mut [Sum::<WIDE_LIMBS>::ZERO; WIDE_ORDERS_MAX][..orders];
                tabulate(differences, secret, coefficients, shares);
            }
        }
    }

    /// Joins the shares of points 1 to `t`, in order; returns the secret.
    #[inline]
    pub fn join_first(&self, shares: &[Element]) -> Element {
        assert_eq!(shares.len(), self.threshold, "as many shares as the threshold");
        match *shares {
            [one] => one,
            // The same as below, with additions instead of products: twice as fast.
            [one, two] => {
                let mut sum = Sum::<LIMBS>::of(one);
                sum.add(&Sum::of(one));
                sum.add(&Sum::of_negative(two));
                sum.reduce()
            }
            [one, two, three] => {
                let mut difference = Sum::<LIMBS>::of(one);
                difference.add(&Sum::of_negative(two));
                let mut sum = difference;
                sum.add(&difference);
                sum.add(&difference);
                sum.add(&Sum::of(three));
                sum.reduce()
            }
            // The weights' magnitudes add up to 2^t - 1, at most 32 bits.
            _ => weigh(shares, &self.weights),
        }
    }

    /// Prepares joining shares of these `places`: `t` of them, distinct, each 1 to `n`.
    pub fn joiner(&self, places: &[u8]) -> Joiner {
        assert_eq!(places.len(), self.threshold, "as many shares as the threshold");
        let in_range = |&place: &u8| 1 <= place && usize::from(place) <= self.shares;
        assert!(places.iter().all(in_range), "each point is in range");
        let coefficients: Vec<_> = (0..places.len()).map(|at| Fraction::of(places, at)).collect();
        Joiner {
            kind: over_a_divisor(&coefficients).unwrap_or_else(|| {
                Kind::Elements(coefficients.iter().map(Fraction::element).collect())
            }),
        }
    }
}

/// Fills `shares` from the forward differences at 0.
///
/// It computes them in `differences`.
///
/// There are as many differences as coefficients; the first has order 1.
///
/// Bound of a sum: no term is negative, so a difference of order k at x is at most f(x + k). It is
/// computed only where x + k <= n, and the sums have room for f(n). From a coefficient to its
/// difference no value shrinks.
#[inline(always)]
#[expect(clippy::inline_always, reason = "unrolled for each number of differences")]
fn tabulate<const N: usize>(
    differences: &mut [Sum<N>],
    secret: Element,
    coefficients: &[Element],
    shares: &mut [Element],
) {
    let orders = differences.len();
    for (difference, coefficient) in differences.iter_mut().zip(coefficients) {
        *difference = Sum::of(*coefficient);
    }
    // Newton's form, c_0 + c_1 x + c_2 x (x - 1) + .., by synthetic division: first by x, which
    // leaves the secret, then by x - 1, which leaves c_1, and so on.
    for (root, factor) in (1..orders).zip(1..) {
        for at in (root - 1..orders - 1).rev() {
            let above = differences[at + 1];
            if factor == 1 {
                differences[at].add(&above);
            } else {
                differences[at].add_product(&above, factor);
            }
        }
    }
    // The difference of order k is k! c_k.
    for (difference, &(low, high)) in differences[1..].iter_mut().zip(&FACTORIALS[2..]) {
        difference.scale(low);
        if high > 1 {
            difference.scale(high);
        }
    }
    let mut value = Sum::of(secret);
    let mut left = shares.len();
    for share in shares {
        value.add(&differences[0]);
        left -= 1;
        for at in 0..left.min(orders - 1) {
            let above = differences[at + 1];
            differences[at].add(&above);
        }
        *share = value.reduce();
    }
}

/// Prepared weights for shares of certain points.
#[derive(Clone, Debug)]
pub struct Joiner {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Small weights, and the divisor of their sum unless 1.
    Weights { weights: Vec<Weight>, inverse: Option<Element> },
    /// Arbitrary weights, for a few choices of many points.
    Elements(Vec<Element>),
}

impl Joiner {
    /// Joins the shares, in the order of the points; returns the secret.
    #[inline]
    pub fn join(&self, shares: &[Element]) -> Element {
        match &self.kind {
            Kind::Weights { weights, inverse } => {
                assert_eq!(shares.len(), weights.len(), "as many shares as the threshold");
                let sum = weigh(shares, weights);
                inverse.map_or(sum, |inverse| sum.mul(inverse))
            }
            Kind::Elements(coefficients) => {
                assert_eq!(shares.len(), coefficients.len(), "as many shares as the threshold");
                // At most 32 elements: 526 bits.
                let mut sum = Sum::<LIMBS>::ZERO;
                for (share, coefficient) in shares.iter().zip(coefficients) {
                    sum.add(&Sum::of(share.mul(*coefficient)));
                }
                sum.reduce()
            }
        }
    }
}

/// Returns the weighted sum.
///
/// The weights' magnitudes add up to at most [`MULTIPLE_BITS`] bits, and neither a share nor its
/// negative is above p.
#[inline]
fn weigh(shares: &[Element], weights: &[Weight]) -> Element {
    let mut sum = Sum::<LIMBS>::ZERO;
    for (share, weight) in shares.iter().zip(weights) {
        let term = if weight.negative { Sum::of_negative(*share) } else { Sum::of(*share) };
        sum.add_product(&term, weight.magnitude);
    }
    sum.reduce()
}

/// A coefficient of Lagrange at zero, in lowest terms.
struct Fraction {
    numerator: u128,
    denominator: u128,
    negative: bool,
}

impl Fraction {
    /// Computes the product of `y / (y - x)` over all `y`.
    ///
    /// `y` runs over all points but `x`.
    ///
    /// Neither half overflows: the points are distinct, so the halves are at most 32! and 31!, of
    /// 118 and 113 bits.
    fn of(places: &[u8], at: usize) -> Self {
        let own = places[at];
        let mut fraction = Self { numerator: 1, denominator: 1, negative: false };
        for (_, &other) in places.iter().enumerate().filter(|&(j, _)| j != at) {
            assert_ne!(other, own, "the places are distinct");
            fraction.numerator *= u128::from(other);
            fraction.denominator *= u128::from(other.abs_diff(own));
            fraction.negative ^= other < own;
        }
        let common = common_divisor(fraction.numerator, fraction.denominator);
        fraction.numerator /= common;
        fraction.denominator /= common;
        fraction
    }

    fn element(&self) -> Element {
        let magnitude = Element::from(self.numerator).mul(divisor_inverse(self.denominator));
        if self.negative { magnitude.neg() } else { magnitude }
    }
}

/// Writes the coefficients as small weights, if possible.
///
/// Their denominator is the least common one.
///
/// They nearly always are: for all but two in a thousand of the choices of 19 of 32.
fn over_a_divisor(coefficients: &[Fraction]) -> Option<Kind> {
    let divisor = coefficients.iter().try_fold(1u128, |divisor, coefficient| {
        let common = common_divisor(divisor, coefficient.denominator);
        divisor.checked_mul(coefficient.denominator / common)
    })?;
    let mut total = 0u64;
    let mut weights = Vec::with_capacity(coefficients.len());
    for Fraction { numerator, denominator, negative } in coefficients {
        let magnitude = numerator.checked_mul(divisor / denominator)?.try_into().ok()?;
        total = total.checked_add(magnitude).filter(|total| total >> MULTIPLE_BITS == 0)?;
        weights.push(Weight { magnitude, negative: *negative });
    }
    Some(Kind::Weights { weights, inverse: (divisor > 1).then(|| divisor_inverse(divisor)) })
}

fn divisor_inverse(divisor: u128) -> Element {
    Element::from(divisor).inverse()
}

fn common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::tests::FAR_FLUNG;
    use super::*;

    #[test]
    fn only_distant_choices_need_more_than_weights() {
        let kind = |places: &[u8]| Scheme::new(places.len(), 32).joiner(places).kind;
        let inverse = |places: &[u8]| match kind(places) {
            Kind::Weights { inverse, .. } => inverse.is_some(),
            Kind::Elements(_) => panic!("{places:?}"),
        };
        let places: Vec<u8> = (1..=32).collect();
        for last in 1..=places.len() {
            assert!(!inverse(&places[..last]), "{last}");
        }
        assert!(inverse(&[1, 3]));
        assert!(inverse(&[1, 3, 4, 7, 8, 11, 14, 15, 18, 20]));
        assert!(matches!(kind(&FAR_FLUNG), Kind::Elements(_)));
    }

    #[test]
    fn factorials_match_their_orders() {
        let mut factorial = 1u128;
        for (order, (low, high)) in (0..).zip(FACTORIALS) {
            factorial *= u128::max(order, 1);
            assert_eq!(u128::from(low) * u128::from(high), factorial, "{order}");
        }
    }
}
