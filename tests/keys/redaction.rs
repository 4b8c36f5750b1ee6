//! What is printed of a secret: nothing, wherever it was handed in.

use std::error::Error as _;
use std::fmt::Debug;

use strongroom::keys::{KeyId, KeySource, NewKey, Unlock};
use strongroom::{Error, Result, SecretKey, SecretPassword, Vault};

use crate::scene::{FIRST, Scene};

/// Both are found by these four letters, as text or as numbers.
const KEY: [u8; 32] = *b"MARKMARKMARKMARKMARKMARKMARKMARK";
const PASSWORD: &str = "MARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARK";
const TRACES: [&str; 5] = ["MARK", "77, 65", "4d41", "4D41", "0x4d"];

#[track_caller]
fn assert_tells_nothing(text: &str) {
    // Over several lines numbers are one a line.
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for trace in TRACES {
        assert!(!line.contains(trace), "{trace}: {text}");
    }
}

#[track_caller]
fn assert_shows_nothing(value: &dyn Debug) {
    assert_tells_nothing(&format!("{value:?}"));
    assert_tells_nothing(&format!("{value:#?}"));
}

#[track_caller]
fn assert_error_tells_nothing<T>(outcome: Result<T>) {
    let error: Error = outcome.map(drop).unwrap_err();
    assert_shows_nothing(&error);
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        assert_tells_nothing(&error.to_string());
        assert_shows_nothing(&error);
        cause = error.source();
    }
    let _ = error.source();
}

/// Either kind of secret, as its own type.
fn secrets() -> [Box<dyn KeySource>; 2] {
    [Box::new(SecretKey::new(KEY)), Box::new(SecretPassword::new(PASSWORD))]
}

#[test]
fn the_marks_are_found_where_they_are_printed() {
    let printed = [
        format!("{KEY:?}"),
        format!("{KEY:#?}"),
        format!("{PASSWORD:?}"),
        format!("{:?}", PASSWORD.as_bytes()),
        format!("{KEY:x?}").replace(", ", ""),
    ];
    for text in printed {
        let found = std::panic::catch_unwind(|| assert_tells_nothing(&text));
        assert!(found.is_err(), "{text}");
    }
}

#[test]
fn secrets_print_as_nothing() {
    assert_eq!(format!("{:?}", SecretKey::new(KEY)), "SecretKey(..)");
    assert_eq!(format!("{:?}", SecretPassword::new(PASSWORD)), "SecretPassword(..)");
    assert_shows_nothing(&SecretKey::new(KEY));
    assert_shows_nothing(&SecretPassword::new(PASSWORD));
    for secret in secrets() {
        let unlock: Unlock = secret.unlock().unwrap();
        assert_shows_nothing(&unlock);
        assert_shows_nothing(&NewKey::new(&*secret).label("work"));
    }
}

#[test]
fn vaults_options_and_keys_print_no_secret() {
    let scene = Scene::new();
    let options = scene.options(SecretPassword::new(PASSWORD));
    assert_shows_nothing(&options);
    assert_shows_nothing(&scene.options(SecretKey::new(KEY)));
    let vault = options.create("/vault").unwrap();
    vault.keys().add(&NewKey::new(&SecretKey::new(KEY)).label("work")).unwrap();
    let shown: [&dyn Debug; 5] = [
        &vault,
        &vault.keys().list(),
        &vault.recovery(),
        &vault.info().unwrap(),
        &vault.read().unwrap(),
    ];
    for value in shown {
        assert_shows_nothing(value);
    }
}

#[test]
fn errors_tell_no_secret() {
    let scene = Scene::new();
    let vault = scene.create(FIRST);
    let long: String = PASSWORD.repeat(20);
    for secret in secrets() {
        assert_error_tells_nothing(vault.keys().find(&*secret));
        assert_error_tells_nothing(vault.keys().rewrap(&*secret));
        assert_error_tells_nothing(vault.keys().replace(KeyId(9), &*secret));
        assert_error_tells_nothing(
            vault.keys().rotate(&[NewKey::new(&*secret), NewKey::new(&*secret)]),
        );
        vault.keys().add(&NewKey::new(&*secret)).unwrap();
        assert_error_tells_nothing(vault.keys().add(&NewKey::new(&*secret)));
    }
    assert_error_tells_nothing(vault.keys().find(&SecretPassword::new(long.clone())));
    vault.close().unwrap();
    assert_error_tells_nothing(scene.options(SecretPassword::new(long)).open("/vault"));
    let wrong = [SecretPassword::new(format!("{PASSWORD}!"))];
    for secret in wrong {
        assert_error_tells_nothing(scene.options(secret).open("/vault"));
    }
    let other = SecretKey::new(KEY.map(|byte| byte ^ (byte & 1)));
    assert_error_tells_nothing(scene.options(other).open("/vault"));
    let memory_vault = Vault::options(SecretPassword::new(PASSWORD));
    assert_error_tells_nothing(memory_vault.open("/no/such/folder"));
}
