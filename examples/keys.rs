//! Adds a second key to a vault, then rotates all keys.

use strongroom::keys::NewKey;
use strongroom::{ErrorKind, SecretKey, SecretPassword, Vault};

fn main() -> strongroom::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("vault");
    let password = || SecretPassword::new("correct horse battery staple");
    let backup = || SecretKey::new([7; 32]); // a real key is random
    let vault = Vault::options(password()).create(&folder)?;
    vault.write(|tx| tx.insert("n", "k", "v"))?;
    vault.keys().add(&NewKey::new(&backup()).label("backup"))?;
    vault.close()?;

    let vault = Vault::options(backup()).open(&folder)?;
    assert_eq!(vault.keys().list().len(), 2);
    vault.keys().rotate(&[NewKey::new(&password())])?; // seals the whole state again
    vault.close()?;

    let error = Vault::options(backup()).open(&folder).expect_err("no longer a key");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let vault = Vault::options(password()).open(&folder)?;
    assert_eq!(vault.read()?.count("n")?, 1);
    println!("only the password opens the vault: {error}");
    Ok(())
}
