//! Adding, replacing, rewrapping and deleting keys.

use std::thread;
use std::time::Duration;

use strongroom::backends::Memory;
use strongroom::backends::component::Clock;
use strongroom::keys::{KEY_LABEL_BYTES_MAX, KEYS_MAX, KeyId, KeyInfo, NewKey};
use strongroom::storage::MemoryState;
use strongroom::{Error, ErrorKind, Reason, Result, Vault};

use crate::forge::HEADER;
use crate::scene::{FIRST, Scene, Secret, add, assert_filled, generation, ids};
use crate::support::clock::SharedClock;
use crate::support::records::{assert_error, put};

const OLD: Secret = Secret::Password("old");
const NEW: Secret = Secret::Password("new");

/// Returns the id and the label of each key.
fn labels(vault: &Vault) -> Vec<(u32, String)> {
    vault.keys().list().into_iter().map(|key| (key.id.0, key.label)).collect()
}

fn reopened(scene: &Scene, vault: Vault, secret: Secret) -> Vault {
    let before = (vault.keys().list(), generation(&vault));
    vault.close().unwrap();
    let vault = scene.open(secret).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    assert_eq!((vault.keys().list(), generation(&vault)), before);
    vault
}

#[test]
fn changes_of_keys_persist() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    assert_eq!((labels(&vault), generation(&vault)), (vec![(1, String::new())], 1));

    let work = vault.keys().add(&NewKey::new(&OLD).label("work")).unwrap();
    let spare = vault.keys().add(&NewKey::new(&Secret::Key(3)).label("spare")).unwrap();
    assert_eq!((work, spare), (KeyId(2), KeyId(3)));
    let all = [(1, ""), (2, "work"), (3, "spare")].map(|(id, label)| (id, label.to_owned()));
    assert_eq!((labels(&vault), generation(&vault)), (all.to_vec(), 3));
    let vault = reopened(&scene, vault, OLD);

    vault.keys().replace(work, &NEW).unwrap();
    assert_eq!((labels(&vault), generation(&vault)), (all.to_vec(), 4));
    let vault = reopened(&scene, vault, NEW);

    vault.keys().delete(KeyId(1)).unwrap();
    assert_eq!((labels(&vault), generation(&vault)), (all[1..].to_vec(), 5));
    let vault = reopened(&scene, vault, NEW);
    assert_filled(&vault);
    vault.close().unwrap();
    let tried = [FIRST, OLD, NEW, Secret::Key(3)];
    assert_eq!(scene.openers(&tried), [NEW, Secret::Key(3)]);
}

#[test]
fn key_ids_are_never_reused() {
    let scene = Scene::with_vault(&[FIRST]);
    let mut vault = scene.open(FIRST).unwrap();
    for id in 2..12 {
        assert_eq!(add(&vault, OLD), KeyId(id));
        vault.keys().delete(KeyId(id)).unwrap();
        vault = reopened(&scene, vault, FIRST);
        assert_eq!(ids(&vault), [1]);
    }
    vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
    assert_eq!(ids(&vault), [12], "a rotation uses a new id too");
}

#[test]
fn ninth_key_is_full() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let most = u8::try_from(KEYS_MAX).unwrap();
    for number in 2..=most {
        add(&vault, Secret::Key(number));
    }
    let (keys, generation_before) = (vault.keys().list(), generation(&vault));
    let ninth = Secret::Key(most + 1);
    let outcome = scene.unchanged(|| vault.keys().add(&NewKey::new(&ninth)));
    assert_error(outcome, ErrorKind::Full, "8 keys already");
    assert_eq!((vault.keys().list(), generation(&vault)), (keys, generation_before));
    // Replacing a key needs no free unlock slot.
    vault.keys().replace(KeyId(4), &ninth).unwrap();
    vault.keys().delete(KeyId(5)).unwrap();
    assert_eq!(add(&vault, Secret::Key(4)), KeyId(9));
    vault.close().unwrap();
    let tried: Vec<_> = (1..=most + 1).map(Secret::Key).collect();
    let expected: Vec<_> = tried.iter().copied().filter(|key| *key != Secret::Key(5)).collect();
    assert_eq!(scene.openers(&tried), expected);
}

