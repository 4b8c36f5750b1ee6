//! Migration of the tables from one schema to the next.
//!
//! Each step changes the tables and raises the version in one transaction. A crash between two
//! steps leaves a state of a known version, from which the next open continues.

use std::ops::Bound;
use std::sync::Arc;

use redb::{Database, ReadableDatabase};
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::failure::RedbFailure;
use super::storage_health::StorageHealth;
use super::tables::{StateRead, StateWrite, Table};
use strongroom_format::{
    META_SCHEMA, OWN_OPERATION_PREFIX, OperationFields, SCHEMA_VERSION, SchemaRow,
};

/// A step from one version to the next.
pub(super) type Step = fn(&mut StateWrite<'_>) -> Result<()>;

/// `STEPS[n]` leads from version n + 1 to version n + 2.
const STEPS: [Step; SCHEMA_VERSION as usize - 1] =
    [add_space, add_unfinished, add_content, add_values];

/// Step to version 2: the table of the share space.
fn add_space(write: &mut StateWrite<'_>) -> Result<()> {
    write.make(Table::Space)
}

/// Step to version 3: the tables of earlier checkpoints and of unfinished operations.
fn add_unfinished(write: &mut StateWrite<'_>) -> Result<()> {
    write.make(Table::History)?;
    write.make(Table::Unfinished)?;
    let mut unfinished = Vec::new();
    for entry in write.range(Table::Operations, (Bound::Unbounded, Bound::Unbounded))? {
        let entry = entry?;
        let (id, row) = (entry.key.as_slice(), entry.row.as_slice());
        // A row that does not decode is listed too; other code reports it.
        let finished = OperationFields::decode(row).is_ok_and(|row| row.state.is_finished());
        if !finished && !id.starts_with(OWN_OPERATION_PREFIX.as_bytes()) {
            unfinished.push(id.to_vec());
        }
    }
    unfinished.iter().try_for_each(|id| write.put(Table::Unfinished, id, &[]))
}

/// Step to version 4: the tables of chunks and artifacts.
fn add_content(write: &mut StateWrite<'_>) -> Result<()> {
    [
        Table::Chunks,
        Table::Bodies,
        Table::Released,
        Table::Packs,
        Table::Artifacts,
        Table::Uploads,
        Table::Arrivals,
        Table::FoundBy,
        Table::Totals,
        Table::Settings,
    ]
    .into_iter()
    .try_for_each(|table| write.make(table))
}

/// Step to version 5: values of records may be content. Older values stay in their objects.
#[allow(clippy::unnecessary_wraps)] // It has the signature of a step.
fn add_values(_write: &mut StateWrite<'_>) -> Result<()> {
    Ok(())
}

/// Writes the tables of a new state.
pub(super) fn initialise(write: &mut StateWrite<'_>) -> Result<()> {
    write.create_tables()?;
    set_version(write, SCHEMA_VERSION)
}

/// Brings the tables of `database` to [`SCHEMA_VERSION`]; `Invalid` if they are newer.
pub(super) fn migrate(database: &Database, health: &Arc<StorageHealth>) -> Result<()> {
    migrate_by(database, health, &STEPS)
}

fn migrate_by(database: &Database, health: &Arc<StorageHealth>, steps: &[Step]) -> Result<()> {
    let newest = u32::try_from(steps.len()).expect("few steps") + 1;
    let found = version(database, health)?;
    if found > newest {
        let detail = format!(
            "the vault has schema {found}, this program reads up to {newest}: use a newer program"
        );
        return Err(Error::new(ErrorKind::Invalid, "open vault")
            .with_reason(Reason::FormatUnsupported)
            .with_detail(detail));
    }
    for version in found..newest {
        tracing::info!(from = version, to = version + 1, "migrate schema");
        let transaction = database.begin_write().map_err(|e| e.during("migrate schema"))?;
        let mut write = StateWrite::new(&transaction, Arc::clone(health));
        steps[version as usize - 1](&mut write)?;
        set_version(&mut write, version + 1)?;
        drop(write);
        transaction.commit().map_err(|e| e.during("migrate schema"))?;
    }
    Ok(())
}

fn version(database: &Database, health: &Arc<StorageHealth>) -> Result<u32> {
    let transaction = database.begin_read().map_err(|e| e.during("read schema version"))?;
    let read = StateRead::new(transaction, Arc::clone(health));
    let corrupt = |detail| {
        Error::new(ErrorKind::Corrupt, "read schema version")
            .with_reason(Reason::RowDamaged)
            .with_detail(detail)
    };
    let row = read.get(Table::Meta, META_SCHEMA)?.ok_or_else(|| corrupt("the row is missing"))?;
    let SchemaRow::V0 { version } = SchemaRow::decode(row.as_slice())?;
    if version == 0 { Err(corrupt("the version is 0")) } else { Ok(version) }
}

fn set_version(write: &mut StateWrite<'_>, version: u32) -> Result<()> {
    write.put(Table::Meta, META_SCHEMA, &SchemaRow::V0 { version }.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(schema: u32) -> Database {
        let database = Database::builder()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .unwrap();
        let transaction = database.begin_write().unwrap();
        let mut write = StateWrite::new(&transaction, Arc::default());
        initialise(&mut write).unwrap();
        set_version(&mut write, schema).unwrap();
        drop(write);
        transaction.commit().unwrap();
        database
    }

    /// Appends its digit to a row that shows the executed steps.
    fn step<const DIGIT: u8>(write: &mut StateWrite<'_>) -> Result<()> {
        let mut trace = write.get(Table::Meta, b"trace", |row| row.unwrap_or(b"").to_vec())?;
        trace.push(DIGIT);
        write.put(Table::Meta, b"trace", &trace)
    }

    fn broken(write: &mut StateWrite<'_>) -> Result<()> {
        step::<b'!'>(write)?;
        Err(Error::new(ErrorKind::Unavailable, "migrate schema"))
    }

    fn trace(database: &Database) -> Vec<u8> {
        let read = StateRead::new(database.begin_read().unwrap(), Arc::default());
        let row = read.get(Table::Meta, b"trace").unwrap();
        row.map_or_else(Vec::new, |row| row.as_slice().to_vec())
    }

    #[test]
    fn steps_run_once_each_from_the_version_found() {
        let database = database(2);
        let steps: [Step; 4] = [step::<b'1'>, step::<b'2'>, step::<b'3'>, step::<b'4'>];
        migrate_by(&database, &Arc::default(), &steps).unwrap();
        assert_eq!(trace(&database), b"234");
        migrate_by(&database, &Arc::default(), &steps).unwrap();
        assert_eq!(trace(&database), b"234");
        assert_eq!(version(&database, &Arc::default()).unwrap(), 5);
    }

    #[test]
    fn failed_step_leaves_the_previous_version() {
        let database = database(1);
        migrate_by(&database, &Arc::default(), &[step::<b'1'>, broken]).unwrap_err();
        assert_eq!(trace(&database), b"1");
        assert_eq!(version(&database, &Arc::default()).unwrap(), 2);
        migrate_by(&database, &Arc::default(), &[step::<b'1'>, step::<b'2'>]).unwrap();
        assert_eq!(trace(&database), b"12");
    }

    #[test]
    fn unfinished_operations_of_old_schema_are_listed() {
        let database = database(2);
        let transaction = database.begin_write().unwrap();
        let mut write = StateWrite::new(&transaction, Arc::default());
        // Rows of version 0: state, session, generation, times, lanes, open lanes.
        let row = |state: u8| [&[0, state, 16][..], &[7; 16], &[1, 2, 2, 1, state]].concat();
        let rows = [("done", row(1)), ("half", row(0)), ("odd", vec![9]), ("strongroom.x", row(0))];
        for (id, row) in &rows {
            write.put(Table::Operations, id.as_bytes(), row).unwrap();
        }
        drop(write);
        transaction.commit().unwrap();
        migrate(&database, &Arc::default()).unwrap();
        let read = StateRead::new(database.begin_read().unwrap(), Arc::default());
        let all = (Bound::Unbounded, Bound::Unbounded);
        let listed: Vec<_> = read
            .range(Table::Unfinished, all)
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().key.as_slice().to_vec()).unwrap())
            .collect();
        assert_eq!(listed, ["half", "odd"]);
    }

    #[test]
    fn newer_schema_is_refused_unchanged() {
        let database = database(9);
        let error = migrate(&database, &Arc::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("schema 9"), "{error}");
        assert_eq!(version(&database, &Arc::default()).unwrap(), 9);
    }
}
