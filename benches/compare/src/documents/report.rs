//! The results of documents as text: times, ratios to one generation, peaks of memory, and a
//! verdict on each goal.

use std::fmt::Write;

use serde_json::json;

use super::memory::Peaks;
use super::{Case, Outcome, RESEAL, RESEAL_CPU, UPDATE_CPU};
use crate::environment::Environment;
use crate::measure::{Series, Spread};
use crate::report::{figure, write_raw};

/// Limit for updating a document of 10 KiB, in milliseconds of CPU.
const UPDATE_CPU_MS_MAX: f64 = 20.0;
/// Limit for the memory of a document of 4 MiB, in MiB.
const PEAK_MIB_MAX: f64 = 128.0;

/// Formats all of `table.md`.
pub(super) fn table(
    environment: &Environment,
    rounds: usize,
    outcomes: &[Outcome],
    peaks: &Peaks,
) -> String {
    let mut text = format!(
        "# Documents: read and updated\n\n{}\n\n\
         {rounds} rounds, in turn. Times are medians of the rounds' medians, with the smallest and \
         the largest round; CPU is that of all threads of the process. No handle hashes its \
         password here but where that is said. Ratios are to opening and sealing the generation \
         of the same space once, of wall or CPU time, taken round by round, then their median.\n\n\
         | document | | time, ms | rounds | of open and seal |\n\
         | --- | --- | ---: | ---: | ---: |\n",
        environment.prose_with(&["redb", "argon2", "aes-gcm-siv"])
    );
    for Outcome { case, generation_bytes, series } in outcomes {
        for (place, own) in series.iter().enumerate() {
            let name = match place {
                0 => format!(
                    "{}; capacity {} KiB, generation {:.1} MB",
                    case.name,
                    case.capacity >> 10,
                    *generation_bytes as f64 / 1e6
                ),
                _ => String::new(),
            };
            let nanos = own.nanos();
            let base = if own.label.ends_with("CPU") { RESEAL_CPU } else { RESEAL };
            let ratio = ratio(series, own, base).map(|ratio| figure(ratio.median));
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {}..{} | {} |",
                own.label,
                figure(nanos.median / 1e6),
                figure(nanos.min / 1e6),
                figure(nanos.max / 1e6),
                ratio.unwrap_or_default()
            );
        }
    }
    text.push_str("\n| document of 4 MiB, after | peak of memory so far, MiB |\n| --- | ---: |\n");
    for (step, mib) in peaks.steps() {
        let _ = writeln!(text, "| {step} | {} |", figure(mib));
    }
    text.push_str("\n| goal | measured | |\n| --- | ---: | --- |\n");
    let verdict = |met| if met { "met" } else { "**missed**" };
    for Outcome { case, series, .. } in outcomes {
        let own = series.iter().find(|series| series.label == UPDATE_CPU);
        if let Some(own) = own.filter(|_| *case == Case::HELD) {
            let ms = own.nanos().median / 1e6;
            let _ = writeln!(
                text,
                "| update {}: less than {UPDATE_CPU_MS_MAX:.0} ms of CPU | {} | {} |",
                case.name,
                figure(ms),
                verdict(ms < UPDATE_CPU_MS_MAX)
            );
        }
    }
    let highest = peaks.highest();
    let _ = writeln!(
        text,
        "| document of 4 MiB: less than {PEAK_MIB_MAX:.0} MiB, the process and all | {} | {} |",
        figure(highest),
        verdict(highest < PEAK_MIB_MAX)
    );
    text
}

/// Returns a ratio; `None` for the base itself.
fn ratio(all: &[Series], own: &Series, base: &str) -> Option<Spread> {
    let base = all.iter().find(|series| series.label == base && series.label != own.label)?;
    Some(own.ratio_to(base))
}

/// Formats all of `raw.jsonl`.
pub(super) fn raw(environment: &Environment, outcomes: &[Outcome], peaks: &Peaks) -> String {
    let mut text = format!("{}\n", environment.json());
    for Outcome { case, series, .. } in outcomes {
        write_raw(&mut text, case.name, series);
    }
    let _ = writeln!(text, "{}", json!({ "workload": "4 MiB", "memory": peaks.json() }));
    text
}
