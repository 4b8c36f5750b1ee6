//! `tag` and `rm`.

use std::collections::BTreeSet;

use serde_json::json;
use strongroom::artifacts::{
    ArtifactName, ArtifactScope, ArtifactUri, Artifacts, ListQuery, TagChange,
};
use strongroom::{LongCall, Result as VaultResult};

use super::{VERSIONS_PER_PAGE, not_found, print_info};
use crate::args::{DeleteOptions, TagOptions};
use crate::exit::Failure;
use crate::session::{Session, usage};

const DELETE: &str = "delete artifact";

pub(super) fn tag(
    session: &Session<'_>,
    uri: &ArtifactUri,
    options: &TagOptions,
) -> Result<(), Failure> {
    let TagOptions { add, remove, set } = options;
    if add.iter().any(|tag| remove.contains(tag)) {
        return Err(usage("the same tag is added and removed"));
    }
    let to_set = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<_>>();
    let vault = session.open("tag")?;
    let artifacts = vault.artifacts();
    let change = match set {
        Some(set) => TagChange::Replace(to_set(set)),
        None if remove.is_empty() => TagChange::Add(to_set(add)),
        None if add.is_empty() => TagChange::Remove(to_set(remove)),
        // One commit for all. No other process has the vault open meanwhile.
        None => {
            let mut tags = to_set(artifacts.info(uri)?.tags());
            tags.retain(|tag| !remove.contains(tag));
            tags.extend(add.iter().cloned());
            TagChange::Replace(tags)
        }
    };
    let info = artifacts.info(&artifacts.tag(uri, &change)?)?;
    session.close(vault)?;
    print_info(session, &info)
}

pub(super) fn remove(session: &Session<'_>, removed: &DeleteOptions) -> Result<(), Failure> {
    let DeleteOptions { uri, spec, task, keep } = removed;
    let keep = keep.map(std::num::NonZeroUsize::get);
    let vault = session.open("rm")?;
    let artifacts = vault.artifacts();
    let versions = if let Some(uri) = uri {
        remove_one(&artifacts, uri, keep)?
    } else {
        let spec = spec.as_deref().expect("a URI or a spec is required");
        remove_of_spec(&artifacts, spec, task.as_deref(), keep)?
    };
    session.close(vault)?;
    session.answer(&json!({ "versions": versions }), format!("{versions} versions deleted"))
}

fn remove_one(
    artifacts: &Artifacts,
    uri: &ArtifactUri,
    keep: Option<usize>,
) -> Result<u64, Failure> {
    if keep.is_some() && uri.version().is_some() {
        return Err(usage("--keep needs a URI without a version"));
    }
    if !artifacts.exists(uri)? {
        return Err(not_found(DELETE, "there is no such artifact").with_subject(uri).into());
    }
    Ok(match keep {
        Some(keep) => artifacts.delete_old(uri.name(), keep),
        None => artifacts.delete(uri),
    }?)
}

fn remove_of_spec(
    artifacts: &Artifacts,
    spec: &str,
    task: Option<&str>,
    keep: Option<usize>,
) -> VaultResult<u64> {
    if artifacts.list(&ListQuery::of(ArtifactScope::spec(spec).task(task)).limit(1))?.is_empty() {
        return Err(not_found(DELETE, "no artifact has that spec or task"));
    }
    let Some(keep) = keep else {
        return artifacts.delete_all(&ArtifactScope::spec(spec).task(task), LongCall::new());
    };
    let (mut deleted, mut after, mut thinned) = (0, None::<ArtifactUri>, None::<ArtifactName>);
    loop {
        let page = artifacts.list(
            &ListQuery::of(ArtifactScope::spec(spec).task(task))
                .after(after.as_ref())
                .limit(VERSIONS_PER_PAGE),
        )?;
        for name in page.iter().map(|info| info.uri().name()) {
            if thinned.as_ref() != Some(name) {
                deleted += artifacts.delete_old(name, keep)?;
                thinned = Some(name.clone());
            }
        }
        match page.last() {
            Some(last) if page.len() == VERSIONS_PER_PAGE => after = Some(last.uri().clone()),
            _ => return Ok(deleted),
        }
    }
}
