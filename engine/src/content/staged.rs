//! Staging: bringing a large value onto the backend before the transaction that refers to it.
//!
//! The pending row cannot be written inside the host's transaction, which holds redb's only
//! write transaction; so staging commits it beforehand, in reservations that grow with the
//! stream, and the host's transaction turns the rows into the record's list of objects.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_backends::{Error, ErrorKind, Result};

use super::objects::{OBJECT_BYTES_MAX, Objects};
use crate::format::{ObjectName, ObjectRef, ROW_BYTES_MAX, StageId, StoredRow};
use crate::progress::{CancelToken, Progress};

/// Most names that one pending row reserves; a reservation doubles the one before it.
const RESERVED_MAX: usize = 256;

/// Most objects of one value: its row lists them, 52 bytes each.
const OBJECTS_PER_VALUE_MAX: usize = 131_072;

/// Longest value in bytes: 1 TiB.
pub const VALUE_BYTES_MAX: u64 = OBJECTS_PER_VALUE_MAX as u64 * OBJECT_BYTES_MAX as u64;

/// Where pending rows are committed, and where an abandoned staging is reported.
pub(crate) trait StageHome: fmt::Debug + Send + Sync {
    /// Commits a pending row; durable on return.
    fn reserve(self: Arc<Self>, stage: StageId, row: u32, names: &[ObjectName]) -> Result<()>;

    /// The staging will not be committed: its objects and rows are due for removal.
    fn abandon(&self, stage: StageId);
}

/// A value on its way into the vault: its content is on the backend and durable, and waits for
/// a transaction to [insert](crate::WriteTx::insert) it.
///
/// Dropped without that, its objects are removed by the next clean-up; so they are when the
/// transaction fails, or the process dies.
pub struct Staged {
    /// Taken by the transaction that inserts it.
    parts: Option<StagedParts>,
    home: Arc<dyn StageHome>,
}

/// What a transaction needs of a staging.
pub(crate) enum StagedParts {
    /// Short enough for state: nothing was put.
    Inline(Bytes),
    /// Objects on the backend, under `rows` pending rows.
    Stored { stage: StageId, rows: u32, stored: StoredRow },
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Staged {
    /// Length of the value in bytes.
    pub fn len(&self) -> u64 {
        match &self.parts {
            Some(StagedParts::Inline(value)) => value.len() as u64,
            Some(StagedParts::Stored { stored, .. }) => stored.len(),
            None => 0,
        }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `home` made it: a staging is of use only in the vault that it lies in.
    pub(crate) fn is_of(&self, home: &dyn StageHome) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.home), home)
    }

    pub(crate) fn parts(&self) -> &StagedParts {
        self.parts.as_ref().expect("only `keep` takes them, and it consumes")
    }

    /// The commit that refers to it has happened: dropping it must not abandon it.
    pub(crate) fn keep(mut self) {
        self.parts = None;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(StagedParts::Stored { stage, .. }) = self.parts {
            self.home.abandon(stage);
        }
    }
}

/// Stages all of `source`.
pub(crate) fn stage(
    home: Arc<dyn StageHome>,
    objects: &Objects,
    stage: StageId,
    source: &mut dyn Read,
    progress: &dyn Progress,
    cancel: &CancelToken,
) -> Result<Staged> {
    let head = read_up_to(source, ROW_BYTES_MAX + 1)?;
    if head.len() <= ROW_BYTES_MAX {
        progress.report(head.len() as u64, None);
        let parts = StagedParts::Inline(head.into());
        return Ok(Staged { parts: Some(parts), home });
    }
    let mut source = head[..].chain(source);
    let mut upload = Upload::new(home, objects, stage);
    let mut len = 0;
    loop {
        cancel.check("stage value")?;
        let chunk = read_up_to(&mut source, objects.object_bytes())?;
        let last = chunk.len() < objects.object_bytes();
        len += chunk.len() as u64;
        if !chunk.is_empty() {
            upload.put(chunk.into(), last)?;
            progress.report(len, None);
        }
        if last {
            return Ok(upload.finish(len));
        }
    }
}

/// The next `limit` bytes, fewer only at the end of the source.
fn read_up_to(source: &mut dyn Read, limit: usize) -> Result<Vec<u8>> {
    let mut chunk = Vec::new();
    source
        .take(limit as u64)
        .read_to_end(&mut chunk)
        .map_err(|e| Error::io("read source of value", e))?;
    Ok(chunk)
}

/// A staging under way. Dropped before it is finished, it is abandoned.
struct Upload<'a> {
    home: Arc<dyn StageHome>,
    objects: &'a Objects,
    stage: StageId,
    rows: u32,
    /// Names reserved and not yet used, the next one last.
    reserved: Vec<ObjectName>,
    refs: Vec<ObjectRef>,
    finished: bool,
}

impl<'a> Upload<'a> {
    fn new(home: Arc<dyn StageHome>, objects: &'a Objects, stage: StageId) -> Self {
        let (reserved, refs) = (Vec::new(), Vec::new());
        Self { home, objects, stage, rows: 0, reserved, refs, finished: false }
    }

    fn put(&mut self, body: Bytes, last: bool) -> Result<()> {
        if self.refs.len() == OBJECTS_PER_VALUE_MAX {
            let limit = OBJECTS_PER_VALUE_MAX * self.objects.object_bytes();
            return Err(Error::new(ErrorKind::Invalid, "stage value")
                .with_detail(format!("value is longer than the limit of {limit} bytes")));
        }
        if self.reserved.is_empty() {
            self.reserve(last)?;
        }
        let name = self.reserved.pop().expect("reserved above");
        self.refs.push(self.objects.put(name, body)?);
        Ok(())
    }

    fn reserve(&mut self, last: bool) -> Result<()> {
        let count = if last { 1 } else { (1 << self.rows.min(30)).min(RESERVED_MAX) };
        let names: Vec<_> = (0..count).map(|_| self.objects.draw_name()).collect::<Result<_>>()?;
        // Counted before the commit: one whose outcome is unknown is cleaned up like the others.
        self.rows += 1;
        Arc::clone(&self.home).reserve(self.stage, self.rows - 1, &names)?;
        self.reserved = names;
        self.reserved.reverse();
        Ok(())
    }

    fn finish(mut self, len: u64) -> Staged {
        self.finished = true;
        let stored = StoredRow::V0 { len, objects: std::mem::take(&mut self.refs) };
        let parts = StagedParts::Stored { stage: self.stage, rows: self.rows, stored };
        Staged { parts: Some(parts), home: Arc::clone(&self.home) }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.finished && self.rows > 0 {
            self.home.abandon(self.stage);
        }
    }
}
