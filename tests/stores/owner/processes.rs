//! Two processes with copies of one vault, on a server.

use std::path::Path;

use strongroom::ErrorKind;
use strongroom::content::GcOptions;
use strongroom::vault::LockRefused;

use super::{DAY, assert_refused, insert};
use crate::scene::{assert_all_data, copy_folder, noise, options, put};
use crate::server::Location;
use crate::support::clock::SharedClock;
use crate::support::process::{Worker, print_line, wait_for_go};

const URL: &str = "STRONGROOM_TEST_STORE";

/// Holds a vault on a server until another process takes it over.
pub(crate) fn hold(folder: &Path) {
    let location = Location::from_url(std::env::var(URL).unwrap());
    let store = location.open();
    let vault = options(&store).open(folder).unwrap();
    let uri = put(&vault, "of the first", &noise(600_000, 1));
    print_line("open");
    wait_for_go();
    vault.artifacts().delete(&uri).unwrap();
    let stopped = vault.gc(&GcOptions::new().without_repacking(true)).unwrap_err();
    print_line(&format!("deletes: {}", stopped.kind()));
    let stopped = insert(&vault, "after").unwrap_err();
    print_line(&format!("writes: {}", stopped.kind()));
    let lost = vault.close().unwrap_err();
    print_line(&format!("closed: {}", lost.kind()));
}

#[test]
fn process_loses_content_on_a_server_after_a_take_over() {
    let test = "process_loses_content_on_a_server_after_a_take_over";
    let Some(location) = Location::new(test) else { return };
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("a"), home.path().join("b"));
    let store = location.open();
    options(&store).create(&first).unwrap().close().unwrap();
    copy_folder(&first, &second);
    let mut worker = Worker::start_with("hold", &first, &[(URL, location.url().to_owned())]);
    worker.expect("open");
    let error = assert_refused(options(&store).open(&second), ErrorKind::Locked);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    assert_eq!(source.holder.as_ref().unwrap().process.pid, worker.pid());

    let clock = SharedClock::default();
    clock.advance(DAY);
    let winner = options(&store).clock(clock.clone()).take_over(true).open(&second).unwrap();
    let bytes = noise(600_000, 2);
    let uri = put(&winner, "of the second", &bytes);
    worker.go();
    worker.expect("deletes: closed");
    worker.expect("writes: closed");
    worker.expect("closed: conflict");
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
    assert_all_data(&winner);
    // The winner's content stays whole when it deletes again.
    clock.advance(2 * DAY);
    winner.gc(&strongroom::content::GcOptions::new()).unwrap();
    winner.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_all_data(&winner);
    winner.close().unwrap();
    assert_refused(options(&store).open(&first), ErrorKind::Denied);
    let winner = options(&store).open(&second).unwrap();
    assert!(winner.artifacts().read(&uri).unwrap() == bytes);
}
