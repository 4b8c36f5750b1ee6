//! Two processes with copies of one vault, on a server.

use std::path::Path;

use strongroom::ErrorKind;
use strongroom::content::GcOptions;
use strongroom::vault::LockRefused;

use super::{DAY, insert, refused};
use crate::scene::{copy_folder, noise, options, put, whole};
use crate::server::Place;
use crate::support::clock::SharedClock;
use crate::support::process::{Worker, say, wait_for_go};

const URL: &str = "STRONGROOM_TEST_STORE";

/// What a process does that has a vault on a server, until it is told that another has taken the content over.
pub(crate) fn hold(folder: &Path) {
    let place = Place::at(std::env::var(URL).unwrap());
    let store = place.open();
    let vault = options(&store).open(folder).unwrap();
    let uri = put(&vault, "of the first", &noise(600_000, 1));
    say("open");
    wait_for_go();
    vault.artifacts().delete(&uri).unwrap();
    let stopped = vault.gc(&GcOptions::new().without_repacking(true)).unwrap_err();
    say(&format!("deletes: {}", stopped.kind()));
    let stopped = insert(&vault, "after").unwrap_err();
    say(&format!("writes: {}", stopped.kind()));
    vault.close().unwrap();
    say("closed");
}

#[test]
fn of_two_processes_with_copies_on_a_server_one_works() {
    let test = "of_two_processes_with_copies_on_a_server_one_works";
    let Some(place) = Place::new(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("a"), home.path().join("b"));
    let store = place.open();
    options(&store).create(&first).unwrap().close().unwrap();
    copy_folder(&first, &second);
    let mut worker = Worker::start_with("hold", &first, &[(URL, place.url().to_owned())]);
    worker.expect("open");
    let error = refused(options(&store).open(&second), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(told.holder.as_ref().unwrap().process.pid, worker.pid());

    let clock = SharedClock::default();
    clock.advance(DAY);
    let winner = options(&store).clock(clock.clone()).take_over(true).open(&second).unwrap();
    let bytes = noise(600_000, 2);
    let uri = put(&winner, "of the second", &bytes);
    worker.go();
    worker.expect("deletes: closed");
    worker.expect("writes: closed");
    worker.expect("closed");
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
    whole(&winner);
    // Also once the winner deletes again.
    clock.advance(2 * DAY);
    winner.gc(&strongroom::content::GcOptions::new()).unwrap();
    winner.gc(&GcOptions::new().without_repacking(true)).unwrap();
    whole(&winner);
    winner.close().unwrap();
    refused(options(&store).open(&first), ErrorKind::Denied);
    let winner = options(&store).open(&second).unwrap();
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
}
