//! Reading a content back: as a stream, from any position.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::ahead::Ahead;
use super::body;
use super::index::{find_chunk, read_body};
use super::pack::read_chunk;
use super::store::Content;
use super::stored::StoredContent;
use strongroom_format::{Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, ContentRef, NodeBody};
use strongroom_store::objects::Pin;
use strongroom_store::state::StateRead;

/// The content store, and the pin of a commit: nothing that was there at that commit is freed or deleted meanwhile.
///
/// What a chunk holds never changes, only where it lies. So whoever has a pin asks the newest state for that,
/// and keeps no read of an older one open, which a rotation of keys or the end of a failure would wait for.
#[derive(Clone)]
pub struct Pinned {
    content: Content,
    _pin: Arc<Pin>,
}

impl Pinned {
    pub(crate) fn new(content: &Content, pin: &Arc<Pin>) -> Self {
        Self { content: content.clone(), _pin: Arc::clone(pin) }
    }

    pub fn content(&self) -> &Content {
        &self.content
    }
}

/// A stream over a content, in bounded memory; forward, and to any position.
///
/// It waits for no writer, only while the state is compacted or opened anew: it shows the content as it was when it was opened, whatever
/// is written or deleted since. Its errors carry the vault's [`Error`], `Corrupt` for content that
/// is not what was written; no byte of a damaged chunk is served.
pub struct ContentReader {
    pinned: Pinned,
    /// Before its commit: what that will bring.
    stored: Option<Arc<StoredContent>>,
    content: ContentRef,
    position: u64,
    /// The nodes above the position, from the root down.
    path: Vec<Level>,
    /// The chunk that the position was last in.
    held: Option<Held>,
    /// What is fetched before it is asked for.
    ahead: Ahead,
}

struct Level {
    start: u64,
    children: Vec<Child>,
}

struct Held {
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

/// The bytes of a chunk, as a read of the state has it.
pub fn fetch(
    content: &Content,
    state: &StateRead,
    kind: ChunkKind,
    id: &ChunkId,
) -> Result<Vec<u8>> {
    let lost = |detail| {
        Error::new(ErrorKind::Corrupt, "read chunk")
            .with_reason(Reason::ContentDamaged)
            .with_detail(detail)
    };
    let row = find_chunk(state, id)?.ok_or_else(|| lost("a chunk has no row"))?;
    let ChunkRow::V0 { kind: found, len, place, .. } = row;
    if found != kind && place != ChunkPlace::Lost {
        return Err(lost("a chunk is of another kind"));
    }
    let stored = match place {
        ChunkPlace::State { stored } => read_body(state, id, stored)?,
        ChunkPlace::Pack { pack, epoch, at, stored } => {
            read_chunk(content.core().objects(), pack, epoch, at, stored)?
        }
        ChunkPlace::Lost => return Err(lost("a chunk's pack was lost")),
    };
    body::unpack(content.codecs(), content.id_keys(), kind, id, len, &stored)
}

/// The children of a node.
pub fn children(content: &Content, state: &StateRead, id: &ChunkId) -> Result<Vec<Child>> {
    listed(&fetch(content, state, ChunkKind::Node, id)?)
}

fn listed(node: &[u8]) -> Result<Vec<Child>> {
    let NodeBody::V0 { children } = NodeBody::decode(node)?;
    Ok(children)
}

impl ContentReader {
    /// Of a content that was there when the pin was taken.
    pub fn new(pinned: Pinned, content: ContentRef) -> Self {
        Self {
            pinned,
            stored: None,
            content,
            position: 0,
            path: Vec::new(),
            held: None,
            ahead: Ahead::default(),
        }
    }

    /// Of one that has not been committed, or may not have been.
    pub fn with(mut self, stored: Option<Arc<StoredContent>>) -> Self {
        self.stored = stored;
        self
    }

    /// The bytes of a chunk.
    fn chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>> {
        let content = &self.pinned.content;
        let state = content.core().read_state()?;
        if let Some(stored) = &self.stored
            && let None | Some(ChunkRow::V0 { place: ChunkPlace::Lost, .. }) =
                find_chunk(&state, id)?
            && let Some(bytes) = stored.fetch(kind, id)?
        {
            return Ok(bytes);
        }
        fetch(content, &state, kind, id).map_err(|error| content.core().unless_taken_over(error))
    }

    /// The bytes from the position to the end of the chunk that it is in; empty at the end.
    fn rest(&mut self) -> Result<&[u8]> {
        if self.position >= self.content.len {
            return Ok(&[]);
        }
        let holds = |held: &Held| {
            (held.start..held.start + held.bytes.len() as u64).contains(&self.position)
        };
        if !self.held.as_ref().is_some_and(holds) {
            self.held = Some(self.fetch()?);
        }
        let held = self.held.as_ref().expect("fetched above");
        let within = usize::try_from(self.position - held.start).expect("within a chunk");
        Ok(&held.bytes[within..])
    }

    /// The chunk that the position is in.
    fn fetch(&mut self) -> Result<Held> {
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
            return Ok(Held { start, bytes: bytes.into() });
        }
        Err(Error::new(ErrorKind::Corrupt, "read content")
            .with_reason(Reason::ContentDamaged)
            .with_detail("a chunk is too short"))
    }

    /// Has chunks fetched that are far, from the one that begins at `start` on, without so many of them.
    fn go_ahead(&mut self, start: u64, without: usize) {
        if !self.pinned.content.core().objects().is_far() {
            return;
        }
        let Some(level) = self.path.last() else { return };
        let mut before = level.start;
        let at = level.children.iter().position(|child| {
            before += child.len;
            before > start
        });
        let next = at.and_then(|at| level.children.get(at + without..)).unwrap_or_default();
        if self.ahead.go_on(&self.pinned, next).is_err() {
            // Whoever asks for the chunk says what is wrong.
            self.ahead.forget();
        }
    }

    /// All will be read, from the beginning.
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

/// Where a stream of `len` bytes goes on that was at `position`. `Invalid` if that is before its beginning.
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
