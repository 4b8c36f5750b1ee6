//! How many requests each operation of a vault makes of its store: counted by the library, and by a proxy
//! that sees them all.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use strongroom::backends::component::{OsEntropy, SystemClock};
use strongroom::backends::{RequestCounts, Requests, StoreOptions};
use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::keys::NewKey;
use strongroom::storage::MemoryState;
use strongroom::{Batch, SecretKey, SecretPassword, Vault};
use strongroom_testkit::{TestKey, TestRefs};

use crate::proxy::Proxy;
use crate::scene::{noise, put, whole};
use crate::server::Place;
use crate::support::clock::SharedClock;

const MIB: usize = 1 << 20;

/// What operations have asked of a store so far.
struct Meter {
    proxy: Proxy,
    counts: Arc<RequestCounts>,
}

impl Meter {
    /// Prints and gives what `act` asked.
    fn of<T>(&self, what: &str, act: impl FnOnce() -> T) -> (T, Requests) {
        self.proxy.take_log();
        let before = self.counts.read();
        let outcome = act();
        let asked = self.counts.read().since(&before);
        let Requests { gets, ranges, puts, conditional_puts, deletes, lists, .. } = asked;
        println!(
            "| {what} | {gets} | {ranges} | {} | {deletes} | {lists} | {} | {} |",
            puts + conditional_puts,
            asked.bytes_read,
            asked.bytes_written
        );
        let seen = self.proxy.take_log();
        assert_eq!(seen.len() as u64, asked.total(), "{what}: every request is counted: {seen:?}");
        let sent: u64 =
            seen.iter().filter(|seen| seen.method == "PUT").map(|seen| seen.body_bytes).sum();
        assert_eq!(sent, asked.bytes_written, "{what}: and every byte");
        (outcome, asked)
    }
}

fn writes(asked: &Requests) -> u64 {
    asked.puts + asked.conditional_puts
}

#[test]
fn requests_of_each_operation() {
    let Some(place) = Place::new("requests_of_each_operation") else { return };
    let proxy = Proxy::start(place.address());
    let counts = Arc::new(RequestCounts::default());
    let through = place.through(&format!("http://{}", proxy.addr()));
    let store = through.open_with(&StoreOptions::new().counts(Arc::clone(&counts)));
    let meter = Meter { proxy, counts };
    let state = MemoryState::new();
    println!("| operation | get | range | put | delete | list | bytes read | bytes written |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    // A clock that stands still: nothing is asked because time has passed.
    let options = || Vault::options(TestKey).clock(SharedClock::default());
    let (vault, _) = meter
        .of("create a vault", || options().create_on(state.clone(), Arc::clone(&store)).unwrap());
    meter.of("close it", || vault.close().unwrap());
    let (vault, _) =
        meter.of("open it", || options().open_on(state.clone(), Arc::clone(&store)).unwrap());

    let small: Vec<Vec<u8>> = (0..101).map(|seed| noise(1 << 10, seed)).collect();
    let (_, one) = meter.of("put an artifact of 1 KiB", || put(&vault, "0", &small[0]));
    assert_eq!(writes(&one), 0, "it goes with the state");
    let ((), batch) = meter.of("a batch of 100 records of 1 KiB", || {
        let mut batch = Batch::new();
        for (n, body) in small[1..].iter().enumerate() {
            batch.insert("records", n.to_be_bytes(), body.clone());
        }
        vault.apply(batch).unwrap();
    });
    let ((), puts) = meter.of("put 100 artifacts of 1 KiB, and gc", || {
        for (n, body) in small[1..].iter().enumerate() {
            put(&vault, &format!("small {n}"), body);
        }
        vault.gc(&GcOptions::new()).unwrap();
    });
    assert_eq!(writes(&batch), 0, "they go with the state");
    assert!(writes(&puts) <= 5, "so do these, until they are packed: {puts:?}");

    let long = noise(64 * MIB, 7);
    let (uri, stored) = meter.of("put an artifact of 64 MiB", || put(&vault, "long", &long));
    assert!(writes(&stored) <= 6, "a pack is 16 MiB: {stored:?}");
    let (_, again) = meter.of("put the same again", || put(&vault, "again", &long));
    assert_eq!(writes(&again), 0, "it is there");
    let ((), got) = meter.of("get 64 MiB", || {
        assert!(vault.artifacts().read(&uri).unwrap() == long);
    });
    assert!(got.ranges < 300, "neighbours are fetched together: {got:?}");

    let mut reader = vault.artifacts().open(&uri).unwrap();
    let mut byte = [0];
    let mut at = |position: usize| {
        reader.seek(SeekFrom::Start(position as u64)).unwrap();
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], long[position]);
    };
    meter.of("read at a position, nodes first", || at(40 * MIB));
    let ((), chunk) = meter.of("read elsewhere nearby: a chunk", || at(40 * MIB + MIB / 2));
    assert_eq!((chunk.ranges, chunk.total()), (1, 1), "a chunk is one range");

    // What is read keeps what it reads.
    drop(reader);
    let refs = TestRefs::new(Arc::clone(&store), Arc::new(SystemClock::new()), Arc::new(OsEntropy));
    refs.update("ref", |_| Ok((vec![1], ()))).unwrap();
    let ((), moved) = meter.of("move a ref", || refs.update("ref", |_| Ok((vec![2], ()))).unwrap());
    assert_eq!((moved.gets, moved.conditional_puts, moved.total()), (1, 1, 2));

    let password = SecretPassword::new("of a partition");
    let (space, _) = meter.of("create a share space of 16 KiB", || {
        vault.documents().create_space(&SpaceOptions::default().capacity_bytes(16 << 10)).unwrap()
    });
    let key = space.add_partition(&password, &[]).unwrap();
    let partition = space.partition(&key, &password).unwrap();
    meter.of("update a document", || partition.write(r#"{"a": 1}"#).unwrap());
    meter.of("read a document", || partition.read().unwrap());
    meter.of("add a key", || {
        vault.keys().add(&NewKey::new(&SecretKey::new([9; 32]))).unwrap();
    });
    meter.of("check", || vault.check(&strongroom::check::CheckOptions::new()).unwrap());
    meter.of("check, with all data", || whole(&vault));
    vault.artifacts().delete(&uri).unwrap();
    meter.of("gc, with nothing to free", || vault.gc(&GcOptions::new()).unwrap());
    drop((partition, space));
    meter.of("close", || vault.close().unwrap());
}
