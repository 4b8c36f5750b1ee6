//! Reading a content: as a stream, from any position.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Pipeline;
use super::chunk_index::{ChunkIndex, FoundChunk, Location, ToFree};
use super::codec::unpack;
use super::pack::read_chunk;
use super::read_ahead::ReadAhead;
use strongroom_format::{Child, ChunkId, ChunkKind, ContentRef, NodeBody};
use strongroom_store::objects::{Objects, ReadEpoch};

/// An index with a read epoch: no chunk that it had at that epoch is freed meanwhile.
///
/// The bytes of a chunk never change, only its location. A reader therefore looks it up in the
/// newest state, and keeps no read of an older one. A key rotation and the reopening after a
/// failure need not wait for it.
#[derive(Clone)]
pub struct Pinned {
    pipeline: Arc<Pipeline>,
    index: Arc<dyn ChunkIndex>,
    read_epoch: Arc<ReadEpoch>,
}

impl Pinned {
    pub(crate) fn new(
        pipeline: &Arc<Pipeline>,
        index: Arc<dyn ChunkIndex>,
        read_epoch: &Arc<ReadEpoch>,
    ) -> Self {
        Self { pipeline: Arc::clone(pipeline), index, read_epoch: Arc::clone(read_epoch) }
    }

    /// Reads through another index, which has more chunks than this one.
    pub(crate) fn with_index(
        &self,
        over: impl FnOnce(Arc<dyn ChunkIndex>) -> Arc<dyn ChunkIndex>,
    ) -> Self {
        Self::new(&self.pipeline, over(Arc::clone(&self.index)), &self.read_epoch)
    }

    /// Returns the objects of the packs.
    pub fn objects(&self) -> &Objects {
        self.pipeline.objects()
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(crate) fn index(&self) -> &dyn ChunkIndex {
        &*self.index
    }
}

impl Pipeline {
    /// Returns the bytes of a chunk that an index has found.
    pub(crate) fn open(
        &self,
        kind: ChunkKind,
        id: &ChunkId,
        found: Option<FoundChunk>,
    ) -> Result<Vec<u8>> {
        let lost = |detail| {
            Error::new(ErrorKind::Corrupt, "read chunk")
                .with_reason(Reason::ContentDamaged)
                .with_detail(detail)
        };
        let FoundChunk { kind: of, len, location } =
            found.ok_or_else(|| lost("a chunk has no row"))?;
        let is_other = of != kind;
        let stored = match location {
            Location::Lost => return Err(lost("a chunk's pack was lost")),
            _ if is_other => return Err(lost("a chunk is of another kind")),
            Location::Index(stored) => stored,
            Location::Pack(place) => read_chunk(self.objects(), &place)?,
        };
        unpack(self.codecs(), self.id_keys(), kind, id, len, &stored)
    }

