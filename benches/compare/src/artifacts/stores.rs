//! The stores for artifacts: one trait, and each contender's implementation.
//!
//! Every put is durable on return, except with `cacache`, which never syncs.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use rusqlite::Connection;
use strongroom::Vault;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, Artifacts};
use strongroom_testkit::TestKey;

use crate::peers::{self, CACHE_BYTES, SQLCIPHER, SQLITE, STRONGROOM, Unlock};

// Names in the tables, in addition to those of other runs.
pub(super) const FILES: &str = "files, fsynced";
pub(super) const CACACHE: &str = "cacache, not synced";

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Strongroom,
    Files,
    Sqlite,
    Sqlcipher,
    Cacache,
}

impl Kind {
    /// Lists all kinds; `SQLCipher` only in a build that has it.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Strongroom, Self::Files, Self::Sqlite];
        if peers::cipher_version().is_some() {
            all.push(Self::Sqlcipher);
        }
        all.push(Self::Cacache);
        all
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Strongroom => STRONGROOM,
            Self::Files => FILES,
            Self::Sqlite => SQLITE,
            Self::Sqlcipher => SQLCIPHER,
            Self::Cacache => CACACHE,
        }
    }

    /// Opens or creates the store in `dir`; one session for each thread.
    pub(super) fn open(self, dir: &Path, threads: usize) -> Result<Vec<Box<dyn Session>>> {
        fs::create_dir_all(dir)?;
        if self == Self::Strongroom {
            let path = dir.join("vault");
            let options = Vault::options(TestKey).cache_bytes(CACHE_BYTES);
            let vault = if path.exists() { options.open(path)? } else { options.create(path)? };
            // The last dropped handle closes the vault.
            let session = |_| Box::new(StrongroomSession(vault.artifacts())) as Box<dyn Session>;
            return Ok((0..threads).map(session).collect());
        }
        (0..threads)
            .map(|_| {
                Ok(match self {
                    Self::Strongroom => unreachable!("opened above"),
                    Self::Files => Box::new(FilesSession(dir.to_owned())),
                    Self::Sqlite => Box::new(SqliteSession::open(dir, None)?) as Box<dyn Session>,
                    Self::Sqlcipher => Box::new(SqliteSession::open(dir, Some(Unlock::Key))?),
                    Self::Cacache => Box::new(CacacheSession(dir.join("cache"))),
                })
            })
            .collect()
    }
}

/// One thread's access to a store.
pub(super) trait Session: Send {
    /// Stores bytes under a new name.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Returns all bytes of that name, in memory.
    fn get(&mut self, name: &str) -> Result<Bytes>;
}

struct StrongroomSession(Artifacts);

fn artifact(name: &str) -> Result<ArtifactName> {
    Ok(ArtifactName::new("compare", name, "log")?)
}

impl Session for StrongroomSession {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.put(ArtifactSpec::new(artifact(name)?), bytes)?;
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Bytes> {
        Ok(self.0.read(&artifact(name)?.newest())?)
    }
}

/// One file each: temporary file, fsync, rename, fsync of the folder.
struct FilesSession(PathBuf);

impl Session for FilesSession {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = self.0.join(format!("{name}.new"));
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.0.join(name))?;
        File::open(&self.0)?.sync_all()?;
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Bytes> {
        Ok(fs::read(self.0.join(name))?.into())
    }
}

/// One row each, with the settings of the other runs.
struct SqliteSession(Connection);

impl SqliteSession {
    fn open(dir: &Path, unlock: Option<Unlock>) -> Result<Self> {
        let connection = peers::connect(&dir.join("blobs.db"), unlock, CACHE_BYTES)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, body BLOB NOT NULL)",
        )?;
        Ok(Self(connection))
    }
}

impl Session for SqliteSession {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        // A single statement is a transaction.
        self.0.prepare_cached("INSERT INTO blobs VALUES (?1, ?2)")?.execute((name, bytes))?;
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Bytes> {
        let mut statement = self.0.prepare_cached("SELECT body FROM blobs WHERE name = ?1")?;
        let mut rows = statement.query([name])?;
        let row = rows.next()?.context("the row is there")?;
        Ok(row.get_ref(0)?.as_blob()?.to_vec().into())
    }
}

struct CacacheSession(PathBuf);

impl Session for CacacheSession {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        cacache::write_sync(&self.0, name, bytes)?;
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Bytes> {
        Ok(cacache::read_sync(&self.0, name)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopened_store_returns_put_bytes() {
        for kind in Kind::all() {
            let dir = tempfile::tempdir().unwrap();
            let long = vec![7; 300_000];
            let mut sessions = kind.open(dir.path(), 2).unwrap();
            sessions[0].put("a", b"short").unwrap();
            sessions[1].put("b", &long).unwrap();
            drop(sessions);
            let mut sessions = kind.open(dir.path(), 1).unwrap();
            assert_eq!(sessions[0].get("a").unwrap(), "short", "{kind:?}");
            assert_eq!(sessions[0].get("b").unwrap(), long, "{kind:?}");
            assert!(sessions[0].get("c").is_err(), "{kind:?}");
        }
    }
}
