//! Secrets in files: a password on one line, a key of 32 bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use strongroom::backends::component::{Entropy, OsEntropy};
use strongroom::{Error, ErrorKind, Result, SecretKey, SecretPassword};
use zeroize::Zeroizing;

use crate::session::Notes;

/// Names standard input in place of a file.
pub(crate) const STDIN: &str = "-";

/// Permissions by which others than the owner read or write a file.
const OTHERS: u32 = 0o066;

/// The password in the file `path`: one line, whose end is no part of it.
pub(super) fn read_password(path: &Path, notes: Notes) -> Result<SecretPassword> {
    const READ: &str = "read password file";
    let refuse = |detail: &str| {
        Err(Error::new(ErrorKind::Invalid, READ).with_detail(detail).with_subject(path.display()))
    };
    let bytes = read(READ, path, SecretPassword::BYTES_MAX + "\r\n".len(), notes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return refuse("the file is empty");
    }
    if line.contains(&b'\n') {
        return refuse("the file has more than one line");
    }
    if line.len() > SecretPassword::BYTES_MAX {
        let max = SecretPassword::BYTES_MAX;
        return refuse(&format!("the password is longer than {max} bytes"));
    }
    match std::str::from_utf8(line) {
        Ok(line) => Ok(SecretPassword::new(line)),
        Err(_) => refuse("the password is not UTF-8"),
    }
}

/// The key in the file `path`: its 32 bytes, or 64 hex digits on one line.
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
            .with_detail("it holds neither 32 bytes nor 64 hex digits")
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

/// Writes a key that nobody has yet into the new file `path`, durably.
pub(crate) fn generate(path: &Path) -> Result<()> {
    let failed = |e| Error::io("create key file", e).with_subject(path.display());
    let mut key = Zeroizing::new([0; SecretKey::BYTES]);
    OsEntropy.fill(&mut key[..])?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(&key[..]).and_then(|()| file.sync_all()).map_err(failed)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

/// All bytes of a file, or the first `max` and one more.
fn read(
    operation: &'static str,
    path: &Path,
    max: usize,
    notes: Notes,
) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |e| Error::io(operation, e).with_subject(path.display());
    let mut file = if path.as_os_str() == STDIN {
        if io::stdin().is_terminal() {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .with_detail("standard input is a terminal and would show it"));
        }
        // Without the buffer of `Stdin`, which nobody zeroises.
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
    } else {
        let file = File::open(path).map_err(failed)?;
        warn_if_shared(&file, path, notes).map_err(failed)?;
        file
    };
    let mut bytes = Zeroizing::new(vec![0; max + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Pipes, as of `<(…)`, belong to nobody else whatever their mode says.
fn warn_if_shared(file: &File, path: &Path, notes: Notes) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & OTHERS != 0 {
        let path = path.display();
        notes.say(format!("warning: others may read or change {path}: its mode is {mode:03o}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_of_either_case_are_a_key_and_nothing_else_is() {
        let key = unhex("0aF0".repeat(16).as_bytes()).unwrap();
        assert_eq!(key[..4], [0x0a, 0xf0, 0x0a, 0xf0]);
        for bad in ["g", "+", " ", "é"] {
            assert!(unhex(format!("{bad:0<64}").as_bytes()).is_none(), "{bad}");
        }
    }
}
