//! Host callbacks and readers that fail, panic, stop, or block.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use strongroom::backends::Memory;
use strongroom::storage::MemoryState;
use strongroom::{Batch, CancelToken, Error, ErrorKind, LongCall, Result, Vault};
use strongroom_testkit::{TestKey, memory_vault};

use crate::support::records::{all, assert_error, assert_whole, long, put, put_long};

/// Bytes of a content that needs more than one object.
const LEN: u64 = 20 << 20;

#[test]
fn panic_in_callback_discards_only_its_transaction() {
    let vault = memory_vault().unwrap();
    put(&vault, "kept", "1");
    put_long(&vault, "long", &long(1, 300_000));
    let staged = vault.stage(&long(2, 300_000)[..]).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        vault.write(|tx| -> Result<()> {
            tx.insert("n", "gone", "1")?;
            tx.insert("n", "staged", staged)?;
            tx.delete("n", "long")?;
            tx.delete_namespace("n")?;
            panic!("the host's own bug")
        })
    }));
    let message = panicked.unwrap_err();
    assert_eq!(message.downcast_ref(), Some(&"the host's own bug"));
    let keys = |vault: &Vault| all(vault).unwrap().into_iter().map(|(key, _)| key);
    assert!(keys(&vault).eq(["kept", "long"]));
    put(&vault, "after", "1");
    assert!(keys(&vault).eq(["after", "kept", "long"]));
    assert_eq!(assert_whole(&vault).objects, 1);
}

#[test]
fn error_of_callback_is_returned_and_leaves_nothing() {
    #[derive(Debug)]
    enum HostError {
        Refused,
        Vault,
    }
    impl From<Error> for HostError {
        fn from(_: Error) -> Self {
            Self::Vault
        }
    }
    let vault = memory_vault().unwrap();
    let outcome = vault.write(|tx| {
        tx.insert("n", "k", "v")?;
        Err::<(), _>(HostError::Refused)
    });
    assert!(matches!(outcome, Err(HostError::Refused)));
    let outcome = vault.write(|tx| Ok::<_, HostError>(tx.insert("", "k", "v")?));
    assert!(matches!(outcome, Err(HostError::Vault)));
    assert_eq!(all(&vault).unwrap(), []);
}

/// A source that gives `good` bytes and then fails or panics.
struct FailingSource {
    good: u64,
    panics: bool,
}

impl Read for FailingSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.good == 0 {
            assert!(!self.panics, "the source's own bug");
            return Err(io::Error::other("the connection is lost"));
        }
        let len = u64::min(buffer.len() as u64, self.good);
        self.good -= len;
        let len = usize::try_from(len).unwrap();
        buffer[..len].fill(7);
        Ok(len)
    }
}

#[test]
fn failing_source_leaves_nothing() {
    let memory = Memory::new();
    let options = Vault::options(TestKey);
    let vault = options.create_on(MemoryState::new(), memory).unwrap();
    for good in [0, 10, 70_000, LEN] {
        let failing = |panics| FailingSource { good, panics };
        let outcome = vault.stage(failing(false));
        assert_error(outcome, ErrorKind::Unavailable, "the connection is lost");
        let panicked = catch_unwind(AssertUnwindSafe(|| vault.stage(failing(true))));
        assert!(panicked.is_err());
        let report = assert_whole(&vault);
        assert_eq!((report.objects, report.records), (0, 0));
        put_long(&vault, "k", &long(1, 70_000));
        vault.write(|tx| tx.delete("n", "k")).unwrap();
    }
}

#[test]
fn cancelled_staging_leaves_nothing() {
    let vault = memory_vault().unwrap();
    let bytes = long(1, usize::try_from(LEN).unwrap());
    for stop_at in [0, 1, LEN / 2] {
        let cancel = CancelToken::new();
        if stop_at == 0 {
            cancel.cancel();
        }
        let switch = cancel.clone();
        let progress = move |done: u64, _: Option<u64>| {
            if done >= stop_at {
                switch.cancel();
            }
        };
        let outcome =
            vault.stage_with(&bytes[..], LongCall::new().progress(&progress).cancel(&cancel));
        assert_error(outcome, ErrorKind::Cancelled, "store content");
        assert_eq!(assert_whole(&vault).objects, 0);
    }
}

#[test]
fn write_that_waits_too_long_is_locked() {
    let vault = Vault::options(TestKey)
        .write_timeout(Duration::from_millis(50))
        .create_on(MemoryState::new(), Memory::new())
        .unwrap();
    let other = vault.stage(&long(1, 300_000)[..]).unwrap();
    let (inside, is_inside) = channel();
    let (release, released) = channel::<()>();
    std::thread::scope(|scope| {
        let vault = &vault;
        let holder = scope.spawn(move || {
            vault.write(|tx| {
                tx.insert("n", "held", "1")?;
                inside.send(()).unwrap();
                // Returns an error when the test is done or has failed.
                let _ = released.recv();
                Ok::<_, Error>(())
            })
        });
        is_inside.recv().unwrap();
        let locked = |outcome: Result<()>| assert_error(outcome, ErrorKind::Locked, "0.05 s");
        locked(vault.write(|tx| tx.insert("n", "k", "v")));
        let mut batch = Batch::new();
        batch.insert("n", "k", "v");
        locked(vault.apply(batch));
        locked(vault.stage(&long(1, 300_000)[..]).map(drop));
        locked(vault.operations().begin("import", ["a"]).map(drop));
        locked(vault.clone().close());
        // Readers do not wait for the write turn.
        assert_eq!(all(vault).unwrap(), []);
        drop(release);
        holder.join().unwrap().unwrap();
    });
    vault.write(|tx| tx.insert("n", "staged", other)).unwrap();
    let keys: Vec<_> = all(&vault).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["held", "staged"]);
    assert_eq!(assert_whole(&vault).objects, 1);
}
