//! The two copies of the vault's header in the state file.
//!
//! A change writes one copy, syncs, writes the other, and syncs. At any moment one copy is whole.
//! Once the change is acknowledged, neither copy has the old contents, such as a removed password.

use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::storage::StateFile;
use strongroom_format::{HEADER_BYTES, HEADER_COPIES, Header, header_at};

/// The copies of the header in the file, before any is authenticated.
#[derive(Debug)]
pub struct FoundHeaders {
    /// Different undamaged copies, the highest generation first; never empty.
    candidates: Vec<Header>,
    /// Set if a copy is damaged.
    damaged: bool,
}

/// The newest authentic header.
#[derive(Debug)]
pub struct AuthenticHeader<T> {
    /// The value that the header opened.
    pub opened: T,
    /// Set if a copy was damaged, or is newer and not authentic.
    pub damaged: bool,
}

impl FoundHeaders {
    /// Opens the newest authentic copy.
    ///
    /// A checksum needs no key, so a forged copy is well-formed and may claim any generation. It
    /// must not hide the authentic copy. `is_authentic` checks another copy with the keys that
    /// `open` found.
    ///
    /// Without an authentic copy, returns `Denied` if a copy was, else the error of the first.
    /// `Corrupt` if two different copies of one generation are authentic.
    pub fn authenticate<T>(
        self,
        open: impl Fn(Header) -> Result<T>,
        is_authentic: impl Fn(&T, Header) -> bool,
    ) -> Result<AuthenticHeader<T>> {
        let mut refused: Vec<(Header, Error)> = Vec::new();
        let mut candidates = self.candidates.into_iter();
        while let Some(candidate) = candidates.next() {
            let opened = match open(candidate.clone()) {
                Ok(opened) => opened,
                Err(error) => {
                    refused.push((candidate, error));
                    continue;
                }
            };
            let is_damaged = self.damaged || !refused.is_empty();
            // A change that removed this secret may have written only the first copy.
            if let Some((_, error)) =
                refused.into_iter().find(|(newer, _)| is_authentic(&opened, newer.clone()))
            {
                return Err(error);
            }
            let mut rivals = candidates.filter(|copy| copy.generation == candidate.generation);
            if rivals.any(|rival| is_authentic(&opened, rival)) {
                return Err(Error::new(ErrorKind::Corrupt, "open vault")
                    .with_reason(Reason::HeaderDamaged)
                    .with_detail("the two copies of the header contradict each other"));
            }
            return Ok(AuthenticHeader { opened, damaged: is_damaged });
        }
        let denied = refused.iter().position(|(_, error)| error.kind() == ErrorKind::Denied);
        Err(refused.swap_remove(denied.unwrap_or(0)).1)
    }

    /// Returns the newest copy with a file id that `is_known`.
    pub(super) fn of_file(self, is_known: impl Fn(Uuid) -> bool) -> Option<Header> {
        self.candidates.into_iter().find(|copy| is_known(copy.file))
    }
}

/// Reads both copies.
///
/// `Corrupt` if both are damaged. `Invalid` if the file does not belong to a vault, or has another
/// format.
pub(super) fn read(file: &dyn StateFile) -> Result<FoundHeaders> {
    let len = file.len().map_err(|e| Error::io("open vault", e))?;
    let copies: [Result<Header>; HEADER_COPIES] = [read_copy(file, 0)?, read_copy(file, 1)?];
    let found = |candidates, damaged| Ok(FoundHeaders { candidates, damaged });
    match copies {
        [Ok(first), Ok(second)] if first == second => found(vec![first], false),
        [Ok(first), Ok(second)] if first.generation < second.generation => {
            found(vec![second, first], false)
        }
        [Ok(first), Ok(second)] => found(vec![first, second], false),
        [Ok(header), Err(_)] | [Err(_), Ok(header)] => found(vec![header], true),
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

/// Reads one copy. The outer error is that of the file, the inner one that of its bytes.
fn read_copy(file: &dyn StateFile, copy: usize) -> Result<Result<Header>> {
    let io = |e| Error::io("open vault", e);
    let left = file.len().map_err(io)?.saturating_sub(header_at(copy));
    let mut bytes = vec![0; HEADER_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
    file.read(header_at(copy), &mut bytes).map_err(io)?;
    Ok(Header::decode(&bytes))
}

/// Rewrites each copy that differs from `header`, which is authentic.
pub(super) fn repair(file: &dyn StateFile, header: &Header) -> Result<()> {
    for copy in 0..HEADER_COPIES {
        if read_copy(file, copy)?.ok().as_ref() != Some(header) {
            write_copy(file, copy, &header.encode())?;
        }
    }
    Ok(())
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
