//! The two copies of the vault's header in the state file.
//!
//! A change writes one copy, syncs, writes the other, and syncs. At any moment one copy is whole.
//! Once the change is acknowledged, neither copy has the old contents, such as a removed password.

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::storage::StateFile;
use strongroom_format::{HEADER_BYTES, HEADER_COPIES, Header, header_at};

/// The header as found in the file.
#[derive(Debug)]
pub struct FoundHeader {
    /// The header with the higher generation.
    pub header: Header,
    /// Set if a copy is damaged.
    pub damaged: bool,
    /// The copy that must be rewritten: damaged, or of the generation before.
    pub stale: Option<usize>,
}

/// Reads both copies.
///
/// `Corrupt` if both are damaged. `Invalid` if the file does not belong to a vault, or has another
/// format.
pub(super) fn read(file: &dyn StateFile) -> Result<FoundHeader> {
    let io = |e| Error::io("open vault", e);
    let len = file.len().map_err(io)?;
    let copy = |copy: usize| -> Result<Result<Header>> {
        let left = len.saturating_sub(header_at(copy));
        let mut bytes = vec![0; HEADER_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
        file.read(header_at(copy), &mut bytes).map_err(io)?;
        Ok(Header::decode(&bytes))
    };
    let copies: [Result<Header>; HEADER_COPIES] = [copy(0)?, copy(1)?];
    let found = |header, damaged, stale| Ok(FoundHeader { header, damaged, stale });
    match copies {
        [Ok(first), Ok(second)] if first == second => found(first, false, None),
        [Ok(first), Ok(second)] if first.generation == second.generation => {
            Err(Error::new(ErrorKind::Corrupt, "open vault")
                .with_reason(Reason::HeaderDamaged)
                .with_detail("the two copies of the header contradict each other"))
        }
        [Ok(first), Ok(second)] => {
            if first.generation > second.generation {
                found(first, false, Some(1))
            } else {
                found(second, false, Some(0))
            }
        }
        [Ok(header), Err(_)] => found(header, true, Some(1)),
        [Err(_), Ok(header)] => found(header, true, Some(0)),
        // Files of another format or program have at most one header, the first.
        [Err(first), Err(_)]
            if first.kind() == ErrorKind::Invalid || len < header_at(HEADER_COPIES) =>
        {
            Err(first)
        }
        [Err(first), Err(_)] => Err(first.with_detail(
            "both copies of the header are damaged; a copy of the key set is on the backend: \
             see \"restore key set\" in docs/guides/recovery.md",
        )),
    }
}

/// Rewrites the copy that differs, according to `found`.
pub(super) fn repair(file: &dyn StateFile, found: &FoundHeader) -> Result<()> {
    match found.stale {
        Some(copy) => write_copy(file, copy, &found.header.encode()),
        None => Ok(()),
    }
}

/// Writes both copies, each durable before the other is written.
///
/// Both must be whole before; see [`repair`].
pub(super) fn write(file: &dyn StateFile, header: &Header) -> Result<()> {
    let bytes = header.encode();
    (0..HEADER_COPIES).try_for_each(|copy| write_copy(file, copy, &bytes))
}

fn write_copy(file: &dyn StateFile, copy: usize, bytes: &[u8]) -> Result<()> {
    let io = |e| Error::io("write header", e);
    file.write(header_at(copy), bytes).map_err(io)?;
    file.sync().map_err(io)
}
