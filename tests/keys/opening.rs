//! Opening with wrong or invalid secrets: one error for all, and nothing changes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use strongroom::keys::{Cipher, KeyKind, KeySource, NewKey, PasswordCosts, Unlock};
use strongroom::{Error, ErrorKind, Result, SecretPassword, Vault};

use crate::scene::{FIRST, Scene, Secret, assert_filled, fill};
use crate::support::folder::{copy, unchanged};
use crate::support::records::{assert_error, get, put};

const RIGHT: Secret = Secret::Password("correct horse battery staple");
const WRONG: [Secret; 5] = [
    Secret::Password("correct horse battery stapl"),
    Secret::Password("correct horse battery staple "),
    Secret::Password("Correct horse battery staple"),
    Secret::Key(2),
    Secret::Key(0),
];

#[test]
fn wrong_secrets_are_denied_with_one_text_and_no_change() {
    let home = tempfile::tempdir().unwrap();
    let (closed, unclosed) = (home.path().join("closed"), home.path().join("unclosed"));
    let vault = Vault::options(FIRST).cheap_passwords().create(&closed).unwrap();
    fill(&vault);
    vault.keys().add(&NewKey::new(&RIGHT)).unwrap();
    copy(&closed, &unclosed);
    // A rotation whose process died leaves this file.
    fs::write(unclosed.join("state.redb.new"), "half a state").unwrap();
    vault.close().unwrap();
    for path in [closed, unclosed] {
        let mut errors: Vec<String> = WRONG
            .map(|secret| {
                let options = Vault::options(secret).cheap_passwords();
                let outcome = unchanged(&path, || options.open(&path));
                assert_error(outcome, ErrorKind::Denied, "open vault").to_string()
            })
            .into();
        errors.dedup();
        assert_eq!(errors.len(), 1, "{errors:?}");
        for right in [FIRST, RIGHT] {
            assert_filled(&Vault::options(right).cheap_passwords().open(&path).unwrap());
        }
    }
}

#[test]
fn empty_or_too_long_password_is_invalid() {
    let longest: &'static str = "x".repeat(SecretPassword::BYTES_MAX).leak();
    let too_long: &'static str = "x".repeat(SecretPassword::BYTES_MAX + 1).leak();
    let scene = Scene::with_vault(&[FIRST, RIGHT]);
    let vault = scene.open(FIRST).unwrap();
    for (text, expected) in [("", "empty"), (too_long, "1025 bytes, the limit is 1024")] {
        let bad = Secret::Password(text);
        assert_error(vault.keys().add(&NewKey::new(&bad)), ErrorKind::Invalid, expected);
        assert_error(vault.keys().find(&bad), ErrorKind::Invalid, expected);
        assert_error(vault.keys().rewrap(&bad), ErrorKind::Invalid, expected);
        let id = vault.keys().list()[1].id;
        assert_error(vault.keys().replace(id, &bad), ErrorKind::Invalid, expected);
        assert_error(vault.keys().rotate(&[NewKey::new(&bad)]), ErrorKind::Invalid, expected);
    }
    vault.keys().add(&NewKey::new(&Secret::Password(longest))).unwrap();
    vault.close().unwrap();
    for (text, expected) in [("", "empty"), (too_long, "1025 bytes")] {
        let outcome = scene.unchanged(|| scene.open(Secret::Password(text)));
        assert_error(outcome, ErrorKind::Invalid, expected);
        let new = Scene::new();
        let outcome = new.options(Secret::Password(text)).create("/vault");
        assert_error(outcome, ErrorKind::Invalid, expected);
        assert!(new.world.read_file("/vault/state.redb").is_err());
        new.create(FIRST);
    }
    assert_filled(&scene.open(Secret::Password(longest)).unwrap());
    assert_filled(&scene.open(RIGHT).unwrap());
}

