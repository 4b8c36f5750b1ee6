//! Statistical tests of randomness.
//!
//! [`Counts`] counts properties of a pool of blocks, in any order: byte values, ones, and runs of
//! equal bits. [`UniformityTest`] tests rows of one length, such as slots and cells, also position
//! by position. All results are standard deviations of a normal distribution, so that a bound shows
//! how often chance alone exceeds it: 4.9 once in a million, 6.5 once in 1e10.

use std::collections::HashMap;

/// The counted properties.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    of_byte: [u64; 256],
    ones: u64,
    /// Positions where a bit differs from its predecessor, and their possible number.
    turns: u64,
    pairs: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { of_byte: [0; 256], ones: 0, turns: 0, pairs: 0 }
    }
}

impl Counts {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut counts = Self::default();
        for (n, &byte) in bytes.iter().enumerate() {
            counts.of_byte[usize::from(byte)] += 1;
            counts.ones += u64::from(byte.count_ones());
            // Seven within the byte, and one to the byte before.
            counts.turns += u64::from(((byte ^ (byte >> 1)) & 0x7f).count_ones());
            if let Some(before) = n.checked_sub(1).map(|n| bytes[n]) {
                counts.turns += u64::from((before & 1) ^ (byte >> 7));
            }
        }
        counts.pairs = (bytes.len() as u64 * 8).saturating_sub(1);
        counts
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.of_byte.iter_mut().zip(other.of_byte) {
            *sum += count;
        }
        self.ones += other.ones;
        self.turns += other.turns;
        self.pairs += other.pairs;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.of_byte.iter().sum()
    }

    /// Returns the largest of all tests, in standard deviations.
    pub(crate) fn worst(&self, by_value: bool, by_runs: bool) -> f64 {
        let ones = deviations(self.ones, self.bytes() * 8);
        let runs = if by_runs { deviations(self.turns, self.pairs) } else { 0.0 };
        let values = if by_value { self.values() } else { 0.0 };
        ones.abs().max(runs.abs()).max(values.abs())
    }

    /// Computes chi-square over the byte values.
    fn values(&self) -> f64 {
        let expected = self.bytes() as f64 / 256.0;
        let square = |&count: &u64| (count as f64 - expected).powi(2) / expected;
        chi_square(self.of_byte.iter().map(square).sum(), 255.0)
    }
}

/// Converts a sum of squares to standard deviations.
///
/// The sum has `freedom` degrees of freedom. The approximation of Wilson and Hilferty gives
/// deviations of a normal distribution and preserves the tail.
fn chi_square(sum: f64, freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    ((sum / freedom).cbrt() - (1.0 - part)) / part.sqrt()
}

/// Returns the distance of `found` of `of` from half of them.
fn deviations(found: u64, of: u64) -> f64 {
    let of = of as f64;
    (found as f64 - of / 2.0) / (of / 4.0).sqrt()
}

/// Bound that chance alone exceeds once in a million, up or down.
pub(crate) const ONE_IN_A_MILLION: f64 = 4.892;

/// The results of several tests of rows of equal length.
#[derive(Clone, Debug)]
pub(crate) struct UniformityTest {
    /// The tests and their distances from chance, in standard deviations.
    pub(crate) tests: Vec<(&'static str, f64)>,
    /// Repeated aligned blocks of 16 bytes, and repeated rows: chance makes none.
    pub(crate) repeats: usize,
}

impl UniformityTest {
    /// Tests `bytes`, rows of `row` bytes each.
    pub(crate) fn new(bytes: &[u8], row: usize) -> Self {
        let counts = Counts::of(bytes);
        let (all, most) = places(bytes, row);
        Self {
            tests: vec![
                ("values of bytes", counts.values()),
                ("ones", deviations(counts.ones, counts.bytes() * 8)),
                ("runs of bits", deviations(counts.turns, counts.pairs)),
                ("ones at each place of a row, all", all),
                ("ones at each place of a row, the most", most),
                ("serial correlation of bytes", correlation(bytes, 1)),
                ("correlation with the row before", correlation(bytes, row)),
                ("words of 4 bytes that are met again", words(bytes)),
            ],
            repeats: repeats(bytes, 16) + repeats(bytes, row),
        }
    }

