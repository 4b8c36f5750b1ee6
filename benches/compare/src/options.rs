//! The command line, and where things lie when it does not say.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::killed::Child;
use crate::workloads::Workload;

/// Runs the same work on Strongroom and its peers, in one run, and compares.
#[derive(Debug, Parser)]
#[command(name = "strongroom-compare")]
pub(crate) struct Options {
    /// A small run that shows that everything works; its numbers mean little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this workload; may be given more than once.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    only: Vec<Workload>,
    /// Where the databases lie, on a real disk; by default under the workspace's target folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds that count; one more warms up.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Where the results go; by default a dated folder in benches/results, for a quick or partial
    /// run under target.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) child: Option<Child>,
}

impl Options {
    /// What to run, in order.
    pub(crate) fn workloads(&self) -> &[Workload] {
        if self.only.is_empty() { &Workload::ALL } else { &self.only }
    }

    pub(crate) fn database_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(scratch)
    }

    pub(crate) fn out_dir(&self, date: &str) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        match (self.quick, self.only.as_slice()) {
            (true, _) => scratch().join(format!("{date}-quick")),
            (false, []) => package().join("../results").join(format!("{date}-full")),
            (false, [only, ..]) => scratch().join(format!("{date}-{}", only.name())),
        }
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch() -> PathBuf {
    package().join("../../target/compare")
}
