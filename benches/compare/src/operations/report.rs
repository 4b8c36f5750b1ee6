//! The results of operations as text: times and ratios, sizes, and a verdict on each goal.

use std::fmt::Write;

use serde_json::json;

use super::finished::{FEW, FEW_ENDED, LARGE, MANY, MANY_ENDED, Part};
use super::{Scale, Section, history, job};
use crate::environment::Environment;
use crate::measure::{Series, Spread};
use crate::report::{figure, write_raw};

/// Limit of the default policy, as a multiple of the bare job.
const POLICY_RATIO_MAX: f64 = 1.02;
/// Limit of a subscriber that never reads, relative to none.
const UNREAD_RATIO_MAX: f64 = 1.05;
/// Limit of a vault with many finished operations, relative to few.
const FINISHED_RATIO_MAX: f64 = 1.10;

/// A series, its base, and the limit of their ratio.
struct Goal {
    title: &'static str,
    section: &'static str,
    own: &'static str,
    base: &'static str,
    at_most: f64,
}

const GOALS: [Goal; 12] = [
    Goal {
        title: "the default policy's time beyond the items, as a part of the items",
        section: job::REST,
        own: job::DEFAULT,
        base: job::ITEMS,
        at_most: POLICY_RATIO_MAX - 1.0,
    },
    Goal {
        title: "a job at the default policy, of the bare one",
        section: job::NAME,
        own: job::DEFAULT,
        base: job::BARE,
        at_most: POLICY_RATIO_MAX,
    },
    Goal {
        title: "a subscriber that never reads, default policy",
        section: job::NAME,
        own: job::DEFAULT_UNREAD,
        base: job::DEFAULT,
        at_most: UNREAD_RATIO_MAX,
    },
    Goal {
        title: "a subscriber that never reads, each item",
        section: job::NAME,
        own: job::EACH_UNREAD,
        base: job::EACH,
        at_most: UNREAD_RATIO_MAX,
    },
    Goal {
        title: "a subscriber that never reads, a checkpoint in memory",
        section: history::MEMORY,
        own: history::KEPT_10_UNREAD,
        base: history::KEPT_10,
        at_most: UNREAD_RATIO_MAX,
    },
    finished("many finished, none left: open", Part::Open, [MANY_ENDED, FEW_ENDED]),
    finished("many finished, none left: first page", Part::Page, [MANY_ENDED, FEW_ENDED]),
    finished("many finished, none left: what is left", Part::Unfinished, [MANY_ENDED, FEW_ENDED]),
    finished("many finished, 10 left: open", Part::Open, [MANY, FEW]),
    finished("many finished, 10 left: first page", Part::Page, [MANY, FEW]),
    finished("many finished, 10 left: what is left", Part::Unfinished, [MANY, FEW]),
    finished(
        "many finished, 10 left: open, killed, of as many bytes",
        Part::OpenKilled,
        [MANY, LARGE],
    ),
];

const fn finished(title: &'static str, part: Part, [own, base]: [&'static str; 2]) -> Goal {
    Goal { title, section: part.name(), own, base, at_most: FINISHED_RATIO_MAX }
}

/// Formats all of `table.md`.
pub(super) fn table(
    environment: &Environment,
    scale: &Scale,
    sections: &[Section],
    state_bytes: &[(&str, u64)],
) -> String {
    let mut text = format!(
        "# Operations\n\n{}\n\n\
         {} rounds, in turn. Times are medians of the rounds' medians, with the smallest and the \
         largest round; CPU is that of all threads of the process. Ratios are taken round by \
         round, then their median.\n\n\
         | | | time, µs | rounds | ratio | rounds | CPU, µs | ratio | rounds |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        environment.prose_with(&["redb", "rusqlite"]),
        scale.rounds
    );
    for section in sections {
        for (place, own) in section.series.iter().enumerate() {
            let name = match place {
                0 => format!(
                    "**{}**: {}; ratios to the row {:?}",
                    section.name, section.title, section.base
                ),
                _ => String::new(),
            };
            write_row(&mut text, &name, section, own);
        }
    }
    text.push_str("\n| vault | state, MB |\n| --- | ---: |\n");
    for (label, bytes) in state_bytes {
        let _ = writeln!(text, "| {label} | {} |", figure(*bytes as f64 / 1e6));
    }
    text.push_str(
        "\n| goal | at most | wall | rounds | CPU | rounds | |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for goal in GOALS {
        write_goal(&mut text, sections, &goal);
    }
    text
}

fn write_row(text: &mut String, name: &str, section: &Section, own: &Series) {
    let of = |base: &str| section.find(base).filter(|base| base.label != own.label);
    let base = of(section.base);
    let (ratio, rounds) = ratio_text(base.map(|base| own.ratio_to(base)));
    let (processor_ratio, processor_rounds) =
        ratio_text(base.and_then(|base| on_processor(own, base)));
    let nanos = own.nanos();
    let processor = own.on_processor().map(|own| figure(own.nanos().median / 1e3));
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {}..{} | {ratio} | {rounds} | {} | {processor_ratio} \
         | {processor_rounds} |",
        own.label,
        figure(nanos.median / 1e3),
        figure(nanos.min / 1e3),
        figure(nanos.max / 1e3),
        processor.unwrap_or_default(),
    );
}

/// Writes nothing if one of the two was not measured.
fn write_goal(text: &mut String, sections: &[Section], goal: &Goal) {
    let section = sections.iter().find(|section| section.name == goal.section);
    let pair = section.and_then(|section| section.find(goal.own).zip(section.find(goal.base)));
    let Some((own, base)) = pair else { return };
    let (wall, processor) = (own.ratio_to(base), on_processor(own, base));
    let met = [Some(wall), processor].iter().flatten().all(|ratio| ratio.median <= goal.at_most);
    let ((wall, wall_rounds), (processor, processor_rounds)) =
        (ratio_text(Some(wall)), ratio_text(processor));
    let _ = writeln!(
        text,
        "| {} | {:.2} | {wall} | {wall_rounds} | {processor} | {processor_rounds} | {} |",
        goal.title,
        goal.at_most,
        if met { "met" } else { "**missed**" }
    );
}

fn on_processor(own: &Series, base: &Series) -> Option<Spread> {
    Some(own.on_processor()?.ratio_to(&base.on_processor()?))
}

/// Formats a ratio and its range.
fn ratio_text(ratio: Option<Spread>) -> (String, String) {
    ratio.map_or_else(Default::default, |ratio| {
        (format!("{:.3}", ratio.median), format!("{:.3}..{:.3}", ratio.min, ratio.max))
    })
}

/// Formats all of `raw.jsonl`.
pub(super) fn raw(
    environment: &Environment,
    sections: &[Section],
    state_bytes: &[(&str, u64)],
) -> String {
    let mut text = format!("{}\n", environment.json());
    for section in sections {
        write_raw(&mut text, section.name, &section.series);
    }
    for (label, bytes) in state_bytes {
        let _ = writeln!(text, "{}", json!({ "vault": label, "state_bytes": bytes }));
    }
    text
}
