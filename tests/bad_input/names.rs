//! Names, keys, values and checkpoints that are out of their bounds.

use strongroom::operations::{CHECKPOINT_BYTES_MAX, Checkpoint, OperationSpec, OperationsQuery};
use strongroom::records::{NAME_BYTES_MAX, RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX};
use strongroom::{Batch, Error, ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::support::records::{all, assert_error, put};

/// All that the vault holds, as far as a reader sees it.
fn picture(vault: &Vault) -> impl PartialEq + std::fmt::Debug + use<> {
    let snapshot = vault.read().unwrap();
    (
        snapshot.namespaces().unwrap(),
        all(vault).unwrap(),
        snapshot.operations(&OperationsQuery::new().limit(100)).unwrap(),
    )
}

/// The call is `Invalid` and told so, nothing is there that was not, and the vault goes on.
#[track_caller]
fn refused<T>(vault: &Vault, told: &str, call: impl FnOnce(&Vault) -> Result<T>) {
    let before = picture(vault);
    let outcome = call(vault);
    assert_error(outcome, ErrorKind::Invalid, told);
    assert!(picture(vault) == before, "changed by what was refused");
    put(vault, "still", "usable");
    vault.write(|tx| tx.delete("n", "still")).unwrap();
}

fn batch(namespace: &str, key: &[u8], value: Vec<u8>) -> Batch {
    let mut batch = Batch::new();
    batch.insert("n", "beside", "1").insert(namespace, key, value);
    batch
}

/// Each bad name with what is said of it.
fn bad_names() -> [(String, &'static str); 3] {
    [
        (String::new(), "is empty"),
        ("x".repeat(NAME_BYTES_MAX + 1), "129 bytes, the limit is 128"),
        ("a\0b".to_owned(), "control character"),
    ]
}

#[test]
fn a_bad_namespace_is_refused_by_every_call() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    for (name, told) in bad_names() {
        let name = &name[..];
        refused(&vault, told, |v| v.write(|tx| tx.insert(name, "k", "v")));
        refused(&vault, told, |v| v.write(|tx| tx.delete(name, "k")));
        refused(&vault, told, |v| v.write(|tx| tx.delete_namespace(name)));
        refused(&vault, told, |v| v.write(|tx| tx.count(name)));
        refused(&vault, told, |v| v.apply(batch(name, b"k", b"v".to_vec())));
        refused(&vault, told, |v| v.read()?.get(name, "k"));
        refused(&vault, told, |v| v.read()?.count(name));
        refused(&vault, told, |v| v.read()?.prefix(name, "k"));
        refused(&vault, told, |v| {
            let mut batch = Batch::new();
            v.apply({
                batch.insert("n", "x", "1").require_absent(name, "k");
                batch
            })
        });
    }
}

#[test]
fn a_bad_operation_id_or_lane_is_refused() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("good", ["a"]).unwrap();
    for (name, told) in bad_names() {
        let name = &name[..];
        refused(&vault, told, |v| v.operations().begin(name, ["a"]));
        refused(&vault, told, |v| v.operations().begin_or_resume(name, ["a"]));
        refused(&vault, told, |v| v.operations().resume(name));
        refused(&vault, told, |v| v.operations().take_over(name));
        refused(&vault, told, |v| v.operations().prepare(OperationSpec::new(name)));
        refused(&vault, told, |v| v.operations().begin_with(OperationSpec::new("new").name(name)));
        refused(&vault, told, |v| v.operations().resume_with(name, |_, _| Ok::<_, Error>(())));
        refused(&vault, told, |v| v.operations().can_resume(name));
        refused(&vault, told, |v| v.operations().pause(name));
        refused(&vault, told, |v| v.operations().abandon(name));
        refused(&vault, told, |v| v.operations().delete(name));
        refused(&vault, told, |v| v.operations().begin("new", ["a", name]));
        refused(&vault, told, |v| v.read()?.operation(name));
        refused(&vault, told, |v| v.read()?.lane("good", name));
        refused(&vault, told, |v| v.read()?.checkpoints("good", name));
        refused(&vault, told, |v| v.read()?.checkpoints(name, "a"));
        refused(&vault, told, |_| operation.lane(name));
    }
}

#[test]
fn a_value_above_its_limit_is_refused_with_the_number() {
    let vault = memory_vault().unwrap();
    let told = "value has 65281 bytes, the limit is 65280";
    let long = vec![0; ROW_BYTES_MAX + 1];
    refused(&vault, told, |v| {
        v.write(|tx| {
            tx.insert("n", "beside", "1")?;
            tx.insert("n", "k", &long)
        })
    });
    refused(&vault, told, |v| v.apply(batch("n", b"k", long.clone())));
    put(&vault, "most", &long[1..]);
}

#[test]
fn a_key_above_its_limit_is_refused_with_the_number() {
    let vault = memory_vault().unwrap();
    let told = "key has 1025 bytes, the limit is 1024";
    let long = vec![b'k'; RECORD_KEY_BYTES_MAX + 1];
    refused(&vault, told, |v| v.write(|tx| tx.insert("n", &long, "v")));
    refused(&vault, told, |v| v.apply(batch("n", &long, b"v".to_vec())));
    vault.write(|tx| tx.insert("n", &long[1..], "v")).unwrap();
    // No record can have such a key, so looking for it finds none.
    assert!(vault.read().unwrap().get("n", &long).unwrap().is_none());
    assert!(!vault.write(|tx| tx.delete("n", &long)).unwrap());
}

#[test]
fn a_checkpoint_out_of_bounds_takes_its_data_with_it() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let cases = [
        (Checkpoint::new("").progress(f64::NAN), "NaN"),
        (Checkpoint::new("").progress(-0.1), "-0.1"),
        (Checkpoint::new("").progress(1.1), "1.1"),
        (Checkpoint::new("").progress(f64::INFINITY), "inf"),
        (Checkpoint::new("").progress(f64::NEG_INFINITY), "-inf"),
        (Checkpoint::new("").progress(1.0 + f64::EPSILON), "1.0000000000000002"),
        (Checkpoint::new("").progress(-f64::MIN_POSITIVE), "not within 0 to 1"),
        // Also where the lane would be complete, and so at 1.
        (Checkpoint::new("").progress(f64::NAN).complete(), "NaN"),
        (Checkpoint::new(vec![1; CHECKPOINT_BYTES_MAX + 1]), "32769 bytes, the limit is 32768"),
    ];
    for (checkpoint, told) in cases {
        let commit = |c| lane.commit(batch("n", b"k", b"v".to_vec()), c);
        refused(&vault, told, |_| commit(checkpoint.clone()));
        // Even where the host forgets to look at the answer.
        refused(&vault, told, |v| {
            v.write(|tx| {
                tx.insert("n", "k", "v")?;
                tx.checkpoint(&lane, checkpoint).ok();
                Ok::<_, strongroom::Error>(())
            })
        });
    }
    for bound in [0.0, 1.0] {
        let most = Checkpoint::new(vec![1; CHECKPOINT_BYTES_MAX]).progress(bound);
        lane.commit(Batch::new(), most).unwrap();
    }
}
