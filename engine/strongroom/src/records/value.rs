//! Reading a value: at once from its row, or as a stream from content.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::typed::decode_value;
use strongroom_base::CancelToken;
use strongroom_content::{ContentReader, Pinned, StoredContent, seek};
use strongroom_format::{ContentRef, ObjectsRow, RecordRow};
use strongroom_store::state::Row;

/// Most bytes that [`Value::bytes`] reserves before reading.
const READ_RESERVED_MAX: u64 = 64 << 20;

/// A record's value.
///
/// It stays readable after later writes, deletions and drops, as long as it or its [`ValueReader`]
/// lives. Its content is not freed meanwhile.
pub struct Value {
    inner: ValueInner,
}

enum ValueInner {
    /// The row: a tag, then the value.
    Inline(Row),
    Content(Box<InContent>),
    Objects(Box<InObjects>),
}

/// A value in the content store.
struct InContent {
    content: ContentRef,
    pinned: Pinned,
    /// Inside the transaction that inserts it: the content that its commit will index.
    adopted: Option<Arc<StoredContent>>,
}

/// A value in its own objects, as written before schema 5.
#[derive(Clone)]
struct InObjects {
    row: ObjectsRow,
    pinned: Pinned,
}

impl Value {
    /// Reads the value in `row`. The read epoch was registered before the row was read.
    #[inline]
    pub(super) fn new(row: Row, pinned: impl FnOnce() -> Pinned) -> Result<Self> {
        if RecordRow::is_inline(row.as_slice()) {
            return Ok(Self { inner: ValueInner::Inline(row) });
        }
        Self::elsewhere(&row, pinned)
    }

    #[cold]
    fn elsewhere(row: &Row, pinned: impl FnOnce() -> Pinned) -> Result<Self> {
        let inner = match RecordRow::decode(row.as_slice())? {
            RecordRow::Inline => {
                return Err(Error::new(ErrorKind::Corrupt, "read record row")
                    .with_reason(Reason::RowDamaged));
            }
            RecordRow::Content(content) => ValueInner::Content(Box::new(InContent {
                content,
                pinned: pinned(),
                adopted: None,
            })),
            RecordRow::Objects(row) => {
                ValueInner::Objects(Box::new(InObjects { row, pinned: pinned() }))
            }
        };
        Ok(Self { inner })
    }

    /// Adds the contents that the transaction adopted.
    ///
    /// One of them may not be in any state yet.
    pub(super) fn with_adopted(mut self, adopted: &[Arc<StoredContent>]) -> Self {
        if let ValueInner::Content(value) = &mut self.inner {
            let is_it = |stored: &&Arc<StoredContent>| stored.content() == value.content;
            value.adopted = adopted.iter().find(is_it).cloned();
        }
        self
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Returns whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value without a copy, if its row has it.
    ///
    /// That is so for at most [`ROW_BYTES_MAX`](crate::records::ROW_BYTES_MAX) bytes.
    pub fn as_inline(&self) -> Option<&[u8]> {
        match &self.inner {
            ValueInner::Inline(row) => Some(inline(row)),
            ValueInner::Content(_) | ValueInner::Objects(_) => None,
        }
    }

    /// Reads the whole value into memory. For a long one prefer [`into_reader`](Self::into_reader).
    pub fn bytes(&self) -> Result<Bytes> {
        let source = match &self.inner {
            ValueInner::Inline(row) => return Ok(Bytes::copy_from_slice(inline(row))),
            ValueInner::Content(content) => {
                let mut reader = content.reader();
                reader.expect_all();
                ReaderSource::Content(reader)
            }
            ValueInner::Objects(objects) => ReaderSource::objects(objects.clone()),
        };
        let room = usize::try_from(self.len().min(READ_RESERVED_MAX)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(room);
        ValueReader { source, cancel: None }
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read value", e))?;
        Ok(bytes.into())
    }

    /// Decodes the value as `T`, as [`TypedNamespace`](crate::records::TypedNamespace) encodes it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        match self.as_inline() {
            Some(value) => decode_value(value),
            None => decode_value(&self.bytes()?),
        }
    }