#[test]
fn same_key_twice_already_exists() {
    let scene = Scene::with_vault(&[FIRST, OLD]);
    let vault = scene.open(FIRST).unwrap();
    scene.unchanged(|| {
        for (twice, id) in [(FIRST, "1"), (OLD, "2")] {
            let outcome = vault.keys().add(&NewKey::new(&twice));
            assert_error(outcome, ErrorKind::AlreadyExists, &format!("as key: {id}"));
        }
        let outcome = vault.keys().replace(KeyId(1), &OLD);
        assert_error(outcome, ErrorKind::AlreadyExists, "as key: 2");
        let twice = [NewKey::new(&NEW), NewKey::new(&FIRST), NewKey::new(&NEW)];
        assert_error(vault.keys().rotate(&twice), ErrorKind::AlreadyExists, "");
    });
    // A key may replace itself.
    vault.keys().replace(KeyId(2), &OLD).unwrap();
    assert_eq!(ids(&vault), [1, 2]);
}

#[test]
fn last_key_is_invalid_to_delete_and_unknown_is_not_found() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    scene.unchanged(|| {
        let last = assert_error(vault.keys().delete(KeyId(1)), ErrorKind::Invalid, "the last key");
        assert_eq!(last.reason(), Some(Reason::LastKey));
        for unknown in [KeyId(0), KeyId(2), KeyId(u32::MAX)] {
            assert_error(vault.keys().delete(unknown), ErrorKind::NotFound, "no such key");
            assert_error(vault.keys().replace(unknown, &NEW), ErrorKind::NotFound, "no such key");
        }
        let denied = assert_error(vault.keys().rewrap(&NEW), ErrorKind::Denied, "");
        assert_eq!(denied.reason(), Some(Reason::WrongCredentials));
        assert_error(vault.keys().rotate(&[]), ErrorKind::Invalid, "no key is given");
    });
    assert_eq!((ids(&vault), generation(&vault)), (vec![1], 1));
}

