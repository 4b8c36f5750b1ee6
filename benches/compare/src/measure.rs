//! Measuring time: contenders in turn, A B C C B A …, in a rotated order each round.
//!
//! On a shared machine only measurements close in time can be compared. Every other turn goes
//! backwards, so that the work which one contender leaves to the disk does not always delay the
//! same other one. Only this file reads a clock.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::workloads::{Scale, Workload};

/// One peer in one workload. Its work is prepared outside the measured time.
pub(crate) struct Contender {
    /// Name in the table.
    pub(crate) label: &'static str,
    /// Runs one turn and adds its samples.
    pub(crate) turn: Turn,
}

pub(crate) type Turn = Box<dyn FnMut(&mut Samples) -> Result<()>>;

/// Nanoseconds per operation.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    nanos: Vec<u64>,
    /// Processor time of the samples that have both.
    processor: Vec<u64>,
}

impl Samples {
    /// Runs `work`, which is `operations` operations, and adds the time of one.
    pub(crate) fn time<T>(
        &mut self,
        operations: usize,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        #[allow(clippy::disallowed_methods)] // This file measures time.
        let start = Instant::now();
        let outcome = work()?;
        let nanos = start.elapsed().as_nanos() / operations.max(1) as u128;
        self.nanos.push(u64::try_from(nanos).unwrap_or(u64::MAX));
        Ok(outcome)
    }

    /// Runs `work` and adds this process's CPU time in all threads.
    pub(crate) fn time_on_processor<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (nanos, outcome) = on_processor(work);
        self.nanos.push(nanos);
        outcome
    }

    /// Adds both times of one run of `work`, which is `operations` operations; returns them.
    pub(crate) fn time_both<T>(
        &mut self,
        operations: usize,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Taken)> {
        let mut taken = Taken::default();
        let outcome = taken.time(work)?;
        let operations = operations.max(1) as u64;
        self.nanos.push(taken.nanos / operations);
        self.processor.push(taken.processor / operations);
        Ok((outcome, taken))
    }
}

impl Samples {
    /// Runs `work`, and adds its time and its children's CPU time.
    ///
    /// The CPU time counts awaited child processes, in steps of a hundredth of a second.
    pub(crate) fn time_children<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = nanos_of_children()?;
        let outcome = self.time(1, work)?;
        self.processor.push(nanos_of_children()?.saturating_sub(before));
        Ok(outcome)
    }
}

/// Returns the processor time of finished children and their children so far.
fn nanos_of_children() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    // After the name, which may have spaces, the state is the first field, user time of children
    // the 14th, their system time the 15th.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| -> Result<u64> {
        Ok(fields.get(at).context("the kernel reports the time of children")?.parse()?)
    };
    Ok((ticks(13)? + ticks(14)?) * 1_000_000_000 / clock_ticks_per_second())
}

/// Nanoseconds of wall time and of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) nanos: u64,
    pub(crate) processor: u64,
}

impl Taken {
    /// Adds the times of `work`.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        #[allow(clippy::disallowed_methods)] // This file measures time.
        let start = Instant::now();
        let (processor, outcome) = on_processor(work);
        self.nanos += u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.processor += processor;
        outcome
    }
}

/// Runs `work`; returns the processor time of this process, in all of its threads.
fn on_processor<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let start = clock_gettime(ClockId::ProcessCPUTime);
    let outcome = work();
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime) - start;
    let nanos = tv_sec.saturating_mul(1_000_000_000).saturating_add(tv_nsec);
    (u64::try_from(nanos).unwrap_or(u64::MAX), outcome)
}

/// Returns the runs of `step` within `time`, by the fastest measurement.
pub(crate) fn runs_within(time: Duration, mut step: impl FnMut()) -> u64 {
    const LOOKS: usize = 50;
    const RUNS: u32 = 100;
    let look = |_| {
        #[allow(clippy::disallowed_methods)] // This file measures time.
        let start = Instant::now();
        (0..RUNS).for_each(|_| step());
        start.elapsed()
    };
    let fastest = (0..LOOKS).map(look).min().expect("some looks");
    let runs = time.as_nanos() * u128::from(RUNS) / fastest.as_nanos().max(1);
    u64::try_from(runs).unwrap_or(u64::MAX)
}

