//! Strongroom compared with alternatives: plain redb, `SQLite`, `SQLCipher`, a JSON file for each
//! checkpoint.
//!
//! All peers run interleaved, because the machine is shared and only ratios of measurements close
//! in time mean something. `../README.md` lists what is measured and what is not equal.

mod artifacts;
mod contenders;
mod data;
mod documents;
mod environment;
mod goals;
mod killed;
mod measure;
mod object_stores;
mod operations;
mod options;
mod page_cache;
mod peers;
mod plot;
mod report;
mod sharing;
mod workloads;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;
use tempfile::TempDir;

use environment::Environment;
use measure::Measured;
use options::{Command, Options};
use workloads::{Scale, Workload};

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.command {
        None => stores(&options),
        Some(Command::Sharing) => sharing::run(&options),
        Some(Command::Documents) => documents::run(&options),
        Some(Command::Operations) => operations::run(&options),
        Some(Command::ObjectStores) => object_stores::run(&options),
        Some(Command::Artifacts(part)) => artifacts::run(&options, part),
        Some(Command::Child(child)) => child.run(),
    }
}

fn stores(options: &Options) -> Result<()> {
    let scale = Scale::of(options);
    let (databases, environment) = site(options)?;
    if environment.sqlcipher.is_none() {
        eprintln!("warning: built without SQLCipher, which is left out: add --features sqlcipher");
    }
    let mut results = Vec::new();
    for &workload in options.workloads() {
        results.push(run(workload, &scale, databases.path())?);
    }
    let table = report::table(&environment, &scale, &results);
    println!("{table}");
    let out = options.out_dir(&environment.date, "full");
    write_results(&out, &table, &report::raw(&environment, &results))?;
    plot::draw(&out.join("plot.svg"), &environment, &results)
}

/// Makes the folder of this run's databases, and collects the conditions.
///
/// The folder is removed when dropped.
fn site(options: &Options) -> Result<(TempDir, Environment)> {
    let dir = options.database_dir();
    fs::create_dir_all(&dir).context("make the folder of the databases")?;
    let databases = tempfile::Builder::new()
        .prefix("compare-")
        .tempdir_in(&dir)
        .context("make the folder of this run's databases")?;
    let environment = Environment::look(databases.path());
    if environment.is_in_memory() {
        eprintln!(
            "warning: {} is in memory: a sync costs nothing there, and the result means nothing; \
             choose a disk with --dir",
            environment.file_system
        );
    }
    Ok((databases, environment))
}

fn run(workload: Workload, scale: &Scale, databases: &Path) -> Result<Measured> {
    let dir = databases.join(workload.name());
    fs::create_dir(&dir)?;
    eprintln!("{}: fill, then {} rounds", workload.name(), scale.rounds + 1);
    let mut contenders = contenders::of(workload, scale, &dir)?;
    let measured = measure::run(workload, scale, &mut contenders)
        .with_context(|| format!("workload {}", workload.name()))?;
    drop(contenders);
    // One workload's databases at a time, so that the run stays small.
    fs::remove_dir_all(&dir)?;
    Ok(measured)
}

fn write_results(out: &Path, table: &str, raw: &str) -> Result<()> {
    fs::create_dir_all(out).context("make the folder of the results")?;
    fs::write(out.join("table.md"), table)?;
    fs::write(out.join("raw.jsonl"), raw)?;
    eprintln!("results are in {}", out.display());
    Ok(())
}
