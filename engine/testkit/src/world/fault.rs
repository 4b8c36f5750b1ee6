//! Calls that fail on command.
//!
//! The plan counts calls of the seam, and decides which of them fail and how. It does not know the
//! effects of a call: the world asks before each one and acts on the result.

use std::collections::BTreeMap;
use std::io;

use super::content::SECTOR_BYTES;

/// The failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part of the call that happens before it fails.
    pub timing: FaultTiming,
    /// The returned error.
    pub error: FaultError,
}

/// The part of a failing call that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultTiming {
    /// Nothing.
    Before,
    /// All of it; only the result is an error. A failed sync has made data durable. A failed lock
    /// is held until its file is closed.
    After,
    /// A write writes its first half only.
    ///
    /// It is cut at a sector of 512 bytes if the half contains a sector boundary. Other calls have
    /// no effect.
    Torn,
}

/// The error that a failing call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// An error of this kind.
    Kind(io::ErrorKind),
    /// The operating system's error of this number; on Linux 5 is `EIO`, 28 is `ENOSPC`.
    Os(i32),
}

impl Fault {
    /// Makes a fault without effect.
    pub fn before(error: impl Into<FaultError>) -> Self {
        Self { timing: FaultTiming::Before, error: error.into() }
    }

    /// Makes a fault after the full effect.
    pub fn after(error: impl Into<FaultError>) -> Self {
        Self { timing: FaultTiming::After, error: error.into() }
    }

    /// Makes a fault after half of a write.
    pub fn torn(error: impl Into<FaultError>) -> Self {
        Self { timing: FaultTiming::Torn, error: error.into() }
    }
}

impl From<io::ErrorKind> for FaultError {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<i32> for FaultError {
    fn from(number: i32) -> Self {
        Self::Os(number)
    }
}

impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Kind(kind) => kind.into(),
            FaultError::Os(number) => Self::from_raw_os_error(number),
        }
    }
}

/// The number of calls so far, and the future faults.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    calls: u64,
    once: BTreeMap<u64, Fault>,
    from: Option<(u64, Fault)>,
}

impl FaultPlan {
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Counts one call, and returns its fault if it fails.
    pub(super) fn next_call(&mut self) -> Option<Fault> {
        self.calls += 1;
        let lasting = self.from.filter(|(first, _)| *first <= self.calls);
        self.once.remove(&self.calls).or(lasting.map(|(_, fault)| fault))
    }

    pub(super) fn fail_at(&mut self, nth: u64, fault: Fault) {
        self.once.insert(self.number(nth), fault);
    }

    pub(super) fn fail_from(&mut self, nth: u64, fault: Fault) {
        self.from = Some((self.number(nth), fault));
    }

    pub(super) fn clear(&mut self) {
        self.once.clear();
        self.from = None;
    }

    fn number(&self, nth: u64) -> u64 {
        self.calls.saturating_add(nth.max(1))
    }
}

/// Returns the bytes of a torn write that reach the file.
///
/// The write is at `offset`.
pub(super) fn torn_len(offset: u64, len: usize) -> usize {
    let half = len / 2;
    let to_border = SECTOR_BYTES - super::content::index(offset % SECTOR_BYTES as u64);
    if half < to_border {
        return half;
    }
    half - (half - to_border) % SECTOR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_write_ends_at_a_sector_if_half_reaches_one() {
        for (offset, len, torn) in
            [(0, 4096, 2048), (0, 3000, 1024), (100, 4096, 1948), (0, 100, 50), (7, 1, 0)]
        {
            assert_eq!(torn_len(offset, len), torn, "{len} bytes at {offset}");
        }
        assert_eq!((100 + 1948) % SECTOR_BYTES, 0);
    }

    #[test]
    fn calls_are_counted_from_now_and_the_next_is_the_first() {
        let fault = Fault::before(5);
        let mut plan = FaultPlan::default();
        assert_eq!(plan.next_call(), None);
        plan.fail_at(2, fault);
        let fates: Vec<_> = (0..3).map(|_| plan.next_call()).collect();
        assert_eq!(fates, [None, Some(fault), None]);
        plan.fail_from(1, fault);
        assert_eq!([plan.next_call(), plan.next_call()], [Some(fault); 2]);
        plan.clear();
        assert_eq!(plan.next_call(), None);
        assert_eq!(plan.calls(), 7);
    }
}
