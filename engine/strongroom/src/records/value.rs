//! A value as it is read back: from its row at once, from elsewhere as a stream.

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

/// Most bytes that [`Value::bytes`] reserves before it has read them.
const READ_RESERVED_MAX: u64 = 64 << 20;

/// A record's value.
///
/// It stays readable whatever is written, deleted or dropped after it was read, for as long as
/// it or a [`ValueReader`] made of it lives; meanwhile what it reads is not freed.
pub struct Value {
    inner: Inner,
}

enum Inner {
    /// The row: a tag, then the value.
    Inline(Row),
    Content(Box<InContent>),
    Objects(Box<InObjects>),
}

/// A value in the content store.
struct InContent {
    content: ContentRef,
    pinned: Pinned,
    /// In the transaction that inserts it: the content that its commit will bring.
    adopted: Option<Arc<StoredContent>>,
}

/// A value in objects of its own, as they were written before schema 5.
#[derive(Clone)]
struct InObjects {
    row: ObjectsRow,
    pinned: Pinned,
}

impl Value {
    /// The value that `row` holds or refers to, whose read epoch was taken before the row was read.
    #[inline]
    pub(super) fn new(row: Row, pinned: impl FnOnce() -> Pinned) -> Result<Self> {
        if RecordRow::is_inline(row.as_slice()) {
            return Ok(Self { inner: Inner::Inline(row) });
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
            RecordRow::Content(content) => {
                Inner::Content(Box::new(InContent { content, pinned: pinned(), adopted: None }))
            }
            RecordRow::Objects(row) => {
                Inner::Objects(Box::new(InObjects { row, pinned: pinned() }))
            }
        };
        Ok(Self { inner })
    }

    /// Of a transaction that has adopted these contents: one of them is not in any state yet.
    pub(super) fn with_adopted(mut self, adopted: &[Arc<StoredContent>]) -> Self {
        if let Inner::Content(value) = &mut self.inner {
            let is_it = |stored: &&Arc<StoredContent>| stored.content() == value.content;
            value.adopted = adopted.iter().find(is_it).cloned();
        }
        self
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value without a copy, if it lies in its row: that is, if it has at most
    /// [`ROW_BYTES_MAX`](crate::records::ROW_BYTES_MAX) bytes.
    pub fn as_inline(&self) -> Option<&[u8]> {
        match &self.inner {
            Inner::Inline(row) => Some(inline(row)),
            Inner::Content(_) | Inner::Objects(_) => None,
        }
    }

    /// The whole value in memory. For a long one prefer [`into_reader`](Self::into_reader).
    pub fn bytes(&self) -> Result<Bytes> {
        let source = match &self.inner {
            Inner::Inline(row) => return Ok(Bytes::copy_from_slice(inline(row))),
            Inner::Content(content) => {
                let mut reader = content.reader();
                reader.expect_all();
                Source::Content(reader)
            }
            Inner::Objects(objects) => Source::objects(objects.clone()),
        };
        let room = usize::try_from(self.len().min(READ_RESERVED_MAX)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(room);
        ValueReader { source, cancel: None }
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read value", e))?;
        Ok(bytes.into())
    }

    /// The value decoded as `T`, as [`TypedNamespace`](crate::records::TypedNamespace) encodes it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        match self.as_inline() {
            Some(value) => decode_value(value),
            None => decode_value(&self.bytes()?),
        }
    }

    /// A stream over the value, in bounded memory (a chunk, 256 KiB at most, and the lists above it; of
    /// values that were written before schema 5 an object of 8 MiB).
    ///
    /// Its errors carry the vault's [`Error`], `Corrupt` for content that is not what was
    /// written; no byte of what is damaged is served.
    pub fn into_reader(self) -> ValueReader {
        let source = match self.inner {
            Inner::Inline(row) => Source::Inline { row, position: 0 },
            Inner::Content(content) => Source::Content(content.reader()),
            Inner::Objects(objects) => Source::objects(objects),
        };
        ValueReader { source, cancel: None }
    }
}

fn inline(row: &Row) -> &[u8] {
    RecordRow::inline_value(row.as_slice())
}

impl Inner {
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
    /// The object in which `position` lies; `None` at the end.
    fn fetch(&self, position: u64) -> Result<Option<Held>> {
        let mut start = 0;
        for reference in self.row.objects() {
            if position < start + reference.len {
                return Ok(Some(Held { start, body: self.pinned.objects().get(reference)? }));
            }
            start += reference.len;
        }
        Ok(None)
    }
}

impl fmt::Debug for Value {
    /// Never the bytes: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A stream over a [`Value`]; forward, and to any position.
pub struct ValueReader {
    source: Source,
    cancel: Option<CancelToken>,
}

enum Source {
    Inline {
        row: Row,
        position: u64,
    },
    Content(ContentReader),
    Objects {
        objects: Box<InObjects>,
        position: u64,
        /// The object that the position was last in.
        held: Option<Held>,
    },
}

struct Held {
    /// Where it begins.
    start: u64,
    body: Bytes,
}

impl Held {
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

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(reader) => reader.fmt(f),
            Self::Inline { position, .. } | Self::Objects { position, .. } => {
                f.debug_struct("Source").field("position", position).finish_non_exhaustive()
            }
        }
    }
}

impl Source {
    fn objects(objects: Box<InObjects>) -> Self {
        Self::Objects { objects, position: 0, held: None }
    }
}

impl ValueReader {
    /// Ends reading with `Cancelled` once `cancel` is cancelled.
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
            Source::Content(reader) => return reader.read(buffer),
            Source::Inline { row, position } => {
                let value = inline(row);
                let at = usize::try_from(*position).unwrap_or(usize::MAX).min(value.len());
                (&value[at..], position)
            }
            Source::Objects { objects, position, held } => {
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
            Source::Content(reader) => return reader.seek(to),
            Source::Inline { row, position } => (inline(row).len() as u64, position),
            Source::Objects { objects, position, .. } => (objects.row.value_bytes(), position),
        };
        *position = seek(to, len, *position)?;
        Ok(*position)
    }
}
