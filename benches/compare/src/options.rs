//! The command line, and its default paths.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use crate::artifacts::Part;
use crate::killed::Child;
use crate::workloads::Workload;

/// Compares Strongroom with its peers on the same work, in one run.
#[derive(Debug, Parser)]
#[command(name = "strongroom-compare")]
pub(crate) struct Options {
    /// A small run that shows that everything works; its numbers mean little.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Only this workload; may be given more than once.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    only: Vec<Workload>,
    /// Folder for the databases, on a real disk; by default under the workspace's target folder.
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// Rounds that count; one more warms up.
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Folder for the results; by default a dated one in benches/results, for a quick or partial
    /// run under target.
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Other measurements; without a command, stores are measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Splits and joins secrets on one thread, compared with blahaj and vsss-rs.
    Sharing,
    /// Reads and updates documents on disk; measures a large one's memory.
    Documents,
    /// Runs jobs with checkpoints, and opens vaults with many finished operations.
    Operations,
    /// Puts and gets artifacts, compared with files and databases.
    ///
    /// Also puts versions of a file, compared with backup tools.
    Artifacts(Part),
    /// Puts and gets on the S3 server that `STRONGROOM_S3_URL` names.
    ///
    /// Compared with bare objects and restic.
    ObjectStores,
    #[command(flatten)]
    Child(Child),
}

impl Options {
    /// Returns the workloads to run, in order.
    pub(crate) fn workloads(&self) -> &[Workload] {
        if self.only.is_empty() { &Workload::ALL } else { &self.only }
    }

    pub(crate) fn database_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(scratch)
    }

    /// Returns the folder for the results of a run; the name is `full` for stores.
    pub(crate) fn out_dir(&self, date: &str, run: &str) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        match (self.quick, self.only.as_slice()) {
            (true, _) => scratch().join(format!("{date}-{run}-quick")),
            (false, []) => package().join("../results").join(format!("{date}-{run}")),
            (false, [only, ..]) => scratch().join(format!("{date}-{}", only.name())),
        }
    }

    /// Returns the rounds that count: a requested number, `usual`, or two of a quick run.
    pub(crate) fn rounds_of(&self, usual: usize) -> usize {
        let rounds = self.rounds.map(|rounds| rounds as usize);
        rounds.unwrap_or(if self.quick { 2 } else { usual })
    }

    /// Returns an error for a store workload with a command without stores.
    pub(crate) fn refuse_workloads(&self) -> Result<()> {
        ensure!(self.only.is_empty(), "--only is for stores");
        Ok(())
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch() -> PathBuf {
    package().join("../../target/compare")
}
