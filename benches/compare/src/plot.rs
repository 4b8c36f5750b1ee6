//! The results as a picture: multiples of plain redb, one line for each contender of each workload,
//! on a logarithmic axis.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::environment::Environment;
use crate::goals;
use crate::measure::{Measured, Spread};
use crate::peers::{JSON_FILE, REDB, SQLCIPHER, SQLITE, STRONGROOM};

const WIDTH: u32 = 1_000;
const LINE_HEIGHT: u32 = 24;
/// Height above the lines, for title and environment; the axis is below them.
const TOP: u32 = 64;
const BOTTOM: u32 = 56;
/// Width left of the axis, for workloads and contenders.
const LEFT: u32 = 320;
/// Width right of the axis, for the ratios in figures.
const RIGHT: u32 = 190;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(215, 215, 215);
const GOAL: RGBColor = RGBColor(0, 130, 90);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One contender in one workload.
struct Line {
    /// Empty except on a workload's first line.
    workload: &'static str,
    contender: &'static str,
    ratio: Spread,
    /// Median of the ratio to `SQLCipher`.
    of_sqlcipher: Option<f64>,
    /// Limit as a multiple of plain redb's time in this workload.
    goal: Option<f64>,
}

/// Draws all ratios to plain redb; nothing if none was measured.
pub(crate) fn draw(path: &Path, environment: &Environment, results: &[Measured]) -> Result<()> {
    let lines = lines_of(results);
    if lines.is_empty() {
        return Ok(());
    }
    let count = u32::try_from(lines.len()).context("few lines")?;
    let height = TOP + count * LINE_HEIGHT + BOTTOM;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    heading(&area, environment)?;
    labels(&area, &lines)?;
    ratios(&area, &lines)?;
    area.present().context("write the plot")
}

fn lines_of(results: &[Measured]) -> Vec<Line> {
    let mut lines = Vec::new();
    for measured in results {
        let Some(base) = measured.series(REDB) else {
            continue;
        };
        let others = measured.series.iter().filter(|s| s.label != REDB);
        lines.extend(others.enumerate().map(|(place, series)| {
            Line {
                workload: if place == 0 { measured.workload.name() } else { "" },
                contender: series.label,
                ratio: series.ratio_to(base),
                of_sqlcipher: measured
                    .series(SQLCIPHER)
                    .filter(|peer| peer.label != series.label)
                    .map(|peer| series.ratio_to(peer).median),
                goal: goals::redb_ratio_max(measured.workload),
            }
        }));
    }
    lines
}

fn heading(area: &Area<'_>, environment: &Environment) -> Result<()> {
    let title = "Time per operation, as a multiple of plain redb (1 = as fast, less is faster)";
    area.draw(&Text::new(title, (16, 12), (FONT, 17).into_font().color(&INK)))?;
    let versions = format!(
        "{}: Strongroom {}, redb {}, SQLite {}, SQLCipher {}, on {}",
        environment.date,
        environment.strongroom,
        environment.redb,
        environment.sqlite,
        environment.sqlcipher.as_deref().unwrap_or("absent"),
        environment.file_system
    );
    area.draw(&Text::new(versions, (16, 38), (FONT, 12).into_font().color(&INK)))?;
    Ok(())
}

fn labels(area: &Area<'_>, lines: &[Line]) -> Result<()> {
    let middle = Pos::new(HPos::Left, VPos::Center);
    let bold = (FONT, 14).into_font().style(FontStyle::Bold);
    let bold = TextStyle::from(bold).color(&INK).pos(middle);
    let plain = TextStyle::from((FONT, 13)).color(&INK).pos(middle);
    for (y, line) in (TOP..).step_by(LINE_HEIGHT as usize).zip(lines) {
        let y = i32::try_from(y)?;
        let center = y + i32::try_from(LINE_HEIGHT / 2)?;
        if !line.workload.is_empty() {
            let rule = vec![(16, y), (i32::try_from(WIDTH - 16)?, y)];
            area.draw(&PathElement::new(rule, FAINT))?;
            area.draw(&Text::new(line.workload, (16, center), bold.clone()))?;
        }
        area.draw(&Text::new(line.contender, (120, center), plain.clone()))?;
    }
    Ok(())
}

fn ratios(area: &Area<'_>, lines: &[Line]) -> Result<()> {
    let count = lines.len() as f64;
    let (low, high) = lines
        .iter()
        .fold((0.8, 1.3), |(low, high), line| (line.ratio.min.min(low), line.ratio.max.max(high)));
    let (low, high) = (low * 0.9, high * 1.1);
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
        .build_cartesian_2d((low..high).log_scale(), count..0.0)?;
    let ticks = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let below = TextStyle::from((FONT, 12)).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    for tick in ticks.into_iter().filter(|tick| (low..high).contains(tick)) {
        let color = if (tick - 1.0).abs() < 0.01 { INK } else { FAINT };
        let rule = PathElement::new(vec![(tick, 0.0), (tick, count)], color);
        chart.draw_series([rule])?;
        let (x, y) = chart.backend_coord(&(tick, count));
        area.draw(&Text::new(format!("{tick}"), (x, y + 6), below.clone()))?;
    }
    let (x, y) = chart.backend_coord(&(1.0, count));
    let title = "dot: median, bar: all rounds, dashed: most that strongroom may take";
    area.draw(&Text::new(title, (x, y + 24), below.color(&GOAL)))?;
    let columns = [i32::try_from(WIDTH - 100)?, i32::try_from(WIDTH - 16)?];
    let heads = TextStyle::from((FONT, 12)).color(&INK).pos(Pos::new(HPos::Right, VPos::Bottom));
    for (x, head) in columns.into_iter().zip(["of redb", "of SQLCipher"]) {
        area.draw(&Text::new(head, (x, i32::try_from(TOP)? - 2), heads.clone()))?;
    }
    for (row, line) in lines.iter().enumerate() {
        let y = row as f64 + 0.5;
        if let Some(goal) = line.goal {
            let dashes = vec![(goal, row as f64), (goal, row as f64 + 1.0)];
            chart.draw_series(DashedLineSeries::new(dashes, 4, 3, GOAL.into()))?;
        }
        let Spread { min, median, max } = line.ratio;
        let color = color_of(line.contender);
        chart.draw_series([PathElement::new(
            vec![(min, y), (max, y)],
            color.mix(0.45).stroke_width(5),
        )])?;
        chart.draw_series([Circle::new((median, y), 5, color.filled())])?;
        let (_, y) = chart.backend_coord(&(median, y));
        let style =
            TextStyle::from((FONT, 13)).color(&color).pos(Pos::new(HPos::Right, VPos::Center));
        for (x, ratio) in columns.into_iter().zip([Some(median), line.of_sqlcipher]) {
            if let Some(ratio) = ratio {
                area.draw(&Text::new(format!("{ratio:.2}"), (x, y), style.clone()))?;
            }
        }
    }
    Ok(())
}

fn color_of(contender: &str) -> RGBColor {
    match contender {
        SQLITE => RGBColor(200, 110, 0),
        SQLCIPHER => RGBColor(190, 30, 30),
        JSON_FILE => RGBColor(150, 60, 140),
        _ if contender.starts_with(STRONGROOM) => RGBColor(20, 90, 190),
        _ => RGBColor(120, 120, 120),
    }
}
