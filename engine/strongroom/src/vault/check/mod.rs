//! Checks of a whole vault: redb's own integrity, every row, and every object that rows name.

mod artifacts;
mod content;
mod operations;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;

use strongroom_base::{Error, ErrorKind, Result};

use super::handle::Vault;
use crate::artifacts::ArtifactUri;
use strongroom_base::{LongCall, long_call_options};
use strongroom_content::Content;
use strongroom_format::{
    ContentRef, DoomedKey, NamespaceRow, ObjectName, ObjectRef, ObjectsRow, PendingRow, RecordRow,
    SPACE, SPACE_UPDATE, SpaceRow, UpdateRow, dropping_number,
};
use strongroom_store::objects::Cut;
use strongroom_store::state::{Entry, StateRead, Table};

/// Selection of the objects that a check reads and opens.
///
/// For the others it checks presence and length only. Nodes, which list other content, are always
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadData {
    /// No object.
    #[default]
    No,
    /// All objects.
    All,
    /// One of `of` parts of the objects. As many checks, each of another part, read all objects.
    Part {
        /// Number of the part: 1 to `of`.
        part: u32,
        /// Number of parts; at least 1.
        of: u32,
    },
}

impl ReadData {
    fn validate(self) -> Result<()> {
        match self {
            Self::Part { part, of } if part == 0 || part > of => {
                Err(Error::new(ErrorKind::Invalid, "check vault")
                    .with_detail(format!("part {part} of {of}: the part must be within 1 to {of}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the object of this name is read. Names are random, so parts are about equal.
    fn has(self, name: &[u8; 16]) -> bool {
        match self {
            Self::No => false,
            Self::All => true,
            Self::Part { part, of } => {
                let [a, b, c, d, ..] = *name;
                u32::from_le_bytes([a, b, c, d]) % of == part - 1
            }
        }
    }
}

/// Options of a check. Progress counts the rows and objects checked so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions<'a> {
    pub(super) read_data: ReadData,
    pub(super) call: LongCall<'a>,
}

long_call_options!(CheckOptions);

impl CheckOptions<'_> {
    /// Creates the default options: checks all rows, and reads no object's bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which objects are read.
    #[must_use]
    pub fn read_data(mut self, read_data: ReadData) -> Self {
        self.read_data = read_data;
        self
    }
}

/// Report of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Result of redb's integrity check: all blocks open, all checksums match.
    ///
    /// `None` if readers were live: that walk needs the state exclusively.
    pub state_intact: Option<bool>,
    /// Number of records read.
    pub records: u64,
    /// Number of operations read, the engine's internal ones included.
    pub operations: u64,
    /// Number of chunks checked.
    pub chunks: u64,
    /// Number of artifact versions checked.
    pub artifacts: u64,
    /// Number of objects that records, the share space and chunks refer to.
    pub objects: u64,
    /// Bytes of these objects on the backend, sealed.
    pub object_bytes: u64,
    /// Number of objects that are pending or wait for deletion.
    pub due: u64,
    /// Problems, in the order in which they were found.
    pub problems: Vec<Problem>,
    /// Number of records with a long value that cannot be read entirely.
    pub records_affected: u64,
    /// Number of artifact versions whose content cannot be read entirely.
    pub artifacts_affected: u64,
    /// The first 10,000 of these versions.
    pub affected: Vec<ArtifactUri>,
    /// Objects that no row names. They are never deleted: they may belong to another program.
    pub unknown: Vec<String>,
}

impl CheckReport {
    /// Returns whether the check found no problem. Unknown objects are not problems.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.state_intact != Some(false)
    }
}

/// A problem of the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A row does not decode, or contradicts other rows.
    Row {
        /// Name of the table.
        table: String,
        /// Description of the problem.
        detail: String,
    },
    /// An object that a row refers to is missing.
    Missing {
        /// Name of the object on the backend.
        object: String,
    },
    /// An object that a row refers to is not what was written.
    Damaged {
        /// Name of the object on the backend.
        object: String,
        /// Description of the damage.
        detail: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row { table, detail } => write!(f, "table {table}: {detail}"),
            Self::Missing { object } => write!(f, "object missing: {object}"),
            Self::Damaged { object, detail } => write!(f, "object damaged: {object}: {detail}"),
        }
    }
}

