//! Reading artifacts to see whether they are what was put.

use std::io::Read;

use strongroom_base::{Error, ErrorKind, Reason, Result};

use super::Artifacts;
use super::info::ArtifactInfo;
use super::name::ArtifactUri;
use strongroom_base::{CancelToken, Progress};

const VERIFY: &str = "verify artifact";

/// How much is read between two looks at whether to go on.
const STEP_BYTES: usize = 256 << 10;

/// Most damaged versions that [`VerifiedArtifacts`] names.
const DAMAGED_NAMED_MAX: usize = 10_000;

/// How many versions are looked up at a time.
const PAGE: usize = 256;

/// What [`Artifacts::verify_all`] has found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifiedArtifacts {
    /// Versions that are what was put.
    pub whole: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions that are not.
    pub damaged: u64,
    /// The first 10,000 of these, with what is wrong with each.
    pub named: Vec<(ArtifactUri, Error)>,
}

impl VerifiedArtifacts {
    /// Whether nothing is damaged.
    pub fn is_ok(&self) -> bool {
        self.damaged == 0
    }
}

impl Artifacts {
    /// Reads a version, the newest if the URI has no number, and compares its checksum. `Corrupt` if it is
    /// not what was put, `NotFound` if there is none.
    pub fn verify(&self, uri: &ArtifactUri, cancel: &CancelToken) -> Result<ArtifactInfo> {
        let mut reader = self.open(uri)?;
        let uri = reader.info().uri().clone();
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            cancel.check(VERIFY)?;
            let read = reader.read(&mut buffer).map_err(|e| Error::io(VERIFY, e))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        if *hasher.finalize().as_bytes() == *reader.info().checksum() {
            return Ok(reader.info().clone());
        }
        Err(Error::new(ErrorKind::Corrupt, VERIFY)
            .with_reason(Reason::ArtifactDamaged)
            .with_detail("its checksum is another")
            .with_subject(uri))
    }

    /// Verifies all versions, or those of a spec, or of a task of it, and goes on past damaged ones;
    /// `progress` hears how many bytes were read. Versions that are dropped meanwhile are left out.
    pub fn verify_all(
        &self,
        spec: Option<&str>,
        task: Option<&str>,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<VerifiedArtifacts> {
        let mut verified = VerifiedArtifacts::default();
        let mut after: Option<ArtifactUri> = None;
        loop {
            let page = self.list(spec, task, after.as_ref(), PAGE)?;
            for info in &page {
                match self.verify(info.uri(), cancel) {
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
                progress.report(verified.bytes, None);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.uri().clone()),
                _ => return Ok(verified),
            }
        }
    }
}
