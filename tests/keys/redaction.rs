//! Debug output and errors, which must contain no secret.

use std::error::Error as _;
use std::fmt::Debug;

use strongroom::keys::{KeyId, KeySource, NewKey, Unlock};
use strongroom::{Error, Result, SecretKey, SecretPassword, Vault};

use crate::scene::{FIRST, Scene};

/// A key made of the marker "MARK".
///
/// `TRACES` has the marker as text and as numbers.
const KEY: [u8; 32] = *b"MARKMARKMARKMARKMARKMARKMARKMARK";
const PASSWORD: &str = "MARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARKMARK";
const TRACES: [&str; 5] = ["MARK", "77, 65", "4d41", "4D41", "0x4d"];

#[track_caller]
fn assert_no_trace(text: &str) {
    // The alternate form prints one number a line.
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for trace in TRACES {
        assert!(!line.contains(trace), "{trace}: {text}");
    }
}

#[track_caller]
fn assert_debug_has_no_trace(value: &dyn Debug) {
    assert_no_trace(&format!("{value:?}"));
    assert_no_trace(&format!("{value:#?}"));
}

#[track_caller]
fn assert_error_has_no_trace<T>(outcome: Result<T>) {
    let error: Error = outcome.map(drop).unwrap_err();
    assert_debug_has_no_trace(&error);
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        assert_no_trace(&error.to_string());
        assert_debug_has_no_trace(&error);
        cause = error.source();
    }
    let _ = error.source();
}

/// Returns one secret of each kind.
fn secrets() -> [Box<dyn KeySource>; 2] {
    [Box::new(SecretKey::new(KEY)), Box::new(SecretPassword::new(PASSWORD))]
}

#[test]
fn printed_marker_is_found() {
    let printed = [
        format!("{KEY:?}"),
        format!("{KEY:#?}"),
        format!("{PASSWORD:?}"),
        format!("{:?}", PASSWORD.as_bytes()),
        format!("{KEY:x?}").replace(", ", ""),
    ];
    for text in printed {
        let found = std::panic::catch_unwind(|| assert_no_trace(&text));
        assert!(found.is_err(), "{text}");
    }
}

#[test]
fn debug_of_secrets_is_redacted() {
    assert_eq!(format!("{:?}", SecretKey::new(KEY)), "SecretKey(..)");
    assert_eq!(format!("{:?}", SecretPassword::new(PASSWORD)), "SecretPassword(..)");
    assert_debug_has_no_trace(&SecretKey::new(KEY));
    assert_debug_has_no_trace(&SecretPassword::new(PASSWORD));
    for secret in secrets() {
        let unlock: Unlock = secret.unlock().unwrap();
        assert_debug_has_no_trace(&unlock);
        assert_debug_has_no_trace(&NewKey::new(&*secret).label("work"));
    }
}

#[test]
fn debug_of_vaults_options_and_keys_is_redacted() {
    let scene = Scene::new();
    let options = scene.options(SecretPassword::new(PASSWORD));
    assert_debug_has_no_trace(&options);
    assert_debug_has_no_trace(&scene.options(SecretKey::new(KEY)));
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
        assert_debug_has_no_trace(value);
    }
}

#[test]
fn errors_contain_no_secret() {
    let scene = Scene::new();
    let vault = scene.create(FIRST);
    let long: String = PASSWORD.repeat(20);
    for secret in secrets() {
        assert_error_has_no_trace(vault.keys().find(&*secret));
        assert_error_has_no_trace(vault.keys().rewrap(&*secret));
        assert_error_has_no_trace(vault.keys().replace(KeyId(9), &*secret));
        assert_error_has_no_trace(
            vault.keys().rotate(&[NewKey::new(&*secret), NewKey::new(&*secret)]),
        );
        vault.keys().add(&NewKey::new(&*secret)).unwrap();
        assert_error_has_no_trace(vault.keys().add(&NewKey::new(&*secret)));
    }
    assert_error_has_no_trace(vault.keys().find(&SecretPassword::new(long.clone())));
    vault.close().unwrap();
    assert_error_has_no_trace(scene.options(SecretPassword::new(long)).open("/vault"));
    let wrong = [SecretPassword::new(format!("{PASSWORD}!"))];
    for secret in wrong {
        assert_error_has_no_trace(scene.options(secret).open("/vault"));
    }
    let other = SecretKey::new(KEY.map(|byte| byte ^ (byte & 1)));
    assert_error_has_no_trace(scene.options(other).open("/vault"));
    let memory_vault = Vault::options(SecretPassword::new(PASSWORD));
    assert_error_has_no_trace(memory_vault.open("/no/such/folder"));
}
