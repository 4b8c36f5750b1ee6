//! The results of sharing as text: megabytes of secret in a second, compared with the peers, and a
//! verdict on each goal.

use std::fmt::Write;

use super::peers::{BLAHAJ, STRONGROOM, VSSS};
use super::{Case, Outcome};
use crate::environment::Environment;
use crate::measure::Series;
use crate::report::{figure, write_raw};

/// Goals for all layers, 3 of 9, in megabytes per second.
const SPLIT_MB_MIN: f64 = 100.0;
const JOIN_MB_MIN: f64 = 400.0;

/// Formats all of `table.md`.
pub(super) fn table(environment: &Environment, rounds: usize, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "# Sharing secrets, compared with blahaj and vsss-rs\n\n{}\n\n\
         One thread, {rounds} rounds, contenders in turn. MB/s is 10^6 bytes of secret a second, \
         from the median of the rounds' medians, with the slowest and the fastest round. Ratios \
         are taken round by round, then their median: how many times as fast as the peer.\n\n\
         | secret | | split, MB/s | rounds | of blahaj | of vsss-rs | join, MB/s | rounds \
         | of blahaj | of vsss-rs |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        environment.prose_with(&["blahaj", "vsss-rs"])
    );
    for outcome in outcomes {
        for (place, (split, join)) in outcome.split.iter().zip(&outcome.join).enumerate() {
            let name = if place == 0 { outcome.case.name() } else { String::new() };
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} |",
                split.label,
                columns(split, &outcome.split, outcome.bytes),
                columns(join, &outcome.join, outcome.bytes),
            );
        }
    }
    text.push_str("\n| goal | measured, MB/s | |\n| --- | ---: | --- |\n");
    for outcome in outcomes.iter().filter(|outcome| outcome.case == Case::HELD) {
        for (what, series, least) in
            [("split", &outcome.split, SPLIT_MB_MIN), ("join", &outcome.join, JOIN_MB_MIN)]
        {
            let own = series.iter().find(|series| series.label == STRONGROOM);
            let speed = own.map_or(0.0, |own| speed(outcome.bytes, own.nanos().median));
            let verdict = if speed >= least { "met" } else { "**missed**" };
            let _ = writeln!(
                text,
                "| {what} {}, all included: at least {least:.0} | {} | {verdict} |",
                outcome.case.name(),
                figure(speed)
            );
        }
    }
    text
}

/// Formats all of `raw.jsonl`.
pub(super) fn raw(environment: &Environment, outcomes: &[Outcome]) -> String {
    let mut text = format!("{}\n", environment.json());
    for Outcome { case, bytes, split, join } in outcomes {
        let name = case.name();
        write_raw(&mut text, &format!("split {name} ({bytes} bytes)"), split);
        write_raw(&mut text, &format!("join {name} ({bytes} bytes)"), join);
    }
    text
}

/// Formats speed, range and both ratios.
fn columns(own: &Series, all: &[Series], bytes: usize) -> String {
    let nanos = own.nanos();
    let of = |peer: &str| {
        let peer = all.iter().find(|series| series.label == peer && peer != own.label);
        peer.map_or_else(String::new, |peer| figure(peer.ratio_to(own).median))
    };
    format!(
        "{} | {}..{} | {} | {}",
        figure(speed(bytes, nanos.median)),
        figure(speed(bytes, nanos.max)),
        figure(speed(bytes, nanos.min)),
        of(BLAHAJ),
        of(VSSS),
    )
}

/// Returns megabytes a second.
fn speed(bytes: usize, nanos: f64) -> f64 {
    bytes as f64 * 1e3 / nanos
}
