//! Records as rows, and the creation and removal of namespaces.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_base::{Error, ErrorKind, Reason, Result};
use strongroom_content::{FoundRoots, Roots, release};
use strongroom_format::{
    ContentRef, META_VAULT, NamespaceRow, ObjectName, RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX,
    RecordRow, VaultRow, dropping_key, dropping_number,
};
use strongroom_store::commit::{CommitInfo, Core, Hook, Tx};
use strongroom_store::state::{KeySpan, StateRead, Table};

use super::name::check_name;
use super::payload::{Payload, Source};
use super::staged::StagedParts;

/// Most records of dropped namespaces that one commit removes.
const DROPPED_PER_COMMIT_MAX: usize = 1_000;

const ALL: KeySpan<'static> = (Bound::Unbounded, Bound::Unbounded);

/// Data of this room for a transaction.
#[derive(Default)]
struct RecordsPart {
    /// Numbers of the namespaces that it has used, by name.
    namespaces: HashMap<String, u32>,
    /// A buffer for a row, reused from call to call.
    row: Vec<u8>,
    /// Set if it drops a namespace.
    drops: bool,
    /// Set if it has removed rows: whether dropped namespaces have more.
    left: Option<bool>,
}

/// Removes the rows of dropped namespaces, a bounded batch with every commit.
#[derive(Debug, Default)]
pub(crate) struct DroppedNamespaces {
    /// Set while rows are left to remove.
    left: AtomicBool,
}

impl Hook for DroppedNamespaces {
    fn before_commit(&self, tx: &mut Tx<'_>) -> Result<()> {
        let drops = tx.parts.get::<RecordsPart>().is_some_and(|part| part.drops);
        if drops || self.has_more() {
            let left = advance_dropping(tx)?;
            tx.parts.get_mut::<RecordsPart>().left = Some(left);
        }
        Ok(())
    }

    fn committed(self: Arc<Self>, _core: &Arc<Core>, info: &mut CommitInfo) {
        if let Some(left) = info.parts.get::<RecordsPart>().and_then(|part| part.left) {
            self.left.store(left, Ordering::Release);
        }
    }

    fn has_more(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    fn opened(&self, state: &StateRead) -> Result<()> {
        self.left.store(state.len(Table::Dropping)? > 0, Ordering::Release);
        Ok(())
    }
}

/// The contents to which records refer, including namespaces that are being dropped.
pub(crate) struct RecordRoots;

impl Roots for RecordRoots {
    fn roots(&self, tx: &Tx<'_>) -> Result<FoundRoots> {
        let mut found = FoundRoots::default();
        for table in record_tables(tx)? {
            for entry in tx.state.range(table, ALL)? {
                match RecordRow::decode(entry?.row.as_slice()) {
                    Ok(RecordRow::Content(content)) => found.roots.push(content.root),
                    Ok(_) => {}
                    // Its references are unknown; `check` names the row.
                    Err(_) => found.damaged += 1,
                }
            }
        }
        Ok(found)
    }
}

fn record_tables(tx: &Tx<'_>) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for entry in tx.state.range(Table::Namespaces, ALL)? {
        let NamespaceRow::V0 { number } = NamespaceRow::decode(entry?.row.as_slice())?;
        tables.push(Table::Records(number));
    }
    for entry in tx.state.range(Table::Dropping, ALL)? {
        tables.push(Table::Records(dropping_number(entry?.key.as_slice())?));
    }
    Ok(tables)
}

/// Inserts a record that was [checked](check_record).
pub(super) fn insert(
    tx: &mut Tx<'_>,
    namespace: &str,
    key: &[u8],
    value: &Payload<'_>,
) -> Result<()> {
    let table = make_namespace(tx, namespace)?;
    // Bytes for the row, or the content to which it refers.
    let (inline, stored) = match &value.source {
        Source::Bytes(bytes) => (&bytes[..], None),
        Source::Staged(staged) => match staged.parts() {
            StagedParts::Inline(bytes) => (&bytes[..], None),
            StagedParts::Content(stored) => (&[][..], Some(stored)),
        },
    };
    // The new content is adopted first, so that a chunk in both contents is never released.
    let adopted = stored.map_or(Ok(()), |stored| stored.adopt(tx));
    let finished = adopted
        .and_then(|()| {
            let row = &mut tx.parts.get_mut::<RecordsPart>().row;
            match stored {
                Some(stored) => RecordRow::write_content(row, &stored.content()),
                None => RecordRow::write_inline(row, inline),
            }
            tx.state.insert(table, key, row, reference_of_row)
        })
        .and_then(|replaced| release_value(tx, replaced.transpose()?));
    // A part of it may be written, so the transaction must not commit.
    finished.map_err(|e| tx.refuse(e))
}

