//! Artifacts: stored, read, found, tagged, deleted and verified; and the store that they lie in.
//!
//! - `content.rs`: their bytes, in and out. `find.rs`: lists of them. `change.rs`: tags and deletions.
//! - `export.rs`: many of them as an archive.
//! - `store.rs`: how much they may take and how long they are kept. `verify.rs`: are they whole?
//!
//! One version is told in the same way everywhere: as a row of text, or as an object.

mod change;
mod content;
mod export;
mod find;
mod store;
mod verify;

use serde_json::{Map, Value as Json, json};
use strongroom::artifacts::{ArtifactInfo, ArtifactScope};
use strongroom::{Error, ErrorKind, Reason};

use export::Export;

use crate::args::{Artifacts, Whose};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, hex, print_json, text, time};
use crate::session::Session;

/// How many versions are looked up at a time.
const VERSIONS_PER_PAGE: usize = 256;

pub(crate) fn run(session: &Session<'_>, command: &Artifacts) -> Result<Outcome, Failure> {
    match command {
        Artifacts::Put { added, file, .. } => content::put(session, added, file.as_deref())?,
        Artifacts::Get { uri, file, .. } => content::get(session, uri, file.as_deref())?,
        Artifacts::Ls { whose, .. } => find::list(session, whose)?,
        Artifacts::Search { sought, .. } => find::search(session, sought)?,
        Artifacts::Versions { uri, .. } => find::versions(session, uri)?,
        Artifacts::Tag { uri, tagged, .. } => change::tag(session, uri, tagged)?,
        Artifacts::Rm { removed, .. } => change::remove(session, removed)?,
        Artifacts::Usage { .. } => store::usage(session)?,
        Artifacts::Quota { amount, .. } => store::quota(session, amount)?,
        Artifacts::Retention { kept, .. } => store::retention(session, kept)?,
        Artifacts::Expire { dry_run, .. } => store::expire(session, *dry_run)?,
        Artifacts::Export { spec, task, file, .. } => {
            let (task, file) = (task.as_deref(), file.as_deref());
            export::run(session, &Export { spec, task, file })?;
        }
        Artifacts::Verify { uri, whose, .. } => {
            return verify::run(session, uri.as_ref(), whose);
        }
        Artifacts::Gc { dry_run, .. } => return store::gc(session, *dry_run),
    }
    Ok(Outcome::Done)
}

/// The artifacts that a command covers.
fn scope(whose: &Whose) -> ArtifactScope {
    let all = ArtifactScope::all();
    whose.spec.as_ref().map_or(all, ArtifactScope::spec).task(whose.task.as_deref())
}

/// A version as a row.
fn row(info: &ArtifactInfo) -> String {
    let tags: Vec<_> = info.tags().iter().map(|tag| text(tag.as_bytes())).collect();
    let (uri, len, created) = (info.uri(), info.len(), time(info.created_unix_millis()));
    format!("{uri}\t{len}\t{created}\t{}", tags.join(", "))
}

fn info_json(info: &ArtifactInfo) -> Json {
    let name = info.uri().name();
    let metadata: Map<_, _> =
        info.metadata().iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "uri": info.uri().to_string(),
        "spec": name.spec(),
        "task": name.task(),
        "type": name.kind(),
        "version": info.uri().version(),
        "len": info.len(),
        "checksum": hex(info.checksum()),
        "created_unix_millis": info.created_unix_millis(),
        "mime": info.mime(),
        "tags": info.tags(),
        "metadata": metadata,
    })
}

/// What a command tells of one version.
fn print_info(session: &Session<'_>, info: &ArtifactInfo) -> Result<(), Failure> {
    if session.json() {
        return print_json(&info_json(info));
    }
    let mut output = Output::new();
    output.line(row(info))?;
    output.finish()
}

fn not_found(operation: &'static str, detail: &str) -> Error {
    Error::new(ErrorKind::NotFound, operation)
        .with_reason(Reason::ArtifactMissing)
        .with_detail(detail)
}