    /// Returns the chunk with its distinct children, if it is a node; `None` if that is damaged.
    pub(crate) fn to_free(
        &self,
        index: &dyn ChunkIndex,
        kind: Option<ChunkKind>,
        id: ChunkId,
    ) -> Result<Option<ToFree>> {
        if kind != Some(ChunkKind::Node) {
            return Ok(Some((id, None)));
        }
        let node = index.find(&id).and_then(|found| self.open(ChunkKind::Node, &id, found));
        match node.and_then(|node| listed(&node)) {
            Ok(children) => Ok(Some((id, Some(children.iter().map(|child| child.id).collect())))),
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A stream over a content, in bounded memory; forward, and to any position.
///
/// It never waits for a writer, only while the state is compacted or reopened. It shows the content
/// as it was when it was opened, despite later writes and deletions. Its errors contain the vault's
/// [`Error`]: `Corrupt` for content that differs from what was written. No byte of a damaged chunk
/// is returned.
pub struct ContentReader {
    pinned: Pinned,
    content: ContentRef,
    position: u64,
    /// The nodes above the position, from the root down.
    path: Vec<Level>,
    /// The chunk of the last position.
    held: Option<OpenChunk>,
    /// Chunks that are fetched before they are read.
    ahead: ReadAhead,
}

struct Level {
    start: u64,
    children: Vec<Child>,
}

struct OpenChunk {
    start: u64,
    bytes: Bytes,
}

impl fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentReader")
            .field("len", &self.content.len)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Returns the children that a node lists.
pub(crate) fn listed(node: &[u8]) -> Result<Vec<Child>> {
    let NodeBody::V0 { children } = NodeBody::decode(node)?;
    Ok(children)
}

impl ContentReader {
    /// Makes the reader of a content that its read epoch covers.
    pub fn new(pinned: Pinned, content: ContentRef) -> Self {
        Self {
            pinned,
            content,
            position: 0,
            path: Vec::new(),
            held: None,
            ahead: ReadAhead::default(),
        }
    }

    /// Returns the bytes of a chunk.
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let Pinned { pipeline, index, .. } = &self.pinned;
        let opened = index.find(id).and_then(|found| pipeline.open(kind, id, found));
        opened.map_err(|error| index.explain(error))
    }

    /// Returns the bytes from the position to the end of its chunk; none at the end.
    fn rest(&mut self) -> Result<&[u8]> {
        if self.position >= self.content.len {
            return Ok(&[]);
        }
        let holds = |held: &OpenChunk| {
            (held.start..held.start + held.bytes.len() as u64).contains(&self.position)
        };
        if !self.held.as_ref().is_some_and(holds) {
            self.held = Some(self.fetch()?);
        }
        let held = self.held.as_ref().expect("fetched above");
        let within = usize::try_from(self.position - held.start).expect("within a chunk");
        Ok(&held.bytes[within..])
    }

    /// Fetches the chunk of the position.
    fn fetch(&mut self) -> Result<OpenChunk> {
        let position = self.position;
        let ends =
            |level: &Level| level.start + level.children.iter().map(|child| child.len).sum::<u64>();
        self.path.retain(|level| (level.start..ends(level)).contains(&position));
        let (mut start, mut id) = (0, self.content.root);
        for depth in 0..usize::from(self.content.height) {
            if self.path.len() == depth {
                let children = listed(&self.chunk(ChunkKind::Node, &id)?)?;
                self.path.push(Level { start, children });
            }
            let level = &self.path[depth];
            start = level.start;
            let child = level.children.iter().find(|child| {
                let is_within = position < start + child.len;
                start += if is_within { 0 } else { child.len };
                is_within
            });
            let child = child.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "read content")
                    .with_reason(Reason::ContentDamaged)
                    .with_detail("a node is too short")
            })?;
            id = child.id;
        }
        let end = self.held.as_ref().map(|held| held.start + held.bytes.len() as u64);
        if end.unwrap_or(0) != start {
            self.ahead.forget();
        }
        if self.ahead.is_wanted_at_once() {
            self.go_ahead(start, 0);
        }
        let bytes = match self.ahead.take(&id) {
            Some(bytes) => bytes,
            None => self.chunk(ChunkKind::Data, &id)?,
        };
        self.go_ahead(start, 1);
        if (start..start + bytes.len() as u64).contains(&position) {
            return Ok(OpenChunk { start, bytes: bytes.into() });
        }
        Err(Error::new(ErrorKind::Corrupt, "read content")
            .with_reason(Reason::ContentDamaged)
            .with_detail("a chunk is too short"))
    }

    /// Fetches chunks of a remote backend ahead: from `start` on, without the first `without`.
    fn go_ahead(&mut self, start: u64, without: usize) {
        if !self.pinned.objects().is_remote() {
            return;
        }
        let Some(level) = self.path.last() else { return };
        let mut before = level.start;
        let at = level.children.iter().position(|child| {
            before += child.len;
            before > start
        });
        let next = at.and_then(|at| level.children.get(at + without..)).unwrap_or_default();
        if self.ahead.fetch_next(&self.pinned, next).is_err() {
            // The read of the chunk itself reports the error.
            self.ahead.forget();
        }
    }

    /// Prepares for a read of the whole content from the beginning.
    pub fn expect_all(&mut self) {
        self.ahead.want_at_once();
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest()?;
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.position += taken as u64;
        Ok(taken)
    }
}

impl Seek for ContentReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = seek(to, self.content.len, self.position)?;
        Ok(self.position)
    }
}

/// Returns the target position of a seek. `Invalid` if it is before the beginning.
pub fn seek(to: SeekFrom, len: u64, position: u64) -> Result<u64> {
    let (base, offset) = match to {
        SeekFrom::Start(at) => (at, 0),
        SeekFrom::End(offset) => (len, offset),
        SeekFrom::Current(offset) => (position, offset),
    };
    base.checked_add_signed(offset).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "seek in content")
            .with_detail(format!("position {offset} from {base} is before the beginning"))
    })
}
