//! Where a lane stands, as the host tells it.

use std::fmt;

use serde::Serialize;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use crate::records::unencodable;

/// Longest data of a checkpoint, in bytes.
pub const CHECKPOINT_BYTES_MAX: usize = 32_768;

/// Where a lane stands, in the host's own terms.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    pub(super) data: Vec<u8>,
    /// As before where it is not given.
    pub(super) progress: Option<f64>,
    pub(super) complete: bool,
}

impl Checkpoint {
    /// A checkpoint with `data` that tells the host how to go on; at most
    /// [`CHECKPOINT_BYTES_MAX`].
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), progress: None, complete: false }
    }

    /// A checkpoint whose data is `value`, encoded as values of a
    /// [`TypedNamespace`](crate::records::TypedNamespace) are. `Invalid` if it cannot be encoded.
    pub fn encode<T: Serialize>(value: &T) -> Result<Self> {
        rmp_serde::to_vec_named(value).map(Self::new).map_err(|_| unencodable("encode checkpoint"))
    }

    /// How much of the lane is done, 0 to 1. Without it the lane's progress stays as it was.
    pub fn progress(mut self, progress: f64) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The same, unless it was told before.
    pub(super) fn or_progress(mut self, progress: f64) -> Self {
        self.progress = self.progress.or(Some(progress));
        self
    }

    /// With this checkpoint the lane is complete; it takes no further one.
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        const WRITE: &str = "write checkpoint";
        if let Some(progress) = self.progress
            && !(0.0..=1.0).contains(&progress)
        {
            return Err(Error::new(ErrorKind::Invalid, WRITE)
                .with_detail(format!("progress is {progress}, not within 0 to 1")));
        }
        if self.data.len() > CHECKPOINT_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, WRITE)
                .with_reason(Reason::ValueTooLong)
                .with_detail(format!(
                    "checkpoint data has {} bytes, the limit is {CHECKPOINT_BYTES_MAX}",
                    self.data.len()
                )));
        }
        Ok(())
    }
}

impl fmt::Debug for Checkpoint {
    /// Never the data: it is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("bytes", &self.data.len())
            .field("progress", &self.progress)
            .field("complete", &self.complete)
            .finish()
    }
}
