//! Tools that each store a file version in their own process: this program, and backup tools.
//!
//! A process is started for each version; it opens its repository by key or password, stores the
//! file and ends. Keys and passwords are passed by file or environment, never by the command line,
//! which every user of a machine can read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use strongroom::artifacts::ArtifactName;
use strongroom::{SecretPassword, Vault, VaultOptions};
use strongroom_testkit::TestKey;

use crate::peers::PASSWORD;

/// A tool, and the way it opens a vault or repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    StrongroomByKey,
    StrongroomByPassword,
    Bupstash,
    Restic,
}

// Names in the table.
pub(super) const BY_KEY: &str = "strongroom, by a raw key";
pub(super) const BY_PASSWORD: &str = "strongroom, by a password";
pub(super) const BUPSTASH: &str = "bupstash";
pub(super) const RESTIC: &str = "restic";

impl Tool {
    pub(super) const ALL: [Self; 4] =
        [Self::StrongroomByKey, Self::StrongroomByPassword, Self::Bupstash, Self::Restic];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::StrongroomByKey => BY_KEY,
            Self::StrongroomByPassword => BY_PASSWORD,
            Self::Bupstash => BUPSTASH,
            Self::Restic => RESTIC,
        }
    }

    /// Returns its version; `None` if it is not installed.
    pub(super) fn version(self) -> Option<String> {
        let output = match self {
            Self::StrongroomByKey | Self::StrongroomByPassword => return Some(String::new()),
            Self::Bupstash => Command::new("bupstash").arg("version").output(),
            Self::Restic => Command::new("restic").arg("version").output(),
        };
        let output = output.ok().filter(|output| output.status.success())?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().next().unwrap_or_default().trim();
        Some(line.trim_start_matches("bupstash-").trim_start_matches("restic ").to_owned())
    }

    /// Creates a repository in a new folder.
    pub(super) fn create(self, dir: PathBuf) -> Result<Repository> {
        fs::create_dir_all(&dir)?;
        let repository = Repository { tool: self, dir };
        match self {
            Self::StrongroomByKey => vault_options(false).create(repository.store())?.close()?,
            Self::StrongroomByPassword => {
                vault_options(true).create(repository.store())?.close()?;
            }
            Self::Bupstash => {
                repository.run(repository.command("new-key").arg("-o").arg(repository.secret()))?;
                repository.run(repository.command("init").arg("-r").arg(repository.store()))?;
            }
            Self::Restic => {
                fs::write(repository.secret(), PASSWORD)?;
                repository.run(&mut repository.command("init"))?;
            }
        }
        Ok(repository)
    }
}

fn vault_options(by_password: bool) -> VaultOptions {
    if by_password {
        Vault::options(SecretPassword::new(PASSWORD))
    } else {
        Vault::options(TestKey)
    }
}

pub(super) fn name() -> Result<ArtifactName> {
    Ok(ArtifactName::new("compare", "versions", "file")?)
}

/// A vault or repository, with the tool's own folders next to it.
pub(super) struct Repository {
    tool: Tool,
    dir: PathBuf,
}

impl Repository {
    /// Returns the folder that counts as stored; caches and logs are outside.
    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("secret")
    }

    fn command(&self, verb: &str) -> Command {
        let program = if self.tool == Tool::Bupstash { "bupstash" } else { "restic" };
        let mut command = Command::new(program);
        command
            .arg(verb)
            .env("HOME", &self.dir)
            .env("XDG_CACHE_HOME", self.dir.join("cache"))
            .env("BUPSTASH_REPOSITORY", self.store())
            .env("BUPSTASH_KEY", self.secret())
            .env("RESTIC_REPOSITORY", self.store())
            .env("RESTIC_PASSWORD_FILE", self.secret());
        command
    }

    fn run(&self, command: &mut Command) -> Result<Vec<u8>> {
        let output = command.stdin(Stdio::null()).output().context("start a child")?;
        ensure!(
            output.status.success(),
            "{} failed: {}",
            self.tool.label(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }

    /// Stores a file as the newest version, durably.
    pub(super) fn put(&self, file: &Path) -> Result<()> {
        let said = match self.tool {
            Tool::StrongroomByKey | Tool::StrongroomByPassword => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("put-version").arg(self.store()).arg(file);
                if self.tool == Tool::StrongroomByPassword {
                    command.arg("--by-password");
                }
                self.run(&mut command)?
            }
            Tool::Bupstash => self.run(self.command("put").arg("-q").arg(file))?,
            Tool::Restic => self.run(self.command("backup").arg("--quiet").arg(file))?,
        };
        // bupstash prints the id by which the newest version is found again.
        fs::write(self.dir.join("said"), said)?;
        Ok(())
    }

    /// Returns the newest version, which is of that file.
    pub(super) fn newest(&self, file: &Path) -> Result<Vec<u8>> {
        match self.tool {
            Tool::StrongroomByKey | Tool::StrongroomByPassword => {
                let by_password = self.tool == Tool::StrongroomByPassword;
                let vault = vault_options(by_password).open(self.store())?;
                Ok(vault.artifacts().read(&name()?.newest())?.into())
            }
            Tool::Bupstash => {
                let said = fs::read_to_string(self.dir.join("said"))?;
                self.run(self.command("get").arg("-q").arg(format!("id={}", said.trim())))
            }
            Tool::Restic => self.run(self.command("dump").arg("latest").arg(file)),
        }
    }

    /// Returns the sum of the lengths of all files of the store.
    pub(super) fn bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        let mut folders = vec![self.store()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += entry.metadata()?.len();
                }
            }
        }
        Ok(bytes)
    }
}

/// Runs this program as one of the tools, in a child process.
pub(crate) fn put_version(vault: &Path, file: &Path, by_password: bool) -> Result<()> {
    let vault = vault_options(by_password).open(vault)?;
    let source = fs::File::open(file)?;
    vault.artifacts().put(strongroom::artifacts::ArtifactSpec::new(name()?), source)?;
    Ok(vault.close()?)
}
