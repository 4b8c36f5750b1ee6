//! Numbers of requests that calls of a vault make to its store.
//!
//! The library counts the requests, and so does a proxy that sees all of them.

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
use crate::scene::{assert_all_data, noise, put};
use crate::server::Location;
use crate::support::clock::SharedClock;

const MIB: usize = 1 << 20;

/// Measures the requests of single calls.
struct Meter {
    proxy: Proxy,
    counts: Arc<RequestCounts>,
}

impl Meter {
    /// Prints and returns the requests of `act`.
    fn of<T>(&self, name: &str, act: impl FnOnce() -> T) -> (T, Requests) {
        self.proxy.take_log();
        let before = self.counts.read();
        let outcome = act();
        let made = self.counts.read().since(&before);
        let Requests { gets, ranges, puts, conditional_puts, deletes, lists, .. } = made;
        println!(
            "| {name} | {gets} | {ranges} | {} | {deletes} | {lists} | {} | {} |",
            puts + conditional_puts,
            made.bytes_read,
            made.bytes_written
        );
        let seen = self.proxy.take_log();
        assert_eq!(seen.len() as u64, made.total(), "{name}: every request is counted: {seen:?}");
        let puts = seen.iter().filter(|request| request.method == "PUT");
        let sent: u64 = puts.map(|put| put.body_bytes).sum();
        assert_eq!(sent, made.bytes_written, "{name}: every sent byte is counted");
        (outcome, made)
    }
}

fn writes(made: &Requests) -> u64 {
    made.puts + made.conditional_puts
}

#[test]
fn requests_of_each_call() {
    let Some(location) = Location::new("requests_of_each_call") else { return };
    let proxy = Proxy::start(location.address());
    let counts = Arc::new(RequestCounts::default());
    let through = location.through(&format!("http://{}", proxy.addr()));
    let store = through.open_with(&StoreOptions::new().counts(Arc::clone(&counts)));
    let meter = Meter { proxy, counts };
    let state = MemoryState::new();
    println!("| call | get | range | put | delete | list | bytes read | bytes written |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    // A manual clock, so that no request is made because time has passed.
    let options = || Vault::options(TestKey).clock(SharedClock::default());
    let (vault, _) = meter
        .of("create a vault", || options().create_on(state.clone(), Arc::clone(&store)).unwrap());
    meter.of("close it", || vault.close().unwrap());
    let (vault, _) =
        meter.of("open it", || options().open_on(state.clone(), Arc::clone(&store)).unwrap());

    let small: Vec<Vec<u8>> = (0..101).map(|seed| noise(1 << 10, seed)).collect();
    let (_, one) = meter.of("put an artifact of 1 KiB", || put(&vault, "0", &small[0]));
    assert_eq!(writes(&one), 0, "the artifact is stored in the state");
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
    assert_eq!(writes(&batch), 0, "the records are stored in the state");
    assert!(writes(&puts) <= 5, "the artifacts are packed together: {puts:?}");

    let long = noise(64 * MIB, 7);
    let (uri, stored) = meter.of("put an artifact of 64 MiB", || put(&vault, "long", &long));
    assert!(writes(&stored) <= 6, "a pack is 16 MiB: {stored:?}");
    let (_, again) = meter.of("put the same again", || put(&vault, "again", &long));
    assert_eq!(writes(&again), 0, "all chunks are stored already");
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
    // Where chunks are cut depends on the vault's keys. Sometimes another node begins between the
    // two positions, and is read first.
    let is_one_chunk = (1..=2).contains(&chunk.ranges) && chunk.total() == chunk.ranges;
    assert!(is_one_chunk, "a chunk is one range, and perhaps its node another: {chunk:?}");

    // The reader keeps its content alive until its drop.
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
    meter.of("check, with all data", || assert_all_data(&vault));
    vault.artifacts().delete(&uri).unwrap();
    meter.of("gc, with nothing to free", || vault.gc(&GcOptions::new()).unwrap());
    drop((partition, space));
    meter.of("close", || vault.close().unwrap());
}
