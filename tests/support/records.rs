//! Writing and reading records, and checking the vault.

use std::path::Path;

use strongroom::check::{CheckOptions, CheckReport};
use strongroom::content::GcOptions;
use strongroom::{Error, ErrorKind, Result, Vault};
use strongroom_testkit::TestKey;

/// Makes a value of `len` bytes, different by position and `seed`.
pub(crate) fn long(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn create(path: &Path) -> Vault {
    Vault::options(TestKey).create(path).unwrap()
}

pub(crate) fn open(path: &Path) -> Result<Vault> {
    Vault::options(TestKey).open(path)
}

pub(crate) fn try_put(vault: &Vault, key: &str, value: &[u8]) -> Result<()> {
    vault.write(|tx| tx.insert("n", key, value))
}

pub(crate) fn put(vault: &Vault, key: &str, value: impl AsRef<[u8]>) {
    try_put(vault, key, value.as_ref()).unwrap();
}

pub(crate) fn try_put_long(vault: &Vault, key: &str, value: &[u8]) -> Result<()> {
    let staged = vault.stage(value)?;
    vault.write(|tx| tx.insert("n", key, staged))
}

pub(crate) fn put_long(vault: &Vault, key: &str, value: &[u8]) {
    try_put_long(vault, key, value).unwrap();
}

pub(crate) fn get(vault: &Vault, key: &str) -> Option<Vec<u8>> {
    let value = vault.read().unwrap().get("n", key).unwrap();
    value.map(|value| value.bytes().unwrap().to_vec())
}

/// Reads every record of namespace "n", in order.
pub(crate) fn all(vault: &Vault) -> Result<Vec<(String, Vec<u8>)>> {
    vault
        .read()?
        .prefix("n", "")?
        .map(|record| {
            let record = record?;
            let key = String::from_utf8_lossy(record.key()).into_owned();
            Ok((key, record.value().bytes()?.to_vec()))
        })
        .collect()
}

pub(crate) fn clean(vault: &Vault) {
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
}

/// Runs a check that reads every object.
pub(crate) fn check(vault: &Vault) -> Result<CheckReport> {
    vault.check(&CheckOptions::new().read_data(strongroom::check::ReadData::All))
}

/// Asserts that nothing is wrong, unknown or due after a clean-up.
#[track_caller]
pub(crate) fn assert_whole(vault: &Vault) -> CheckReport {
    clean(vault);
    let report = check(vault).unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!((&report.unknown[..], report.due), (&[][..], 0), "{report:?}");
    report
}

/// Asserts an error of this kind, whose one line contains `text`.
#[track_caller]
pub(crate) fn assert_error<T>(outcome: Result<T>, kind: ErrorKind, text: &str) -> Error {
    let error = outcome.map(drop).expect_err("this must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    let line = error.to_string();
    assert!(line.contains(text), "{line:?} does not contain {text:?}");
    assert!(!line.contains('\n'), "more than one line: {line:?}");
    error
}
