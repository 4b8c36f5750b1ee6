//! `ls`, `search` and `versions`: read and printed page by page.

use serde_json::json;
use strongroom::artifacts::{ArtifactInfo, ArtifactQuery, ArtifactUri, ListQuery, VersionsQuery};
use strongroom::backends::component::{Clock, SystemClock};

use super::{VERSIONS_PER_PAGE, info_json, not_found, row, scope};
use crate::args::{ArtifactFilter, SearchOptions};
use crate::exit::Failure;
use crate::output::Output;
use crate::session::{Session, usage};

/// A list that is printed row by row.
struct Rows {
    output: Output,
    json: bool,
    listed: usize,
}

impl Rows {
    fn begin(session: &Session<'_>) -> Result<Self, Failure> {
        let mut output = Output::new();
        if session.json() {
            output.piece("{\"artifacts\":[")?;
        }
        Ok(Self { output, json: session.json(), listed: 0 })
    }

    fn add(&mut self, info: &ArtifactInfo) -> Result<(), Failure> {
        if self.json {
            let comma = if self.listed == 0 { "" } else { "," };
            self.output.piece(format_args!("{comma}{}", info_json(info)))?;
        } else {
            self.output.line(row(info))?;
        }
        self.listed += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.json {
            self.output.line("]}")?;
        }
        self.output.finish()
    }

    /// Ends the list. `next` is the cursor of the next page, if there is one.
    fn finish_page(mut self, next: Option<&str>) -> Result<(), Failure> {
        match next {
            _ if self.json => {
                self.output.line(format_args!("],\"next\":{}}}", json!(next)))?;
            }
            Some(next) => self.output.line(format_args!("next\t{next}"))?,
            None => {}
        }
        self.output.finish()
    }
}

pub(super) fn list(session: &Session<'_>, filter: &ArtifactFilter) -> Result<(), Failure> {
    let vault = session.open("ls")?;
    let artifacts = vault.artifacts();
    let mut page = artifacts.list(&ListQuery::of(scope(filter)).limit(VERSIONS_PER_PAGE))?;
    // A misspelt name is an error, not an empty list.
    if filter.spec.is_some() && page.is_empty() {
        return Err(not_found("list artifacts", "no artifact has that spec or task").into());
    }
    let mut rows = Rows::begin(session)?;
    loop {
        page.iter().try_for_each(|info| rows.add(info))?;
        let Some(last) = page.last().filter(|_| page.len() == VERSIONS_PER_PAGE) else { break };
        page = artifacts
            .list(&ListQuery::of(scope(filter)).after(last.uri()).limit(VERSIONS_PER_PAGE))?;
    }
    rows.finish()?;
    session.close(vault)
}

pub(super) fn search(session: &Session<'_>, options: &SearchOptions) -> Result<(), Failure> {
    let query = query(options)?;
    let vault = session.open("search")?;
    let page =
        vault.artifacts().search(&query.clone().after(options.after).limit(options.limit))?;
    session.close(vault)?;
    let mut rows = Rows::begin(session)?;
    page.versions.iter().try_for_each(|info| rows.add(info))?;
    rows.finish_page(page.next.map(|next| next.to_string()).as_deref())
}

fn query(options: &SearchOptions) -> Result<ArtifactQuery, Failure> {
    let SearchOptions { spec, task, kind, tags, since, until, .. } = options;
    let mut query = ArtifactQuery::new();
    if let Some(spec) = spec {
        query = query.spec(spec);
    }
    if let Some(task) = task {
        query = query.task(task);
    }
    if let Some(kind) = kind {
        query = query.kind(kind);
    }
    for tag in tags {
        query = query.tag(tag);
    }
    if since.is_some() || until.is_some() {
        let now = SystemClock::new().unix_millis();
        let since = since.map_or(0, |when| when.unix_millis(now));
        let until = until.map_or(u64::MAX, |when| when.unix_millis(now));
        if since >= until {
            return Err(usage("--since is not before --until"));
        }
        query = query.created(since..until);
    }
    Ok(query)
}

pub(super) fn versions(session: &Session<'_>, uri: &ArtifactUri) -> Result<(), Failure> {
    let vault = session.open("versions")?;
    let artifacts = vault.artifacts();
    let mut page = artifacts.versions(&VersionsQuery::of(uri.name()).limit(VERSIONS_PER_PAGE))?;
    if page.is_empty() {
        let error = not_found("list versions", "there is no such artifact");
        return Err(error.with_subject(uri.name().newest()).into());
    }
    let mut rows = Rows::begin(session)?;
    loop {
        page.iter().try_for_each(|info| rows.add(info))?;
        let Some(last) = page.last().filter(|_| page.len() == VERSIONS_PER_PAGE) else { break };
        page = artifacts.versions(
            &VersionsQuery::of(uri.name()).before(last.uri().version()).limit(VERSIONS_PER_PAGE),
        )?;
    }
    rows.finish()?;
    session.close(vault)
}
