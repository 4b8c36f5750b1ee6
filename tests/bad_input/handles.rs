//! Handles used after the close, in another vault, or within calls.

use std::io::{self, Read};

use strongroom::content::GcOptions;
use strongroom::operations::{
    Checkpoint, CheckpointPolicy, ExpireOperations, OperationSpec, OperationsQuery,
};
use strongroom::{Batch, Error, ErrorKind, Reason, Result, Vault};
use strongroom_testkit::memory_vault;

use crate::support::records::{
    all, assert_error, assert_whole, check, create, long, open, put, put_long,
};

#[track_caller]
fn assert_closed<T>(outcome: Result<T>) {
    assert_error(outcome, ErrorKind::Closed, "closed");
}

#[test]
fn calls_of_a_clone_after_close_are_closed() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    drop(vault.operations().begin("import", ["a"]).unwrap());
    let clone = vault.clone();
    vault.close().unwrap();
    assert_closed(clone.read());
    assert_closed(clone.write(|tx| tx.insert("n", "k", "w")));
    assert_closed(clone.write(|_| Ok::<_, Error>(())));
    assert_closed(clone.apply(Batch::new()));
    assert_closed(clone.stage(&long(1, 70_000)[..]));
    assert_closed(clone.operations().begin("other", ["a"]));
    assert_closed(clone.operations().begin_or_resume("import", ["a"]));
    assert_closed(clone.operations().resume("import"));
    assert_closed(clone.operations().take_over("import"));
    assert_closed(clone.operations().prepare(OperationSpec::new("other")));
    assert_closed(clone.operations().resume_with("import", |_, _| Ok::<_, Error>(())));
    assert_closed(clone.operations().can_resume("import"));
    assert_closed(clone.operations().unfinished(&OperationsQuery::new().limit(10)));
    assert_closed(clone.operations().pause("import"));
    assert_closed(clone.operations().abandon("import"));
    assert_closed(clone.operations().delete("import"));
    assert_closed(clone.operations().expire(&ExpireOperations::new()));
    assert_closed(clone.operations().statistics());
    assert_eq!(clone.operations().subscribe(1).next_now(), None);
    assert_closed(clone.info());
    assert_closed(clone.gc(&GcOptions::new().without_repacking(true)));
    assert_closed(check(&clone));
    clone.close().expect("a second close succeeds");
}

#[test]
fn snapshots_and_records_after_close_are_closed() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    let snapshot = vault.read().unwrap();
    let mut records = snapshot.prefix("n", "").unwrap();
    vault.close().unwrap();
    assert_closed(snapshot.get("n", "k"));
    assert_closed(snapshot.count("n"));
    assert_closed(snapshot.prefix("n", ""));
    assert_closed(snapshot.namespaces());
    assert_closed(snapshot.operation("import"));
    // The iterator may return records of a page in memory, but must not read the closed vault.
    for record in records.by_ref() {
        match record {
            Ok(record) => assert_eq!(record.key(), b"k"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
}

#[test]
fn values_and_readers_after_close_are_closed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    let value = long(1, (8 << 20) + 70_000);
    put_long(&vault, "k", &value);
    let snapshot = vault.read().unwrap();
    let kept = snapshot.get("n", "k").unwrap().unwrap();
    let mut reader = snapshot.get("n", "k").unwrap().unwrap().into_reader();
    let mut half = vec![0; 1 << 20];
    reader.read_exact(&mut half).unwrap();
    vault.close().unwrap();

    // From here on nothing protects the objects, so another process may remove them.
    let next = open(&path).unwrap();
    next.write(|tx| tx.delete("n", "k")).unwrap();
    assert_whole(&next);
    assert_closed(kept.bytes());
    let error = reader.read_to_end(&mut half).unwrap_err();
    assert_closed::<()>(Err(Error::io("read value", error)));
}

#[test]
fn operations_and_lanes_after_close_are_closed() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a", "b"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let mut batch = Batch::new();
    batch.insert("n", "k", "v");
    vault.close().unwrap();
    let mut paced = lane.auto_checkpoint(CheckpointPolicy::EACH, 0).unwrap();
    assert_closed(paced.step(|| Checkpoint::encode(&1)));
    assert_closed(lane.commit(batch, Checkpoint::new("1")));
    assert_closed(lane.complete());
    assert_closed(lane.status());
    assert_closed(operation.status());
    assert_closed(operation.lane("b"));
    assert_closed(operation.migrate(1, |_| Ok(Vec::new())));
    assert_closed(operation.pause());
    assert_closed(operation.complete());
    assert_closed(operation.fail("no"));
    assert_closed(operation.cancel());
}