/// Removes a record. Returns whether there was one.
pub(super) fn remove(tx: &mut Tx<'_>, namespace: &str, key: &[u8]) -> Result<bool> {
    let Some(table) = open_namespace(tx, namespace)? else { return Ok(false) };
    let removed = tx.state.remove(table, key, reference_of_row);
    let finished = removed.and_then(|removed| {
        let reference = removed.transpose()?;
        let was_there = reference.is_some();
        release_value(tx, reference).map(|()| was_there)
    });
    finished.map_err(|e| tx.refuse(e))
}

/// Drops a namespace. Returns whether there was one.
pub(super) fn drop_namespace(tx: &mut Tx<'_>, namespace: &str) -> Result<bool> {
    let Some(Table::Records(number)) = open_namespace(tx, namespace)? else {
        return Ok(false);
    };
    tx.state.delete(Table::Namespaces, namespace.as_bytes())?;
    tx.state.put(Table::Dropping, &dropping_key(number), &[])?;
    let part = tx.parts.get_mut::<RecordsPart>();
    part.namespaces.remove(namespace);
    part.drops = true;
    Ok(true)
}

/// Removes a bounded batch of the records of dropped namespaces. Returns whether any are left.
fn advance_dropping(tx: &mut Tx<'_>) -> Result<bool> {
    let mut left = DROPPED_PER_COMMIT_MAX;
    while let Some(number) = first_dropping(tx)? {
        let table = Table::Records(number);
        let batch = tx
            .state
            .range(table, ALL)?
            .take(left)
            .map(|entry| entry.map(|entry| entry.key))
            .collect::<Result<Vec<_>>>()?;
        for key in &batch {
            let removed = tx.state.remove(table, key.as_slice(), reference_of_row)?;
            // A damaged row must not keep the namespace; `check` lists its contents.
            match release_value(tx, removed.and_then(Result::ok)) {
                Err(e) if e.kind() == ErrorKind::Corrupt => {}
                released => released?,
            }
        }
        left -= batch.len();
        if left == 0 {
            return Ok(true);
        }
        tx.state.delete_record_table(number)?;
        tx.state.delete(Table::Dropping, &dropping_key(number))?;
    }
    Ok(false)
}

fn first_dropping(tx: &Tx<'_>) -> Result<Option<u32>> {
    let first = tx.state.range(Table::Dropping, ALL)?.next().transpose()?;
    first.map(|entry| dropping_number(entry.key.as_slice())).transpose()
}

/// Refuses a foreign vault's staged value, or one beyond the quota.
pub(super) fn check_staged(tx: &Tx<'_>, value: &Payload<'_>) -> Result<()> {
    match &value.source {
        Source::Staged(staged) if !staged.is_of(tx.core()) => {
            Err(Error::new(ErrorKind::Invalid, "insert record").with_detail(
                "the value was staged in another vault, or before the vault was reopened",
            ))
        }
        Source::Staged(staged) => match staged.parts() {
            StagedParts::Content(stored) => stored.check(tx),
            StagedParts::Inline(_) => Ok(()),
        },
        Source::Bytes(_) => Ok(()),
    }
}

/// Drops the reference of a row.
fn release_value(tx: &mut Tx<'_>, reference: Option<Reference>) -> Result<()> {
    match reference {
        None | Some(Reference::Nothing) => Ok(()),
        Some(Reference::Objects(objects)) => tx.doom(objects),
        Some(Reference::Content(content)) => release(tx, &content),
    }
}

