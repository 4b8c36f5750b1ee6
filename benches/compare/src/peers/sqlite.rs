//! `SQLite` as its documentation advises for durable commits: write-ahead log, `synchronous=FULL`,
//! prepared statements, tables of bytes without row ids, one connection for each thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::{CACHE_BYTES, OPERATION, Peer, Session};
use crate::data::{Key, Row, touch};

const INSERT_RECORD: &str =
    "INSERT INTO records VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const INSERT_CHECKPOINT: &str =
    "INSERT INTO checkpoints VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";

/// How long a writer waits for the others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// A database file.
pub(crate) struct Sqlite {
    path: PathBuf,
}

impl Peer for Sqlite {
    const LABEL: &'static str = "SQLite";

    fn create(dir: &Path) -> Result<Self> {
        let path = dir.join("sqlite.db");
        connect(&path)?.execute_batch(
            "CREATE TABLE records (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE checkpoints (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        Ok(Self { path })
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let connection = connect(&self.path)?;
        Ok(Box::new(SqliteSession { connection }))
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    anyhow::ensure!(mode == "wal", "SQLite stays in journal mode {mode}");
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Negative: in KiB.
    let cache_kib = i64::try_from(CACHE_BYTES / 1024)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(connection)
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
            // A statement alone is a transaction of its own.
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
