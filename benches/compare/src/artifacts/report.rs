//! The results of artifacts as text: times and ratios, the size of versions, a verdict on each
//! goal.

use std::fmt::Write;

use serde_json::json;

use super::stores::FILES;
use super::tools::{BUPSTASH, BY_KEY, BY_PASSWORD, RESTIC};
use super::versions::{Outcome, Versions};
use super::{Section, Verb};
use crate::environment::Environment;
use crate::measure::{Series, Spread};
use crate::peers::{SQLCIPHER, STRONGROOM};
use crate::report::{figure, write_raw};

/// Below this size Strongroom should be ahead of synced files.
const FILES_BYTES: usize = 64 << 10;

/// Each backup tool with its counterpart: the vault that is opened in the same way.
const TOOLS: [(&str, &str); 2] = [(BUPSTASH, BY_KEY), (RESTIC, BY_PASSWORD)];

/// Formats all of `table.md`.
pub(super) fn table(
    environment: &Environment,
    sections: &[Section],
    versions: Option<&Versions>,
) -> String {
    let mut text = format!(
        "# Artifacts\n\n{}, SQLite {}, SQLCipher {}\n\n",
        environment.prose_with(&["redb", "rusqlite", "cacache"]),
        environment.sqlite,
        environment.sqlcipher.as_deref().unwrap_or("absent: built without it"),
    );
    text.push_str(
        "Contenders in turn, round by round. Times are of one operation, medians of the rounds, \
         with the smallest and the largest round; with several threads the wall time is divided by \
         all of their operations. CPU is that of all threads of the process. Ratios are \
         Strongroom's time as a multiple of the peer's, taken round by round, then their median; \
         below 1 Strongroom is ahead.\n",
    );
    if !sections.is_empty() {
        text.push_str(
            "\n| | | time, µs | rounds | MB/s | CPU, µs | strongroom's time of it | rounds \
             | strongroom's CPU of it |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for section in sections {
            write_section(&mut text, section);
        }
    }
    if let Some(versions) = versions {
        write_versions(&mut text, versions);
    }
    text.push_str("\n| goal | measured | rounds | |\n| --- | ---: | ---: | --- |\n");
    for section in sections {
        write_goals(&mut text, section);
    }
    if let Some(versions) = versions {
        write_version_goals(&mut text, versions);
    }
    text
}

fn write_section(text: &mut String, section: &Section) {
    let own = section.find(STRONGROOM);
    for (place, series) in section.series.iter().enumerate() {
        let name = match place {
            0 => format!("**{}**, {} rounds", section.name(), series.rounds.len()),
            _ => String::new(),
        };
        let own = own.filter(|own| own.label != series.label);
        let (ratio, rounds) = ratio_text(own.map(|own| own.ratio_to(series)));
        let (processor_ratio, _) = ratio_text(own.and_then(|own| on_processor(own, series)));
        let nanos = series.nanos();
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {}..{} | {} | {} | {ratio} | {rounds} | {processor_ratio} |",
            series.label,
            figure(nanos.median / 1e3),
            figure(nanos.min / 1e3),
            figure(nanos.max / 1e3),
            figure(section.size.bytes as f64 * 1e3 / nanos.median),
            processor_millis(series).map(|ms| figure(ms * 1e3)).unwrap_or_default(),
        );
    }
}

fn write_versions(text: &mut String, versions: &Versions) {
    let Versions { sizes, rounds, .. } = versions;
    let _ = write!(
        text,
        "\n{} versions of a file of {} MB, 1 % of it edited from each to the next; {rounds} \
         rounds. All versions together, each by a process of its own.\n\n\
         | | version | CPU, s | rounds | time, s | stored after the first, MB | after all, MB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        sizes.versions,
        figure(sizes.file_bytes as f64 / 1e6),
    );
    for Outcome { tool, version, stored: _ } in &versions.tools {
        let label = tool.label();
        let Some((series, [first, all])) = measured(versions, label) else {
            let _ = writeln!(text, "| {label} | not installed here | | | | | |");
            continue;
        };
        let processor = series.on_processor().map(|own| own.nanos());
        let (cpu, range) = processor.map_or_else(Default::default, |nanos| {
            let (min, max) = (figure(nanos.min / 1e9), figure(nanos.max / 1e9));
            (figure(nanos.median / 1e9), format!("{min}..{max}"))
        });
        let _ = writeln!(
            text,
            "| {label} | {} | {cpu} | {range} | {} | {} | {} |",
            version.as_deref().unwrap_or_default(),
            figure(series.nanos().median / 1e9),
            figure(first as f64 / 1e6),
            figure(all as f64 / 1e6),
        );
    }
}

fn write_goals(text: &mut String, section: &Section) {
    let Some(own) = section.find(STRONGROOM) else { return };
    let is_small = section.size.bytes < FILES_BYTES;
    for (peer, is_goal) in [(SQLCIPHER, true), (FILES, is_small && section.verb == Verb::Put)] {
        if let Some(base) = section.find(peer).filter(|_| is_goal) {
            write_goal(text, &format!("{}: ahead of {peer}", section.name()), own.ratio_to(base));
        }
    }
}

fn write_version_goals(text: &mut String, versions: &Versions) {
    for (tool, own) in TOOLS {
        let Some((base, [_, stored])) = measured(versions, tool) else { continue };
        let Some((own, [_, own_stored])) = measured(versions, own) else { continue };
        if let Some(ratio) = on_processor(own, base) {
            write_goal(text, &format!("versions: less CPU than {tool}"), ratio);
        }
        let ratio = own_stored as f64 / stored as f64;
        let ratio = Spread { min: ratio, median: ratio, max: ratio };
        write_goal(text, &format!("versions: fewer bytes than {tool}"), ratio);
    }
}

fn write_goal(text: &mut String, told_as: &str, ratio: Spread) {
    let verdict = if ratio.median < 1.0 { "met" } else { "**missed**" };
    let (ratio, rounds) = ratio_text(Some(ratio));
    let _ = writeln!(text, "| {told_as} | {ratio} | {rounds} | {verdict} |");
}

fn measured<'a>(versions: &'a Versions, label: &str) -> Option<(&'a Series, [u64; 2])> {
    let series = versions.series.iter().find(|series| series.label == label)?;
    let outcome = versions.tools.iter().find(|outcome| outcome.tool.label() == label)?;
    Some((series, outcome.last()?))
}

fn processor_millis(series: &Series) -> Option<f64> {
    Some(series.on_processor()?.nanos().median / 1e6)
}

fn on_processor(own: &Series, base: &Series) -> Option<Spread> {
    Some(own.on_processor()?.ratio_to(&base.on_processor()?))
}

/// Formats a ratio and its range.
fn ratio_text(ratio: Option<Spread>) -> (String, String) {
    ratio.map_or_else(Default::default, |ratio| {
        (format!("{:.3}", ratio.median), format!("{:.2}..{:.2}", ratio.min, ratio.max))
    })
}

/// Formats all of `raw.jsonl`.
pub(super) fn raw(
    environment: &Environment,
    sections: &[Section],
    versions: Option<&Versions>,
) -> String {
    let mut text = format!("{}\n", environment.json());
    for section in sections {
        write_raw(&mut text, &section.name(), &section.series);
    }
    if let Some(versions) = versions {
        write_raw(&mut text, "versions", &versions.series);
        for outcome in &versions.tools {
            let line = json!({
                "tool": outcome.tool.label(),
                "version": outcome.version,
                "stored_bytes": *outcome.stored.borrow(),
            });
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
