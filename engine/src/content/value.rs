//! A value as it is read back: from state at once, from the backend as a stream.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use strongroom_backends::{Error, ErrorKind, Result};

use super::objects::Objects;
use super::pins::Pin;
use crate::format::{RecordRow, StoredRow};
use crate::progress::CancelToken;
use crate::records::decode_value;
use crate::state::Row;

/// A record's value.
///
/// It stays readable whatever is written, deleted or dropped after it was read, for as long as
/// it or a [`ValueReader`] made of it lives; meanwhile its objects stay on the backend.
pub struct Value {
    inner: Inner,
}

enum Inner {
    /// The row: a tag, then the value.
    Inline(Row),
    Stored(Arc<Stored>),
}

struct Stored {
    row: StoredRow,
    objects: Objects,
    _pin: Arc<Pin>,
}

impl Value {
    /// The value that `row` holds or refers to; `pin` was taken before the row was read.
    #[inline]
    pub(crate) fn new(row: Row, objects: &Objects, pin: &Arc<Pin>) -> Result<Self> {
        if RecordRow::is_inline(row.as_slice()) {
            return Ok(Self { inner: Inner::Inline(row) });
        }
        Self::stored(&row, objects, pin)
    }

    #[cold]
    fn stored(row: &Row, objects: &Objects, pin: &Arc<Pin>) -> Result<Self> {
        match RecordRow::decode(row.as_slice())? {
            RecordRow::Inline => Err(Error::new(ErrorKind::Corrupt, "read record row")),
            RecordRow::Stored(row) => {
                let (objects, pin) = (objects.clone(), Arc::clone(pin));
                Ok(Self { inner: Inner::Stored(Arc::new(Stored { row, objects, _pin: pin })) })
            }
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value without a copy, if it lies in state: that is, if it has at most
    /// [`ROW_BYTES_MAX`](crate::ROW_BYTES_MAX) bytes.
    pub fn as_inline(&self) -> Option<&[u8]> {
        match &self.inner {
            Inner::Inline(row) => Some(inline(row)),
            Inner::Stored(_) => None,
        }
    }

    /// The whole value in memory. For a long one prefer [`into_reader`](Self::into_reader).
    pub fn bytes(&self) -> Result<Bytes> {
        let stored = match &self.inner {
            Inner::Inline(row) => return Ok(Bytes::copy_from_slice(inline(row))),
            Inner::Stored(stored) => Arc::clone(stored),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(self.len().min(1 << 20)).unwrap_or(0));
        ValueReader::new(Inner::Stored(stored))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read value", e))?;
        Ok(bytes.into())
    }

    /// The value decoded as `T`, as [`TypedNamespace`](crate::TypedNamespace) encodes it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        match self.as_inline() {
            Some(value) => decode_value(value),
            None => decode_value(&self.bytes()?),
        }
    }

    /// A stream over the value, in bounded memory (one object, 8 MiB at most, at a time).
    ///
    /// Its errors carry the vault's [`Error`], `Corrupt` for content that is not what was
    /// written; no byte of a damaged object is served.
    pub fn into_reader(self) -> ValueReader {
        ValueReader::new(self.inner)
    }

    /// How many objects the value takes on the backend; 0 if it lies in state.
    pub fn objects(&self) -> usize {
        match &self.inner {
            Inner::Inline(_) => 0,
            Inner::Stored(stored) => stored.row.objects().len(),
        }
    }
}

fn inline(row: &Row) -> &[u8] {
    RecordRow::inline_value(row.as_slice())
}

impl Inner {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(row) => inline(row).len() as u64,
            Self::Stored(stored) => stored.row.len(),
        }
    }
}

impl fmt::Debug for Value {
    /// Never the bytes: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.objects();
        f.debug_struct("Value").field("len", &self.len()).field("objects", &objects).finish()
    }
}

/// A stream over a [`Value`]; forward, and to any position.
pub struct ValueReader {
    value: Inner,
    position: u64,
    /// The object that the position was last in: where it begins, and its body.
    held: Option<Held>,
    cancel: Option<CancelToken>,
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, position) = (self.value.len(), self.position);
        f.debug_struct("ValueReader")
            .field("len", &len)
            .field("position", &position)
            .finish_non_exhaustive()
    }
}

struct Held {
    start: u64,
    body: Bytes,
}

impl Held {
    fn from(&self, position: u64) -> Option<&[u8]> {
        let within = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.body.get(within..).filter(|rest| !rest.is_empty())
    }
}

impl ValueReader {
    fn new(value: Inner) -> Self {
        Self { value, position: 0, held: None, cancel: None }
    }

    /// Ends reading with `Cancelled` once `cancel` is cancelled.
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// The bytes from the position to the end of what is at hand; empty at the end.
    fn rest(&mut self) -> Result<&[u8]> {
        let position = self.position;
        match &self.value {
            Inner::Inline(row) => {
                let value = inline(row);
                let at = usize::try_from(position).unwrap_or(usize::MAX).min(value.len());
                Ok(&value[at..])
            }
            Inner::Stored(stored) => {
                if self.held.as_ref().and_then(|held| held.from(position)).is_none() {
                    self.held = stored.fetch(position)?;
                }
                Ok(self.held.as_ref().and_then(|held| held.from(position)).unwrap_or(&[]))
            }
        }
    }
}

impl Stored {
    /// The object in which `position` lies; `None` at the end.
    fn fetch(&self, position: u64) -> Result<Option<Held>> {
        let mut start = 0;
        for reference in self.row.objects() {
            if position < start + reference.len {
                return Ok(Some(Held { start, body: self.objects.get(reference)? }));
            }
            start += reference.len;
        }
        Ok(None)
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(cancel) = &self.cancel {
            cancel.check("read value")?;
        }
        let rest = self.rest()?;
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.position += taken as u64;
        Ok(taken)
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.value.len(), offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base.checked_add_signed(offset).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "seek in value")
                .with_detail(format!("position {offset} from {base} is before the beginning"))
        })?;
        Ok(self.position)
    }
}
