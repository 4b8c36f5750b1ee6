//! `export`: a ZIP archive of artifacts, written while they are read.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use serde_json::json;
use strongroom::artifacts::{ArtifactScope, Artifacts, ExportReport};
use strongroom::{Error, LongCall};

use super::content::named_file;
use crate::exit::Failure;
use crate::new_file::NewFile;
use crate::output::Output;
use crate::session::{Session, moving, usage};

const CREATE: &str = "create archive file";

/// Size of the output buffer in bytes. The archive is written in small pieces.
const BUFFER_BYTES: usize = 256 << 10;

/// Selection and destination of an export.
pub(super) struct Export<'a> {
    pub(super) spec: &'a str,
    pub(super) task: Option<&'a str>,
    pub(super) file: Option<&'a Path>,
}

pub(super) fn run(session: &Session<'_>, export: &Export<'_>) -> Result<(), Failure> {
    let file = named_file(export.file);
    if file.is_none() && session.json() {
        return Err(usage("with --json the archive needs a FILE"));
    }
    if file.is_none() && io::stdout().is_terminal() {
        return Err(usage("an archive cannot be printed on a terminal; name a FILE"));
    }
    let vault = session.open("export")?;
    let artifacts = vault.artifacts();
    let Some(path) = file else {
        let mut output = StdoutWriter { output: Output::new(), failure: None };
        let written = write(session, &artifacts, export, &mut output);
        if let Some(failure) = output.failure {
            return Err(failure);
        }
        written?;
        output.output.finish()?;
        return session.close(vault);
    };
    let failed = |e| Error::io(CREATE, e).with_subject(path.display());
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, NewFile::create(CREATE, path)?);
    let report = write(session, &artifacts, export, &mut buffered)?;
    buffered.into_inner().map_err(|e| failed(e.into_error()))?.finish()?;
    session.close(vault)?;
    let (versions, bytes) = (report.versions, report.bytes);
    session.answer(
        &json!({
            "file": path.display().to_string(),
            "versions": versions,
            "bytes": bytes,
        }),
        format!("{versions} versions of {bytes} bytes exported to {}", path.display()),
    )
}

fn write(
    session: &Session<'_>,
    artifacts: &Artifacts,
    export: &Export<'_>,
    to: impl Write,
) -> Result<ExportReport, Failure> {
    let bar = session.bytes_bar(Some(0));
    let report = artifacts.export(
        &ArtifactScope::spec(export.spec).task(export.task),
        to,
        LongCall::new().progress(&moving(&bar)),
    );
    bar.finish_and_clear();
    Ok(report?)
}

/// Standard output as the engine's writer. Keeps the cause of a failed write.
struct StdoutWriter {
    output: Output,
    failure: Option<Failure>,
}

impl Write for StdoutWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.bytes(bytes).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
