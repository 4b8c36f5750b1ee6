//! The search for four shares on one curve.
//!
//! Three values are always on a curve of degree two. A fourth is on it by chance once in 2^521. So
//! four values on one curve are shares, whatever the text is, and the other shares of the chunk
//! follow from them. The mask prevents this search.

use std::collections::BTreeSet;

use crate::numbers::{Number, weighted, weighted_upper};

/// A set of four slots, in order.
pub(crate) type Four = [usize; 4];

/// Returns weights that sum four values on one curve to zero.
///
/// `x` are the positions of the values. Each weight is the product of the differences of the other
/// three positions (Vandermonde).
fn weights(x: [i64; 4]) -> [i64; 4] {
    let of = |i: usize, j: usize, k: usize| (x[j] - x[i]) * (x[k] - x[i]) * (x[k] - x[j]);
    [of(1, 2, 3), -of(0, 2, 3), of(0, 1, 3), -of(0, 1, 2)]
}

/// Largest error of a weighted sum of upper bits. The weights add up to less than 512.
const SLACK: u64 = 512;

/// Returns whether these values are on one curve. `upper` is the weighted sum of their upper bits.
fn on_one_curve(values: &[Number], four: Four, upper: u64, weights: [i64; 4]) -> bool {
    upper.wrapping_add(SLACK) <= 2 * SLACK
        && weighted(four.map(|slot| &values[slot]), weights).is_zero()
}

/// Returns all sets of four values on one curve.
///
/// The x of a value is its slot's number.
pub(crate) fn at_slot_numbers(values: &[Number]) -> BTreeSet<Four> {
    let slots = values.len();
    let mut found = BTreeSet::new();
    for a in 0..slots {
        for b in a + 1..slots {
            for c in b + 1..slots {
                for d in c + 1..slots {
                    let four = [a, b, c, d];
                    let weights = weights(four.map(|slot| i64::try_from(slot).unwrap() + 1));
                    if weighted(four.map(|slot| &values[slot]), weights).is_zero() {
                        found.insert(four);
                    }
                }
            }
        }
    }
    found
}

/// The result of an exhaustive search.
pub(crate) struct CurveSearch {
    pub(crate) fours: BTreeSet<Four>,
    pub(crate) checks: u64,
}

/// Returns all fours on one curve with x from 1 to `shares`.
///
/// The x of the four differ. Every assignment of x is tried.
pub(crate) fn at_any_numbers(values: &[Number], shares: i64) -> CurveSearch {
    let upper: Vec<u64> = values.iter().map(Number::upper).collect();
    let mut found = CurveSearch { fours: BTreeSet::new(), checks: 0 };
    for a in 1..=shares {
        for b in (1..=shares).filter(|b| *b != a) {
            for c in (1..=shares).filter(|c| ![a, b].contains(c)) {
                for d in (1..=shares).filter(|d| ![a, b, c].contains(d)) {
                    at(values, &upper, weights([a, b, c, d]), &mut found);
                }
            }
        }
    }
    found
}

/// Searches all sets of four, with one assignment of x.
fn at(values: &[Number], upper: &[u64], weights: [i64; 4], found: &mut CurveSearch) {
    let slots = values.len();
    let part = |slot: usize, place: usize| upper[slot].wrapping_mul(weights[place].cast_unsigned());
    for a in 0..slots {
        for b in a + 1..slots {
            let sum = part(a, 0).wrapping_add(part(b, 1));
            for c in b + 1..slots {
                let sum = sum.wrapping_add(part(c, 2));
                for d in c + 1..slots {
                    let sum = sum.wrapping_add(part(d, 3));
                    found.checks += 1;
                    if on_one_curve(values, [a, b, c, d], sum, weights) {
                        found.fours.insert([a, b, c, d]);
                    }
                }
            }
        }
    }
}

/// Returns the fours on one curve whose x are in equal steps.
///
/// This search takes the time of a sort and suits spaces of any size. For four such values,
/// `a - 3 b` equals `d - 3 c`. So the differences of all pairs are sorted, and equal ones are
/// compared. With x from 1 to 9 there are nine such fours: six with step 1, and three with step 2.
pub(crate) fn in_equal_steps(values: &[Number]) -> BTreeSet<Four> {
    let upper: Vec<u64> = values.iter().map(Number::upper).collect();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::with_capacity(values.len() * values.len());
    for (i, &first) in upper.iter().enumerate() {
        for (j, &second) in upper.iter().enumerate() {
            if i != j {
                pairs.push((weighted_upper([first, second], [1, -3]), i, j));
            }
        }
    }
    pairs.sort_unstable();
    let mut found = BTreeSet::new();
    for (at, &(sum, a, b)) in pairs.iter().enumerate() {
        // Sums just above zero and just below 2^64 are close too. Missing them has a chance of
        // 2^-60.
        for &(_, d, c) in pairs[at + 1..].iter().take_while(|pair| pair.0 - sum <= 8) {
            let mut four = [a, b, c, d];
            let exact = weighted(four.map(|slot| &values[slot]), [1, -3, 3, -1]).is_zero();
            four.sort_unstable();
            if exact && four.windows(2).all(|pair| pair[0] != pair[1]) {
                found.insert(four);
            }
        }
    }
    found
}
