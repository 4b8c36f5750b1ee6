//! `put` and `get`: the bytes of artifacts, in bounded memory.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use serde_json::json;
use strongroom::artifacts::{
    ArtifactInfo, ArtifactName, ArtifactReader, ArtifactSpec, ArtifactUri, Artifacts,
};
use strongroom::{Error, ErrorKind, LongCall};

use super::info_json;
use crate::args::NewVersion;
use crate::exit::Failure;
use crate::new_file::NewFile;
use crate::output::{Output, add_bytes, print_json};
use crate::secret::STDIN;
use crate::session::{Session, usage};

const OPEN: &str = "read artifact file";
const CREATE: &str = "create artifact file";

/// Longest artifact in bytes that `get --json` puts into a document: 16 MiB.
const JSON_CONTENT_BYTES_MAX: u64 = 16 << 20;

/// Number of bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// Returns the file, unless it names standard input or output.
pub(super) fn named_file(file: Option<&Path>) -> Option<&Path> {
    file.filter(|path| path.as_os_str() != STDIN)
}

pub(super) fn put(
    session: &Session<'_>,
    added: &NewVersion,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let file = named_file(file);
    session.expect_one_stdin(&[(file.is_none(), "the artifact")])?;
    let spec = spec(added)?;
    let source = file.map(open).transpose()?;
    let vault = session.open("put")?;
    let artifacts = vault.artifacts();
    let uri = if let Some((source, size)) = source {
        let spec = match size {
            Some(size) => spec.size(size),
            None => spec,
        };
        store(session, &artifacts, spec, source, size)
    } else {
        if io::stdin().is_terminal() {
            session.say("note: reading the artifact from the terminal; end it with Ctrl-D");
        }
        store(session, &artifacts, spec, io::stdin().lock(), None)
    }?;
    let info = artifacts.info(&uri)?;
    warn_if_filling(session, &artifacts)?;
    session.close(vault)?;
    session.answer(&info_json(&info), uri.to_string())
}

fn spec(added: &NewVersion) -> Result<ArtifactSpec, Failure> {
    let name = ArtifactName::new(&added.spec, &added.task, &added.kind)?;
    let mut spec = ArtifactSpec::new(name);
    for tag in &added.tags {
        spec = spec.tag(tag);
    }
    for (at, (key, value)) in added.metadata.iter().enumerate() {
        if added.metadata[..at].iter().any(|(other, _)| other == key) {
            return Err(usage("--meta has the same key twice"));
        }
        spec = spec.metadata(key, value);
    }
    if let Some(mime) = &added.mime {
        spec = spec.mime(mime);
    }
    if let Some(existing) = added.on_existing {
        spec = spec.on_existing(existing.into());
    }
    Ok(spec)
}

/// Opens a file. Returns its length too, if it is known.
fn open(path: &Path) -> Result<(File, Option<u64>), Failure> {
    let failed = |e| Error::io(OPEN, e).with_subject(path.display());
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let error = Error::new(ErrorKind::Invalid, OPEN).with_detail("the path is a folder");
        return Err(error.with_subject(path.display()).into());
    }
    // The kernel's virtual files (`/proc`) are regular and report a length of 0.
    let size = Some(metadata.len()).filter(|&len| metadata.is_file() && len > 0);
    Ok((file, size))
}

fn store(
    session: &Session<'_>,
    artifacts: &Artifacts,
    spec: ArtifactSpec,
    source: impl Read,
    size: Option<u64>,
) -> Result<ArtifactUri, Failure> {
    let bar = session.bytes_bar(size);
    let progress = |done, _| bar.set_position(done);
    let uri = artifacts.put_with(spec, source, LongCall::new().progress(&progress));
    bar.finish_and_clear();
    Ok(uri?)
}

fn warn_if_filling(session: &Session<'_>, artifacts: &Artifacts) -> Result<(), Failure> {
    let Some(quota) = artifacts.quota()? else { return Ok(()) };
    let usage = artifacts.usage()?;
    if usage.is_filling() {
        let (stored, path) = (usage.stored_bytes, session.path().display());
        session.say(format!(
            "warning: the store takes {stored} of {} bytes; `strongroom rm {path}` and `strongroom \
             gc {path}` make room",
            quota.bytes
        ));
    }
    Ok(())
}

pub(super) fn get(
    session: &Session<'_>,
    uri: &ArtifactUri,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let file = named_file(file);
    let vault = session.open("get")?;
    let reader = vault.artifacts().open(uri)?;
    let info = reader.info().clone();
    match file {
        Some(path) => {
            let mut file = NewFile::create(CREATE, path)?;
            let bar = session.bytes_bar(Some(info.len()));
            let failed = |e| Error::io(CREATE, e).with_subject(path.display());
            copy(reader, |bytes| {
                file.write_all(bytes).map_err(failed)?;
                bar.inc(bytes.len() as u64);
                Ok(())
            })?;
            bar.finish_and_clear();
            file.finish()?;
        }
        None if session.json() => print_content_json(reader)?,
        None => {
            let bar = session.output_bar(info.len());
            let mut output = Output::new();
            copy(reader, |bytes| {
                output.bytes(bytes)?;
                bar.inc(bytes.len() as u64);
                Ok(())
            })?;
            bar.finish_and_clear();
            output.finish()?;
        }
    }
    session.close(vault)?;
    match file {
        Some(path) if session.json() => {
            let mut document = info_json(&info);
            document["file"] = json!(path.display().to_string());
            print_json(&document)
        }
        _ => Ok(()),
    }
}

fn copy(
    mut reader: ArtifactReader,
    mut to: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = reader.read(&mut buffer);
        let taken = read.map_err(|e| reading(e, reader.info()))?;
        if taken == 0 {
            return Ok(());
        }
        to(&buffer[..taken])?;
    }
}

fn print_content_json(mut reader: ArtifactReader) -> Result<(), Failure> {
    let len = reader.info().len();
    if len > JSON_CONTENT_BYTES_MAX {
        let detail = format!(
            "it has {len} bytes, the limit of --json is {JSON_CONTENT_BYTES_MAX}: get it into a \
             file, or without --json"
        );
        let error = Error::new(ErrorKind::Invalid, "read artifact").with_detail(detail);
        return Err(error.with_subject(reader.info().uri()).into());
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|e| reading(e, reader.info()))?;
    let mut document = info_json(reader.info());
    let object = document.as_object_mut().expect("made as an object");
    add_bytes(object, "content", &bytes);
    print_json(&document)
}

fn reading(error: io::Error, info: &ArtifactInfo) -> Error {
    Error::io("read artifact", error).with_subject(info.uri())
}
