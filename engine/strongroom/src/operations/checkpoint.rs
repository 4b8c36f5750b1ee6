//! A checkpoint: the host's record of how far a lane has come.

use std::fmt;

use serde::Serialize;
use strongroom_base::{Error, ErrorKind, Reason, Result};

use crate::records::unencodable;

/// Longest data of a checkpoint, in bytes (32 KiB).
pub const CHECKPOINT_BYTES_MAX: usize = 32_768;

/// The host's data about a lane's progress, in the host's own encoding.
#[derive(Clone, PartialEq)]
pub struct Checkpoint {
    pub(super) data: Vec<u8>,
    /// `None`: the lane keeps its previous progress.
    pub(super) progress: Option<f64>,
    pub(super) complete: bool,
}

impl Checkpoint {
    /// Creates a checkpoint from the data that the host needs to continue.
    ///
    /// At most [`CHECKPOINT_BYTES_MAX`] bytes; longer data fails with `Invalid` when it is written.
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), progress: None, complete: false }
    }

    /// Creates a checkpoint whose data is `value`, encoded.
    ///
    /// The encoding is that of a [`TypedNamespace`](crate::records::TypedNamespace);
    /// [`LaneStatus::decode`](crate::operations::LaneStatus::decode) reads it. `Invalid` if `value`
    /// cannot be encoded.
    pub fn encode<T: Serialize>(value: &T) -> Result<Self> {
        rmp_serde::to_vec_named(value).map(Self::new).map_err(|_| unencodable("encode checkpoint"))
    }

    /// Sets the lane's progress, from 0 to 1.
    ///
    /// If not set, the lane keeps its previous progress. Outside 0 to 1, writing the checkpoint
    /// fails with `Invalid`.
    pub fn progress(mut self, progress: f64) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Sets the progress, unless it is set.
    pub(super) fn or_progress(mut self, progress: f64) -> Self {
        self.progress = self.progress.or(Some(progress));
        self
    }

    /// Completes the lane with this checkpoint. The lane takes no further one.
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
                .with_detail(format!("progress is {progress}, must be within 0 to 1")));
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
    /// Omits the data, which is the host's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("bytes", &self.data.len())
            .field("progress", &self.progress)
            .field("complete", &self.complete)
            .finish()
    }
}