    /// Returns the test that is furthest from chance.
    pub(crate) fn worst(&self) -> (&'static str, f64) {
        let mut worst = ("", 0.0_f64);
        for &(name, deviation) in &self.tests {
            if deviation.abs() > worst.1.abs() {
                worst = (name, deviation);
            }
        }
        worst
    }

    /// Returns whether all tests pass at one in a million each.
    pub(crate) fn passes(&self) -> bool {
        self.repeats == 0 && self.worst().1.abs() < ONE_IN_A_MILLION
    }
}

/// Counts the ones at each position of a row; returns the sum of squares, and the largest, both
/// scaled to a single test.
fn places(bytes: &[u8], row: usize) -> (f64, f64) {
    let mut ones = vec![0_u64; row * 8];
    for row in bytes.chunks_exact(row) {
        for (ones, byte) in ones.chunks_exact_mut(8).zip(row) {
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += u64::from(byte >> bit & 1);
            }
        }
    }
    let rows = (bytes.len() / row) as u64;
    let (mut squares, mut most) = (0.0, 0.0_f64);
    for &ones in &ones {
        let deviation = deviations(ones, rows);
        squares += deviation * deviation;
        most = most.max(deviation.abs());
    }
    // The largest of m exceeds z with m times the probability of one, which subtracts ln(m) from
    // z^2/2.
    let excess = most * most - 2.0 * (ones.len() as f64).ln();
    (chi_square(squares, ones.len() as f64), excess.max(0.0).sqrt())
}

/// Computes Pearson's correlation of each byte with the one `lag` before it.
fn correlation(bytes: &[u8], lag: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (a, b) in bytes.iter().zip(&bytes[lag.min(bytes.len())..]) {
        sum += (f64::from(*a) - 127.5) * (f64::from(*b) - 127.5);
        count += 1.0;
    }
    // The variance of a uniform byte.
    let variance = (65_536.0 - 1.0) / 12.0;
    sum / variance / f64::sqrt(count)
}

/// Counts equal words of 4 bytes, and compares with chance (Poisson).
fn words(bytes: &[u8]) -> f64 {
    let mut words: Vec<u32> =
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    words.sort_unstable();
    let pairs: usize =
        words.chunk_by(|a, b| a == b).map(|alike| alike.len() * (alike.len() - 1) / 2).sum();
    let expected = words.len() as f64 * (words.len() as f64 - 1.0) / 2.0 / 2_f64.powi(32);
    // Anscombe: nearly normal from about four on; below that no conclusion is drawn.
    if expected < 4.0 && pairs < 40 {
        return 0.0;
    }
    2.0 * ((pairs as f64 + 0.375).sqrt() - (expected + 0.125).sqrt())
}

/// Counts aligned blocks of `unit` bytes that occurred before.
fn repeats(bytes: &[u8], unit: usize) -> usize {
    let mut seen = HashMap::new();
    for block in bytes.chunks_exact(unit) {
        *seen.entry(block).or_insert(0_usize) += 1;
    }
    seen.values().map(|times| times - 1).sum()
}

/// Returns the two-sided band for `found` of `trials`.
///
/// Each trial has probability `p`, and the band misses with probability 1 in 10,000: exact tails of
/// the binomial distribution.
pub(crate) fn binomial_band(trials: u64, p: f64) -> std::ops::RangeInclusive<u64> {
    const TAIL: f64 = 0.5e-4;
    let (mut ln_chance, mut below) = (trials as f64 * (-p).ln_1p(), 0.0);
    let (mut from, mut to) = (None, trials);
    for k in 0..=trials {
        below += ln_chance.exp();
        if from.is_none() && below > TAIL {
            from = Some(k);
        }
        if below >= 1.0 - TAIL {
            to = k;
            break;
        }
        ln_chance += ((trials - k) as f64 / (k + 1) as f64).ln() + p.ln() - (-p).ln_1p();
    }
    from.unwrap_or(0)..=to
}
