//! Contents of every length: read back unchanged, stored once, freed with the last reference.

use std::io::{Read, Seek, SeekFrom, Write};

use parking_lot::Mutex;
use strongroom::artifacts::{ArtifactScope, ArtifactSpec};
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::{CancelToken, ErrorKind, LongCall};
use strongroom_testkit::memory_vault;

use crate::scene::{name, noise, put, whole};

#[test]
fn content_of_every_length_reads_from_every_position() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    for len in [0, 1, 15_000, 32_000, 32_001, 300_000, 5_000_000, 40_000_000] {
        for bytes in [noise(len, 7), vec![b'x'; len]] {
            let uri = put(&artifacts, "1", &bytes);
            assert!(artifacts.read(&uri).unwrap() == bytes, "{len}");
            artifacts.verify(&uri).unwrap();
            let mut reader = artifacts.open(&uri).unwrap();
            assert_eq!(reader.info().len(), len as u64);
            for at in [0, len / 3, len / 2, len.saturating_sub(1), len, len + 5] {
                reader.seek(SeekFrom::Start(at as u64)).unwrap();
                let mut some = vec![0; 1_000.min(len.saturating_sub(at))];
                reader.read_exact(&mut some).unwrap();
                assert!(some == bytes[at.min(len)..][..some.len()], "{len} at {at}");
            }
        }
    }
    whole(&vault);
}

#[test]
fn equal_content_is_stored_once_and_freed_with_last_use() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let bytes = noise(10_000_000, 3);
    let first = put(&artifacts, "1", &bytes);
    let stored = || {
        let report = vault.check(&CheckOptions::new()).unwrap();
        assert!(report.is_ok(), "{report:?}");
        report.object_bytes
    };
    let once = stored();
    assert!(once > 10_000_000);
    let mut edited = bytes.clone();
    edited.splice(4_000_000..4_000_000, *b"an insertion");
    let second = put(&artifacts, "2", &edited);
    let third = put(&artifacts, "3", &bytes);
    let more = stored() - once;
    assert!(more < 700_000, "an insertion and a copy took {more} bytes");

    assert_eq!(artifacts.delete(&first).unwrap(), 1);
    assert_eq!(artifacts.delete(&first).unwrap(), 0);
    assert_eq!(artifacts.info(&first).unwrap_err().kind(), ErrorKind::NotFound);
    vault.gc(&GcOptions::new()).unwrap();
    assert!(artifacts.read(&third).unwrap() == bytes);
    let mut reader = artifacts.open(&second).unwrap();
    artifacts.delete_all(&ArtifactScope::spec("spec"), LongCall::new()).unwrap();
    // The open reader keeps its chunks.
    let kept = vault.gc(&GcOptions::new()).unwrap();
    assert_eq!((kept.chunks, kept.waiting > 0), (0, true), "{kept:?}");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == edited);
    drop(reader);
    let planned = vault.gc(&GcOptions::new().dry_run(true)).unwrap();
    assert!(planned.chunks > 0);
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert!(freed.chunks >= planned.chunks && freed.bytes > 10_000_000, "{freed:?}");
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_eq!(stored(), 0);
    whole(&vault);
}

/// A source that fails after the given number of bytes.
struct FailingSource(usize);

impl Read for FailingSource {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::other("the connection is lost"));
        }
        let taken = buffer.len().min(self.0);
        buffer[..taken].copy_from_slice(&noise(taken, self.0 as u64));
        self.0 -= taken;
        Ok(taken)
    }
}

#[test]
fn put_from_failing_source_leaves_nothing() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let failed = artifacts.put(ArtifactSpec::new(name("1")), FailingSource(40_000_000));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!artifacts.exists(&name("1").newest()).unwrap());
    let freed = vault.gc(&GcOptions::new()).unwrap();
    assert!(freed.uploads_given_up > 0 && freed.chunks > 0, "{freed:?}");
    vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    let report = vault.check(&CheckOptions::new()).unwrap();
    assert_eq!((report.object_bytes, report.is_ok()), (0, true), "{report:?}");
}

#[test]
fn node_that_fills_a_pack_is_read() {
    let vault = strongroom::Vault::options(strongroom_testkit::TestKey)
        .entropy(strongroom_testkit::SeededEntropy::new(1))
        .object_bytes(4_096)
        .create_on(strongroom::storage::MemoryState::new(), strongroom::backends::Memory::new())
        .unwrap();
    let bytes = noise(40_000_000, 7);
    let uri = put(&vault.artifacts(), "1", &bytes);
    assert!(vault.artifacts().read(&uri).unwrap() == bytes);
    whole(&vault);
}

/// A writer with room for the given number of bytes.
struct LimitedWriter(usize);

impl Write for LimitedWriter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let taken = buffer.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn copy_is_whole_or_fails_and_reports_progress() {
    let vault = memory_vault().unwrap();
    let artifacts = vault.artifacts();
    let bytes = noise(3_000_000, 5);
    let uri = put(&artifacts, "1", &bytes);
    let (reports, cancel) = (Mutex::new(Vec::new()), CancelToken::new());
    let progress = |done, total| reports.lock().push((done, total));
    let mut copy = Vec::new();
    let info = artifacts
        .copy_to(&uri, &mut copy, LongCall::new().progress(&progress).cancel(&cancel))
        .unwrap();
    assert!(copy == bytes && info.len() == 3_000_000);
    let reports = reports.into_inner();
    assert!(
        reports.is_sorted() && reports.last() == Some(&(3_000_000, Some(3_000_000))),
        "{reports:?}"
    );

    let full = artifacts
        .copy_to(&uri, LimitedWriter(1_000_000), LongCall::new().cancel(&cancel))
        .unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    let none = artifacts.copy_to(&name("2").newest(), &mut copy, LongCall::new().cancel(&cancel));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
    let stop = cancel.clone();
    let progress = move |_, _| stop.cancel();
    let mut part = Vec::new();
    let cancelled = artifacts
        .copy_to(&uri, &mut part, LongCall::new().progress(&progress).cancel(&cancel))
        .unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    assert!(!part.is_empty() && part.len() < bytes.len() && bytes.starts_with(&part));
}
