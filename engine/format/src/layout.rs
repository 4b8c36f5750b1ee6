//! Offsets in the state file.
//!
//! ```text
//!      0  header, first copy     4,096   (format/header.rs)
//!  4,096  header, second copy    4,096
//!  8,192  super-header, first      512, then zeros: redb's page 0, sealed
//! 12,288  super-header, second     512, then zeros
//! 16,384  block 1                4,136   nonce 24 | ciphertext 4,096 | tag 16: redb's page 1
//! 20,520  block 2 ...
//! ```

use super::header::{HEADER_BYTES, HEADER_COPIES};

/// Length of redb's pages, and so of the plaintext of a block.
pub const PAGE_BYTES: usize = 4096;
/// Length of a sealed block.
pub const BLOCK_BYTES: usize = 24 + PAGE_BYTES + 16;
/// Offset of the first block, which seals redb's page 1.
const BLOCKS_AT: u64 = SUPER_AT + SUPER_STRIDE * SUPER_COPIES as u64;

/// Offset of the first copy of the super-header.
const SUPER_AT: u64 = (HEADER_BYTES * HEADER_COPIES) as u64;
/// Distance between the copies. No sector and no page has parts of both.
const SUPER_STRIDE: u64 = 4096;
/// Number of copies of the super-header.
pub const SUPER_COPIES: usize = 2;
/// Length of a sealed super-header: one sector.
pub const SUPER_BYTES: usize = 512;
/// Length of the plaintext of a super-header.
pub const SUPER_PLAIN_BYTES: usize = SUPER_BYTES - 24 - 16;
/// Bytes of redb's page 0 in it; redb 4.5 uses 320 bytes.
pub const SUPER_PAGE_BYTES: usize = SUPER_PLAIN_BYTES - 24;

/// Returns the offset of a copy of the header.
pub const fn header_at(copy: usize) -> u64 {
    (HEADER_BYTES * copy) as u64
}

/// Returns the offset of a copy of the super-header.
pub const fn super_at(copy: usize) -> u64 {
    SUPER_AT + SUPER_STRIDE * copy as u64
}

/// Returns the offset of redb's page `page`, at least 1.
pub const fn block_at(page: u64) -> u64 {
    BLOCKS_AT + (page - 1) * BLOCK_BYTES as u64
}

/// Returns the file length for a state of `len` bytes.
///
/// `len` is the length in redb's view, a multiple of a page.
pub const fn file_bytes(len: u64) -> u64 {
    match len / PAGE_BYTES as u64 {
        0 => SUPER_AT,
        pages => block_at(pages),
    }
}

/// Returns the length of the state in redb's view; `None` if no state has a file of this length.
pub const fn state_bytes(file: u64) -> Option<u64> {
    if file == SUPER_AT {
        return Some(0);
    }
    if file < BLOCKS_AT || !(file - BLOCKS_AT).is_multiple_of(BLOCK_BYTES as u64) {
        return None;
    }
    Some(((file - BLOCKS_AT) / BLOCK_BYTES as u64 + 1) * PAGE_BYTES as u64)
}

/// The super-header before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperHeader {
    /// Raised by every write. The copy with the higher sequence is valid.
    pub sequence: u64,
    /// Set if the state was closed.
    pub closed: Option<Closed>,
    /// The beginning of redb's page 0.
    pub page: [u8; SUPER_PAGE_BYTES],
}

/// The record of a clean close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Length of the state at the close, in redb's view.
    pub len: u64,
    /// Set if the state was never opened since its creation.
    pub fresh: bool,
}

impl SuperHeader {
    /// Layout: sequence u64, closed u64 (0 no, 1 yes, 2 yes and fresh), length u64, page. Numbers
    /// LE.
    pub fn encode(&self) -> [u8; SUPER_PLAIN_BYTES] {
        let mut bytes = [0; SUPER_PLAIN_BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        let (closed, len) = match self.closed {
            None => (0u64, 0),
            Some(Closed { len, fresh }) => (1 + u64::from(fresh), len),
        };
        bytes[8..16].copy_from_slice(&closed.to_le_bytes());
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        bytes[24..].copy_from_slice(&self.page);
        bytes
    }

    pub fn decode(bytes: &[u8; SUPER_PLAIN_BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        Self {
            sequence: number(0),
            closed: (number(8) != 0).then(|| Closed { len: number(16), fresh: number(8) == 2 }),
            page: bytes[24..].try_into().expect("as long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_match_the_format() {
        assert_eq!([header_at(0), header_at(1), super_at(0), super_at(1)], [0, 4096, 8192, 12_288]);
        assert_eq!([block_at(1), block_at(2)], [16_384, 20_520]);
        assert_eq!(SUPER_PAGE_BYTES, 448);
        for pages in 0..10 {
            let len = pages * 4096;
            assert_eq!(state_bytes(file_bytes(len)), Some(len));
        }
        for wrong in [0, 8191, 8193, 16_383, 16_385, 20_519] {
            assert_eq!(state_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn super_header_round_trips() {
        let mut header = SuperHeader { sequence: 258, closed: None, page: [7; SUPER_PAGE_BYTES] };
        assert_eq!(SuperHeader::decode(&header.encode()), header);
        header.closed = Some(Closed { len: 8192, fresh: false });
        let bytes = header.encode();
        assert_eq!(bytes[..4], [2, 1, 0, 0]);
        assert_eq!(bytes[8..20], [1, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
        assert_eq!(SuperHeader::decode(&bytes), header);
        header.closed = Some(Closed { len: 8192, fresh: true });
        assert_eq!(header.encode()[8], 2);
        assert_eq!(SuperHeader::decode(&header.encode()), header);
    }
}