    /// Returns a stream over the value, in bounded memory.
    ///
    /// It holds a chunk of at most 256 KiB and the nodes above it; for values from before schema 5
    /// an object of 8 MiB. Its errors contain the vault's [`Error`]: `Corrupt` for content that
    /// differs from what was written. No byte of damaged content is returned.
    pub fn into_reader(self) -> ValueReader {
        let source = match self.inner {
            ValueInner::Inline(row) => ReaderSource::Inline { row, position: 0 },
            ValueInner::Content(content) => ReaderSource::Content(content.reader()),
            ValueInner::Objects(objects) => ReaderSource::objects(objects),
        };
        ValueReader { source, cancel: None }
    }
}

fn inline(row: &Row) -> &[u8] {
    RecordRow::inline_value(row.as_slice())
}

impl ValueInner {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(row) => inline(row).len() as u64,
            Self::Content(content) => content.content.len,
            Self::Objects(objects) => objects.row.value_bytes(),
        }
    }
}

impl InContent {
    fn reader(&self) -> ContentReader {
        let pinned = match &self.adopted {
            Some(stored) => stored.shown_in(&self.pinned),
            None => self.pinned.clone(),
        };
        ContentReader::new(pinned, self.content)
    }
}

impl InObjects {
    /// Fetches the object at `position`; `None` at the end.
    fn fetch(&self, position: u64) -> Result<Option<ObjectBody>> {
        let mut start = 0;
        for reference in self.row.objects() {
            if position < start + reference.len {
                return Ok(Some(ObjectBody { start, body: self.pinned.objects().get(reference)? }));
            }
            start += reference.len;
        }
        Ok(None)
    }
}

impl fmt::Debug for Value {
    /// The bytes are omitted: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A stream over a [`Value`]; forward, and to any position.
pub struct ValueReader {
    source: ReaderSource,
    cancel: Option<CancelToken>,
}

enum ReaderSource {
    Inline {
        row: Row,
        position: u64,
    },
    Content(ContentReader),
    Objects {
        objects: Box<InObjects>,
        position: u64,
        /// The object of the last position.
        held: Option<ObjectBody>,
    },
}

struct ObjectBody {
    /// Position of its first byte.
    start: u64,
    body: Bytes,
}

impl ObjectBody {
    fn from(&self, position: u64) -> Option<&[u8]> {
        let within = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.body.get(within..).filter(|rest| !rest.is_empty())
    }
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueReader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(reader) => reader.fmt(f),
            Self::Inline { position, .. } | Self::Objects { position, .. } => {
                f.debug_struct("ReaderSource").field("position", position).finish_non_exhaustive()
            }
        }
    }
}

impl ReaderSource {
    fn objects(objects: Box<InObjects>) -> Self {
        Self::Objects { objects, position: 0, held: None }
    }
}

impl ValueReader {
    /// Ends reading with `Cancelled` after `cancel` was cancelled.
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(cancel) = &self.cancel {
            cancel.check("read value")?;
        }
        let (rest, position) = match &mut self.source {
            ReaderSource::Content(reader) => return reader.read(buffer),
            ReaderSource::Inline { row, position } => {
                let value = inline(row);
                let at = usize::try_from(*position).unwrap_or(usize::MAX).min(value.len());
                (&value[at..], position)
            }
            ReaderSource::Objects { objects, position, held } => {
                if held.as_ref().and_then(|held| held.from(*position)).is_none() {
                    *held = objects.fetch(*position)?;
                }
                (held.as_ref().and_then(|held| held.from(*position)).unwrap_or(&[]), position)
            }
        };
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        *position += taken as u64;
        Ok(taken)
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (len, position) = match &mut self.source {
            ReaderSource::Content(reader) => return reader.seek(to),
            ReaderSource::Inline { row, position } => (inline(row).len() as u64, position),
            ReaderSource::Objects { objects, position, .. } => {
                (objects.row.value_bytes(), position)
            }
        };
        *position = seek(to, len, *position)?;
        Ok(*position)
    }
}
