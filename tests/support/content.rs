//! Contents that are generated while they are read, and never held whole.

use std::io::Read;

use super::random::Random;

/// A content of a given length that neither compresses nor repeats.
pub(crate) struct Content {
    at: u64,
    bytes: u64,
}

impl Content {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { at: 0, bytes }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut filled = 0;
        while filled < wanted {
            let word = Random::new(self.at / 8).draw().to_le_bytes();
            let rest = &word[usize::try_from(self.at % 8).unwrap()..];
            let taken = rest.len().min(wanted - filled);
            buffer[filled..filled + taken].copy_from_slice(&rest[..taken]);
            filled += taken;
            self.at += taken as u64;
        }
        Ok(wanted)
    }
}
