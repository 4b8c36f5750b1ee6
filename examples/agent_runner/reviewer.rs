//! The reviewer: searches for new versions, verifies and reads them, and tags them as reviewed.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use strongroom::artifacts::{ArtifactInfo, ArtifactQuery, ArtifactUri, Artifacts, TagChange};

use crate::{NEW, Outcome, REVIEWED, SPEC};

/// Longest time without a signal from any agent: far longer than a step takes.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Most versions of one search.
const PAGE: usize = 16;

/// The result of the reviews.
#[derive(Default)]
pub(crate) struct Reviewed {
    pub(crate) uris: BTreeSet<ArtifactUri>,
    pub(crate) bytes: u64,
    /// Lines added and removed by diffs, and failed tests.
    ///
    /// The numbers are those of their own text.
    pub(crate) lines_changed: u64,
    pub(crate) tests_failed: u64,
    /// Versions reviewed by searches that began before the last agent ended.
    pub(crate) during_work: usize,
}

/// Reviews until all agents have ended and no version is new.
pub(crate) fn review_all(artifacts: &Artifacts, woken: Receiver<()>) -> Outcome<Reviewed> {
    let mut reviewed = Reviewed::default();
    loop {
        match woken.recv_timeout(SILENCE_MAX) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err("no agent sent a signal in time".into()),
        }
        // The same search finds everything that was signalled by now.
        while woken.try_recv().is_ok() {}
        if woken.try_recv() == Err(TryRecvError::Disconnected) {
            break;
        }
        review_new(artifacts, &mut reviewed)?;
        reviewed.during_work = reviewed.uris.len();
    }
    review_new(artifacts, &mut reviewed)?;
    Ok(reviewed)
}

/// Reviews the present new versions. Each page begins with the newest, because reviewed ones are
/// not found again.
fn review_new(artifacts: &Artifacts, reviewed: &mut Reviewed) -> Outcome {
    let new = ArtifactQuery::new().spec(SPEC).tag(NEW);
    loop {
        let page = artifacts.search(&new.clone().limit(PAGE))?;
        if page.versions.is_empty() {
            return Ok(());
        }
        for info in &page.versions {
            review(artifacts, info, reviewed)?;
        }
    }
}

fn review(artifacts: &Artifacts, info: &ArtifactInfo, reviewed: &mut Reviewed) -> Outcome {
    let uri = info.uri();
    let verified = artifacts.verify(uri)?;
    let text = String::from_utf8(artifacts.read(uri)?.into())?;
    let claimed = |key: &str| -> Outcome<u64> {
        let pair = verified.metadata().iter().find(|(other, _)| other == key);
        Ok(pair.ok_or_else(|| format!("{uri} has no {key}"))?.1.parse()?)
    };
    let count = |sign: &str, heading: &str| {
        let is_change = |line: &&str| line.starts_with(sign) && !line.starts_with(heading);
        text.lines().filter(is_change).count() as u64
    };
    let matches_claim = match uri.name().kind() {
        "diff" => {
            let (added, removed) = (count("+", "+++"), count("-", "---"));
            reviewed.lines_changed += added + removed;
            (added, removed) == (claimed("added")?, claimed("removed")?)
        }
        "test" => {
            let failed = text.lines().filter(|line| line.starts_with("FAILED")).count() as u64;
            reviewed.tests_failed += failed;
            failed == claimed("failed")?
        }
        _ => text.lines().last().is_some_and(|line| line.ends_with("warnings")),
    };
    if !matches_claim {
        return Err(format!("{uri} is not what its metadata says").into());
    }
    let mut tags: BTreeSet<String> = verified.tags().iter().cloned().collect();
    tags.remove(NEW);
    tags.insert(REVIEWED.to_owned());
    // One commit, so that no search finds it as both, or as neither.
    let tagged = artifacts.tag(uri, &TagChange::Replace(tags))?;
    reviewed.bytes += verified.len();
    if !reviewed.uris.insert(tagged) {
        return Err(format!("{uri} was reviewed twice").into());
    }
    Ok(())
}
