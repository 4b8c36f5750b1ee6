//! Is everything there: redb's own integrity, every row, and every object that a row names.

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

/// Which objects a check reads and opens; of the others it looks at presence and length. What lists other
/// content is read in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadData {
    /// None.
    #[default]
    No,
    /// All.
    All,
    /// About one in so many: all are read by as many checks, each of another part.
    Part {
        /// Which part: 1 to `of`.
        part: u32,
        /// How many parts.
        of: u32,
    },
}

impl ReadData {
    fn validate(self) -> Result<()> {
        match self {
            Self::Part { part, of } if part == 0 || part > of => {
                Err(Error::new(ErrorKind::Invalid, "check vault")
                    .with_detail(format!("part {part} of {of}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it reads the object of that name. Names are random.
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

/// Options of a check. Progress is the rows and objects checked so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions<'a> {
    pub(super) read_data: ReadData,
    pub(super) call: LongCall<'a>,
}

long_call_options!(CheckOptions);

impl CheckOptions<'_> {
    /// The default options: all rows, and no object's bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which objects' bytes are read.
    #[must_use]
    pub fn read_data(mut self, read_data: ReadData) -> Self {
        self.read_data = read_data;
        self
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Whether every block in use opens and redb's pages match their checksums; `None` if readers
    /// were live, for that walk wants the state to itself.
    pub state_intact: Option<bool>,
    /// Records that were read.
    pub records: u64,
    /// Operations and lanes that were read.
    pub operations: u64,
    /// Chunks of content that were looked at.
    pub chunks: u64,
    /// Artifacts' versions that were looked at.
    pub artifacts: u64,
    /// Objects that records, the share space and chunks refer to.
    pub objects: u64,
    /// Their bytes on the backend, sealed.
    pub object_bytes: u64,
    /// Objects that wait for their deletion.
    pub due: u64,
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// Records of whose values, in the content store, some cannot be read.
    pub records_affected: u64,
    /// Versions of artifacts of whose content some cannot be read.
    pub artifacts_affected: u64,
    /// The first 10,000 of these.
    pub affected: Vec<ArtifactUri>,
    /// Objects that no row names. They are listed and never deleted: who knows whose they are.
    pub unknown: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong. Unknown objects are not wrong, only odd.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.state_intact != Some(false)
    }
}

/// Something wrong with the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A row does not decode, or says what cannot be.
    Row {
        /// Its table.
        table: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An object that something refers to is missing.
    Missing {
        /// Its name on the backend.
        object: String,
    },
    /// An object that something refers to is not what was written.
    Damaged {
        /// Its name on the backend.
        object: String,
        /// What is wrong with it.
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
    /// Checks the whole vault. It goes on past what is wrong and reports all of it; an error
    /// means that it could not go on. Writes wait meanwhile, at most their timeout.
    pub fn check(&self, options: &CheckOptions<'_>) -> Result<CheckReport> {
        let _span = tracing::debug_span!("check").entered();
        options.read_data.validate()?;
        let core = &self.rooms().core;
        let turn = core.turn("check vault")?;
        core.reopen_if_failed(&turn)?;
        let mut check = Check {
            content: &self.rooms().content,
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
            // The walk met a damaged block: the state is not to be read any more.
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                check.wrong(Table::Meta, e.to_string());
            }
            Err(e) => return Err(e),
        }
        Ok(check.report)
    }
}

struct Check<'a> {
    content: &'a Content,
    options: &'a CheckOptions<'a>,
    report: CheckReport,
    done: u64,
}

/// What the rows say of an object.
enum Named {
    Referenced(ObjectRef, Cut),
    /// A pack of chunks, of that length; what is in it is looked at by its chunks.
    Pack(u64),
    /// Pending or doomed: it may be there or not.
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

    /// Hands each row of a table to `look`. Where pages are damaged the table's scan ends, is
    /// reported, and the check goes on.
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

    /// The numbers of all namespaces, those that are being dropped included. Each has a table,
    /// and no table is without one.
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
            let detail = format!("namespace {number} has no table, or a table no namespace");
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
        named: &mut HashMap<ObjectName, Named>,
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
        named: &mut HashMap<ObjectName, Named>,
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
        named: &mut HashMap<ObjectName, Named>,
    ) {
        if named.insert(object.name, Named::Referenced(object.clone(), cut)).is_some() {
            self.wrong(table, "an object is referred to twice");
        }
    }

    /// The share space, whose objects are there like those of a value, and its unfinished update.
    fn space(&mut self, state: &StateRead, named: &mut HashMap<ObjectName, Named>) -> Result<()> {
        self.scan(state, Table::Space, |check, entry| {
            let row = entry.row.as_slice();
            let looked = match entry.key.as_slice() {
                SPACE => SpaceRow::decode(row).map(|row| {
                    for (number, object) in row.generation().objects.iter().enumerate() {
                        check.refer(Table::Space, object, Cut::of_space(number), named);
                    }
                }),
                SPACE_UPDATE => UpdateRow::decode(row).map(|row| {
                    for &name in row.names() {
                        if named.insert(name, Named::Due).is_some() {
                            check.wrong(Table::Space, "an object of an update is another's");
                        }
                    }
                }),
                _ => {
                    check.wrong(Table::Space, "a row has an unknown key");
                    return Ok(());
                }
            };
            if let Err(e) = looked {
                check.wrong(Table::Space, e.to_string());
            }
            Ok(())
        })
    }

    fn due(&mut self, state: &StateRead, named: &mut HashMap<ObjectName, Named>) -> Result<()> {
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
            if let Some(Named::Referenced(..) | Named::Pack(_)) = named.insert(name, Named::Due) {
                self.wrong(Table::Doomed, format!("object {name:?} is referred to and due"));
            }
        }
        Ok(())
    }

    /// The listing against the rows; the packs that are missing or cut short. With the writer's turn held,
    /// no row is under way.
    fn objects(&mut self, mut named: HashMap<ObjectName, Named>) -> Result<HashSet<ObjectName>> {
        let content = self.content;
        let mut lost = HashSet::new();
        content.core().objects().list(|name, size| {
            self.step()?;
            match name.map(|name| (name, named.remove(&name))) {
                Ok((_, Some(Named::Referenced(object, cut)))) => self.object(&object, cut, size),
                Ok((name, Some(Named::Pack(bytes)))) => {
                    self.pack(name, bytes, size);
                    if size < bytes {
                        lost.insert(name);
                    }
                    Ok(())
                }
                Ok((_, Some(Named::Due))) => Ok(()),
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
            named.into_iter().filter(|(_, named)| !matches!(named, Named::Due)).collect();
        unlisted.sort_unstable_by_key(|(name, _)| *name);
        let mut missing = Vec::new();
        for (number, (name, named)) in unlisted.into_iter().enumerate() {
            self.step()?;
            if number >= ASKED_MAX || !self.is_there(name, &named)? {
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

    /// Looks at an object that was not listed: a listing may be older than what it lists.
    fn is_there(&mut self, name: ObjectName, named: &Named) -> Result<bool> {
        let bytes = match named {
            Named::Referenced(object, cut) => cut.sealed_bytes(object.len),
            Named::Pack(bytes) => *bytes,
            Named::Due => return Ok(true),
        };
        match self.content.core().objects().get_sealed(name, bytes.saturating_sub(1)..bytes) {
            Err(e) if e.kind() == ErrorKind::Corrupt => return Ok(false),
            found => drop(found?),
        }
        match named {
            Named::Referenced(object, cut) => self.object(object, *cut, bytes)?,
            _ => self.pack(name, bytes, bytes),
        }
        Ok(true)
    }

    fn object(&mut self, object: &ObjectRef, cut: Cut, size: u64) -> Result<()> {
        self.report.objects += 1;
        self.report.object_bytes += size;
        let expected = cut.sealed_bytes(object.len);
        let detail = if size != expected {
            format!("it has {size} bytes, not {expected}")
        } else if self.options.read_data.has(&object.name.0) {
            let salvaged = self.content.core().objects().salvage(object, cut)?;
            if salvaged.is_whole() {
                return Ok(());
            }
            match (salvaged.lost.len(), salvaged.blocks) {
                (0, _) => "the object is damaged: its header is another".into(),
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

/// Most objects that are asked for by themselves because they were not listed; where more are missing, it is not
/// the listing that is old.
const ASKED_MAX: usize = 1_000;

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);
