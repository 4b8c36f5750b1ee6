//! A store's content, read from its packs after a lost state.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_base::{Error, ErrorKind, Reason, Result};

use crate::pipeline::{Codecs, IdKeys, MAGIC, Packed, list_pack, read_chunk, read_node, unpack};
use strongroom_base::LongCall;
use strongroom_format::{Child, ChunkId, ChunkKind, ObjectName, PackedChunk};
use strongroom_store::objects::{Cut, Objects};

const SURVEY: &str = "check store";

/// Chunks that a check reads between two checks for cancellation.
pub const WAVE_CHUNKS: usize = 64;

/// The outcome of a survey.
#[derive(Debug, Default)]
pub struct PackSurvey {
    pub objects: u64,
    pub object_bytes: u64,
    pub packs: u64,
    /// Objects of the share space, and of values from before schema 5.
    pub others: u64,
    /// Distinct chunks, and their length before compression.
    pub chunks: u64,
    pub chunk_bytes: u64,
    /// Lengths of the contents, ascending. A content is a chunk that no node lists.
    pub contents: Vec<u64>,
    /// Objects that differ from those that were put, with the reason.
    pub damaged: Vec<(String, String)>,
    /// Keys that do not belong to the vault.
    pub unknown: Vec<String>,
}

/// Examines every object; with `read_data` opens every chunk too.
pub fn survey_packs(
    objects: &Objects,
    keys: &IdKeys,
    read_data: bool,
    call: LongCall<'_>,
) -> Result<PackSurvey> {
    let (mut survey, codecs) = (PackSurvey::default(), Codecs::default());
    let mut names = Vec::new();
    objects.list(|name, bytes| {
        survey.objects += 1;
        survey.object_bytes += bytes;
        match name {
            Ok(name) => names.push((name, bytes)),
            Err(key) => survey.unknown.push(key.to_owned()),
        }
        Ok(())
    })?;
    // Lengths of chunks, and the chunks that a node lists.
    let (mut lengths, mut listed) = (BTreeMap::new(), BTreeSet::new());
    for (done, (name, bytes)) in names.into_iter().enumerate() {
        call.check(SURVEY)?;
        call.report(done as u64, Some(survey.objects));
        let pack = match begin_of(objects, name, bytes).and_then(|magic| {
            if Cut::of_magic(magic).is_some() {
                return Ok(None);
            }
            if magic != *MAGIC {
                return Err(Error::new(ErrorKind::Corrupt, SURVEY)
                    .with_reason(Reason::ContentDamaged)
                    .with_detail("the object has no type that a vault puts"));
            }
            let (epoch, chunks) = list_pack(objects, name, bytes)?;
            Ok(Some(Packed { name, epoch, bytes, chunks }))
        }) {
            Ok(Some(pack)) => pack,
            Ok(None) => {
                survey.others += 1;
                continue;
            }
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                survey.damaged.push((name.key().to_string(), e.to_string()));
                continue;
            }
            Err(e) => return Err(e),
        };
        survey.packs += 1;
        let mut damage = None;
        for wave in pack.chunks.chunks(WAVE_CHUNKS) {
            call.check(SURVEY)?;
            let found = objects.for_all(wave, |chunk| {
                or_damage(look_at(objects, &codecs, keys, &pack, chunk, read_data))
            })?;
            for (chunk, found) in wave.iter().zip(found) {
                match found {
                    Ok((content, children)) => {
                        listed.extend(children.iter().map(|child| child.id));
                        lengths.insert(chunk.id, (u64::from(chunk.len), content));
                    }
                    Err(e) => damage = Some(e.to_string()),
                }
            }
        }
        survey.damaged.extend(damage.map(|damage| (name.key().to_string(), damage)));
    }
    survey.chunks = lengths.len() as u64;
    survey.chunk_bytes = lengths.values().map(|(len, _)| len).sum();
    let is_root = |id: &ChunkId| !listed.contains(id);
    survey.contents =
        lengths.iter().filter(|(id, _)| is_root(id)).map(|(_, (_, content))| *content).collect();
    survey.contents.sort_unstable();
    Ok(survey)
}

/// Separates damage, which a check reports, from errors that end the check.
pub fn or_damage<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(e) if e.kind() != ErrorKind::Corrupt => Err(e),
        known => Ok(known),
    }
}

/// Returns the content length below a chunk, and a node's children.
///
/// Data is opened only with `read_data`.
fn look_at(
    objects: &Objects,
    codecs: &Codecs,
    keys: &IdKeys,
    pack: &Packed,
    chunk: &PackedChunk,
    read_data: bool,
) -> Result<(u64, Vec<Child>)> {
    if chunk.kind == ChunkKind::Node {
        let children = read_node(objects, codecs, keys, pack, chunk)?;
        return Ok((children.iter().map(|child| child.len).sum(), children));
    }
    if read_data {
        let stored = read_chunk(objects, &pack.place(chunk))?;
        unpack(codecs, keys, chunk.kind, &chunk.id, chunk.len, &stored)?;
    }
    Ok((chunk.len.into(), Vec::new()))
}

/// Reads the first bytes of an object. `Corrupt` if it is shorter.
fn begin_of(objects: &Objects, name: ObjectName, bytes: u64) -> Result<[u8; 8]> {
    let begin = objects.get_sealed(name, 0..bytes.min(8))?;
    begin[..].try_into().map_err(|_| {
        Error::new(ErrorKind::Corrupt, SURVEY)
            .with_reason(Reason::ContentDamaged)
            .with_detail(format!("the object has {bytes} bytes"))
    })
}
