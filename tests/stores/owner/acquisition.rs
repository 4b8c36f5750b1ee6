//! Acquiring content: copies, states of dead processes, and failed acquisitions.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use strongroom::backends::component::ProcessIdentity;
use strongroom::backends::{Backend, Condition, Key, Version};
use strongroom::storage::MemoryState;
use strongroom::vault::{LockPolicy, LockRefused};
use strongroom::{Error, ErrorKind, Result};
use strongroom_testkit::{BackendFault, FaultyBackend, Layer, impl_backend};

use super::{Scene, assert_refused, insert};
use crate::scene::{noise, put};

/// Returns the identity of an ended process of this host.
fn ended_process() -> ProcessIdentity {
    let mut child = Command::new("true").spawn().unwrap();
    let host = strongroom_host();
    let ended = ProcessIdentity { pid: child.id(), ..ProcessIdentity::of_this_process(host) };
    child.wait().unwrap();
    ended
}

/// Returns the name that a vault records for this host.
fn strongroom_host() -> String {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let error = assert_refused(scene.open("b"), ErrorKind::Locked);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    source.holder.clone().unwrap().process.host
}

#[test]
fn content_of_a_dead_process_is_free_to_its_host_only() {
    let dead = ended_process();
    for (process, is_local) in [
        (dead.clone(), true),
        (ProcessIdentity { host: "elsewhere".into(), ..dead.clone() }, false),
        (ProcessIdentity { boot_id: "before the reboot".into(), ..dead.clone() }, false),
        (ProcessIdentity { pid_namespace: "a container's".into(), ..dead }, false),
    ] {
        let (scene, state) = (Scene::new(), MemoryState::new());
        let store = scene.store();
        let options = || scene.options_on(&store);
        let created = options().create_on(state.clone(), Arc::clone(&store)).unwrap();
        created.close().unwrap();
        let died = options().process(process).open_on(state.clone(), Arc::clone(&store)).unwrap();
        insert(&died, "k").unwrap();
        // A dead process does not close its vault.
        std::mem::forget(died);
        let opened = options().open_on(state.clone(), Arc::clone(&store));
        if is_local {
            let vault = opened.unwrap();
            assert_eq!(vault.recovery().taken_over, None, "no take-over from a dead process");
            assert_eq!(vault.read().unwrap().count("records").unwrap(), 1);
        } else {
            assert_refused(opened, ErrorKind::Locked);
            let taken = options().take_over(true).open_on(state, Arc::clone(&store)).unwrap();
            assert!(taken.recovery().taken_over.is_some());
        }
    }
}

#[test]
fn copy_of_an_open_vault_is_refused_after_close_or_death() {
    let dead = ended_process();
    for is_closed in [true, false] {
        let scene = Scene::new();
        let options = scene.options();
        let options = if is_closed { options } else { options.process(dead.clone()) };
        let vault = options.open(scene.folder("a")).unwrap();
        scene.copy("a", "b");
        let uri = put(&vault, "after the copy", &noise(600_000, 1));
        if is_closed {
            vault.close().unwrap();
            assert_refused(scene.open("b"), ErrorKind::Denied);
            assert!(scene.open("a").unwrap().artifacts().read(&uri).is_ok());
        } else {
            // The process is dead, but it had another folder.
            std::mem::forget(vault);
            assert_refused(scene.open("b"), ErrorKind::Locked);
        }
    }
}

#[test]
fn session_end_missing_in_the_store_does_not_lock_the_state() {
    let scene = Scene::new();
    let store = Arc::new(FaultyBackend::new(scene.store()));
    let shared: Arc<dyn Backend> = store.clone();
    let vault = scene.options_on(&shared).open(scene.folder("a")).unwrap();
    insert(&vault, "k").unwrap();
    store.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
    vault.close().unwrap();
    // The close did not reach the store, but the state records the end of the session.
    assert!(scene.open("a").unwrap().recovery().taken_over.is_none());
    drop(scene.open("a").unwrap());
    scene.open("a").unwrap().close().unwrap();
}

#[test]
fn failed_acquisition_leaves_the_vault_openable() {
    for fault in
        [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Unavailable)]
    {
        for nth in 1..=6 {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let opened = scene.options_on(&shared).open(scene.folder("a"));
            if let Ok(vault) = opened {
                insert(&vault, "k").unwrap();
                vault.close().unwrap();
            }
            let vault = scene.open("a").unwrap();
            assert_eq!(vault.recovery().taken_over, None, "{nth}");
            insert(&vault, "again").unwrap();
        }
    }
}

#[test]
fn creation_with_a_failed_acquisition_can_be_repeated() {
    for nth in 1..=3 {
        for fault in
            [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Denied)]
        {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let created = scene.options_on(&shared).create(scene.folder("new"));
            match created {
                Ok(vault) => vault.close().unwrap(),
                Err(_) if !fs::exists(scene.folder("new").join("state.redb")).unwrap() => {
                    scene.options().create(scene.folder("new")).unwrap().close().unwrap();
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::Uncertain, "{e}"),
            }
            insert(&scene.open("new").unwrap(), "k").unwrap();
        }
    }
}

#[test]
fn session_of_another_state_is_not_waited_for() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let patient = LockPolicy { timeout: Duration::from_secs(3_600), ..LockPolicy::default() };
    let opened = scene.options().lock_policy(patient).open(scene.folder("b"));
    assert_refused(opened, ErrorKind::Locked);
    assert!(scene.clock.sleeps().is_empty(), "a wait is useless: the content stays another's");
}

/// A store that delays puts to refs until their release.
#[derive(Debug)]
struct LateRefs {
    store: Arc<dyn Backend>,
    is_delaying: AtomicBool,
    delayed: Mutex<Vec<(Key, Bytes, Condition)>>,
}

impl LateRefs {
    fn release(&self) {
        self.is_delaying.store(false, Ordering::Release);
        for (key, body, condition) in self.delayed.lock().drain(..) {
            let _ = self.store.put(&key, body, &condition);
        }
    }
}

impl Layer for LateRefs {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        if key.as_str().starts_with("refs/") && self.is_delaying.load(Ordering::Acquire) {
            self.delayed.lock().push((key.clone(), body, condition.clone()));
            return Err(Error::new(ErrorKind::Uncertain, "put object"));
        }
        self.store.put(key, body, condition)
    }
}

impl_backend!(LateRefs);

#[test]
fn acquisitions_that_take_effect_late_keep_the_owner() {
    for opens in 1..=3 {
        let scene = Scene::new();
        let late = Arc::new(LateRefs {
            store: scene.store(),
            is_delaying: AtomicBool::new(true),
            delayed: Mutex::default(),
        });
        let shared: Arc<dyn Backend> = late.clone();
        for _ in 0..opens {
            let uncertain = scene.options_on(&shared).open(scene.folder("a"));
            assert_eq!(uncertain.unwrap_err().kind(), ErrorKind::Uncertain);
        }
        late.release();
        let vault = scene.open("a").unwrap();
        assert_eq!(vault.recovery().taken_over, None);
        insert(&vault, "k").unwrap();
    }
}
