//! Every call that changes artifacts, cut at every event.
//!
//! The vault is compared with a model after each cut.
//!
//! The model (`artifact_model.rs`) is a plain list of rows, contents, tags, search results, totals,
//! quota and retention. A day after the cut, gc has freed all content without a reference.

use std::time::Duration;

use strongroom::artifacts::{
    ArtifactScope, ArtifactSpec, ExpireArtifactsOptions, OnExisting, Quota, TagChange,
    VersionsQuery,
};
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::{ErrorKind, LongCall, Vault};
use strongroom_testkit::{BoxError, CrashOptions, CrashSummary, Scene, crash_test, pass_time};

use super::artifact_model::{Act, CONTENTS, Model, PARTS, artifact, content, tags};
use super::{images, in_rounds};

const ACTS: usize = 40;
const HOUR: Duration = Duration::from_secs(3_600);

fn make(vault: &Vault, act: Act) -> Result<(), BoxError> {
    let artifacts = vault.artifacts();
    match act {
        Act::Put { name, content: number, tags: mask, replace } => {
            let on_existing = if replace { OnExisting::Replace } else { OnExisting::AddVersion };
            let bytes = content(number);
            let spec = ArtifactSpec::new(artifact(name)).on_existing(on_existing);
            let spec = tags(mask).into_iter().fold(spec, ArtifactSpec::tag);
            let is_tight = artifacts.quota()?.is_some();
            match artifacts.put(spec.size(bytes.len() as u64), &bytes[..]) {
                Err(e) if e.kind() == ErrorKind::Full && is_tight => {}
                Ok(uri) if is_tight => return Err(format!("{uri} passed the quota").into()),
                outcome => drop(outcome?),
            }
        }
        Act::Tag { name, tags: mask } => {
            let change = TagChange::Replace(tags(mask).into_iter().collect());
            match artifacts.tag(&artifact(name).newest(), &change) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                outcome => drop(outcome?),
            }
        }
        Act::DeleteNewest(name) => {
            if let Some(newest) =
                artifacts.versions(&VersionsQuery::of(&artifact(name)).limit(1))?.first()
            {
                artifacts.delete(newest.uri())?;
            }
        }
        Act::DeleteOld(name) => drop(artifacts.delete_old(&artifact(name), 1)?),
        Act::Delete(name) => drop(artifacts.delete(&artifact(name).newest())?),
        Act::DeleteAll { spec, task } => {
            let task = task.map(|task| PARTS[1][task]);
            artifacts
                .delete_all(&ArtifactScope::spec(PARTS[0][spec]).task(task), LongCall::new())?;
        }
        Act::SetQuota { tight } => artifacts.set_quota(tight.then(|| Quota::new(0)))?,
        Act::SetRetention { kind, hours } => {
            let kept = hours.map(|hours| Duration::from_secs(hours * 3_600));
            artifacts.set_retention(PARTS[2][kind], kept)?;
        }
        Act::Expire => drop(artifacts.expire(&ExpireArtifactsOptions::new())?),
        Act::PassHours(hours) => {
            pass_time(vault, Duration::from_secs(hours * 3_600));
        }
        Act::Gc => collect(vault)?,
        Act::Reopen => {}
    }
    Ok(())
}

fn collect(vault: &Vault) -> Result<(), BoxError> {
    vault.gc(&GcOptions::new())?;
    vault.gc(&GcOptions::new().without_repacking(true))?;
    Ok(())
}

fn acts(seed: u64) -> Vec<Act> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((state >> 33) % limit).expect("a small number")
    };
    let mut acts: Vec<Act> = Vec::new();
    while acts.len() < ACTS {
        let name = [below(2), below(2), below(2)];
        acts.push(match below(24) {
            0..=8 => Act::Put {
                name,
                content: below(CONTENTS as u64),
                tags: below(4),
                replace: below(4) == 0,
            },
            9 | 10 => Act::Tag { name, tags: below(4) },
            11 | 12 => Act::DeleteNewest(name),
            13 => Act::DeleteOld(name),
            14 => Act::Delete(name),
            15 => Act::DeleteAll { spec: name[0], task: (below(3) > 0).then_some(name[1]) },
            16 => Act::SetQuota { tight: below(4) == 0 },
            17 => Act::SetRetention { kind: name[2], hours: [None, Some(24), Some(72)][below(3)] },
            18 | 19 => Act::Expire,
            20 => Act::PassHours(1 + below(80) as u64),
            21 | 22 => Act::Gc,
            _ => Act::Reopen,
        });
    }
    acts
}

