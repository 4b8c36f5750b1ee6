//! Artifacts put, deleted and freed, cut at every event.
//!
//! All acknowledged versions are whole and all counts are right. After `gc` all content without a
//! reference is freed, and all other content is there.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom::Vault;
use strongroom::artifacts::{
    ArtifactName, ArtifactScope, ArtifactSpec, ListQuery, OnExisting, VersionsQuery,
};
use strongroom::content::GcOptions;
use strongroom_testkit::{BoxError, CrashOptions, Scene, crash_test, pass_time};

use super::{images, in_rounds};

/// A call that changes artifacts, or a reopening.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Puts a content as a new version, or replaces all versions.
    Put {
        task: u8,
        content: u8,
        replace: bool,
    },
    /// Deletes the newest version of a task's artifact.
    DeleteNewest(u8),
    /// Deletes all versions of a task's artifact.
    Delete(u8),
    Gc,
    Reopen,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const TASKS: u8 = 3;
const ACTS: usize = 30;

/// Returns one of six contents that share chunks.
///
/// Lengths are from a few bytes to several packs.
fn content(number: u8) -> Vec<u8> {
    let noise = |seed: u64, len: usize| -> Vec<u8> {
        let mut state = seed | 1;
        let step = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (0..len)
            .map(|_| {
                state = step(state);
                state.to_be_bytes()[0]
            })
            .collect()
    };
    let shared = noise(1, 120_000);
    match number % 6 {
        0 => b"a few bytes".to_vec(),
        1 => noise(2, 9_000),
        2 => shared,
        3 => [&shared[..], &noise(3, 60_000)].concat(),
        4 => [&noise(4, 50_000)[..], &shared].concat(),
        _ => vec![b'x'; 300_000],
    }
}

fn name(task: u8) -> ArtifactName {
    ArtifactName::new("spec", task.to_string(), "log").expect("a good name")
}

/// The versions that an artifact must have.
#[derive(Clone, Debug, Default)]
struct Expected {
    /// The number of the content of each version, by version number.
    versions: BTreeMap<u64, u8>,
    /// The newest version number that the artifact ever had.
    last: u64,
}

/// The artifacts that ever had a version, by task.
type AllExpected = BTreeMap<u8, Expected>;

fn apply(expected: &mut AllExpected, act: Act) {
    match act {
        Act::Put { task, content, replace } => {
            let artifact = expected.entry(task).or_default();
            if replace {
                artifact.versions.clear();
            }
            artifact.last += 1;
            artifact.versions.insert(artifact.last, content % 6);
        }
        Act::DeleteNewest(task) => {
            if let Some(artifact) = expected.get_mut(&task) {
                artifact.versions.pop_last();
            }
        }
        Act::Delete(task) => {
            if let Some(artifact) = expected.get_mut(&task) {
                artifact.versions.clear();
            }
        }
        Act::Gc | Act::Reopen => {}
    }
}

fn make(vault: &Vault, act: Act) -> Result<(), BoxError> {
    let artifacts = vault.artifacts();
    match act {
        Act::Put { task, content: number, replace } => {
            let on_existing = if replace { OnExisting::Replace } else { OnExisting::AddVersion };
            let spec = ArtifactSpec::new(name(task)).on_existing(on_existing);
            artifacts.put(spec, &content(number)[..])?;
        }
        Act::DeleteNewest(task) => {
            let newest = artifacts
                .versions(&VersionsQuery::of(&name(task)).limit(1))?
                .first()
                .map(|v| v.uri().clone());
            if let Some(newest) = newest {
                artifacts.delete(&newest)?;
            }
        }
        Act::Delete(task) => drop(artifacts.delete(&name(task).newest())?),
        Act::Gc => {
            vault.gc(&GcOptions::new())?;
            vault.gc(&GcOptions::new().without_repacking(true))?;
        }
        Act::Reopen => {}
    }
    Ok(())
}

