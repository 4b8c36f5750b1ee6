//! Names, keys, values and checkpoints beyond their limits.

use strongroom::operations::{CHECKPOINT_BYTES_MAX, Checkpoint, OperationSpec, OperationsQuery};
use strongroom::records::{NAME_BYTES_MAX, RECORD_KEY_BYTES_MAX, ROW_BYTES_MAX};
use strongroom::{Batch, Error, ErrorKind, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::support::records::{all, assert_error, put};

/// Returns all that a reader of the vault sees.
fn visible_state(vault: &Vault) -> impl PartialEq + std::fmt::Debug + use<> {
    let snapshot = vault.read().unwrap();
    (
        snapshot.namespaces().unwrap(),
        all(vault).unwrap(),
        snapshot.operations(&OperationsQuery::new().limit(100)).unwrap(),
    )
}

/// Asserts that the call is `Invalid` and changes nothing.
///
/// The error contains `message`, and the vault remains writable.
#[track_caller]
fn assert_refused<T>(vault: &Vault, message: &str, call: impl FnOnce(&Vault) -> Result<T>) {
    let before = visible_state(vault);
    let outcome = call(vault);
    assert_error(outcome, ErrorKind::Invalid, message);
    assert!(visible_state(vault) == before, "the call changed the vault");
    put(vault, "still", "usable");
    vault.write(|tx| tx.delete("n", "still")).unwrap();
}

fn batch(namespace: &str, key: &[u8], value: Vec<u8>) -> Batch {
    let mut batch = Batch::new();
    batch.insert("n", "other", "1").insert(namespace, key, value);
    batch
}

/// Returns each bad name with a part of its error text.
fn bad_names() -> [(String, &'static str); 3] {
    [
        (String::new(), "is empty"),
        ("x".repeat(NAME_BYTES_MAX + 1), "129 bytes, the limit is 128"),
        ("a\0b".to_owned(), "control character"),
    ]
}

#[test]
fn bad_namespace_is_refused_by_every_call() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    for (name, message) in bad_names() {
        let name = &name[..];
        assert_refused(&vault, message, |v| v.write(|tx| tx.insert(name, "k", "v")));
        assert_refused(&vault, message, |v| v.write(|tx| tx.delete(name, "k")));
        assert_refused(&vault, message, |v| v.write(|tx| tx.delete_namespace(name)));
        assert_refused(&vault, message, |v| v.write(|tx| tx.count(name)));
        assert_refused(&vault, message, |v| v.apply(batch(name, b"k", b"v".to_vec())));
        assert_refused(&vault, message, |v| v.read()?.get(name, "k"));
        assert_refused(&vault, message, |v| v.read()?.count(name));
        assert_refused(&vault, message, |v| v.read()?.prefix(name, "k"));
        assert_refused(&vault, message, |v| {
            let mut batch = Batch::new();
            v.apply({
                batch.insert("n", "x", "1").require_absent(name, "k");
                batch
            })
        });
    }
}

#[test]
fn bad_operation_id_or_lane_is_refused() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("good", ["a"]).unwrap();
    for (name, message) in bad_names() {
        let name = &name[..];
        assert_refused(&vault, message, |v| v.operations().begin(name, ["a"]));
        assert_refused(&vault, message, |v| v.operations().begin_or_resume(name, ["a"]));
        assert_refused(&vault, message, |v| v.operations().resume(name));
        assert_refused(&vault, message, |v| v.operations().take_over(name));
        assert_refused(&vault, message, |v| v.operations().prepare(OperationSpec::new(name)));
        assert_refused(&vault, message, |v| {
            v.operations().begin_with(OperationSpec::new("new").name(name))
        });
        assert_refused(&vault, message, |v| {
            v.operations().resume_with(name, |_, _| Ok::<_, Error>(()))
        });
        assert_refused(&vault, message, |v| v.operations().can_resume(name));
        assert_refused(&vault, message, |v| v.operations().pause(name));
        assert_refused(&vault, message, |v| v.operations().abandon(name));
        assert_refused(&vault, message, |v| v.operations().delete(name));
        assert_refused(&vault, message, |v| v.operations().begin("new", ["a", name]));
        assert_refused(&vault, message, |v| v.read()?.operation(name));
        assert_refused(&vault, message, |v| v.read()?.lane("good", name));
        assert_refused(&vault, message, |v| v.read()?.checkpoints("good", name));
        assert_refused(&vault, message, |v| v.read()?.checkpoints(name, "a"));
        assert_refused(&vault, message, |_| operation.lane(name));
    }
}

#[test]
fn value_above_limit_is_refused_with_the_limit() {
    let vault = memory_vault().unwrap();
    let message = "value has 65281 bytes, the limit is 65280";
    let long = vec![0; ROW_BYTES_MAX + 1];
    assert_refused(&vault, message, |v| {
        v.write(|tx| {
            tx.insert("n", "other", "1")?;
            tx.insert("n", "k", &long)
        })
    });
    assert_refused(&vault, message, |v| v.apply(batch("n", b"k", long.clone())));
    put(&vault, "most", &long[1..]);
}

#[test]
fn key_above_limit_is_refused_with_the_limit() {
    let vault = memory_vault().unwrap();
    let message = "key has 1025 bytes, the limit is 1024";
    let long = vec![b'k'; RECORD_KEY_BYTES_MAX + 1];
    assert_refused(&vault, message, |v| v.write(|tx| tx.insert("n", &long, "v")));
    assert_refused(&vault, message, |v| v.apply(batch("n", &long, b"v".to_vec())));
    vault.write(|tx| tx.insert("n", &long[1..], "v")).unwrap();
    // No record can have this key, so a look-up finds none.
    assert!(vault.read().unwrap().get("n", &long).unwrap().is_none());
    assert!(!vault.write(|tx| tx.delete("n", &long)).unwrap());
}

#[test]
fn checkpoint_beyond_limits_discards_its_data() {
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
        (Checkpoint::new("").progress(-f64::MIN_POSITIVE), "must be within 0 to 1"),
        // Also for a complete lane, whose progress is 1.
        (Checkpoint::new("").progress(f64::NAN).complete(), "NaN"),
        (Checkpoint::new(vec![1; CHECKPOINT_BYTES_MAX + 1]), "32769 bytes, the limit is 32768"),
    ];
    for (checkpoint, message) in cases {
        let commit = |c| lane.commit(batch("n", b"k", b"v".to_vec()), c);
        assert_refused(&vault, message, |_| commit(checkpoint.clone()));
        // The transaction is refused even if the host ignores the error.
        assert_refused(&vault, message, |v| {
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
