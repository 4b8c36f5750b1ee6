//! Verifying artifacts: reading them and comparing checksums.

use std::io::Read;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::info::ArtifactInfo;
use super::name::ArtifactUri;
use super::scope::{ArtifactScope, ListQuery};
use strongroom_base::LongCall;

const VERIFY: &str = "verify artifact";

/// Bytes that are read between two checks for cancellation.
const STEP_BYTES: usize = 256 << 10;

/// Most damaged versions that [`VerifiedArtifacts`] lists.
const DAMAGED_NAMED_MAX: usize = 10_000;

/// Versions that are looked up at a time.
const PAGE: usize = 256;

/// The result of [`Artifacts::verify_all`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifiedArtifacts {
    /// Versions that equal what was put.
    pub whole: u64,
    /// Sum of their lengths in bytes.
    pub bytes: u64,
    /// Versions that differ.
    pub damaged: u64,
    /// The first 10,000 damaged versions, each with its error.
    pub named: Vec<(ArtifactUri, Error)>,
}

impl VerifiedArtifacts {
    /// Returns whether nothing is damaged.
    pub fn is_ok(&self) -> bool {
        self.damaged == 0
    }
}

impl Artifacts {
    /// Reads a version and compares its checksum.
    ///
    /// Without a number in the URI, it is the newest.
    ///
    /// `Corrupt` if it differs from what was put. `NotFound` if it does not exist.
    pub fn verify(&self, uri: &ArtifactUri) -> Result<ArtifactInfo> {
        self.verify_with(uri, LongCall::new())
    }

    /// Does the same with progress and cancellation. Progress is the bytes read so far.
    pub fn verify_with(&self, uri: &ArtifactUri, call: LongCall<'_>) -> Result<ArtifactInfo> {
        self.verify_one(uri, call, |done, total| call.report(done, Some(total)))
    }

    fn verify_one(
        &self,
        uri: &ArtifactUri,
        call: LongCall<'_>,
        report: impl Fn(u64, u64),
    ) -> Result<ArtifactInfo> {
        let mut done = 0;
        let mut reader = self.open(uri)?;
        let uri = reader.info().uri().clone();
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            call.check(VERIFY)?;
            let read = reader.read(&mut buffer).map_err(|e| Error::io(VERIFY, e))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            done += read as u64;
            report(done, reader.info().len());
        }
        if *hasher.finalize().as_bytes() == *reader.info().checksum() {
            return Ok(reader.info().clone());
        }
        Err(Error::new(ErrorKind::Corrupt, VERIFY)
            .with_reason(Reason::ArtifactDamaged)
            .with_detail("the checksum differs")
            .with_subject(uri))
    }

    /// Verifies the versions in `scope`, and continues after damaged ones.
    ///
    /// Versions that are deleted meanwhile are skipped. Progress is the bytes read so far.
    pub fn verify_all(
        &self,
        scope: &ArtifactScope,
        call: LongCall<'_>,
    ) -> Result<VerifiedArtifacts> {
        let mut verified = VerifiedArtifacts::default();
        let mut query = ListQuery::of(scope.clone()).limit(PAGE);
        loop {
            let page = self.list(&query)?;
            for info in &page {
                match self.verify_one(info.uri(), call, |_, _| ()) {
                    Ok(info) => {
                        verified.whole += 1;
                        verified.bytes += info.len();
                    }
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) if e.kind() == ErrorKind::Corrupt => {
                        verified.damaged += 1;
                        if verified.named.len() < DAMAGED_NAMED_MAX {
                            verified.named.push((info.uri().clone(), e));
                        }
                    }
                    Err(e) => return Err(e),
                }
                call.report(verified.bytes, None);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => query = query.after(last.uri()),
                _ => return Ok(verified),
            }
        }
    }
}
