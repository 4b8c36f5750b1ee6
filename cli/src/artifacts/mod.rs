//! Artifacts: put, get, find, tag, delete and verify; and the store that holds them.
//!
//! - `content.rs`: their bytes, in and out. `find.rs`: lists. `change.rs`: tags and deletions.
//! - `export.rs`: a ZIP archive.
//! - `store.rs`: usage, quota, retention and gc. `verify.rs`: checksums.
//!
//! All commands print a version in the same form: a row of text, or a JSON object.

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

use crate::args::{ArtifactFilter, Artifacts};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, hex, print_json, text, time};
use crate::session::Session;

/// Number of versions read at a time.
const VERSIONS_PER_PAGE: usize = 256;

pub(crate) fn run(session: &Session<'_>, command: &Artifacts) -> Result<Outcome, Failure> {
    match command {
        Artifacts::Put { added, file, .. } => content::put(session, added, file.as_deref())?,
        Artifacts::Get { uri, file, .. } => content::get(session, uri, file.as_deref())?,
        Artifacts::Ls { filter, .. } => find::list(session, filter)?,
        Artifacts::Search { options, .. } => find::search(session, options)?,
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
        Artifacts::Verify { uri, filter, .. } => {
            return verify::run(session, uri.as_ref(), filter);
        }
        Artifacts::Gc { dry_run, discard_unknown, .. } => {
            return store::gc(session, *dry_run, *discard_unknown);
        }
    }
    Ok(Outcome::Done)
}

/// Returns the scope that the options select.
fn scope(filter: &ArtifactFilter) -> ArtifactScope {
    let all = ArtifactScope::all();
    filter.spec.as_ref().map_or(all, ArtifactScope::spec).task(filter.task.as_deref())
}

/// Formats a version as a row of text.
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

/// Prints one version.
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