/// All samples of one workload.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) series: Vec<Series>,
}

/// All samples of one contender.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) label: &'static str,
    /// Samples by round, without the round that warmed up.
    pub(crate) rounds: Vec<Vec<u64>>,
    /// Processor time of the same, if both were measured.
    pub(crate) processor: Vec<Vec<u64>>,
}

/// A median, with the smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = values.first().zip(values.last()).expect("at least one round");
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { min, median, max }
    }
}

impl Series {
    /// Returns the median of each round.
    fn medians(&self) -> Vec<f64> {
        let median =
            |round: &Vec<u64>| Spread::of(round.iter().map(|&n| n as f64).collect()).median;
        self.rounds.iter().map(median).collect()
    }

    /// Returns the series in processor time, if it was measured.
    pub(crate) fn on_processor(&self) -> Option<Self> {
        let rounds = self.processor.clone();
        let taken = rounds.iter().any(|round| !round.is_empty());
        taken.then_some(Self { label: self.label, rounds, processor: Vec::new() })
    }

    /// Returns nanoseconds per operation, over the medians of the rounds.
    pub(crate) fn nanos(&self) -> Spread {
        Spread::of(self.medians())
    }

    /// Returns its time as a multiple of `base`, round by round.
    pub(crate) fn ratio_to(&self, base: &Self) -> Spread {
        let pairs = self.medians().into_iter().zip(base.medians());
        Spread::of(pairs.map(|(own, base)| own / base).collect())
    }
}

impl Measured {
    pub(crate) fn series(&self, label: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.label == label)
    }
}

/// Runs a workload: one round to warm up, then those that count.
pub(crate) fn run(
    workload: Workload,
    scale: &Scale,
    contenders: &mut [Contender],
) -> Result<Measured> {
    let series = series(scale.rounds, workload.turns(scale), contenders)?;
    Ok(Measured { workload, series })
}

/// Gives each contender `turns` turns in each round: one round to warm up, then `rounds` that
/// count.
pub(crate) fn series(
    rounds: usize,
    turns: usize,
    contenders: &mut [Contender],
) -> Result<Vec<Series>> {
    let mut series: Vec<_> = contenders
        .iter()
        .map(|contender| Series {
            label: contender.label,
            rounds: Vec::new(),
            processor: Vec::new(),
        })
        .collect();
    let count = contenders.len();
    for round in 0..=rounds {
        let mut samples: Vec<Samples> = (0..count).map(|_| Samples::default()).collect();
        for turn in 0..turns {
            for place in 0..count {
                let forwards = (round + turn).is_multiple_of(2);
                let next = (round + if forwards { place } else { count - 1 - place }) % count;
                (contenders[next].turn)(&mut samples[next])?;
            }
        }
        if round > 0 {
            for (series, samples) in series.iter_mut().zip(samples) {
                series.rounds.push(samples.nanos);
                series.processor.push(samples.processor);
            }
        }
    }
    Ok(series)
}

/// Returns today's date in UTC, as `2026-01-31`.
#[allow(clippy::disallowed_methods)] // The name of a result has the date of its measurement.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date_of(since.map_or(0, |since| since.as_secs() / 86_400))
}

/// Returns the date `days` after 1970-01-01.
///
/// Civil calendar of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", for days that
/// are not negative.
fn date_of(days: u64) -> String {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_civil_calendar() {
        for (days, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_454, "2026-01-01")] {
            assert_eq!(date_of(days), date);
        }
    }

    #[test]
    fn ratios_are_computed_per_round() {
        let series = |rounds: &[u64]| Series {
            label: "any",
            rounds: rounds.iter().map(|&nanos| vec![nanos]).collect(),
            processor: Vec::new(),
        };
        // The machine slowed down tenfold after the first round; the ratio stays 2.
        let ratio = series(&[2, 20, 20]).ratio_to(&series(&[1, 10, 10]));
        assert_eq!((ratio.min, ratio.median, ratio.max), (2.0, 2.0, 2.0));
    }
}
