//! Who gets in: copies, states of processes that died, and claims that fail on their way.

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

use super::{Scene, insert, refused};
use crate::scene::{noise, put};

/// A process of this host that has ended.
fn ended_process() -> ProcessIdentity {
    let mut child = Command::new("true").spawn().unwrap();
    let host = strongroom_host();
    let ended = ProcessIdentity { pid: child.id(), ..ProcessIdentity::of_this_process(host) };
    child.wait().unwrap();
    ended
}

/// What a vault calls this host.
fn strongroom_host() -> String {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let error = refused(scene.open("b"), ErrorKind::Locked);
    let told = std::error::Error::source(&error).unwrap().downcast_ref::<LockRefused>().unwrap();
    told.holder.clone().unwrap().process.host
}

#[test]
fn content_of_a_process_that_died_passes_on_beside_it_and_is_locked_elsewhere() {
    let dead = ended_process();
    for (process, is_beside) in [
        (dead.clone(), true),
        (ProcessIdentity { host: "elsewhere".into(), ..dead.clone() }, false),
        (ProcessIdentity { boot_id: "before the reboot".into(), ..dead.clone() }, false),
        (ProcessIdentity { pid_namespace: "a container's".into(), ..dead }, false),
    ] {
        let (scene, state) = (Scene::new(), MemoryState::new());
        let store = scene.store();
        let options = || scene.on(&store);
        let created = options().create_on(state.clone(), Arc::clone(&store)).unwrap();
        created.close().unwrap();
        let died = options().process(process).open_on(state.clone(), Arc::clone(&store)).unwrap();
        insert(&died, "k").unwrap();
        // It does not close.
        std::mem::forget(died);
        let opened = options().open_on(state.clone(), Arc::clone(&store));
        if is_beside {
            let vault = opened.unwrap();
            assert_eq!(vault.recovery().taken_over, None, "nothing is taken from the dead");
            assert_eq!(vault.read().unwrap().count("records").unwrap(), 1);
        } else {
            refused(opened, ErrorKind::Locked);
            let taken = options().take_over(true).open_on(state, Arc::clone(&store)).unwrap();
            assert!(taken.recovery().taken_over.is_some());
        }
    }
}

#[test]
fn a_copy_that_was_made_of_an_open_vault_is_kept_out_however_that_ends() {
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
            refused(scene.open("b"), ErrorKind::Denied);
            assert!(scene.open("a").unwrap().artifacts().read(&uri).is_ok());
        } else {
            // Its process is gone, and this is not the folder that it had.
            std::mem::forget(vault);
            refused(scene.open("b"), ErrorKind::Locked);
        }
    }
}

#[test]
fn a_session_that_the_store_was_not_told_the_end_of_locks_nobody_out() {
    let scene = Scene::new();
    let store = Arc::new(FaultyBackend::new(scene.store()));
    let shared: Arc<dyn Backend> = store.clone();
    let vault = scene.on(&shared).open(scene.folder("a")).unwrap();
    insert(&vault, "k").unwrap();
    store.fail_from(1, BackendFault::before(ErrorKind::Unavailable));
    vault.close().unwrap();
    // The store was not told; the state knows that the session has ended.
    assert!(scene.open("a").unwrap().recovery().taken_over.is_none());
    drop(scene.open("a").unwrap());
    scene.open("a").unwrap().close().unwrap();
}

#[test]
fn a_claim_whose_answer_is_lost_or_that_is_cut_short_leaves_the_vault_to_be_opened() {
    for fault in
        [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Unavailable)]
    {
        for nth in 1..=6 {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let opened = scene.on(&shared).open(scene.folder("a"));
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
fn a_creation_whose_claim_fails_leaves_a_folder_to_create_a_vault_in() {
    for nth in 1..=3 {
        for fault in
            [BackendFault::after(ErrorKind::Uncertain), BackendFault::before(ErrorKind::Denied)]
        {
            let scene = Scene::new();
            let store = Arc::new(FaultyBackend::new(scene.store()));
            store.fail_at(nth, fault);
            let shared: Arc<dyn Backend> = store.clone();
            let created = scene.on(&shared).create(scene.folder("new"));
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
fn a_session_that_this_state_does_not_know_is_not_waited_for() {
    let scene = Scene::new();
    scene.copy("a", "b");
    let _held = scene.open("a").unwrap();
    let patient = LockPolicy { timeout: Duration::from_secs(3_600), ..LockPolicy::default() };
    let opened = scene.options().lock_policy(patient).open(scene.folder("b"));
    refused(opened, ErrorKind::Locked);
    assert!(scene.clock.sleeps().is_empty(), "it would be another's also once it had closed");
}

/// A store whose puts to refs are held back while it is told to, and happen when they are let go.
#[derive(Debug)]
struct LateRefs {
    store: Arc<dyn Backend>,
    holding: AtomicBool,
    held: Mutex<Vec<(Key, Bytes, Condition)>>,
}

impl LateRefs {
    fn let_go(&self) {
        self.holding.store(false, Ordering::Release);
        for (key, body, condition) in self.held.lock().drain(..) {
            let _ = self.store.put(&key, body, &condition);
        }
    }
}

impl Layer for LateRefs {
    fn inner(&self) -> &dyn Backend {
        &*self.store
    }

    fn put(&self, key: &Key, body: Bytes, condition: &Condition) -> Result<Version> {
        if key.as_str().starts_with("refs/") && self.holding.load(Ordering::Acquire) {
            self.held.lock().push((key.clone(), body, condition.clone()));
            return Err(Error::new(ErrorKind::Uncertain, "put object"));
        }
        self.store.put(key, body, condition)
    }
}

impl_backend!(LateRefs);

#[test]
fn claims_that_land_after_later_opens_keep_the_state_in() {
    for opens in 1..=3 {
        let scene = Scene::new();
        let late = Arc::new(LateRefs {
            store: scene.store(),
            holding: AtomicBool::new(true),
            held: Mutex::default(),
        });
        let shared: Arc<dyn Backend> = late.clone();
        for _ in 0..opens {
            let unsure = scene.on(&shared).open(scene.folder("a"));
            assert_eq!(unsure.unwrap_err().kind(), ErrorKind::Uncertain);
        }
        late.let_go();
        let vault = scene.open("a").unwrap();
        assert_eq!(vault.recovery().taken_over, None);
        insert(&vault, "k").unwrap();
    }
}
