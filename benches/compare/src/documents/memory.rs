//! The memory that a document of the largest size uses.
//!
//! This program starts itself, and the child reports its peak resident memory (`VmHWM`), step by
//! step.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strongroom::documents::{CAPACITY_BYTES_MAX, SpaceOptions};
use strongroom::{SecretPassword, Vault};
use strongroom_testkit::TestKey;

use super::{PASSWORD, text};

/// The steps, each with the peak after it. The first is a process with an open vault.
const STEPS: [&str; 5] =
    ["open vault", "create space", "add partition", "write document", "read document"];

/// Peak resident memory after each of [`STEPS`], in KiB.
pub(super) struct Peaks {
    kib: Vec<u64>,
}

impl Peaks {
    /// Measures a child of this program, which makes a vault in `dir`.
    pub(super) fn of_child(dir: &Path) -> Result<Self> {
        let output = Command::new(std::env::current_exe()?)
            .arg("large-document")
            .arg(dir)
            .output()
            .context("start a child")?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "the child failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let kib = said.lines().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        ensure!(kib.len() == STEPS.len(), "the child reported {} peaks", kib.len());
        Ok(Self { kib })
    }

    /// Lists each step with its peak in MiB.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&'static str, f64)> {
        STEPS.into_iter().zip(self.kib.iter().map(|&kib| kib as f64 / 1024.0))
    }

    /// Returns the highest peak, in MiB.
    pub(super) fn highest(&self) -> f64 {
        self.steps().map(|(_, mib)| mib).fold(0.0, f64::max)
    }

    pub(super) fn json(&self) -> Value {
        json!({ "steps": STEPS, "peak_kib": self.kib })
    }
}

/// Runs the child. Its passwords are cheap, because Argon2id's memory does not count.
pub(crate) fn child(dir: &Path) -> Result<()> {
    let mut out = stdout();
    let mut tell = || -> Result<()> { Ok(writeln!(out, "{}", peak_kib()?)?) };
    let vault = Vault::options(TestKey).cheap_passwords().create(dir)?;
    tell()?;
    let space = vault
        .documents()
        .create_space(&SpaceOptions::default().capacity_bytes(CAPACITY_BYTES_MAX))?;
    tell()?;
    let password = SecretPassword::new(PASSWORD);
    let key = space.add_partition(&password, &[])?;
    tell()?;
    // 4 MiB as text; the child's own copy counts in addition to its padded form.
    let text = text(CAPACITY_BYTES_MAX as usize, 1);
    let partition = space.partition(&key, &password)?;
    partition.write(&text)?;
    tell()?;
    ensure!(partition.read()?.text() == text, "another text was read");
    tell()
}

/// Returns the peak resident memory of this process.
fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(number.context("the kernel reports VmHWM")?.trim().parse()?)
}
