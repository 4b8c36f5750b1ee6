//! The conditions of a result: versions, kernel, processor, file system, command.
//!
//! Never a host name, a user or a path of this machine, because results are committed.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use strongroom::keys::Cipher;

use crate::{measure, peers};

/// The lock file has the versions that were built.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// The conditions of a run.
#[derive(Debug)]
pub(crate) struct Environment {
    /// UTC, as `2026-01-31`.
    pub(crate) date: String,
    pub(crate) strongroom: String,
    pub(crate) redb: String,
    pub(crate) sqlite: String,
    /// `None` if this program was built without it.
    pub(crate) sqlcipher: Option<String>,
    rusqlite: String,
    rustc: String,
    kernel: String,
    cpu: String,
    cpus: usize,
    /// Default cipher of a vault on this processor.
    pub(crate) cipher: Cipher,
    /// Type of the databases' file system, as the kernel names it.
    pub(crate) file_system: String,
    command: String,
}

impl Environment {
    pub(crate) fn look(databases: &Path) -> Self {
        let commit = printed("git", &["describe", "--always", "--dirty"]);
        Self {
            date: measure::today(),
            strongroom: format!("{} ({commit})", locked("strongroom")),
            redb: locked("redb"),
            sqlite: rusqlite::version().to_owned(),
            sqlcipher: peers::cipher_version()
                .map(|version| format!("{version}, openssl-src {}", locked("openssl-src"))),
            rusqlite: locked("rusqlite"),
            rustc: printed("rustc", &["--version"]),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cipher: Cipher::for_this_machine(),
            file_system: file_system_of(databases),
            command: command_line(cfg!(feature = "sqlcipher"), std::env::args().skip(1)),
        }
    }

    /// Returns whether a sync costs nothing on the databases' file system.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }

    /// Formats the conditions for people, in a few lines.
    pub(crate) fn prose(&self) -> String {
        format!(
            "{}, Strongroom {}, redb {}, SQLite {} (rusqlite {}), SQLCipher {}, {}.\n\
             Linux {}, {} CPUs of {}, {}.\n\
             `{}`",
            self.date,
            self.strongroom,
            self.redb,
            self.sqlite,
            self.rusqlite,
            self.sqlcipher.as_deref().unwrap_or("absent"),
            self.rustc,
            self.kernel,
            self.cpus,
            self.cpu,
            self.file_system,
            self.command,
        )
    }

    /// Formats the same for a run that compares only these crates.
    pub(crate) fn prose_with(&self, crates: &[&str]) -> String {
        let mut text = format!("{}, Strongroom {}", self.date, self.strongroom);
        for name in crates {
            let _ = write!(text, ", {name} {}", locked(name));
        }
        let Self { rustc, kernel, cpu, cpus, file_system, command, .. } = self;
        let _ = write!(
            text,
            ", {rustc}.\nLinux {kernel}, {cpus} CPUs of {cpu}, {file_system}.\n`{command}`"
        );
        text
    }

    /// Formats the conditions for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "date": self.date,
            "command": self.command,
            "strongroom": self.strongroom,
            "redb": self.redb,
            "sqlite": self.sqlite,
            "rusqlite": self.rusqlite,
            "blahaj": locked("blahaj"),
            "vsss-rs": locked("vsss-rs"),
            "sqlcipher": self.sqlcipher,
            "default_cipher": format!("{:?}", self.cipher),
            "rustc": self.rustc,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "cpus": self.cpus,
            "file_system": self.file_system,
        })
    }
}

/// Returns the version of `package` that this program was built with.
fn locked(package: &str) -> String {
    let heading = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != heading);
    lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .unwrap_or("unknown")
        .to_owned()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Returns the type of the mount of `path`: the longest mount point that is its prefix.
fn file_system_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = Path::new(fields.next()?);
            let kind = fields.next()?;
            path.starts_with(point).then_some((point.as_os_str().len(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Returns the command to repeat the run, without paths of this machine.
fn command_line(with_sqlcipher: bool, arguments: impl Iterator<Item = String>) -> String {
    let mut line = "cargo run --release -p strongroom-compare".to_owned();
    if with_sqlcipher {
        line.push_str(" --features sqlcipher");
    }
    let mut path_follows = false;
    for (index, argument) in arguments.enumerate() {
        line.push_str(if index == 0 { " -- " } else { " " });
        match argument.split_once('=') {
            Some((option @ ("--dir" | "--out"), _)) => line.extend([option, "=DIR"]),
            _ if path_follows => line.push_str("DIR"),
            _ => line.push_str(&argument),
        }
        path_follows = matches!(argument.as_str(), "--dir" | "--out");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_omits_paths() {
        let arguments = ["--quick", "--dir", "/home/ada", "--out=/x", "--rounds", "3"];
        assert_eq!(
            command_line(true, arguments.into_iter().map(str::to_owned)),
            "cargo run --release -p strongroom-compare --features sqlcipher -- \
             --quick --dir DIR --out=DIR --rounds 3"
        );
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert_eq!(locked("redb"), "4.5.0");
        assert_eq!(locked("no such package"), "unknown");
    }
}