#[test]
fn staged_value_after_close_is_removed_by_next_open() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    let staged = vault.stage(&long(1, 300_000)[..]).unwrap();
    let clone = vault.clone();
    vault.close().unwrap();
    let next = open(&path).unwrap();
    assert_eq!(next.recovery().objects, 1);
    assert_closed(clone.write(|tx| tx.insert("n", "k", staged)));
    assert_whole(&next);
}

/// A source of zeros that runs an action once, after `before` bytes.
struct ActingSource<F> {
    before: u64,
    act: Option<F>,
    after: u64,
}

impl<F: FnOnce()> Read for ActingSource<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.before == 0
            && let Some(act) = self.act.take()
        {
            act();
            self.before = self.after;
        }
        let len = u64::min(buffer.len() as u64, self.before);
        self.before -= len;
        let len = usize::try_from(len).unwrap();
        buffer[..len].fill(0);
        Ok(len)
    }
}

#[test]
fn staging_during_close_is_closed_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    let mut next = None;
    // The name of the third object was reserved together with the second one's.
    let close_and_open = || {
        vault.clone().close().unwrap();
        next = Some(open(&path).unwrap());
    };
    let outcome = vault.stage(ActingSource {
        before: (16 << 20) + 70_000,
        act: Some(close_and_open),
        after: 70_000,
    });
    assert_whole(&next.expect("the source closed and opened the vault"));
    assert_closed(outcome);
}

fn assert_other_vault<T>(outcome: Result<T>) {
    assert_error(outcome, ErrorKind::Invalid, "another vault");
}

#[test]
fn staged_value_of_another_vault_is_invalid() {
    let (here, there) = (memory_vault().unwrap(), memory_vault().unwrap());
    for len in [70_000, 10] {
        let stage = || there.stage(&long(1, len)[..]).unwrap();
        assert_other_vault(here.write(|tx| tx.insert("n", "k", stage())));
        let mut batch = Batch::new();
        batch.insert("n", "other", "v").insert("n", "k", stage());
        assert_other_vault(here.apply(batch));
    }
    assert_eq!(all(&here).unwrap(), []);
    assert_whole(&here);
    assert_whole(&there);
}

#[test]
fn lane_of_another_vault_is_invalid() {
    let (here, there) = (memory_vault().unwrap(), memory_vault().unwrap());
    let _own = here.operations().begin("import", ["a"]).unwrap();
    let foreign = there.operations().begin("import", ["a"]).unwrap();
    let lane = foreign.lane("a").unwrap();
    assert_other_vault(here.write(|tx| {
        tx.insert("n", "k", "v")?;
        tx.checkpoint(&lane, Checkpoint::new("1"))
    }));
    let mut batch = Batch::new();
    batch.insert("n", "k", "v");
    batch.checkpoint(&lane, Checkpoint::new("1"));
    assert_other_vault(here.apply(batch));
    assert_eq!(all(&here).unwrap(), []);
    let status = here.read().unwrap().operation("import").unwrap().unwrap();
    assert_eq!(status.lanes[0].checkpoints, 0);
}

#[test]
fn write_within_a_write_is_invalid() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let nested = |outcome: Result<()>| {
        let error = assert_error(outcome, ErrorKind::Invalid, "inside a write");
        assert_eq!(error.reason(), Some(Reason::NestedWrite));
    };
    let written = vault.write(|tx| {
        tx.insert("n", "k", "v")?;
        nested(vault.write(|tx| tx.insert("n", "nested", "v")));
        nested(vault.apply(Batch::new()));
        nested(lane.commit(Batch::new(), Checkpoint::new("1")));
        nested(vault.stage(&b"short"[..]).map(drop));
        nested(vault.stage(&long(1, 70_000)[..]).map(drop));
        nested(vault.operations().begin("other", ["a"]).map(drop));
        nested(vault.operations().resume("import").map(drop));
        nested(vault.gc(&GcOptions::new().without_repacking(true)).map(drop));
        nested(check(&vault).map(drop));
        nested(vault.clone().close());
        // A read within a write is allowed.
        assert_eq!(all(&vault).unwrap(), []);
        Ok::<_, Error>(())
    });
    written.unwrap();
    assert_eq!(all(&vault).unwrap().len(), 1);
    assert_whole(&vault);
}

#[test]
fn another_vault_may_be_written_within_a_write() {
    let (here, there): (Vault, Vault) = (memory_vault().unwrap(), memory_vault().unwrap());
    here.write(|tx| {
        put(&there, "k", "there");
        tx.insert("n", "k", "here")
    })
    .unwrap();
    assert_eq!(all(&there).unwrap().len() + all(&here).unwrap().len(), 2);
}
