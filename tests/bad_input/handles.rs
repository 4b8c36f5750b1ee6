//! Handles used after the close, in another vault, or from within a call.

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
fn closed<T>(outcome: Result<T>) {
    assert_error(outcome, ErrorKind::Closed, "closed");
}

#[test]
fn every_call_of_a_clone_after_the_close_is_closed() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    drop(vault.operations().begin("import", ["a"]).unwrap());
    let clone = vault.clone();
    vault.close().unwrap();
    closed(clone.read());
    closed(clone.write(|tx| tx.insert("n", "k", "w")));
    closed(clone.write(|_| Ok::<_, Error>(())));
    closed(clone.apply(Batch::new()));
    closed(clone.stage(&long(1, 70_000)[..]));
    closed(clone.operations().begin("other", ["a"]));
    closed(clone.operations().begin_or_resume("import", ["a"]));
    closed(clone.operations().resume("import"));
    closed(clone.operations().take_over("import"));
    closed(clone.operations().prepare(OperationSpec::new("other")));
    closed(clone.operations().resume_with("import", |_, _| Ok::<_, Error>(())));
    closed(clone.operations().can_resume("import"));
    closed(clone.operations().unfinished(&OperationsQuery::new().limit(10)));
    closed(clone.operations().pause("import"));
    closed(clone.operations().abandon("import"));
    closed(clone.operations().delete("import"));
    closed(clone.operations().expire(&ExpireOperations::new()));
    closed(clone.operations().statistics());
    assert_eq!(clone.operations().subscribe(1).next_now(), None);
    closed(clone.info());
    closed(clone.gc(&GcOptions::new().without_repacking(true)));
    closed(check(&clone));
    clone.close().expect("what is closed stays closed");
}

#[test]
fn snapshots_and_records_that_outlive_the_close_are_closed() {
    let vault = memory_vault().unwrap();
    put(&vault, "k", "v");
    let snapshot = vault.read().unwrap();
    let mut records = snapshot.prefix("n", "").unwrap();
    vault.close().unwrap();
    closed(snapshot.get("n", "k"));
    closed(snapshot.count("n"));
    closed(snapshot.prefix("n", ""));
    closed(snapshot.namespaces());
    closed(snapshot.operation("import"));
    // A page that it holds it may serve; a vault that is closed it may not touch.
    for record in records.by_ref() {
        match record {
            Ok(record) => assert_eq!(record.key(), b"k"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
}

#[test]
fn values_and_their_readers_that_outlive_the_close_are_closed() {
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

    // From now on nothing keeps the objects: another process may remove them.
    let next = open(&path).unwrap();
    next.write(|tx| tx.delete("n", "k")).unwrap();
    assert_whole(&next);
    closed(kept.bytes());
    let error = reader.read_to_end(&mut half).unwrap_err();
    closed::<()>(Err(Error::io("read value", error)));
}

#[test]
fn operations_and_lanes_that_outlive_the_close_are_closed() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a", "b"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let mut batch = Batch::new();
    batch.insert("n", "k", "v");
    vault.close().unwrap();
    let mut paced = lane.auto_checkpoint(CheckpointPolicy::EACH, 0).unwrap();
    closed(paced.step(|| Checkpoint::encode(&1)));
    closed(lane.commit(batch, Checkpoint::new("1")));
    closed(lane.complete());
    closed(lane.status());
    closed(operation.status());
    closed(operation.lane("b"));
    closed(operation.migrate(1, |_| Ok(Vec::new())));
    closed(operation.pause());
    closed(operation.complete());
    closed(operation.fail("no"));
    closed(operation.cancel());
}

#[test]
fn a_staging_that_outlives_the_close_is_removed_by_the_next_open() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    let staged = vault.stage(&long(1, 300_000)[..]).unwrap();
    let clone = vault.clone();
    vault.close().unwrap();
    let next = open(&path).unwrap();
    assert_eq!(next.recovery().objects, 1);
    closed(clone.write(|tx| tx.insert("n", "k", staged)));
    assert_whole(&next);
}

/// Gives zeros, and on its way does something once.
struct Interrupted<F> {
    before: u64,
    act: Option<F>,
    after: u64,
}

impl<F: FnOnce()> Read for Interrupted<F> {
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
fn a_staging_under_way_at_the_close_ends_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("vault");
    let vault = create(&path);
    let mut next = None;
    // The third object has a name that was reserved together with the second one's.
    let close_and_open = || {
        vault.clone().close().unwrap();
        next = Some(open(&path).unwrap());
    };
    let outcome = vault.stage(Interrupted {
        before: (16 << 20) + 70_000,
        act: Some(close_and_open),
        after: 70_000,
    });
    assert_whole(&next.expect("it was closed and opened"));
    closed(outcome);
}

fn another_vaults<T>(outcome: Result<T>) {
    assert_error(outcome, ErrorKind::Invalid, "another vault");
}

#[test]
fn a_staging_of_another_vault_is_invalid() {
    let (here, there) = (memory_vault().unwrap(), memory_vault().unwrap());
    for len in [70_000, 10] {
        let stage = || there.stage(&long(1, len)[..]).unwrap();
        another_vaults(here.write(|tx| tx.insert("n", "k", stage())));
        let mut batch = Batch::new();
        batch.insert("n", "beside", "v").insert("n", "k", stage());
        another_vaults(here.apply(batch));
    }
    assert_eq!(all(&here).unwrap(), []);
    assert_whole(&here);
    assert_whole(&there);
}

#[test]
fn a_lane_of_another_vault_is_invalid() {
    let (here, there) = (memory_vault().unwrap(), memory_vault().unwrap());
    let _own = here.operations().begin("import", ["a"]).unwrap();
    let foreign = there.operations().begin("import", ["a"]).unwrap();
    let lane = foreign.lane("a").unwrap();
    another_vaults(here.write(|tx| {
        tx.insert("n", "k", "v")?;
        tx.checkpoint(&lane, Checkpoint::new("1"))
    }));
    let mut batch = Batch::new();
    batch.insert("n", "k", "v");
    batch.checkpoint(&lane, Checkpoint::new("1"));
    another_vaults(here.apply(batch));
    assert_eq!(all(&here).unwrap(), []);
    let status = here.read().unwrap().operation("import").unwrap().unwrap();
    assert_eq!(status.lanes[0].checkpoints, 0);
}

#[test]
fn a_write_within_a_write_is_invalid() {
    let vault = memory_vault().unwrap();
    let operation = vault.operations().begin("import", ["a"]).unwrap();
    let lane = operation.lane("a").unwrap();
    let nested = |outcome: Result<()>| {
        let error = assert_error(outcome, ErrorKind::Invalid, "within a write");
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
        // Reading is not writing.
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
