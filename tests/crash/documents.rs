//! Documents, cut at every event of their calls.
//!
//! The calls are the creation of the space, additions, updates, heals, a change of password and a
//! destruction.
//!
//! After each cut every document is the old or the new one, whole. Its key and the old or the new
//! password open it, with all its shares and all copies of its envelope. The interrupted call can
//! be repeated, and then it leaves no unused objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use strongroom::content::GcOptions;
use strongroom::documents::{Partition, SecretPartitionKey, SpaceOptions};
use strongroom::{ErrorKind, SecretPassword, Vault};
use strongroom_testkit::{BoxError, CrashOptions, CrashSummary, Defect, Scene, crash_test};

use super::images;

/// A call on the space, or on the partition of that name.
#[derive(Clone, Debug)]
enum Act {
    Create,
    Add(char),
    Write(char, String),
    Heal(char),
    Password(char, &'static str),
    Destroy(char),
}

/// The partition keys as text, once `add_partition` has returned them.
type Keys = Arc<Mutex<BTreeMap<char, String>>>;

/// The password of a new partition.
const FIRST: &str = "first";

/// A partition's document and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Document {
    text: String,
    password: &'static str,
}

/// The documents of a vault by partition, or `None` without a space.
type Documents = Option<BTreeMap<char, Document>>;

fn after<'a>(acts: impl IntoIterator<Item = &'a Act>) -> Documents {
    let mut documents: Documents = None;
    for act in acts {
        let known = documents.get_or_insert_default();
        let of = |name: &char| known.get(name).cloned().expect("added before");
        match act {
            Act::Create | Act::Heal(_) => {}
            Act::Add(name) => {
                known.insert(*name, Document { text: "null".into(), password: FIRST });
            }
            Act::Write(name, text) => {
                let password = of(name).password;
                known.insert(*name, Document { text: text.clone(), password });
            }
            Act::Password(name, password) => {
                let text = of(name).text;
                known.insert(*name, Document { text, password });
            }
            Act::Destroy(name) => {
                known.remove(name);
            }
        }
    }
    documents
}

fn key(keys: &Keys, name: char) -> Option<SecretPartitionKey> {
    let text = keys.lock().get(&name).cloned()?;
    Some(SecretPartitionKey::parse(&text).expect("the text comes from a key"))
}

fn password(text: &str) -> SecretPassword {
    SecretPassword::new(text)
}

fn run(act: &Act, vault: &Vault, keys: &Keys, known: &Documents) -> Result<(), BoxError> {
    let open = |name: &char| -> Result<Partition, BoxError> {
        let word = known.as_ref().ok_or("no space")?[name].password;
        let key = key(keys, *name).ok_or("no key")?;
        Ok(vault.documents().space()?.partition(&key, &password(word))?)
    };
    match act {
        Act::Create => {
            vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1_024))?;
        }
        Act::Add(name) => {
            let other_keys: Vec<_> =
                known.iter().flatten().filter_map(|(&other, _)| key(keys, other)).collect();
            let keep: Vec<_> = other_keys.iter().collect();
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

/// Returns the documents of partitions whose keys are known. Each must be whole.
fn documents_in(vault: &Vault, keys: &Keys) -> Result<Documents, BoxError> {
    let space = match vault.documents().space() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut known = BTreeMap::new();
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
                    known.insert(name, Document { text, password: word });
                }
                Err(error) if error.kind() == ErrorKind::Denied => {}
                Err(error) => return Err(format!("{name}: {error}").into()),
            }
        }
    }
    Ok(Some(known))
}

fn judge(vault: &Vault, done: &[Act], under_way: &[Act], keys: &Keys) -> Result<(), BoxError> {
    let actual = documents_in(vault, keys)?;
    let old = after(done);
    let new = after(done.iter().chain(under_way));
    if actual != old && actual != new {
        return Err(format!("{actual:?} is neither {old:?} nor {new:?}").into());
    }
    // If the interrupted call has left the old state, the call can be repeated.
    if let [act] = under_way
        && !matches!(act, Act::Add(_))
        && actual == old
    {
        run(act, vault, keys, &old).map_err(|e| format!("{act:?} cannot be repeated: {e}"))?;
        let then = documents_in(vault, keys)?;
        if then != new {
            return Err(format!("after {act:?} the documents are {then:?}, not {new:?}").into());
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
                let known = after(&acts[..n]);
                scene.attempt(act.clone(), |vault| run(act, vault, &keys, &known))?;
            }
            Ok(())
        }
    };
    crash_test(options, work, |vault, done, under_way| judge(vault, done, under_way, &keys))
}

#[test]
fn documents_after_power_cut_are_old_or_new_and_whole() {
    let summary = cut(&CrashOptions { images: images() / 4, ..CrashOptions::default() });
    println!("documents: {summary}");
    assert_eq!(summary.failed, 0, "{summary}");
}

/// Canary: the judge must fail on a backend that acknowledges objects too early.
///
/// The judge must also fail on a disk whose folders are not synced.
#[test]
fn documents_with_late_objects_are_detected() {
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
