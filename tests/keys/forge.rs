//! Forged headers with valid checksums: making one needs no key.

use strongroom::backends::Version;

/// Length of one copy of the header, in bytes.
pub(crate) const HEADER: usize = 4096;
/// Offsets of the header's fields, in bytes: see `docs/spec/format.md`.
pub(crate) const VAULT_ID: usize = 12;
pub(crate) const FILE_ID: usize = 28;
pub(crate) const GENERATION: usize = 44;
pub(crate) const CIPHER: usize = 52;
pub(crate) const SLOTS: usize = 53;
pub(crate) const RING: usize = 1472;
pub(crate) const MAC: usize = 4032;
const CHECKSUM: usize = 4064;
/// Length of an unlock slot, in bytes.
pub(crate) const SLOT: usize = 168;

/// Returns the offset of unlock slot `number`, counted from 0.
pub(crate) const fn slot(number: usize) -> usize {
    128 + number * SLOT
}

/// Offsets of fields from the beginning of an unlock slot, in bytes.
pub(crate) const CREATED: usize = 8;
pub(crate) const MEMORY: usize = 16;
pub(crate) const PASSES: usize = 20;
pub(crate) const LANES: usize = 24;
pub(crate) const SALT: usize = 32;
pub(crate) const COMMITMENT: usize = 64;
pub(crate) const NONCE: usize = 96;
pub(crate) const WRAPPED: usize = 120;

/// Writes the checksum that matches the header's bytes.
pub(crate) fn sign(header: &mut [u8]) {
    // The version of an object is the BLAKE3 hash of its body, in hex.
    let checksum = Version::of_content(&header[..CHECKSUM]);
    for (at, digits) in checksum.as_str().as_bytes().chunks_exact(2).enumerate() {
        let digits = std::str::from_utf8(digits).unwrap();
        header[CHECKSUM + at] = u8::from_str_radix(digits, 16).unwrap();
    }
}

/// Returns the state with `change` made to both headers, under valid checksums.
pub(crate) fn forged(state: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut state = state.to_vec();
    for header in state[..2 * HEADER].chunks_exact_mut(HEADER) {
        change(header);
        sign(header);
    }
    state
}

/// Writes a number at offset `at`, little-endian.
pub(crate) fn set_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// Returns the state with both copies of its header damaged.
pub(crate) fn without_header(state: &[u8]) -> Vec<u8> {
    let mut state = state.to_vec();
    state[MAC] ^= 1;
    state[HEADER + MAC] ^= 1;
    state
}