impl Vault {
    /// Checks the whole vault, and reports all problems.
    ///
    /// A problem does not stop the check; an error means that it could not continue. Writes wait
    /// meanwhile, at most their timeout. `Invalid` for a [`ReadData::Part`] out of range,
    /// `Cancelled` if the options' token is cancelled.
    pub fn check(&self, options: &CheckOptions<'_>) -> Result<CheckReport> {
        let _span = tracing::debug_span!("check").entered();
        options.read_data.validate()?;
        let core = &self.parts().core;
        let turn = core.turn("check vault")?;
        core.reopen_if_failed(&turn)?;
        let mut check = Check {
            content: &self.parts().content,
            options,
            report: CheckReport::default(),
            done: 0,
        };
        if core.read_epochs().live() == 0 {
            check.report.state_intact = match core.store().check_integrity() {
                Ok(intact) => Some(intact),
                Err(e) if e.kind() == ErrorKind::Corrupt => Some(false),
                Err(e) => return Err(e),
            };
        }
        match core.store().read() {
            Ok(state) => check.rows(&state)?,
            // The walk met a damaged block; the state cannot be read any more.
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                check.wrong(Table::Meta, e.to_string());
            }
            Err(e) => return Err(e),
        }
        Ok(check.report)
    }
}

/// A running check: its report so far.
struct Check<'a> {
    content: &'a Content,
    options: &'a CheckOptions<'a>,
    report: CheckReport,
    done: u64,
}

/// Expected state of an object, from the rows.
enum NamedObject {
    Referenced(ObjectRef, Cut),
    /// A pack of this length, in bytes. Its chunks are checked separately.
    Pack(u64),
    /// Pending or doomed: the object may exist or not.
    Due,
}

