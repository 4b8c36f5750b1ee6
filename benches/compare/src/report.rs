//! The results as text: a table, a verdict on each goal, a comparison of the two ciphers, and every
//! sample.

use std::fmt::Write;

use serde_json::json;

use crate::environment::Environment;
use crate::goals;
use crate::measure::{Measured, Series, Spread};
use crate::peers::{REDB, SQLCIPHER, STRONGROOM, XCHACHA};
use crate::workloads::{Scale, Workload};

/// Formats all of `table.md`.
pub(crate) fn table(environment: &Environment, scale: &Scale, results: &[Measured]) -> String {
    let mut text = String::from(
        "# Strongroom, sealed, compared with plain redb, SQLite, SQLCipher and JSON files\n\n",
    );
    let _ = writeln!(text, "{}\n", environment.prose());
    if environment.is_in_memory() {
        text.push_str("**The databases were in memory, where syncs cost nothing.**\n\n");
    }
    if environment.sqlcipher.is_none() {
        text.push_str("**Built without SQLCipher, which is therefore missing here.**\n\n");
    }
    let _ = writeln!(
        text,
        "{} rounds, contenders in turn. Times are medians of the rounds' \
         medians, with the smallest and the largest round. Ratios are taken round by round, then \
         their median; below 1 is faster than the peer. Goals are those of `{STRONGROOM}`.\n",
        scale.rounds
    );
    text.push_str(
        "| workload | contender | time | rounds | per second | of plain redb | rounds | goal \
         | of SQLCipher | rounds | goal |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for measured in results {
        write_rows(&mut text, scale, measured);
    }
    text.push_str("\n| goal | measured | rounds | |\n| --- | ---: | ---: | --- |\n");
    for goal in results.iter().flat_map(goals::of) {
        let verdict = if goal.met { "met" } else { "**missed**" };
        let (ratio, rounds) = ratio_text(Some(goal.ratio));
        let _ = writeln!(text, "| {} | {ratio} | {rounds} | {verdict} |", goal.title);
    }
    write_ciphers(&mut text, environment, results);
    text
}

fn write_rows(text: &mut String, scale: &Scale, measured: &Measured) {
    let (unit, divisor) = unit_of(measured.workload);
    for (place, series) in measured.series.iter().enumerate() {
        let nanos = series.nanos();
        let title = match place {
            0 => format!("**{}**: {}", measured.workload.name(), measured.workload.title(scale)),
            _ => String::new(),
        };
        let (redb, redb_rounds) = ratio_text(ratio(measured, series, REDB));
        let (sqlcipher, sqlcipher_rounds) = ratio_text(ratio(measured, series, SQLCIPHER));
        let goals = (series.label == STRONGROOM).then(|| goals_of(measured.workload));
        let (redb_goal, sqlcipher_goal) = goals.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {title} | {} | {} {unit} | {}..{} | {:.0} | {redb} | {redb_rounds} | {redb_goal} \
             | {sqlcipher} | {sqlcipher_rounds} | {sqlcipher_goal} |",
            series.label,
            figure(nanos.median / divisor),
            figure(nanos.min / divisor),
            figure(nanos.max / divisor),
            1e9 / nanos.median,
        );
    }
}

/// Returns a ratio; `None` without such a peer, or for the peer itself.
fn ratio(measured: &Measured, series: &Series, peer: &str) -> Option<Spread> {
    let peer = measured.series(peer).filter(|peer| peer.label != series.label)?;
    Some(series.ratio_to(peer))
}

/// Formats a ratio and its range.
fn ratio_text(ratio: Option<Spread>) -> (String, String) {
    ratio.map_or_else(Default::default, |ratio| {
        (format!("**{:.3}**", ratio.median), format!("{:.2}..{:.2}", ratio.min, ratio.max))
    })
}

/// Formats the limits of `strongroom`, against plain redb and `SQLCipher`.
fn goals_of(workload: Workload) -> (String, &'static str) {
    let redb = goals::redb_ratio_max(workload).map(|most| format!("≤ {most:.2}"));
    (redb.unwrap_or_default(), if goals::is_race(workload) { "< 1" } else { "" })
}

fn unit_of(workload: Workload) -> (&'static str, f64) {
    match workload {
        Workload::Get | Workload::GetUncached => ("ns", 1.0),
        Workload::Batch | Workload::Scan | Workload::ScanUncached | Workload::OpenPassword => {
            ("ms", 1e6)
        }
        _ => ("µs", 1e3),
    }
}

/// Formats about three significant figures.
pub(crate) fn figure(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Compares the same vault with each cipher on this machine.
fn write_ciphers(text: &mut String, environment: &Environment, results: &[Measured]) {
    let _ = writeln!(
        text,
        "\nThe default cipher on this machine is {:?}. The other, as a multiple of its time:\n\n\
         | XChaCha20-Poly1305 of AES-256-GCM-SIV | ratio | rounds |\n| --- | ---: | ---: |",
        environment.cipher
    );
    for measured in results {
        if let Some(other) = measured.series(XCHACHA) {
            let (ratio, rounds) = ratio_text(ratio(measured, other, STRONGROOM));
            let _ = writeln!(text, "| {} | {ratio} | {rounds} |", measured.workload.name());
        }
    }
}

/// Formats all of `raw.jsonl`: the environment, then one line for each round of each contender, in
/// nanoseconds per operation.
pub(crate) fn raw(environment: &Environment, results: &[Measured]) -> String {
    let mut text = format!("{}\n", environment.json());
    for measured in results {
        write_raw(&mut text, measured.workload.name(), &measured.series);
    }
    text
}

/// Writes the lines of one workload.
pub(crate) fn write_raw(text: &mut String, workload: &str, series: &[Series]) {
    for series in series {
        for ((round, nanos), processor) in (1..).zip(&series.rounds).zip(&series.processor) {
            let mut line = json!({
                "workload": workload,
                "contender": series.label,
                "round": round,
                "nanos": nanos,
            });
            if !processor.is_empty() {
                line["processor_nanos"] = json!(processor);
            }
            let _ = writeln!(text, "{line}");
        }
    }
}
