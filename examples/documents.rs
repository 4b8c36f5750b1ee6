//! Keeps two JSON documents in a space, with separate keys.

use strongroom::documents::SpaceOptions;
use strongroom::{ErrorKind, SecretPassword, Vault};

fn main() -> strongroom::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = SecretPassword::new("correct horse battery staple");
    let vault = Vault::options(password).create(folder.path().join("vault"))?;
    let space = vault.documents().create_space(&SpaceOptions::default())?;

    let (word_a, word_b) = (SecretPassword::new("of A"), SecretPassword::new("of B"));
    let key_a = space.add_partition(&word_a, &[])?; // keep `key_a.to_text()`
    let key_b = space.add_partition(&word_b, &[&key_a])?; // names A, to preserve it
    space.partition(&key_a, &word_a)?.write(r#"{"name": "Ada"}"#)?;
    space.partition(&key_b, &word_b)?.write(r#"{"name": "Bob"}"#)?;

    let ada = space.partition(&key_a, &word_a)?.read()?;
    assert_eq!(ada.text(), r#"{"name": "Ada"}"#);
    let error = space.partition(&key_a, &word_b).expect_err("the password of B");
    assert_eq!(error.kind(), ErrorKind::Denied);
    println!("A: {}; with the password of B: {error}", ada.text());
    Ok(())
}