#[test]
fn passwords_are_compared_byte_by_byte() {
    // The same letter, composed and decomposed, and with blanks.
    let [composed, decomposed, blank] = ["caf\u{e9}", "cafe\u{301}", " caf\u{e9}"];
    let scene = Scene::new();
    scene.create(Secret::Password(composed)).close().unwrap();
    let tried = [composed, decomposed, blank].map(Secret::Password);
    assert_eq!(scene.openers(&tried), [Secret::Password(composed)]);
}

/// A key source that counts its calls and can fail.
#[derive(Clone, Default)]
struct CountingSource {
    calls: Arc<AtomicU32>,
    fails: bool,
}

impl KeySource for CountingSource {
    fn unlock(&self) -> Result<Unlock> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            return Err(Error::new(ErrorKind::Unavailable, "ask the key service"));
        }
        FIRST.unlock()
    }
}

#[test]
fn key_source_is_called_once_and_its_error_is_returned() {
    let scene = Scene::new();
    let source = CountingSource::default();
    let vault = scene.options(source.clone()).create("/vault").unwrap();
    assert_eq!(source.calls.swap(0, Ordering::Relaxed), 1);
    vault.keys().find(&source).unwrap();
    vault.keys().rewrap(&source).unwrap();
    vault.keys().replace(vault.keys().list()[0].id, &source).unwrap();
    vault.keys().rotate(&[NewKey::new(&source)]).unwrap();
    assert_eq!(source.calls.swap(0, Ordering::Relaxed), 4);
    vault.close().unwrap();
    drop(scene.options(source.clone()).open("/vault").unwrap());
    assert_eq!(source.calls.load(Ordering::Relaxed), 1);

    let failing = CountingSource { fails: true, ..CountingSource::default() };
    let outcome = scene.unchanged(|| scene.options(failing.clone()).open("/vault"));
    assert_error(outcome, ErrorKind::Unavailable, "ask the key service");
    let vault = scene.open(FIRST).unwrap();
    for outcome in [
        vault.keys().find(&failing).map(drop),
        vault.keys().add(&NewKey::new(&failing)).map(drop),
        vault.keys().replace(vault.keys().list()[0].id, &failing),
        vault.keys().rewrap(&failing).map(drop),
        vault.keys().rotate(&[NewKey::new(&FIRST), NewKey::new(&failing)]),
    ] {
        assert_error(outcome, ErrorKind::Unavailable, "ask the key service");
    }
}

#[test]
fn cipher_of_a_vault_never_changes() {
    for cipher in [Cipher::Aes256GcmSiv, Cipher::XChaCha20Poly1305] {
        let other = match cipher {
            Cipher::Aes256GcmSiv => Cipher::XChaCha20Poly1305,
            _ => Cipher::Aes256GcmSiv,
        };
        let scene = Scene::new();
        let vault = scene.options(FIRST).cipher(cipher).create("/vault").unwrap();
        fill(&vault);
        vault.close().unwrap();
        // The option does not affect opening: the header names the cipher.
        let vault = scene.options(FIRST).cipher(other).open("/vault").unwrap();
        assert_eq!(vault.info().unwrap().cipher, cipher);
        vault.keys().rotate(&[NewKey::new(&FIRST)]).unwrap();
        put(&vault, "after", "1");
        vault.close().unwrap();
        let vault = scene.open(FIRST).unwrap();
        assert_eq!(vault.info().unwrap().cipher, cipher);
        assert_eq!(get(&vault, "after").unwrap(), b"1");
        assert_filled(&vault);
    }
}

#[test]
fn list_returns_the_kind_of_each_key() {
    let scene = Scene::with_vault(&[RIGHT, FIRST]);
    let vault = scene.open(FIRST).unwrap();
    let kinds: Vec<_> = vault.keys().list().into_iter().map(|key| key.kind).collect();
    assert_eq!(kinds, [KeyKind::Password(PasswordCosts::FOR_TESTS), KeyKind::Key]);
    assert_eq!(vault.keys().find(&RIGHT).unwrap().0, 1);
    assert_eq!(vault.keys().find(&FIRST).unwrap().0, 2);
    for wrong in WRONG {
        assert_error(
            vault.keys().find(&wrong),
            ErrorKind::Denied,
            "this key does not open the vault",
        );
    }
}
