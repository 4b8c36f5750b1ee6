//! The triple search: three shares of a chunk give its secret.
//!
//! The secret is below 2^512 in a field of 521 bits, so a wrong triple passes with a chance of 1 in
//! 512. A secret that passes either looks like a text or does not. The search needs no key.

use crate::numbers::{Number, weighted, weighted_upper};
use crate::original::looks_like_text;

/// Number of chunks that are compared before a triple is computed exactly.
const FILTER_CHUNKS: usize = 4;

/// Returns the triples, counted from 0, that give text in all chunks. The x are known.
///
/// `values` are the values of all slots for each chunk, and a slot's x is its number.
///
/// The method is Neville's. P(i, j) is the line through two shares, at zero. Three shares give
///
/// ```text
/// (k P(i, j) - i P(j, k)) / (k - i)
/// ```
///
/// As k - i is below 512, this is below 2^512 only if the numerator is below 2^512 (k - i) without
/// a reduction modulo p. The numerator's upper bits decide that.
pub(crate) fn at_slot_numbers(values: &[Vec<Number>]) -> Vec<[usize; 3]> {
    let slots = values[0].len();
    let inverses: Vec<Number> =
        (0..slots as u64).map(|n| Number::small(n.max(1)).inverse()).collect();
    let line = |row: &[Number], i: usize, j: usize| {
        let (x_i, x_j) = (number(i), number(j));
        weighted([&row[i], &row[j]], [x_j, -x_i]).times(&inverses[j - i])
    };
    let lines: Vec<Vec<u64>> = values[..FILTER_CHUNKS]
        .iter()
        .map(|row| {
            let mut upper = vec![0; slots * slots];
            for i in 0..slots {
                for j in i + 1..slots {
                    upper[i * slots + j] = line(row, i, j).upper();
                }
            }
            upper
        })
        .collect();
    let mut found = Vec::new();
    for i in 0..slots {
        for j in i + 1..slots {
            for k in j + 1..slots {
                let weights = [number(k), -number(i)];
                let bound = (k - i) as u64;
                let passes = lines.iter().all(|upper| {
                    let pair = [upper[i * slots + j], upper[j * slots + k]];
                    below(weighted_upper(pair, weights), bound, 2 * slots as u64)
                });
                let is_text = |row: &Vec<Number>| {
                    let pair = [&line(row, i, j), &line(row, j, k)];
                    let secret = weighted(pair, weights).times(&inverses[k - i]);
                    secret.secret().is_some_and(|bytes| looks_like_text(&bytes))
                };
                if passes && values.iter().all(is_text) {
                    found.push([i, j, k]);
                }
            }
        }
    }
    found
}

/// Returns the x of a slot that is counted from 0.
fn number(slot: usize) -> i64 {
    i64::try_from(slot).unwrap() + 1
}

/// Returns whether a number may be below `bound` times 2^512.
///
/// Its upper bits are exact within `slack`.
fn below(upper: u64, bound: u64, slack: u64) -> bool {
    upper.wrapping_add(slack) <= (bound << 55) + 2 * slack
}

/// The result of a search at x, 2 x, 3 x.
#[derive(Debug, Default)]
pub(crate) struct TripleSearch {
    /// Triples whose secret is below 2^512 in every chunk.
    pub(crate) small: u64,
    /// Triples tried.
    pub(crate) tried: u64,
    /// Triples that give text, in the order of x, with their text.
    pub(crate) texts: Vec<([usize; 3], Vec<[u8; 64]>)>,
}

/// Searches for shares at x, 2 x and 3 x.
///
/// They may be in any slots. Their secret is 3 a - 3 b + c.
pub(crate) fn at_first_numbers(values: &[Vec<Number>]) -> TripleSearch {
    const WEIGHTS: [i64; 3] = [3, -3, 1];
    let slots = values[0].len();
    let upper: Vec<u64> = values[0].iter().map(Number::upper).collect();
    let mut found = TripleSearch::default();
    for i in 0..slots {
        for j in (0..slots).filter(|&j| j != i) {
            let pair = weighted_upper([upper[i], upper[j]], [3, -3]);
            for (k, &third) in upper.iter().enumerate() {
                if k == i || k == j {
                    continue;
                }
                found.tried += 1;
                if !below(pair.wrapping_add(third), 1, 8) {
                    continue;
                }
                let secret =
                    |row: &Vec<Number>| weighted([&row[i], &row[j], &row[k]], WEIGHTS).secret();
                let Some(secrets) = values.iter().map(secret).collect::<Option<Vec<_>>>() else {
                    continue;
                };
                found.small += 1;
                if secrets.iter().all(looks_like_text) {
                    found.texts.push(([i, j, k], secrets));
                }
            }
        }
    }
    found
}