fn work(seed: u64) -> impl FnOnce(&mut Scene<Act>) -> Result<(), BoxError> {
    move |scene| {
        let mut model = Model::new();
        for act in acts(seed) {
            scene.attempt(act, |vault| make(vault, act))?;
            if let Act::Reopen = act {
                scene.reopen()?;
            }
            model.apply(act);
        }
        // Without a cut, the vault equals the model.
        model.compare_with(scene.vault())
    }
}

/// Judges the vault after a cut.
///
/// All acknowledged calls must be there, possibly with some commits of the call under way. Later
/// all expired versions are deleted, and after a deletion of everything no content is left.
fn judge(vault: &Vault, done: &[Act], under_way: &[Act]) -> Result<(), BoxError> {
    let mut model = Model::new();
    for act in done {
        model.apply(*act);
    }
    if let Err(without) = model.compare_with(vault) {
        let steps = under_way.first().map(|act| model.steps(*act)).unwrap_or_default();
        let step = steps.into_iter().find(|step| step.compare_with(vault).is_ok());
        model = step.ok_or_else(|| format!("{without}; it does not match {under_way:?} either"))?;
    }
    collect(vault)?;
    model.compare_with(vault).map_err(|difference| format!("after gc: {difference}"))?;
    // A day after the upload that the cut interrupted, by every clock that it used.
    let hours = 24 + 1 + 80 * ACTS as u64;
    pass_time(vault, HOUR * u32::try_from(hours)?);
    model.now = hours;
    make(vault, Act::Expire)?;
    model.apply(Act::Expire);
    collect(vault)?;
    model.compare_with(vault).map_err(|difference| format!("a day later: {difference}"))?;
    let waiting = vault.gc(&GcOptions::new().dry_run(true))?;
    if waiting.chunks > 0 {
        return Err(format!("gc left content to free: {waiting:?}").into());
    }
    for spec in 0..2 {
        make(vault, Act::DeleteAll { spec, task: None })?;
        model.apply(Act::DeleteAll { spec, task: None });
    }
    collect(vault)?;
    model.compare_with(vault).map_err(|difference| format!("with all deleted: {difference}"))?;
    let report = vault.check(&CheckOptions::new())?;
    let stored = vault.artifacts().usage()?.stored_bytes;
    if !report.is_ok() || !report.unknown.is_empty() || report.chunks > 0 || stored > 0 {
        return Err(format!("{stored} bytes are left without any artifact: {report:?}").into());
    }
    Ok(())
}

fn run(
    options: &CrashOptions,
    judge: impl Fn(&Vault, &[Act], &[Act]) -> Result<(), BoxError> + Sync,
) -> CrashSummary {
    in_rounds(options, |options| crash_test(options, work(options.seed), &judge))
}

#[test]
fn every_artifact_call_survives_power_cuts() {
    let summary = run(&CrashOptions { images: images() / 4, ..CrashOptions::default() }, judge);
    println!("calls of artifacts: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// Canary: the judge must detect an acknowledged call without effect.
#[test]
fn lost_artifact_call_is_detected() {
    let judge_without_last_put = |vault: &Vault, done: &[Act], under_way: &[Act]| {
        let is_put = |act: &Act| matches!(act, Act::Put { .. });
        let kept = done.iter().rposition(is_put).unwrap_or(done.len());
        judge(vault, &done[..kept], under_way)
    };
    let summary =
        run(&CrashOptions { images: 60, ..CrashOptions::default() }, judge_without_last_put);
    println!("canary, lost call: {} lost of {} images", summary.failed, summary.images);
    assert!(summary.failed > 0, "the canary was not detected: {summary}");
}

/// Canary: the test must fail where rows are committed before their packs.
#[test]
fn artifact_committed_before_its_pack_is_detected() {
    let options = CrashOptions { images: 300, late_objects: Some(3), ..CrashOptions::default() };
    let summary = run(&options, judge);
    println!("canary, artifact before pack: {} lost of {} images", summary.failed, summary.images);
    assert!(summary.failed > 0, "the canary was not detected: {summary}");
}
