//! `SQLite`, configured as its documentation advises for durable commits, and `SQLCipher`.
//!
//! Write-ahead log, `synchronous=FULL`, prepared statements, tables of bytes without row ids, one
//! connection for each thread. `SQLCipher` is the same with a key: without a key, a library built
//! as `SQLCipher` is plain `SQLite`. Its settings are its defaults: pages of 4 KiB, AES-256-CBC
//! with HMAC-SHA512 for each page, PBKDF2 of 256,000 rounds for a password and none for a raw key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;

use super::{OPERATION, PASSWORD, Peer, Session, Store, Unlock};
use crate::data::{Key, Row, touch};

const INSERT_RECORD: &str =
    "INSERT INTO records VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const INSERT_CHECKPOINT: &str =
    "INSERT INTO checkpoints VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";

const FILE_NAME: &str = "sqlite.db";
const LOG_NAME: &str = "sqlite.db-wal";

/// `SQLCipher`'s form of a raw key, which needs no derivation.
const RAW_KEY: &str = "x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'";

/// Time that a writer waits for others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the version of `SQLCipher`, if the library was built as such.
pub(crate) fn cipher_version() -> Option<&'static str> {
    static VERSION: LazyLock<Option<String>> = LazyLock::new(|| {
        let connection = Connection::open_in_memory().ok()?;
        connection.pragma_query_value(None, "cipher_version", |row| row.get(0)).ok()
    });
    VERSION.as_deref()
}

pub(super) struct Sqlite {
    pub(super) label: &'static str,
    /// `None` for plain `SQLite`.
    pub(super) unlock: Option<Unlock>,
}

impl Peer for Sqlite {
    fn label(&self) -> &'static str {
        self.label
    }

    fn create(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        let store = SqliteStore::open(dir, self.unlock, cache_bytes)?;
        store.connection()?.execute_batch(
            "CREATE TABLE records (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE checkpoints (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        Ok(Box::new(store))
    }

    fn open(&self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Store>> {
        Ok(Box::new(SqliteStore::open(dir, self.unlock, cache_bytes)?))
    }
}

/// A database file. The last closed connection closes it.
struct SqliteStore {
    path: PathBuf,
    unlock: Option<Unlock>,
    cache_bytes: usize,
    /// For the first session: opening and reading use one connection.
    spare: Mutex<Option<Connection>>,
    log_was_left: bool,
}

impl SqliteStore {
    fn open(dir: &Path, unlock: Option<Unlock>, cache_bytes: usize) -> Result<Self> {
        let log_was_left = fs::metadata(dir.join(LOG_NAME)).is_ok_and(|log| log.len() > 0);
        let spare = Mutex::new(None);
        let path = dir.join(FILE_NAME);
        let store = Self { path, unlock, cache_bytes, spare, log_was_left };
        let connection = store.connection()?;
        *store.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(store)
    }

    fn connection(&self) -> Result<Connection> {
        connect(&self.path, self.unlock, self.cache_bytes)
    }
}

/// Makes a connection with the settings in the head of this file.
pub(crate) fn connect(
    path: &Path,
    unlock: Option<Unlock>,
    cache_bytes: usize,
) -> Result<Connection> {
    let connection = Connection::open(path)?;
    // The key comes first; a build without encryption would ignore it.
    match unlock {
        None => {}
        Some(unlock) => {
            ensure!(cipher_version().is_some(), "built without SQLCipher");
            let key = match unlock {
                Unlock::Key => RAW_KEY,
                Unlock::Password => PASSWORD,
            };
            connection.pragma_update(None, "key", key)?;
        }
    }
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    ensure!(mode == "wal", "SQLite stays in journal mode {mode}");
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // Negative: in KiB. With 0 a page is released as soon as no cursor uses it.
    let cache_kib = i64::try_from(cache_bytes / 1024)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn session(&self) -> Result<Box<dyn Session>> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let connection = spare.map_or_else(|| self.connection(), Ok)?;
        Ok(Box::new(SqliteSession { connection }))
    }

    fn recovered(&self) -> bool {
        self.log_was_left
    }
}

struct SqliteSession {
    connection: Connection,
}

impl SqliteSession {
    /// Runs `work` in a transaction, with statements that are prepared once.
    fn within<T>(&self, begin: &str, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.connection.prepare_cached(begin)?.execute([])?;
        let outcome = work(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(outcome)
    }
}

fn insert(connection: &Connection, rows: &[Row]) -> Result<()> {
    let mut statement = connection.prepare_cached(INSERT_RECORD)?;
    for row in rows {
        statement.execute((&row.key[..], &row.value[..]))?;
    }
    Ok(())
}

impl Session for SqliteSession {
    fn commit(&mut self, rows: &[Row]) -> Result<()> {
        if rows.len() == 1 {
            // A single statement is a transaction.
            return insert(&self.connection, rows);
        }
        self.within("BEGIN IMMEDIATE", |connection| insert(connection, rows))
    }

    fn commit_with_checkpoint(&mut self, rows: &[Row], checkpoint: &[u8]) -> Result<()> {
        self.within("BEGIN IMMEDIATE", |connection| {
            insert(connection, rows)?;
            connection
                .prepare_cached(INSERT_CHECKPOINT)?
                .execute((OPERATION.as_bytes(), checkpoint))?;
            Ok(())
        })
    }

    fn get(&mut self, keys: &[Key]) -> Result<u64> {
        self.within("BEGIN", |connection| {
            let mut statement = connection.prepare_cached("SELECT v FROM records WHERE k = ?1")?;
            let mut sum = 0;
            for key in keys {
                let mut rows = statement.query([&key[..]])?;
                let row = rows.next()?.context("the row is there")?;
                sum += touch(row.get_ref(0)?.as_blob()?);
            }
            Ok(sum)
        })
    }

    fn scan(&mut self, starts: &[Key], count: usize) -> Result<u64> {
        self.within("BEGIN", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT k, v FROM records WHERE k >= ?1 ORDER BY k LIMIT ?2")?;
            let count = i64::try_from(count)?;
            let mut sum = 0;
            for start in starts {
                let mut rows = statement.query((&start[..], count))?;
                while let Some(row) = rows.next()? {
                    sum += touch(row.get_ref(0)?.as_blob()?) + touch(row.get_ref(1)?.as_blob()?);
                }
            }
            Ok(sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_encrypted_only_with_a_key() {
        if cipher_version().is_none() {
            println!("SKIPPED: built without SQLCipher");
            return;
        }
        for unlock in [None, Some(Unlock::Key), Some(Unlock::Password)] {
            let dir = tempfile::tempdir().unwrap();
            let peer = Sqlite { label: "any", unlock };
            drop(peer.create(dir.path(), 0).unwrap());
            let bytes = fs::read(dir.path().join(FILE_NAME)).unwrap();
            let is_plain = bytes.starts_with(b"SQLite format 3\0");
            assert_eq!(is_plain, unlock.is_none(), "{unlock:?}");
        }
    }
}