impl Check<'_> {
    fn rows(&mut self, state: &StateRead) -> Result<()> {
        let namespaces = self.namespaces(state)?;
        let (mut named, mut values) = (HashMap::new(), Vec::new());
        for number in namespaces {
            self.records(state, number, &mut named, &mut values)?;
        }
        self.space(state, &mut named)?;
        self.operations(state)?;
        let mut chunks = self.chunks(state)?;
        for (table, content) in &values {
            if let Some(wrong) = chunks.refer(content) {
                self.wrong(*table, wrong);
            }
        }
        self.artifacts(state, &mut chunks)?;
        self.content(state, &chunks, &mut named)?;
        self.due(state, &mut named)?;
        let lost = self.objects(named)?;
        chunks.spread_damage(&lost);
        let affected = values.iter().filter(|(_, content)| chunks.is_damaged(&content.root));
        self.report.records_affected += affected.count() as u64;
        self.affected(state, &chunks)
    }

    /// Calls `look` for each row of a table.
    ///
    /// A damaged page ends the scan of this table; it is reported, and the check continues.
    fn scan(
        &mut self,
        state: &StateRead,
        table: Table,
        mut look: impl FnMut(&mut Self, &Entry) -> Result<()>,
    ) -> Result<()> {
        let scanned = state.range(table, ALL).and_then(|rows| {
            for entry in rows {
                self.step()?;
                look(self, &entry?)?;
            }
            Ok(())
        });
        match scanned {
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                self.wrong(table, e.to_string());
                Ok(())
            }
            other => other,
        }
    }

    fn step(&mut self) -> Result<()> {
        self.done += 1;
        self.options.call.check("check vault")?;
        self.options.call.report(self.done, None);
        Ok(())
    }

    fn wrong(&mut self, table: Table, detail: impl Into<String>) {
        let table = table.name().into_owned();
        self.report.problems.push(Problem::Row { table, detail: detail.into() });
    }

    /// Returns the numbers of all tables of records.
    ///
    /// Reports namespaces without a table and tables without a namespace. Namespaces that are being
    /// dropped count too.
    fn namespaces(&mut self, state: &StateRead) -> Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        self.scan(state, Table::Namespaces, |check, entry| {
            let number = NamespaceRow::decode(entry.row.as_slice())
                .map(|NamespaceRow::V0 { number }| number);
            check.note_number(Table::Namespaces, number, &mut found);
            Ok(())
        })?;
        self.scan(state, Table::Dropping, |check, entry| {
            let number = dropping_number(entry.key.as_slice());
            check.note_number(Table::Dropping, number, &mut found);
            Ok(())
        })?;
        let tables: BTreeSet<u32> = match state.record_tables() {
            Ok(tables) => tables.into_iter().collect(),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                self.wrong(Table::Namespaces, e.to_string());
                return Ok(found);
            }
            Err(e) => return Err(e),
        };
        for number in found.symmetric_difference(&tables) {
            let detail = format!("namespace {number} has no table, or a table has no namespace");
            self.wrong(Table::Namespaces, detail);
        }
        Ok(tables)
    }

    fn note_number(&mut self, table: Table, number: Result<u32>, found: &mut BTreeSet<u32>) {
        match number {
            Ok(number) if !found.insert(number) => {
                self.wrong(table, format!("number {number} is used twice"));
            }
            Ok(_) => {}
            Err(e) => self.wrong(table, e.to_string()),
        }
    }

    fn records(
        &mut self,
        state: &StateRead,
        namespace: u32,
        named: &mut HashMap<ObjectName, NamedObject>,
        values: &mut Vec<(Table, ContentRef)>,
    ) -> Result<()> {
        let table = Table::Records(namespace);
        self.scan(state, table, |check, entry| {
            check.report.records += 1;
            match RecordRow::decode(entry.row.as_slice()) {
                Ok(RecordRow::Inline) => {}
                Ok(RecordRow::Content(content)) => values.push((table, content)),
                Ok(RecordRow::Objects(row)) => check.value_of_objects(table, &row, named),
                Err(e) => check.wrong(table, e.to_string()),
            }
            Ok(())
        })
    }

    fn value_of_objects(
        &mut self,
        table: Table,
        row: &ObjectsRow,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) {
        let total: u64 = row.objects().iter().map(|object| object.len).sum();
        if total != row.value_bytes() {
            self.wrong(table, "a value's objects do not add up to its length");
        }
        for object in row.objects() {
            self.refer(table, object, Cut::VALUE, named);
        }
    }

    fn refer(
        &mut self,
        table: Table,
        object: &ObjectRef,
        cut: Cut,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) {
        if named.insert(object.name, NamedObject::Referenced(object.clone(), cut)).is_some() {
            self.wrong(table, "an object is referred to twice");
        }
    }

    /// Checks the rows of the share space: its objects, and an unfinished update.
    fn space(
        &mut self,
        state: &StateRead,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) -> Result<()> {
        self.scan(state, Table::Space, |check, entry| {
            let row = entry.row.as_slice();
            let outcome = match entry.key.as_slice() {
                SPACE => SpaceRow::decode(row).map(|row| {
                    for (number, object) in row.generation().objects.iter().enumerate() {
                        check.refer(Table::Space, object, Cut::of_space(number), named);
                    }
                }),
                SPACE_UPDATE => UpdateRow::decode(row).map(|row| {
                    for &name in row.names() {
                        if named.insert(name, NamedObject::Due).is_some() {
                            check.wrong(
                                Table::Space,
                                "an object of an update is named by another row",
                            );
                        }
                    }
                }),
                _ => {
                    check.wrong(Table::Space, "a row has an unknown key");
                    return Ok(());
                }
            };
            if let Err(e) = outcome {
                check.wrong(Table::Space, e.to_string());
            }
            Ok(())
        })
    }

    fn due(
        &mut self,
        state: &StateRead,
        named: &mut HashMap<ObjectName, NamedObject>,
    ) -> Result<()> {
        let mut due = Vec::new();
        self.scan(state, Table::Pending, |check, entry| {
            match PendingRow::decode(entry.row.as_slice()) {
                Ok(pending) => due.extend_from_slice(pending.names()),
                Err(e) => check.wrong(Table::Pending, e.to_string()),
            }
            Ok(())
        })?;
        self.scan(state, Table::Doomed, |check, entry| {
            match DoomedKey::decode(entry.key.as_slice()) {
                Ok(key) => due.push(key.name),
                Err(e) => check.wrong(Table::Doomed, e.to_string()),
            }
            Ok(())
        })?;
        self.report.due = due.len() as u64;
        for name in due {
            if let Some(NamedObject::Referenced(..) | NamedObject::Pack(_)) =
                named.insert(name, NamedObject::Due)
            {
                self.wrong(Table::Doomed, format!("object {name:?} is referred to and due"));
            }
        }
        Ok(())
    }

    /// Compares the backend's listing with the rows; returns missing and truncated packs.
    ///
    /// The write turn is held, so no row changes meanwhile.
    fn objects(
        &mut self,
        mut named: HashMap<ObjectName, NamedObject>,
    ) -> Result<HashSet<ObjectName>> {
        let content = self.content;
        let mut lost = HashSet::new();
        content.core().objects().list(|name, size| {
            self.step()?;
            match name.map(|name| (name, named.remove(&name))) {
                Ok((_, Some(NamedObject::Referenced(object, cut)))) => {
                    self.object(&object, cut, size)
                }
                Ok((name, Some(NamedObject::Pack(bytes)))) => {
                    self.pack(name, bytes, size);
                    if size < bytes {
                        lost.insert(name);
                    }
                    Ok(())
                }
                Ok((_, Some(NamedObject::Due))) => Ok(()),
                Ok((name, None)) => {
                    self.report.unknown.push(name.key().to_string());
                    Ok(())
                }
                Err(foreign) => {
                    self.report.unknown.push(foreign.to_owned());
                    Ok(())
                }
            }
        })?;
        let mut unlisted: Vec<_> =
            named.into_iter().filter(|(_, named)| !matches!(named, NamedObject::Due)).collect();
        unlisted.sort_unstable_by_key(|(name, _)| *name);
        let mut missing = Vec::new();
        for (number, (name, named)) in unlisted.into_iter().enumerate() {
            self.step()?;
            if number >= UNLISTED_VERIFIED_MAX || !self.verify_unlisted(name, &named)? {
                missing.push(name);
            }
        }
        lost.extend(missing.iter().copied());
        self.report.objects += missing.len() as u64;
        let problems =
            missing.into_iter().map(|name| Problem::Missing { object: name.key().to_string() });
        self.report.problems.extend(problems);
        Ok(lost)
    }

    /// Verifies an object that was not listed: a listing may be outdated.
    fn verify_unlisted(&mut self, name: ObjectName, named: &NamedObject) -> Result<bool> {
        let bytes = match named {
            NamedObject::Referenced(object, cut) => cut.sealed_bytes(object.len),
            NamedObject::Pack(bytes) => *bytes,
            NamedObject::Due => return Ok(true),
        };
        match self.content.core().objects().get_sealed(name, bytes.saturating_sub(1)..bytes) {
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(false),
            found => drop(found?),
        }
        match named {
            NamedObject::Referenced(object, cut) => self.object(object, *cut, bytes)?,
            _ => self.pack(name, bytes, bytes),
        }
        Ok(true)
    }

    fn object(&mut self, object: &ObjectRef, cut: Cut, size: u64) -> Result<()> {
        self.report.objects += 1;
        self.report.object_bytes += size;
        let expected = cut.sealed_bytes(object.len);
        let detail = if size != expected {
            format!("the object has {size} bytes, should have {expected}")
        } else if self.options.read_data.has(&object.name.0) {
            let salvaged = self.content.core().objects().salvage(object, cut)?;
            if salvaged.is_whole() {
                return Ok(());
            }
            match (salvaged.lost.len(), salvaged.blocks) {
                (0, _) => "the object is damaged: its header does not match".into(),
                (lost, blocks) => format!("the object is damaged: {lost} of {blocks} blocks"),
            }
        } else {
            return Ok(());
        };
        let object = object.name.key().to_string();
        self.report.problems.push(Problem::Damaged { object, detail });
        Ok(())
    }
}

/// Most unlisted objects that are verified one by one.
///
/// If more are missing, the cause is not an outdated listing.
const UNLISTED_VERIFIED_MAX: usize = 1_000;

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);