#[test]
fn labels_are_one_line_of_at_most_48_bytes() {
    let scene = Scene::with_vault(&[FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let longest = "é".repeat(KEY_LABEL_BYTES_MAX / 2);
    let too_long = format!("{longest}x");
    scene.unchanged(|| {
        let bad = [
            (&too_long[..], "49 bytes, the limit is 48"),
            ("two\nlines", "control"),
            ("tab\t", "control"),
            ("nul\0", "control"),
            ("bell\u{7}", "control"),
            ("next line\u{85}", "control"),
        ];
        for (label, expected) in bad {
            let labelled = [NewKey::new(&NEW).label(label)];
            assert_error(vault.keys().add(&labelled[0]), ErrorKind::Invalid, expected);
            assert_error(vault.keys().rotate(&labelled), ErrorKind::Invalid, expected);
        }
    });
    vault.keys().add(&NewKey::new(&NEW).label(&longest)).unwrap();
    let vault = reopened(&scene, vault, NEW);
    assert_eq!(labels(&vault)[1], (2, longest.clone()));
    // Labels are sealed: no file contains the plain text.
    for (path, bytes) in scene.files() {
        let contains = bytes.is_some_and(|b| b.windows(8).any(|w| w == &longest.as_bytes()[..8]));
        assert!(!contains, "{}", path.display());
    }
    vault.keys().rotate(&[NewKey::new(&NEW).label("again")]).unwrap();
    assert_eq!(labels(&vault), [(3, "again".to_owned())]);
}

#[test]
fn key_info_has_time_of_add_rewrap_and_replace() {
    let scene = Scene::new();
    let clock = SharedClock::default();
    let vault = scene.options(FIRST).clock(clock.clone()).create("/vault").unwrap();
    let start = clock.unix_millis();
    let later = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        clock.unix_millis()
    };
    let created = |vault: &Vault| -> Vec<u64> {
        vault.keys().list().iter().map(|key: &KeyInfo| key.created_unix_millis).collect()
    };
    assert_eq!(created(&vault), [start]);
    let added = later(10);
    add(&vault, OLD);
    assert_eq!(created(&vault), [start, added]);
    let wrapped = later(10);
    assert_eq!(vault.keys().rewrap(&FIRST).unwrap(), KeyId(1));
    assert_eq!(created(&vault), [wrapped, added]);
    let replaced = later(10);
    vault.keys().replace(KeyId(2), &NEW).unwrap();
    assert_eq!(created(&vault), [wrapped, replaced]);
}

#[test]
fn deleted_password_opens_nothing_after_header_damage() {
    let removed = |vault: &Vault| vault.keys().delete(KeyId(2)).unwrap();
    let replaced = |vault: &Vault| vault.keys().replace(KeyId(2), &NEW).unwrap();
    let changes: [&dyn Fn(&Vault); 2] = [&removed, &replaced];
    for change in changes {
        let scene = Scene::with_vault(&[FIRST, OLD]);
        let copy_before = scene.key_copy();
        let vault = scene.open(FIRST).unwrap();
        change(&vault);
        put(&vault, "after", "1");
        // Checks the disk both while the vault is open and after the close.
        let states = [scene.duplicate(), {
            vault.close().unwrap();
            scene
        }];
        for scene in states {
            let good = scene.state();
            assert!(good[..HEADER] == good[HEADER..2 * HEADER]);
            assert!(scene.key_copy() == good[..HEADER], "the copy has the new generation");
            assert!(scene.key_copy() != copy_before);
            for damaged in [None, Some(2000), Some(HEADER + 2000), Some(0), Some(HEADER)] {
                let mut state = good.clone();
                if let Some(at) = damaged {
                    state[at] ^= 0x40;
                }
                scene.set_state(&state);
                let outcome = scene.unchanged(|| scene.open(OLD));
                assert_error(outcome, ErrorKind::Denied, "");
                let vault = scene.open(FIRST).unwrap();
                let recovery = vault.recovery();
                assert_eq!(recovery.header_repaired, damaged.is_some(), "{recovery:?}");
                assert!(!recovery.key_copy_written, "{recovery:?}");
                assert_filled(&vault);
                vault.close().unwrap();
                assert!(scene.state()[..2 * HEADER] == good[..2 * HEADER]);
                assert_error(scene.open(OLD), ErrorKind::Denied, "");
            }
        }
    }
}

#[test]
fn add_from_several_threads_returns_distinct_ids() {
    const THREADS: u8 = 6;
    const ROUNDS: u32 = 300;
    let vault = Vault::options(FIRST).create_on(MemoryState::new(), Memory::new()).unwrap();
    thread::scope(|scope| {
        for number in 2..2 + THREADS {
            let (vault, secret) = (&vault, Secret::Key(number));
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let returned = add(vault, secret);
                    let id = vault.keys().find(&secret).unwrap();
                    assert_eq!(returned, id, "round {round}, {secret:?}");
                    vault.keys().delete(id).unwrap();
                }
            });
        }
    });
    assert_eq!(ids(&vault), [1]);
}

#[test]
fn changes_inside_a_write_or_after_close_are_refused() {
    let scene = Scene::with_vault(&[FIRST, OLD]);
    let vault = scene.open(FIRST).unwrap();
    let id = KeyId(2);
    let try_all = |kind: ErrorKind| {
        assert_error(vault.keys().add(&NewKey::new(&NEW)), kind, "");
        assert_error(vault.keys().replace(id, &NEW), kind, "");
        assert_error(vault.keys().rewrap(&OLD), kind, "");
        assert_error(vault.keys().delete(id), kind, "");
        assert_error(vault.keys().rotate(&[NewKey::new(&NEW)]), kind, "");
        assert_error(vault.compact(), kind, "");
    };
    scene.unchanged(|| {
        let cancelled: Result<()> = vault.write(|_| {
            try_all(ErrorKind::Invalid);
            Err(Error::new(ErrorKind::Cancelled, "test"))
        });
        assert_error(cancelled, ErrorKind::Cancelled, "");
    });
    vault.clone().close().unwrap();
    scene.unchanged(|| try_all(ErrorKind::Closed));
    assert_eq!(ids(&vault), [1, 2], "a closed vault still lists its keys");
    assert_filled(&scene.open(OLD).unwrap());
}
