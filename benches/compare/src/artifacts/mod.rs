//! Artifacts: puts and gets compared with files, databases and a cache, and versions of a large
//! file compared with backup tools.

pub(crate) mod bytes;
mod put_get;
mod report;
mod stores;
mod tools;
mod versions;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::measure::{self, Contender, Series};
use crate::options::Options;
use crate::write_results;
use put_get::Size;
use stores::Kind;
use versions::Sizes;
pub(crate) use versions::put_version;

/// Rounds that count, unless another number is requested.
const ROUNDS: usize = 15;
/// Rounds of puts and gets that take seconds, and of the versions.
const ROUNDS_OF_LARGE: usize = 5;

/// Threads that put and get at the same time.
const THREADS: [usize; 2] = [1, 8];

/// The parts to run.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// Only this part.
    #[arg(long, value_enum)]
    part: Option<PartName>,
    /// Only puts and gets of that many bytes; may be given more than once.
    #[arg(long, value_name = "BYTES")]
    size: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PartName {
    PutGet,
    Versions,
}

impl Part {
    fn includes(&self, name: PartName) -> bool {
        self.part.is_none_or(|only| only == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Put,
    Get,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// The measurements of one verb, size and number of threads.
struct Section {
    verb: Verb,
    size: Size,
    threads: usize,
    series: Vec<Series>,
}

impl Section {
    fn name(&self) -> String {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        format!("{} {}, {} {threads}", self.verb.name(), self.size.name, self.threads)
    }

    fn find(&self, label: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.label == label)
    }
}

/// Runs the requested measurements, and writes the results.
pub(crate) fn run(options: &Options, part: &Part) -> Result<()> {
    options.refuse_workloads()?;
    let (folder, environment) = crate::site(options)?;
    let mut sections = Vec::new();
    if part.includes(PartName::PutGet) {
        let sizes = Size::ALL.into_iter();
        for size in sizes.filter(|size| part.size.is_empty() || part.size.contains(&size.bytes)) {
            for threads in THREADS {
                for verb in [Verb::Put, Verb::Get] {
                    sections.push(measure(options, verb, size, threads, folder.path())?);
                }
            }
        }
    }
    let versions = if part.includes(PartName::Versions) {
        let sizes = if options.quick { Sizes::QUICK } else { Sizes::WHOLE };
        let rounds = options.rounds_of(ROUNDS_OF_LARGE);
        Some(versions::measure(sizes, rounds, &folder.path().join("versions"))?)
    } else {
        None
    };
    let table = report::table(&environment, &sections, versions.as_ref());
    println!("{table}");
    let out = options.out_dir(&environment.date, "artifacts");
    write_results(&out, &table, &report::raw(&environment, &sections, versions.as_ref()))
}

fn measure(
    options: &Options,
    verb: Verb,
    size: Size,
    threads: usize,
    folder: &Path,
) -> Result<Section> {
    let usual = if size.is_large() { ROUNDS_OF_LARGE } else { ROUNDS };
    let rounds = options.rounds_of(usual);
    let dir = folder.join(verb.name());
    fs::create_dir(&dir)?;
    let mut section = Section { verb, size, threads, series: Vec::new() };
    eprintln!("{}: {} rounds", section.name(), rounds + 1);
    let contender = |kind| match verb {
        Verb::Put => put_get::puts(kind, size, threads, &dir),
        Verb::Get => put_get::gets(kind, size, threads, &dir),
    };
    let mut contenders =
        Kind::all().into_iter().map(contender).collect::<Result<Vec<Contender>>>()?;
    section.series = measure::series(rounds, 1, &mut contenders)
        .with_context(|| format!("part {}", section.name()))?;
    drop(contenders);
    fs::remove_dir_all(&dir)?;
    Ok(section)
}
