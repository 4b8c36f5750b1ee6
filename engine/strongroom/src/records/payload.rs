//! The values that a host inserts: bytes, or a staged value.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::staged::Staged;

/// A value to insert.
///
/// `into()` makes it from slices, arrays, strings, `Vec<u8>`, [`Bytes`] and [`Staged`].
pub struct Payload<'a> {
    pub(crate) source: Source<'a>,
}

pub(crate) enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    Staged(Staged),
}

impl Payload<'_> {
    /// Returns the length of the value in bytes.
    pub fn len(&self) -> u64 {
        match &self.source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Staged(staged) => staged.len(),
        }
    }

    /// Returns whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the memory that it uses, in bytes.
    pub(crate) fn bytes_in_memory(&self) -> u64 {
        match &self.source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Staged(staged) => staged.bytes_in_memory(),
        }
    }

    pub(crate) fn into_owned(self) -> Payload<'static> {
        let source = match self.source {
            Source::Bytes(bytes) => Source::Bytes(Cow::Owned(bytes.into_owned())),
            Source::Staged(staged) => Source::Staged(staged),
        };
        Payload { source }
    }
}

impl fmt::Debug for Payload<'_> {
    /// The bytes are omitted: they are the host's secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}

impl<const N: usize> From<[u8; N]> for Payload<'_> {
    fn from(bytes: [u8; N]) -> Self {
        Self { source: Source::Bytes(Cow::Owned(bytes.to_vec())) }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { source: Source::Bytes(Cow::Borrowed(bytes)) }
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_bytes())
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::from(&bytes[..])
    }
}

impl<'a> From<&'a Bytes> for Payload<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self::from(&bytes[..])
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self { source: Source::Bytes(Cow::Owned(bytes)) }
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self::from(Vec::from(bytes))
    }
}

impl From<Staged> for Payload<'_> {
    fn from(staged: Staged) -> Self {
        Self { source: Source::Staged(staged) }
    }
}
