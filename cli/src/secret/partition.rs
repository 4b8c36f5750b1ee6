//! The key of a partition: as an argument, in a file, or in the environment.
//!
//! A key may be an argument, because it opens nothing without the password. A person who sees it
//! can still prove that the partition exists, and destroy it. So an error never shows a key, nor
//! text that looks like one.

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

/// Variable with the key of a partition.
pub(crate) const PARTITION_KEY_VARIABLE: &str = "STRONGROOM_PARTITION_KEY";

/// Prefix of a path to a file that holds a key.
const FILE_PREFIX: &[u8] = b"@";

/// Prefix of every key's text.
pub(crate) const KEY_PREFIX: &str = "srp1_";

/// Longest line with a key, in bytes: twice the key.
const KEY_LINE_BYTES_MAX: usize = 2 * 77;

/// Name of the call that reads a key. `parse` uses the same name.
const READ: &str = "read partition key";

/// A key as `--key` and `--keep` take it: its text, or `@` and the path of a file.
///
/// Its `Debug` shows nothing.
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
    /// Returns the file that holds the key, if the argument names one.
    fn file(&self) -> Option<&Path> {
        let path = OsStr::from_bytes(self.0.as_bytes().strip_prefix(FILE_PREFIX)?);
        // Text that looks like a key is a misspelt key, not a path to show.
        (!is_like_a_key(path)).then_some(Path::new(path))
    }

    /// Returns whether the source is standard input.
    ///
    /// Standard input can serve only one purpose.
    pub(crate) fn is_stdin(&self) -> bool {
        self.file().is_some_and(|path| path.as_os_str() == STDIN)
    }

    /// Reads the key.
    pub(crate) fn read(&self, notes: Notes) -> Result<SecretPartitionKey> {
        let Some(path) = self.file() else {
            return SecretPartitionKey::parse(self.0.to_str().unwrap_or_default());
        };
        let line =
            file::read_line("read partition key file", "key", path, KEY_LINE_BYTES_MAX, notes)?;
        SecretPartitionKey::parse(&line).map_err(|e| e.with_subject(path.display()))
    }
}

/// Reads the key from `argument`, or else from the environment.
pub(crate) fn partition_key(
    argument: Option<&KeyArgument>,
    notes: Notes,
) -> Result<SecretPartitionKey> {
    if let Some(argument) = argument {
        return argument.read(notes);
    }
    if std::env::var_os(PARTITION_KEY_VARIABLE).is_none() {
        return Err(Error::new(ErrorKind::Invalid, READ)
            .with_detail("no key is given")
            .with_source(CliReason::NoPartitionKeyGiven));
    }
    SecretPartitionKey::parse(&Zeroizing::new(read_variable(PARTITION_KEY_VARIABLE)?))
        .map_err(|e| e.with_subject(PARTITION_KEY_VARIABLE))
}

/// Returns whether the text is a key, perhaps misspelt.
///
/// Such text must not be shown.
pub(crate) fn is_like_a_key(typed: &OsStr) -> bool {
    typed.as_bytes().starts_with(KEY_PREFIX.as_bytes())
}
