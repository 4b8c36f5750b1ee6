//! A store whose process was killed.
//!
//! This program starts itself. The child opens the store, commits, reports it, and waits; the
//! parent kills it with SIGKILL. The kill comes between two commits and not within one, so that
//! each store has the same work left after each kill: redb's file is marked as open, and `SQLite`'s
//! log has all commits.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;

use crate::artifacts;
use crate::data::Stream;
use crate::documents;
use crate::peers::{self, CACHE_BYTES, Peer};
use crate::workloads::WRITTEN_BYTES;

/// The child's report that its commits are durable.
const READY: &str = "ready";

/// The role of this program as a child of itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
pub(crate) enum Child {
    /// Opens the store, commits, and waits to be killed.
    #[command(hide = true)]
    CommitAndWait { label: String, dir: PathBuf, commits: usize, seed: u64 },
    /// Reports the memory that a large document uses.
    #[command(hide = true)]
    LargeDocument { dir: PathBuf },
    /// Opens a vault and puts a file as an artifact version.
    #[command(hide = true)]
    PutVersion {
        vault: PathBuf,
        file: PathBuf,
        /// Opens by the built-in password, instead of the raw key.
        #[arg(long)]
        by_password: bool,
    },
}

impl Child {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::CommitAndWait { label, dir, commits, seed } => {
                commit_and_wait(label, dir, *commits, *seed)
            }
            Self::LargeDocument { dir } => documents::memory::child(dir),
            Self::PutVersion { vault, file, by_password } => {
                artifacts::put_version(vault, file, *by_password)
            }
        }
    }
}

fn commit_and_wait(label: &str, dir: &Path, commits: usize, seed: u64) -> Result<()> {
    let stores = peers::stores();
    let peer = stores.iter().find(|peer| peer.label() == label).context("a known store")?;
    let store = peer.open(dir, CACHE_BYTES)?;
    let mut session = store.session()?;
    let mut stream = Stream::new(seed, WRITTEN_BYTES);
    for _ in 0..commits {
        session.commit(slice::from_ref(&stream.row()))?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    // Ends only if the parent died before the kill.
    std::io::stdin().read_line(&mut String::new())?;
    bail!("was not killed")
}

/// Leaves the closed store in `dir` like a killed process.
///
/// The process had made `commits` commits.
pub(crate) fn leave_killed(peer: &dyn Peer, dir: &Path, commits: usize, seed: u64) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("commit-and-wait")
        .arg(peer.label())
        .arg(dir)
        .args([commits.to_string(), seed.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start a child")?;
    let mut said = String::new();
    let out = child.stdout.take().expect("piped above");
    let heard = BufReader::new(out).read_line(&mut said);
    child.kill()?;
    child.wait()?;
    heard?;
    ensure!(said.trim_end() == READY, "the child of {} failed", peer.label());
    Ok(())
}
