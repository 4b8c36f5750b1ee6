//! Contents of known bytes, and assertions about a vault with artifacts.

use std::io::Read;

use strongroom::Vault;
use strongroom::artifacts::{ArtifactName, ArtifactSpec, ArtifactUri, Artifacts};
use strongroom::check::{CheckOptions, CheckReport};
use strongroom::content::GcOptions;

pub(crate) fn name(task: &str) -> ArtifactName {
    ArtifactName::new("spec", task, "log").unwrap()
}

/// Returns bytes that do not repeat and do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // A linear congruential step (Knuth, MMIX). The high byte is random enough here.
    let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = step(state);
            state.to_be_bytes()[0]
        })
        .collect()
}

pub(crate) fn put(artifacts: &Artifacts, task: &str, bytes: &[u8]) -> ArtifactUri {
    artifacts.put(ArtifactSpec::new(name(task)), bytes).unwrap()
}

/// Asserts that a check with all data read finds no fault.
///
/// Returns the report of the check.
#[track_caller]
pub(crate) fn whole(vault: &Vault) -> CheckReport {
    let options = CheckOptions::new().read_data(strongroom::check::ReadData::All);
    let report = vault.check(&options).unwrap();
    assert!(report.is_ok() && report.unknown.is_empty(), "{report:?}");
    report
}

/// Frees all that can be freed.
pub(crate) fn collect(vault: &Vault) {
    vault.gc(&GcOptions::new()).unwrap();
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
}

/// A source that calls `act` after every `every` bytes read.
pub(crate) struct ActingSource<'a, F: FnMut(usize)> {
    pub(crate) bytes: &'a [u8],
    pub(crate) every: usize,
    pub(crate) read: usize,
    pub(crate) act: F,
}

impl<F: FnMut(usize)> Read for ActingSource<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.every - self.read % self.every;
        let taken = buffer.len().min(left).min(self.bytes.len());
        buffer[..taken].copy_from_slice(&self.bytes[..taken]);
        (self.bytes, self.read) = (&self.bytes[taken..], self.read + taken);
        if self.read.is_multiple_of(self.every) && taken > 0 {
            (self.act)(self.read);
        }
        Ok(taken)
    }
}
