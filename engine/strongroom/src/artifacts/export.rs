//! Exports of a spec's or task's versions as a ZIP archive.
//!
//! The archive is written as a stream that never seeks, so it can go through a pipe. Memory holds
//! one chunk and the archive's directory, whatever the size of the contents. All data is read from
//! one snapshot, so it belongs to one moment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Serialize;
use strongroom_base::{Error, ErrorKind, Reason, Result};
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

use super::Artifacts;
use super::archive_path::{LISTING, archive_path};
use super::info::ArtifactInfo;
use super::read::{ArtifactReader, NameSpan};
use super::scope::ArtifactScope;
use strongroom_base::LongCall;
use strongroom_content::Content;
use strongroom_format::split_key;
use strongroom_store::commit::View;
use strongroom_store::state::Table;

const EXPORT: &str = "export artifacts";

/// Bytes that are read between two checks for cancellation.
const STEP_BYTES: usize = 256 << 10;

/// Longest content that is written without ZIP64. Incompressible data grows a little.
const SMALL_BYTES_MAX: u64 = 0xf000_0000;

/// Most versions of a listing without ZIP64. Each has at most 150 kB of JSON.
const LISTED_SMALL_MAX: u64 = 20_000;

/// The result of [`Artifacts::export`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of versions.
    pub versions: u64,
    /// Sum of the lengths of their contents, in bytes.
    pub bytes: u64,
}

impl Artifacts {
    /// Writes all versions of the scope as a ZIP archive.
    ///
    /// The scope is a spec or a task.
    ///
    /// Each version is `<task>/<type>@<version>`. `metadata.json` at the end lists them with their
    /// metadata. Names are made safe to unpack on any system: characters other than ASCII letters,
    /// digits and `-._` are percent-encoded, and `~` with a mask of its capitals follows a name
    /// that has any. The listing has the original names.
    ///
    /// All data belongs to one moment, whatever is written meanwhile, and no lock is taken.
    /// Progress is the bytes read, of all. `to` is not buffered: add a buffer if small writes are
    /// slow.
    ///
    /// `Invalid` for a scope without a spec. `NotFound` if there is nothing to write, before
    /// anything is written. `Corrupt`, with the artifact, for content that differs from what was
    /// put; the written part is then not a valid archive.
    pub fn export(
        &self,
        scope: &ArtifactScope,
        to: impl Write,
        call: LongCall<'_>,
    ) -> Result<ExportReport> {
        let _span = tracing::debug_span!("export artifacts").entered();
        let names = scope.names_of_spec(EXPORT)?;
        let snapshot = self.core().read()?;
        let export =
            ExportRun { content: &self.room.content, snapshot, span: NameSpan::new(&names), call };
        let total = export.count()?;
        if total.versions == 0 {
            return Err(Error::new(ErrorKind::NotFound, EXPORT)
                .with_reason(Reason::ArtifactMissing)
                .with_subject(names.join("/")));
        }
        export.write(total, to)?;
        Ok(total)
    }
}

struct ExportRun<'a> {
    content: &'a Content,
    snapshot: View,
    span: NameSpan,
    call: LongCall<'a>,
}

type Archive<'a, W> = ZipWriter<StreamWriter<ArchiveOutput<'a, W>>>;

