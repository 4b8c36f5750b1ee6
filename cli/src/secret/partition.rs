//! The key of a partition, as it is given: itself, in a file, or in the environment.
//!
//! It may be an argument, for it opens nothing without the password; but whoever sees it can prove
//! that the partition is there, and destroy it. So an error shows neither a key nor what is taken
//! for one.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use strongroom::documents::SecretPartitionKey;
use strongroom::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::{STDIN, file, read_variable};
use crate::hint::CliReason;
use crate::session::Notes;

/// Names the variable with the key of a partition.
pub(crate) const PARTITION_KEY_VARIABLE: &str = "STRONGROOM_PARTITION_KEY";

/// Stands before the path of a file that holds a key.
const FILE_PREFIX: &[u8] = b"@";

/// How the text of a key begins.
pub(crate) const KEY_PREFIX: &str = "srp1_";

/// Longest line with a key, in bytes: twice the key.
const KEY_LINE_BYTES_MAX: usize = 2 * 77;

/// The operation by which a key is read; `parse` calls it so.
const READ: &str = "read partition key";

/// A key as `--key` and `--keep` take it: its text, or `@` and the path of a file. Its `Debug`
/// shows nothing.
#[derive(Clone)]
pub(crate) struct KeyArgument(OsString);

impl From<OsString> for KeyArgument {
    fn from(typed: OsString) -> Self {
        Self(typed)
    }
}

impl fmt::Debug for KeyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyArgument(..)")
    }
}

impl KeyArgument {
    /// The file that holds the key, if it is told so.
    fn file(&self) -> Option<&Path> {
        let path = OsStr::from_bytes(self.0.as_bytes().strip_prefix(FILE_PREFIX)?);
        // A key in the place of its file is misspelt, and no path to be shown.
        (!is_like_a_key(path)).then_some(Path::new(path))
    }

    /// Whether it is standard input, which then cannot be anything else.
    pub(crate) fn is_stdin(&self) -> bool {
        self.file().is_some_and(|path| path.as_os_str() == STDIN)
    }

    /// The key.
    pub(crate) fn read(&self, notes: Notes) -> Result<SecretPartitionKey> {
        let Some(path) = self.file() else {
            return SecretPartitionKey::parse(self.0.to_str().unwrap_or_default());
        };
        let line =
            file::read_line("read partition key file", "key", path, KEY_LINE_BYTES_MAX, notes)?;
        SecretPartitionKey::parse(&line).map_err(|e| e.with_subject(path.display()))
    }
}

/// The key that is `told`, or that of the environment.
pub(crate) fn partition_key(
    told: Option<&KeyArgument>,
    notes: Notes,
) -> Result<SecretPartitionKey> {
    if let Some(argument) = told {
        return argument.read(notes);
    }
    if std::env::var_os(PARTITION_KEY_VARIABLE).is_none() {
        return Err(Error::new(ErrorKind::Invalid, READ)
            .with_detail("none is given")
            .with_source(CliReason::NoPartitionKeyGiven));
    }
    SecretPartitionKey::parse(&Zeroizing::new(read_variable(PARTITION_KEY_VARIABLE)?))
        .map_err(|e| e.with_subject(PARTITION_KEY_VARIABLE))
}

/// Whether it is a key, though perhaps a misspelt one, and so must not be shown.
pub(crate) fn is_like_a_key(typed: &OsStr) -> bool {
    typed.as_bytes().starts_with(KEY_PREFIX.as_bytes())
}
