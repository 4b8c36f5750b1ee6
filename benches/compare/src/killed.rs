//! A store whose process was killed: this program starts itself, the child opens the store,
//! commits, says so, and waits; the parent kills it with SIGKILL.
//!
//! It is killed between two commits and not within one, so that each store is left with the same
//! work to do after each kill: redb's file is marked as open, `SQLite`'s log holds all commits.

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

/// What the child says when its commits are durable.
const READY: &str = "ready";

/// What this program does as a child of itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
pub(crate) enum Child {
    /// Opens the store, commits, and waits to be killed.
    #[command(hide = true)]
    CommitAndWait { label: String, dir: PathBuf, commits: usize, seed: u64 },
    /// Tells the memory that a large document takes.
    #[command(hide = true)]
    LargeDocument { dir: PathBuf },
    /// Opens a vault and puts a file as a version of an artifact.
    #[command(hide = true)]
    PutVersion {
        vault: PathBuf,
        file: PathBuf,
        /// By the password that this program knows, in the place of its raw key.
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
    // Ends only if the parent died before it could kill.
    std::io::stdin().read_line(&mut String::new())?;
    bail!("was not killed")
}

/// Leaves the closed store in `dir` as a process that was killed after `commits` commits.
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
