//! Documents, cut at every event of their space's creation, of additions, updates, heals, a change
//! of password and a destruction.
//!
//! After each cut every document is the old or the new one, whole: opened by its key and the old
//! or the new password, with all its shares and all copies of its envelope. What was under way can
//! be done again, and then nothing of it is left over.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom::content::GcOptions;
use strongroom::documents::{Partition, SecretPartitionKey, SpaceOptions};
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{BoxError, CrashOptions, CrashSummary, Defect, Scene, crash_test};

use super::images;

/// Something that the work does, to the partition of that name.
#[derive(Clone, Debug)]
enum Act {
    Create,
    Add(char),
    Write(char, String),
    Heal(char),
    Password(char, &'static str),
    Destroy(char),
}

/// What is known of partitions: their keys, once they were told.
type Keys = Arc<Mutex<BTreeMap<char, String>>>;

/// The password of a new partition.
const FIRST: &str = "first";

/// A partition's document and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    text: String,
    password: &'static str,
}

/// What a vault holds: no space, or partitions.
type Holding = Option<BTreeMap<char, Held>>;

fn after<'a>(acts: impl IntoIterator<Item = &'a Act>) -> Holding {
    let mut holding: Holding = None;
    for act in acts {
        let held = holding.get_or_insert_default();
        let of = |name: &char| held.get(name).cloned().expect("added before");
        match act {
            Act::Create | Act::Heal(_) => {}
            Act::Add(name) => {
                held.insert(*name, Held { text: "null".into(), password: FIRST });
            }
            Act::Write(name, text) => {
                let password = of(name).password;
                held.insert(*name, Held { text: text.clone(), password });
            }
            Act::Password(name, password) => {
                let text = of(name).text;
                held.insert(*name, Held { text, password });
            }
            Act::Destroy(name) => {
                held.remove(name);
            }
        }
    }
    holding
}

fn key(keys: &Keys, name: char) -> Option<SecretPartitionKey> {
    let text = keys.lock().get(&name).cloned()?;
    Some(SecretPartitionKey::parse(&text).expect("it was printed by us"))
}

fn password(text: &str) -> SecretPassword {
    SecretPassword::new(text)
}

fn run(act: &Act, vault: &Vault, keys: &Keys, held: &Holding) -> Result<(), BoxError> {
    let open = |name: &char| -> Result<Partition, BoxError> {
        let word = held.as_ref().ok_or("no space")?[name].password;
        let key = key(keys, *name).ok_or("no key")?;
        Ok(vault.documents().space()?.partition(&key, &password(word))?)
    };
    match act {
        Act::Create => {
            vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1_024))?;
        }
        Act::Add(name) => {
            let known: Vec<_> =
                held.iter().flatten().filter_map(|(&other, _)| key(keys, other)).collect();
            let keep: Vec<_> = known.iter().collect();
            let added = vault.documents().space()?.add_partition(&password(FIRST), &keep)?;
            keys.lock().insert(*name, added.to_text().to_string());
        }
        Act::Write(name, text) => _ = open(name)?.write(text)?,
        Act::Heal(name) => _ = open(name)?.heal()?,
        Act::Password(name, word) => open(name)?.change_password(&password(word))?,
        Act::Destroy(name) => {
            vault.documents().space()?.destroy_partition(&key(keys, *name).ok_or("no key")?)?;
        }
    }
    Ok(())
}

/// What the vault holds, of partitions whose keys are known; each must be whole.
fn found(vault: &Vault, keys: &Keys) -> Result<Holding, BoxError> {
    let space = match vault.documents().space() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut held = BTreeMap::new();
    let names: Vec<char> = keys.lock().keys().copied().collect();
    for name in names {
        let key = key(keys, name).expect("listed");
        for word in [FIRST, "second"] {
            match space.partition(&key, &password(word)) {
                Ok(partition) => {
                    let damage = partition.verify()?;
                    if damage.any() {
                        return Err(format!("{name} is damaged: {damage}").into());
                    }
                    let text = partition.read()?.text().to_owned();
                    held.insert(name, Held { text, password: word });
                }
                Err(error) if error.kind() == ErrorKind::Denied => {}
                Err(error) => return Err(format!("{name}: {error}").into()),
            }
        }
    }
    Ok(Some(held))
}

fn holds(vault: &Vault, done: &[Act], under_way: &[Act], keys: &Keys) -> Result<(), BoxError> {
    let found_now = found(vault, keys)?;
    let old = after(done);
    let new = after(done.iter().chain(under_way));
    if found_now != old && found_now != new {
        return Err(format!("{found_now:?} is neither {old:?} nor {new:?}").into());
    }
    // What was under way goes on, whichever it left.
    if let [act] = under_way
        && !matches!(act, Act::Add(_))
        && found_now == old
    {
        run(act, vault, keys, &old).map_err(|e| format!("{act:?} does not go on: {e}"))?;
        let then = found(vault, keys)?;
        if then != new {
            return Err(format!("after {act:?} it is {then:?}, not {new:?}").into());
        }
        let unfinished = vault.documents().space()?.info()?.unfinished;
        vault.gc(&GcOptions::new().without_repacking(true))?;
        let report = vault.check(&strongroom::check::CheckOptions::new())?;
        if unfinished.is_some() || report.due > 0 || !report.unknown.is_empty() {
            return Err(format!("left over: {unfinished:?}, {report:?}").into());
        }
    }
    Ok(())
}

fn acts() -> Vec<Act> {
    use Act::{Add, Create, Destroy, Heal, Password, Write};
    vec![
        Create,
        Add('a'),
        Write('a', "[\"of a\"]".into()),
        Add('b'),
        Write('b', format!("[{}0]", "\"of b\",".repeat(100))),
        Write('a', "[\"another of a\"]".into()),
        Heal('b'),
        Password('a', "second"),
        Destroy('b'),
        Write('a', "{}".into()),
    ]
}

fn cut(options: &CrashOptions) -> CrashSummary {
    let keys = Keys::default();
    let work = {
        let keys = Arc::clone(&keys);
        move |scene: &mut Scene<Act>| -> Result<(), BoxError> {
            let acts = acts();
            for (n, act) in acts.iter().enumerate() {
                let held = after(&acts[..n]);
                scene.attempt(act.clone(), |vault| run(act, vault, &keys, &held))?;
            }
            Ok(())
        }
    };
    crash_test(options, work, |vault, done, under_way| holds(vault, done, under_way, &keys))
}

#[test]
fn each_document_is_the_old_or_the_new_one_whole() {
    let summary = cut(&CrashOptions { images: images() / 4, ..CrashOptions::default() });
    println!("documents: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// The same judge must fail on a backend that acknowledges objects before they are there, and on a
/// disk whose folders are not synced.
#[test]
fn a_generation_that_counts_before_its_objects_are_there_is_noticed() {
    let images = (images() / 10).max(100);
    for (name, options) in [
        ("late objects", CrashOptions { late_objects: Some(3), ..CrashOptions::default() }),
        (
            "no dir sync",
            CrashOptions { defect: Some(Defect::NoDirSync), ..CrashOptions::default() },
        ),
    ] {
        let summary = cut(&CrashOptions { images, ..options });
        println!("canary, documents, {name}: {} lost of {}", summary.failed, summary.images);
        assert!(summary.failed > 0, "{name}: {summary}");
    }
}
