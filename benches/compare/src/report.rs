//! The results as text: a table for people with a verdict on each goal, and every sample.

use std::fmt::Write;

use serde_json::json;

use crate::environment::Environment;
use crate::measure::{Measured, Spread};
use crate::peers::{Peer, Redb, Sqlite, Strongroom};
use crate::workloads::{DATA_ALONE, Scale, Workload};

/// Most that Strongroom may take of plain redb's time.
pub(crate) const REDB_RATIO_MAX: f64 = 1.05;
/// Most that data with its checkpoint may take of the time of the data alone.
const CHECKPOINT_RATIO_MAX: f64 = 1.10;

/// The whole of `table.md`.
pub(crate) fn table(environment: &Environment, scale: &Scale, results: &[Measured]) -> String {
    let mut text = String::from("# Strongroom beside plain redb, SQLite and JSON files\n\n");
    let _ = writeln!(text, "{}\n", environment.prose());
    if environment.is_in_memory() {
        text.push_str("**The databases lay in memory: syncs cost nothing here.**\n\n");
    }
    let _ = writeln!(
        text,
        "{} rounds, contenders in turn. Times are medians of the rounds' \
         medians, with the smallest and the largest round. Ratios are taken round by round, then \
         their median; below 1 is faster than plain redb.\n",
        scale.rounds
    );
    text.push_str(
        "| workload | contender | time | rounds | per second | of plain redb | rounds |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for measured in results {
        write_rows(&mut text, scale, measured);
    }
    text.push_str("\n| goal | measured | rounds | |\n| --- | ---: | ---: | --- |\n");
    for measured in results {
        write_goals(&mut text, measured);
    }
    text
}

fn write_rows(text: &mut String, scale: &Scale, measured: &Measured) {
    let base = measured.series(Redb::LABEL);
    let (unit, divisor) = unit_of(measured.workload);
    for (place, series) in measured.series.iter().enumerate() {
        let nanos = series.nanos();
        let title = match place {
            0 => format!("**{}**: {}", measured.workload.name(), measured.workload.title(scale)),
            _ => String::new(),
        };
        let (ratio, rounds) = match base {
            Some(base) if place > 0 => {
                let ratio = series.ratio_to(base);
                let rounds = format!("{:.2}..{:.2}", ratio.min, ratio.max);
                (format!("**{:.3}**", ratio.median), rounds)
            }
            _ => ("1".to_owned(), String::new()),
        };
        let _ = writeln!(
            text,
            "| {title} | {} | {} {unit} | {}..{} | {:.0} | {ratio} | {rounds} |",
            series.label,
            figure(nanos.median / divisor),
            figure(nanos.min / divisor),
            figure(nanos.max / divisor),
            1e9 / nanos.median,
        );
    }
}

fn unit_of(workload: Workload) -> (&'static str, f64) {
    match workload {
        Workload::Get => ("ns", 1.0),
        Workload::Batch => ("ms", 1e6),
        _ => ("µs", 1e3),
    }
}

/// Three figures or so.
fn figure(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

fn write_goals(text: &mut String, measured: &Measured) {
    let ratio = |label: &str| {
        let own = measured.series(Strongroom::LABEL)?;
        Some(own.ratio_to(measured.series(label)?))
    };
    let name = measured.workload.name();
    if measured.workload == Workload::Checkpoint {
        let goal = format!("{name}: at most {CHECKPOINT_RATIO_MAX:.2} of the data alone");
        write_goal(text, &goal, ratio(DATA_ALONE), CHECKPOINT_RATIO_MAX);
    }
    let goal = format!("{name}: at most {REDB_RATIO_MAX:.2} of plain redb");
    write_goal(text, &goal, ratio(Redb::LABEL), REDB_RATIO_MAX);
    let goal = format!("{name}: ahead of SQLite");
    write_goal(text, &goal, ratio(Sqlite::LABEL), 1.0);
}

fn write_goal(text: &mut String, goal: &str, ratio: Option<Spread>, at_most: f64) {
    let Some(ratio) = ratio else {
        return;
    };
    let verdict = if ratio.median <= at_most { "met" } else { "**missed**" };
    let _ = writeln!(
        text,
        "| {goal} | {:.3} | {:.2}..{:.2} | {verdict} |",
        ratio.median, ratio.min, ratio.max
    );
}

/// The whole of `raw.jsonl`: the environment, then one line for each round of each contender,
/// in nanoseconds per operation.
pub(crate) fn raw(environment: &Environment, results: &[Measured]) -> String {
    let mut text = format!("{}\n", environment.json());
    for measured in results {
        for series in &measured.series {
            for (round, nanos) in (1..).zip(&series.rounds) {
                let line = json!({
                    "workload": measured.workload.name(),
                    "contender": series.label,
                    "round": round,
                    "nanos": nanos,
                });
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}
