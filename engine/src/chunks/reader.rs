//! Reading a content back: as a stream, from any position.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use strongroom_backends::{Error, ErrorKind, Result};

use super::body;
use super::index::{find_chunk, read_body};
use super::pack::read_chunk;
use crate::format::{Child, ChunkId, ChunkKind, ChunkPlace, ChunkRow, ContentRef, NodeBody};
use crate::state::StateRead;
use crate::transaction::Snapshot;
use crate::vault::VaultInner;

/// A stream over a content, in bounded memory; forward, and to any position.
///
/// It takes no lock and waits for no writer: it shows the content as it was when it was opened, whatever
/// is written, deleted or freed since. Its errors carry the vault's [`Error`], `Corrupt` for content that
/// is not what was written; no byte of a damaged chunk is served.
pub(crate) struct ContentReader {
    snapshot: Snapshot,
    content: ContentRef,
    position: u64,
    /// The nodes above the position, from the root down.
    path: Vec<Level>,
    /// The chunk that the position was last in.
    held: Option<Held>,
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
pub(crate) fn fetch(
    vault: &VaultInner,
    state: &StateRead,
    kind: ChunkKind,
    id: &ChunkId,
) -> Result<Vec<u8>> {
    let lost = |detail| Error::new(ErrorKind::Corrupt, "read chunk").with_detail(detail);
    let row = find_chunk(state, id)?.ok_or_else(|| lost("a chunk has no row"))?;
    let ChunkRow::V0 { kind: found, len, place, .. } = row;
    if found != kind && place != ChunkPlace::Lost {
        return Err(lost("a chunk is of another kind"));
    }
    let stored = match place {
        ChunkPlace::State { stored } => read_body(state, id, stored)?,
        ChunkPlace::Pack { pack, epoch, at, stored } => {
            read_chunk(&vault.objects, pack, epoch, at, stored)?
        }
        ChunkPlace::Lost => return Err(lost("a chunk's pack was lost")),
    };
    body::unpack(&vault.codecs, &vault.id_keys, kind, id, len, &stored)
}

/// The children of a node.
pub(crate) fn children(vault: &VaultInner, state: &StateRead, id: &ChunkId) -> Result<Vec<Child>> {
    let body = fetch(vault, state, ChunkKind::Node, id)?;
    let NodeBody::V0 { children } = NodeBody::decode(&body)?;
    Ok(children)
}

impl ContentReader {
    pub(crate) fn new(snapshot: Snapshot, content: ContentRef) -> Self {
        Self { snapshot, content, position: 0, path: Vec::new(), held: None }
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
                let children = children(self.snapshot.vault(), self.snapshot.state(), &id)?;
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
                Error::new(ErrorKind::Corrupt, "read content").with_detail("a node is too short")
            })?;
            id = child.id;
        }
        let (vault, state) = (self.snapshot.vault(), self.snapshot.state());
        let bytes = fetch(vault, state, ChunkKind::Data, &id)?;
        if (start..start + bytes.len() as u64).contains(&position) {
            return Ok(Held { start, bytes: bytes.into() });
        }
        Err(Error::new(ErrorKind::Corrupt, "read content").with_detail("a chunk is too short"))
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
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.content.len, offset),
            SeekFrom::Current(offset) => (self.position, offset),
        };
        self.position = base.checked_add_signed(offset).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "seek in content")
                .with_detail(format!("position {offset} from {base} is before the beginning"))
        })?;
        Ok(self.position)
    }
}