/// Returns the table of a namespace, if it exists.
pub(super) fn find_namespace(tx: &Tx<'_>, name: &str) -> Result<Option<Table>> {
    let known = tx.parts.get::<RecordsPart>().and_then(|part| part.namespaces.get(name));
    let number = match known {
        Some(&number) => Some(number),
        None => read_namespace(tx, name)?,
    };
    Ok(number.map(Table::Records))
}

/// Does the same, and caches the result.
fn open_namespace(tx: &mut Tx<'_>, name: &str) -> Result<Option<Table>> {
    if let Some(&number) = tx.parts.get_mut::<RecordsPart>().namespaces.get(name) {
        return Ok(Some(Table::Records(number)));
    }
    let Some(number) = read_namespace(tx, name)? else { return Ok(None) };
    tx.parts.get_mut::<RecordsPart>().namespaces.insert(name.to_owned(), number);
    Ok(Some(Table::Records(number)))
}

fn make_namespace(tx: &mut Tx<'_>, name: &str) -> Result<Table> {
    if let Some(table) = open_namespace(tx, name)? {
        return Ok(table);
    }
    let number = draw_namespace_number(tx)?;
    let row = NamespaceRow::V0 { number }.encode();
    tx.state.put(Table::Namespaces, name.as_bytes(), &row)?;
    tx.parts.get_mut::<RecordsPart>().namespaces.insert(name.to_owned(), number);
    Ok(Table::Records(number))
}

fn draw_namespace_number(tx: &mut Tx<'_>) -> Result<u32> {
    let row = tx.state.get(Table::Meta, META_VAULT, |row| row.map(VaultRow::decode))?;
    let mut row = row.unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Corrupt, "read vault row")
            .with_reason(Reason::RowDamaged)
            .with_detail("the row is missing"))
    })?;
    let VaultRow::V0 { next_namespace, .. } = &mut row;
    let number = *next_namespace;
    *next_namespace = number.checked_add(1).ok_or_else(|| {
        Error::new(ErrorKind::Full, "make namespace")
            .with_detail("all 2^32 - 1 namespace numbers were used")
    })?;
    tx.state.put(Table::Meta, META_VAULT, &row.encode())?;
    Ok(number)
}

fn read_namespace(tx: &Tx<'_>, name: &str) -> Result<Option<u32>> {
    check_name("open namespace", "namespace", name)?;
    let row = tx.state.get(Table::Namespaces, name.as_bytes(), |row| {
        row.map(NamespaceRow::decode).transpose()
    })??;
    Ok(row.map(|NamespaceRow::V0 { number }| number))
}

/// Checks a record as far as possible before any row is written.
pub(super) fn check_record(action: &'static str, key: &[u8], value: &Payload<'_>) -> Result<()> {
    let too_long = |reason, what: &str, len: usize, max: usize, hint: &str| {
        Err(Error::new(ErrorKind::Invalid, action)
            .with_reason(reason)
            .with_detail(format!("{what} has {len} bytes, the limit is {max}{hint}")))
    };
    if key.len() > RECORD_KEY_BYTES_MAX {
        return too_long(Reason::KeyTooLong, "key", key.len(), RECORD_KEY_BYTES_MAX, "");
    }
    match &value.source {
        Source::Bytes(bytes) if bytes.len() > ROW_BYTES_MAX => {
            too_long(Reason::ValueTooLong, "value", bytes.len(), ROW_BYTES_MAX, ": stage it")
        }
        _ => Ok(()),
    }
}

/// The reference of a row.
enum Reference {
    Nothing,
    Objects(Vec<ObjectName>),
    Content(ContentRef),
}

/// Reads the reference of a row; `None` if there is no row.
fn reference_of_row(row: Option<&[u8]>) -> Option<Result<Reference>> {
    Some(RecordRow::decode(row?).map(|row| match row {
        RecordRow::Inline => Reference::Nothing,
        RecordRow::Content(content) => Reference::Content(content),
        RecordRow::Objects(row) => {
            Reference::Objects(row.objects().iter().map(|object| object.name).collect())
        }
    }))
}
