//! Secrets in files: a password or partition key on one line, a key of 32 bytes, a document.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use strongroom::backends::component::{Entropy, OsEntropy};
use strongroom::documents::DOCUMENT_BYTES_MAX;
use strongroom::{Error, ErrorKind, Result, SecretKey, SecretPassword};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::hint::CliReason;
use crate::session::Notes;

/// Path that names standard input.
pub(crate) const STDIN: &str = "-";

/// Initial buffer size in bytes for a file of unknown length.
const BUFFER_BYTES: usize = 64 << 10;

/// Permission bits that let other users read or write a file.
const OTHERS: u32 = 0o066;

/// Reads the password in the file `path`: one line, without its line end.
pub(super) fn read_password(path: &Path, notes: Notes) -> Result<SecretPassword> {
    let max = SecretPassword::BYTES_MAX;
    let line = read_line("read password file", "password", path, max, notes)?;
    Ok(SecretPassword::new(line.as_str()))
}

/// Reads the only line of the file `path`, without its line end. `name` names the secret in errors.
pub(super) fn read_line(
    operation: &'static str,
    name: &str,
    path: &Path,
    max: usize,
    notes: Notes,
) -> Result<Zeroizing<String>> {
    let refuse = |detail: &str| {
        Err(Error::new(ErrorKind::Invalid, operation)
            .with_detail(detail)
            .with_subject(path.display()))
    };
    let bytes = read(operation, path, max + "\r\n".len(), notes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return refuse("the file is empty");
    }
    if line.contains(&b'\n') {
        return refuse("the file has more than one line");
    }
    if line.len() > max {
        return refuse(&format!("the {name} is longer than {max} bytes"));
    }
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => refuse(&format!("the {name} is not UTF-8")),
    }
}

/// Reads the key in the file `path`: 32 bytes, or 64 hex digits on one line.
pub(super) fn read_key(path: &Path, notes: Notes) -> Result<SecretKey> {
    const READ: &str = "read key file";
    const DIGITS: usize = 2 * SecretKey::BYTES;
    let bytes = read(READ, path, DIGITS + "\r\n".len(), notes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let key = match (bytes.len(), line.len()) {
        (SecretKey::BYTES, _) => Some(Zeroizing::new(std::array::from_fn(|i| bytes[i]))),
        (_, DIGITS) => unhex(line),
        _ => None,
    };
    key.map(|key| SecretKey::new(*key)).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, READ)
            .with_detail("the file holds neither 32 bytes nor 64 hex digits")
            .with_subject(path.display())
    })
}

fn unhex(digits: &[u8]) -> Option<Zeroizing<[u8; SecretKey::BYTES]>> {
    let digit = |at: usize| char::from(digits[at]).to_digit(16);
    let mut key = Zeroizing::new([0; SecretKey::BYTES]);
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::try_from(digit(2 * i)? << 4 | digit(2 * i + 1)?).ok()?;
    }
    Some(key)
}

/// Writes a new random key into the new file `path`, durably.
pub(crate) fn generate(path: &Path) -> Result<(), Failure> {
    let mut key = Zeroizing::new([0; SecretKey::BYTES]);
    OsEntropy.fill(&mut key[..])?;
    create_file("create key file", path, &key[..])
}

/// Writes the new file `path`, which only its owner may read, durably.
pub(crate) fn create_file(
    operation: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<(), Failure> {
    let failed = |e| Error::io(operation, e).with_subject(path.display());
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => CliReason::FileExists.failure(failed(e)),
        _ => failed(e).into(),
    })?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // An incomplete file is useless, and would block the next attempt.
        let _ = fs::remove_file(path);
        return Err(failed(error).into());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?)
}

/// Reads a document's text from the file `path` or standard input.
///
/// Standard input may be a terminal. A text longer than the largest document is `Invalid`.
pub(crate) fn read_document(path: &Path, notes: Notes) -> Result<Zeroizing<Vec<u8>>> {
    const READ: &str = "read document file";
    let failed = |e| Error::io(READ, e).with_subject(path.display());
    let file = if path.as_os_str() == STDIN {
        if io::stdin().is_terminal() {
            notes.say("note: reading the document from the terminal; end it with Ctrl-D");
        }
        stdin()
    } else {
        File::open(path)
    };
    let text = file.and_then(|file| fill(file, DOCUMENT_BYTES_MAX)).map_err(failed)?;
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Error::new(ErrorKind::Invalid, READ)
            .with_detail(format!("the text has more than {DOCUMENT_BYTES_MAX} bytes, the limit"))
            .with_subject(path.display()));
    }
    Ok(text)
}

/// Reads all bytes of a file, or the first `max + 1` bytes.
fn read(
    operation: &'static str,
    path: &Path,
    max: usize,
    notes: Notes,
) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |e| Error::io(operation, e).with_subject(path.display());
    let file = if path.as_os_str() == STDIN {
        if io::stdin().is_terminal() {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .with_detail("standard input is a terminal, which would show the secret"));
        }
        stdin().map_err(failed)?
    } else {
        let file = File::open(path).map_err(failed)?;
        warn_if_shared(&file, path, notes).map_err(failed)?;
        file
    };
    fill(file, max).map_err(failed)
}

/// Opens standard input without the buffer of `Stdin`, which is never zeroised.
fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Reads everything from `file`, or the first `max + 1` bytes.
///
/// Each buffer is zeroised when a larger one replaces it.
fn fill(mut file: File, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; BUFFER_BYTES.min(max + 1)]);
    let mut len = 0;
    loop {
        if len > max {
            break;
        }
        if len == bytes.len() {
            let mut longer = Zeroizing::new(vec![0; (2 * len).min(max + 1)]);
            longer[..len].copy_from_slice(&bytes);
            bytes = longer;
        }
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Pipes, for example of `<(…)`, are private whatever their mode bits are.
fn warn_if_shared(file: &File, path: &Path, notes: Notes) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & OTHERS != 0 {
        let path = path.display();
        notes
            .say(format!("warning: other users may read or change {path}: its mode is {mode:03o}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_accepts_only_hex_of_either_case() {
        let key = unhex("0aF0".repeat(16).as_bytes()).unwrap();
        assert_eq!(key[..4], [0x0a, 0xf0, 0x0a, 0xf0]);
        for bad in ["g", "+", " ", "é"] {
            assert!(unhex(format!("{bad:0<64}").as_bytes()).is_none(), "{bad}");
        }
    }
}
