//! Writes two JSON documents in a space, with separate keys and passwords.
//!
//! ```text
//! cargo run --release -p two_documents [A.json B.json]
//! ```
//!
//! Without files, the documents describe this repository: a list of its files with their lengths,
//! and a count of lines by file type. One document is updated while a reader holds its old version,
//! after its plan was printed. Then everything that must not have changed is compared bit by bit,
//! and each key and password is tried on the other document.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use strongroom::documents::{SecretPartitionKey, Space, SpaceOptions, WriteOptions};
use strongroom::{ErrorKind, SecretPassword, Vault};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text_a, text_b) = match &arguments[..] {
        [] => {
            let files = files(Path::new(env!("CARGO_MANIFEST_DIR")))?;
            (list(&files)?, count(&files)?)
        }
        [a, b] => (fs::read_to_string(a)?, fs::read_to_string(b)?),
        _ => return Err("usage: two_documents [A.json B.json]".into()),
    };

    let folder = tempfile::tempdir()?;
    let vault = Vault::options(SecretPassword::new("the vault's own password"))
        .create(folder.path().join("vault"))?;
    let space = vault.documents().create_space(&SpaceOptions::default())?;
    println!("space: {} bytes a generation, whatever it holds", space.info()?.bytes);

    // The second partition names the first one, to protect it.
    let (word_a, word_b) = (SecretPassword::new("of document A"), SecretPassword::new("of B"));
    let key_a = space.add_partition(&word_a, &[])?;
    let key_b = space.add_partition(&word_b, &[&key_a])?;
    let a = space.partition(&key_a, &word_a)?;
    let b = space.partition(&key_b, &word_b)?;
    a.write(&text_a)?;
    b.write(&text_b)?;
    assert_eq!((a.read()?.text(), b.read()?.text()), (text_a.as_str(), text_b.as_str()));
    println!("read: each of two documents by its own key and password");

    for (key, word) in [(&key_a, &word_b), (&key_b, &word_a)] {
        refused(&space, key, word)?;
    }
    println!("refused: each key with the other's password");

    // A reader holds the old version while the new one is planned and written.
    let reader = vault.read()?;
    let (cells, slots) = space.dump()?;
    let next = text_a.replacen('{', "{\"revised\": true, ", 1);
    let plan = a.plan(&next)?;
    println!("plan: {plan}");
    if plan.is_large_change() {
        println!("warning: the length changes by more than half");
    }
    let expected = Some(plan.version);
    a.write_with(&next, &WriteOptions::new().expected(expected))?;
    assert_eq!(a.read_at(&reader)?.text(), text_a);
    assert_eq!(a.read()?.text(), next);
    println!("updated: the reader still has the old version, others the new one");

    let (cells_then, slots_then) = space.dump()?;
    let changed = changed(&slots, &slots_then, 80);
    let cells_changed = self::changed(&cells, &cells_then, 4096);
    let all = slots.len() / 80;
    assert!(changed <= all / 3 && cells_changed == 8 && b.verify()?.shares == Some(0));
    assert_eq!(b.read()?.text(), text_b);
    println!(
        "identical: {} of {all} slots and {} of 64 cells, all outside the partition",
        all - changed,
        64 - cells_changed
    );
    Ok(())
}

/// Checks the one error, whichever part is wrong.
fn refused(space: &Space, key: &SecretPartitionKey, word: &SecretPassword) -> Outcome {
    match space.partition(key, word) {
        Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("a document was opened by the other's password".into()),
    }
}

/// Returns the number of units that differ.
fn changed(before: &[u8], after: &[u8], unit: usize) -> usize {
    before.chunks(unit).zip(after.chunks(unit)).filter(|(before, after)| before != after).count()
}

/// Reads the text files below `folder`, except build output and hidden files.
fn files(folder: &Path) -> Outcome<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.insert(name, text);
            }
        }
    }
    Ok(found)
}

fn list(files: &BTreeMap<String, String>) -> Outcome<String> {
    let lengths: BTreeMap<_, _> = files.iter().map(|(name, text)| (name, text.len())).collect();
    Ok(serde_json::to_string_pretty(&serde_json::json!({ "files": lengths }))?)
}

fn count(files: &BTreeMap<String, String>) -> Outcome<String> {
    let mut lines = BTreeMap::<&str, usize>::new();
    for (name, text) in files {
        let kind = name.rsplit_once('.').map_or("none", |(_, kind)| kind);
        *lines.entry(kind).or_default() += text.lines().count();
    }
    Ok(serde_json::to_string(&serde_json::json!({ "lines": lines }))?)
}
