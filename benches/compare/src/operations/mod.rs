//! Operations: the cost of a checkpoint for its work, with and without a subscriber that does not
//! read; the cost of finished operations; the cost of history.

mod finished;
mod history;
mod job;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use strongroom::{Vault, VaultOptions};
use strongroom_testkit::TestKey;

use crate::measure::{self, Contender, Series};
use crate::options::Options;
use crate::peers::{self, CACHE_BYTES};
use crate::write_results;
use finished::{Crowd, Part};

/// Rounds that count, unless another number is requested.
const ROUNDS: usize = 21;

/// The amount of work.
struct Scale {
    rounds: usize,
    /// Items of a job.
    items: u64,
    /// Finished operations of the vault with many.
    finished: usize,
}

/// One table of the results.
struct Section {
    name: &'static str,
    /// Description of one operation.
    title: String,
    /// The base of the ratios.
    base: &'static str,
    series: Vec<Series>,
}

/// Runs all measurements, and writes the results.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.refuse_workloads()?;
    let (folder, environment) = crate::site(options)?;
    let (items, finished) = if options.quick { (200, 2_000) } else { (2_000, 100_000) };
    let scale = Scale { rounds: options.rounds_of(ROUNDS), items, finished };
    let mut sections = Vec::new();

    let dir = subfolder(folder.path(), job::NAME)?;
    let title = format!("an item of a millisecond, of a job of {items}");
    let (contenders, rest) = job::contenders(&scale, &dir)?;
    let job = section(&scale, job::NAME, title, job::BARE, 1, contenders)?;
    let (title, series) = ("the time of an item beyond its work".into(), rest.series(&job.series));
    sections.extend([job, Section { name: job::REST, title, base: job::ITEMS, series }]);
    fs::remove_dir_all(&dir)?;

    let dir = subfolder(folder.path(), history::NAME)?;
    let (title, contenders) = ("a durable commit".to_owned(), history::contenders(&dir)?);
    sections.push(section(&scale, history::NAME, title, history::KEPT_1, 2, contenders)?);
    fs::remove_dir_all(&dir)?;
    let (title, contenders) = ("the same in memory".to_owned(), history::contenders_in_memory()?);
    sections.push(section(&scale, history::MEMORY, title, history::KEPT_1, 2, contenders)?);

    let dir = subfolder(folder.path(), "finished")?;
    eprintln!("{finished} operations to begin and to complete");
    let crowds = finished::crowds(&scale, &dir)?;
    let mut state_bytes = Vec::new();
    for crowd in &crowds {
        state_bytes.push((crowd.label, crowd.state_bytes()?));
    }
    for part in Part::ALL {
        let contenders = crowds.iter().map(|crowd| Crowd::contender(crowd, part)).collect();
        let title = part.title().to_owned();
        let measured =
            section(&scale, part.name(), title, finished::FEW_ENDED, part.turns(), contenders)?;
        sections.push(measured);
    }

    let table = report::table(&environment, &scale, &sections, &state_bytes);
    println!("{table}");
    let out = options.out_dir(&environment.date, "operations");
    write_results(&out, &table, &report::raw(&environment, &sections, &state_bytes))
}

impl Section {
    fn find(&self, label: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.label == label)
    }
}

fn section(
    scale: &Scale,
    name: &'static str,
    title: String,
    base: &'static str,
    turns: usize,
    mut contenders: Vec<Contender>,
) -> Result<Section> {
    eprintln!("{name}: {} rounds", scale.rounds + 1);
    let series = measure::series(scale.rounds, turns, &mut contenders)
        .with_context(|| format!("part {name}"))?;
    Ok(Section { name, title, base, series })
}

fn subfolder(dir: &Path, name: &str) -> Result<PathBuf> {
    let dir = dir.join(name);
    fs::create_dir(&dir)?;
    Ok(dir)
}

/// Creates a vault in `dir`, where the peer Strongroom finds it too.
fn create(dir: &Path) -> Result<Vault> {
    fs::create_dir_all(dir)?;
    peers::strongroom().create(dir, CACHE_BYTES)?.close()?;
    open(dir)
}

fn open(dir: &Path) -> Result<Vault> {
    Ok(options().open(dir.join("vault"))?)
}

fn options() -> VaultOptions {
    Vault::options(TestKey).cache_bytes(CACHE_BYTES)
}
