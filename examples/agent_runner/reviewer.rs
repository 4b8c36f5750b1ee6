//! The reviewer: finds what is new by searching, verifies and reads it, and tags what was reviewed.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use strongroom::artifacts::{ArtifactInfo, ArtifactQuery, ArtifactUri, Artifacts, TagChange};

use crate::{NEW, Outcome, REVIEWED, SPEC};

/// Longest time without a sign of any agent: far longer than a step takes.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How many versions a look finds at most.
const PAGE: usize = 16;

/// What was reviewed.
#[derive(Default)]
pub(crate) struct Reviewed {
    pub(crate) uris: BTreeSet<ArtifactUri>,
    pub(crate) bytes: u64,
    /// Lines that diffs add and remove, and tests that failed, as they say themselves.
    pub(crate) lines_changed: u64,
    pub(crate) tests_failed: u64,
    /// How many were reviewed by looks that began before the last agent ended.
    pub(crate) beside_agents: usize,
}

/// Reviews until all agents have ended and nothing is new any more.
pub(crate) fn review_all(artifacts: &Artifacts, woken: Receiver<()>) -> Outcome<Reviewed> {
    let mut reviewed = Reviewed::default();
    loop {
        match woken.recv_timeout(SILENCE_MAX) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err("nothing is heard of the agents".into()),
        }
        // What else was said by now is found by the same look.
        while woken.try_recv().is_ok() {}
        if woken.try_recv() == Err(TryRecvError::Disconnected) {
            break;
        }
        review_new(artifacts, &mut reviewed)?;
        reviewed.beside_agents = reviewed.uris.len();
    }
    review_new(artifacts, &mut reviewed)?;
    Ok(reviewed)
}

/// What is new by now. Each page begins with the newest: what was reviewed is not found again.
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
    let told = |key: &str| -> Outcome<u64> {
        let pair = verified.metadata().iter().find(|(other, _)| other == key);
        Ok(pair.ok_or_else(|| format!("{uri} has no {key}"))?.1.parse()?)
    };
    let count = |sign: &str, heading: &str| {
        let is_change = |line: &&str| line.starts_with(sign) && !line.starts_with(heading);
        text.lines().filter(is_change).count() as u64
    };
    let is_as_told = match uri.name().kind() {
        "diff" => {
            let (added, removed) = (count("+", "+++"), count("-", "---"));
            reviewed.lines_changed += added + removed;
            (added, removed) == (told("added")?, told("removed")?)
        }
        "test" => {
            let failed = text.lines().filter(|line| line.starts_with("FAILED")).count() as u64;
            reviewed.tests_failed += failed;
            failed == told("failed")?
        }
        _ => text.lines().last().is_some_and(|line| line.ends_with("warnings")),
    };
    if !is_as_told {
        return Err(format!("{uri} is not what its metadata says").into());
    }
    let mut tags: BTreeSet<String> = verified.tags().iter().cloned().collect();
    tags.remove(NEW);
    tags.insert(REVIEWED.to_owned());
    // One commit: nobody finds it as both, or as neither.
    let tagged = artifacts.tag(uri, &TagChange::Replace(tags))?;
    reviewed.bytes += verified.len();
    if !reviewed.uris.insert(tagged) {
        return Err(format!("{uri} was reviewed twice").into());
    }
    Ok(())
}