fn acts(seed: u64) -> Vec<Act> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: u8| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u8::try_from((state >> 33) % u64::from(limit)).expect("below a byte")
    };
    (0..ACTS)
        .map(|_| match below(12) {
            0..=5 => Act::Put { task: below(TASKS), content: below(6), replace: below(4) == 0 },
            6 | 7 => Act::DeleteNewest(below(TASKS)),
            8 => Act::Delete(below(TASKS)),
            9 | 10 => Act::Gc,
            _ => Act::Reopen,
        })
        .collect()
}

fn work(seed: u64) -> impl FnOnce(&mut Scene<Act>) -> Result<(), BoxError> {
    move |scene| {
        for act in acts(seed) {
            if let Act::Reopen = act {
                scene.reopen()?;
            } else {
                scene.attempt(act, |vault| make(vault, act))?;
            }
        }
        Ok(())
    }
}

fn compare(vault: &Vault, expected: &AllExpected) -> Result<(), BoxError> {
    let artifacts = vault.artifacts();
    let mut found: BTreeMap<u8, BTreeMap<u64, u8>> = BTreeMap::new();
    for version in artifacts.list(&ListQuery::of(ArtifactScope::all()).limit(usize::MAX))? {
        let bytes = artifacts.read(version.uri())?;
        let task = version.uri().name().task().parse()?;
        let number = version.uri().version().ok_or("no number")?;
        let content = (0..6).find(|&content_number| content(content_number) == bytes);
        let content = content.ok_or_else(|| format!("{:?} is damaged", version.uri()))?;
        found.entry(task).or_default().insert(number, content);
    }
    let expected = expected.iter().filter(|(_, artifact)| !artifact.versions.is_empty());
    let expected: BTreeMap<_, _> =
        expected.map(|(task, artifact)| (*task, artifact.versions.clone())).collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}").into()) }
}

/// Judges the vault after a cut.
///
/// All acknowledged calls must be there, possibly with the call under way. Then gc must free
/// exactly the content without a reference.
fn judge(vault: &Vault, done: &[Act], under_way: &[Act]) -> Result<(), BoxError> {
    let mut expected = AllExpected::new();
    for act in done {
        apply(&mut expected, *act);
    }
    if let Err(without) = compare(vault, &expected) {
        for act in under_way {
            apply(&mut expected, *act);
        }
        compare(vault, &expected)
            .map_err(|with| format!("{without}; with {under_way:?}: {with}"))?;
    }
    vault.gc(&GcOptions::new())?;
    compare(vault, &expected).map_err(|difference| format!("after gc: {difference}"))?;
    for task in 0..TASKS {
        vault.artifacts().delete(&name(task).newest())?;
    }
    // The content of an interrupted upload is kept for a day, so that a repeated put can resume it.
    pass_time(vault, DAY);
    vault.gc(&GcOptions::new())?;
    vault.gc(&GcOptions::new().without_repacking(true))?;
    let report = vault.check(&strongroom::check::CheckOptions::new())?;
    if !report.is_ok() || !report.unknown.is_empty() {
        return Err(format!("{report:?}").into());
    }
    if report.chunks > 0 || report.objects > 0 {
        return Err(format!("{report:?} is left without any artifact").into());
    }
    Ok(())
}

#[test]
fn artifacts_and_gc_survive_power_cuts() {
    let options = CrashOptions { images: images() / 4, ..CrashOptions::default() };
    let summary = in_rounds(&options, |options| crash_test(options, work(options.seed), judge));
    println!("artifacts: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// Canary: the test must fail where rows are committed before their packs.
#[test]
fn row_committed_before_its_pack_is_detected() {
    let options = CrashOptions { images: 300, late_objects: Some(3), ..CrashOptions::default() };
    let summary = in_rounds(&options, |options| crash_test(options, work(options.seed), judge));
    println!("canary, row before pack: {} lost of {} images", summary.failed, summary.images);
    assert!(summary.failed > 0, "the canary was not detected: {summary}");
}