impl ExportRun<'_> {
    fn versions(&self) -> Result<impl Iterator<Item = Result<ArtifactInfo>>> {
        let bounds = self.span.behind(None).expect("no span ends before its first key");
        let rows = self.snapshot.state().range(Table::Artifacts, bounds)?;
        Ok(rows.filter_map(|entry| {
            let decode = || {
                let entry = entry?;
                let (_, version) = split_key(entry.key.as_slice())?;
                let info = || ArtifactInfo::decode(entry.key.as_slice(), entry.row.as_slice());
                version.map(|_| info()).transpose()
            };
            decode().transpose()
        }))
    }

    fn count(&self) -> Result<ExportReport> {
        self.versions()?.try_fold(ExportReport::default(), |sum, info| {
            self.call.check(EXPORT)?;
            Ok(ExportReport { versions: sum.versions + 1, bytes: sum.bytes + info?.len() })
        })
    }

    fn write<W: Write>(&self, total: ExportReport, to: W) -> Result<()> {
        let is_given_up = Cell::new(false);
        let mut archive = ZipWriter::new_stream(ArchiveOutput { to, is_given_up: &is_given_up });
        let written =
            self.contents(&mut archive, total).and_then(|()| self.listing(&mut archive, total));
        if written.is_err() {
            is_given_up.set(true);
        }
        written?;
        let mut outlet = archive.finish().map_err(zip_error)?.into_inner();
        outlet.flush().map_err(|e| Error::io(EXPORT, e))
    }

    fn contents<W: Write>(&self, archive: &mut Archive<'_, W>, total: ExportReport) -> Result<()> {
        let mut buffer = vec![0; STEP_BYTES];
        let mut done = 0;
        for info in self.versions()? {
            let info = info?;
            begin(archive, &path_of(&info), info.len() > SMALL_BYTES_MAX)?;
            let mut reader = ArtifactReader::new(self.content, &self.snapshot, info);
            let mut hasher = blake3::Hasher::new();
            loop {
                self.call.check(EXPORT)?;
                let read = reader.read(&mut buffer).map_err(|e| Error::io(EXPORT, e))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                archive.write_all(&buffer[..read]).map_err(|e| Error::io(EXPORT, e))?;
                done += read as u64;
                self.call.report(done, Some(total.bytes));
            }
            if hasher.finalize().as_bytes() != reader.info().checksum() {
                return Err(Error::new(ErrorKind::Corrupt, EXPORT)
                    .with_reason(Reason::ArtifactDamaged)
                    .with_detail("the checksum differs")
                    .with_subject(reader.info().uri()));
            }
        }
        Ok(())
    }

    /// Writes the list of all versions, one on a line.
    fn listing<W: Write>(&self, archive: &mut Archive<'_, W>, total: ExportReport) -> Result<()> {
        begin(archive, LISTING, total.versions > LISTED_SMALL_MAX)?;
        let failed = |e| Error::io(EXPORT, e);
        let mut before = "{\"artifacts\": [\n";
        for info in self.versions()? {
            self.call.check(EXPORT)?;
            archive.write_all(before.as_bytes()).map_err(failed)?;
            before = ",\n";
            let line = serde_json::to_vec(&Listed::new(&info?)).map_err(io::Error::from);
            archive.write_all(&line.map_err(failed)?).map_err(failed)?;
        }
        archive.write_all(b"\n]}\n").map_err(failed)
    }
}

fn path_of(info: &ArtifactInfo) -> String {
    let version = info.uri().version().expect("an info has its number");
    archive_path(info.uri().name(), version)
}

fn begin<W: Write>(archive: &mut Archive<'_, W>, path: &str, is_large: bool) -> Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .large_file(is_large);
    archive.start_file(path, options).map_err(zip_error)
}

fn zip_error(error: ZipError) -> Error {
    match error {
        ZipError::Io(e) => Error::io(EXPORT, e),
        other => Error::new(ErrorKind::Invalid, EXPORT).with_source(other),
    }
}

/// The listed fields of a version.
#[derive(Serialize)]
struct Listed<'a> {
    uri: String,
    path: String,
    length: u64,
    checksum: String,
    created_unix_millis: u64,
    mime: Option<&'a str>,
    tags: &'a [String],
    metadata: BTreeMap<&'a str, &'a str>,
}

impl<'a> Listed<'a> {
    fn new(info: &'a ArtifactInfo) -> Self {
        Self {
            uri: info.uri().to_string(),
            path: path_of(info),
            length: info.len(),
            checksum: blake3::Hash::from_bytes(*info.checksum()).to_string(),
            created_unix_millis: info.created_unix_millis(),
            mime: info.mime(),
            tags: info.tags(),
            metadata: info.metadata().iter().map(|(key, value)| (&**key, &**value)).collect(),
        }
    }
}

/// The destination of an archive.
///
/// After a failure it accepts data without passing it on. The archive's writer completes an archive
/// when it is dropped, and an incomplete one must not look whole.
struct ArchiveOutput<'a, W> {
    to: W,
    is_given_up: &'a Cell<bool>,
}

impl<W: Write> Write for ArchiveOutput<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_given_up.get() {
            return Ok(bytes.len());
        }
        let written = self.to.write(bytes);
        if written.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::Interrupted) {
            self.is_given_up.set(true);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_given_up.get() { Ok(()) } else { self.to.flush() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_content_is_written_as_zip64_and_reads_back() {
        let (is_given_up, mut to) = (Cell::new(false), Vec::new());
        let mut archive =
            ZipWriter::new_stream(ArchiveOutput { to: &mut to, is_given_up: &is_given_up });
        for (path, is_large) in [("1/log@1", true), ("1/log@2", false)] {
            begin(&mut archive, path, is_large).unwrap();
            archive.write_all(path.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        // The extra field of ZIP64 with both lengths: for one file, and again in the directory.
        let fields = to.windows(4).filter(|bytes| *bytes == [1, 0, 16, 0]).count();
        assert_eq!(fields, 2);
        let mut archive = zip::ZipArchive::new(io::Cursor::new(to)).unwrap();
        for path in ["1/log@1", "1/log@2"] {
            let mut text = String::new();
            archive.by_name(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, path);
        }
    }
}
