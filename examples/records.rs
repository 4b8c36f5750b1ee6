//! Writes ordered records in one transaction, and reads a range.

use strongroom::{SecretPassword, Vault};

fn main() -> strongroom::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = SecretPassword::new("correct horse battery staple");
    let vault = Vault::options(password).create(folder.path().join("vault"))?;

    vault.write(|tx| {
        tx.insert("people", "ada", "born 1815")?;
        tx.insert("people", "alan", "born 1912")?;
        tx.insert("people", "grace", "born 1906")
    })?; // all three are durable now

    // A snapshot never changes, and takes no lock.
    let snapshot = vault.read()?;
    vault.write(|tx| tx.delete("people", "ada"))?;
    let ada = snapshot.get("people", "ada")?.expect("in this snapshot").bytes()?;
    assert_eq!(ada, "born 1815");
    let keys: Vec<_> = snapshot
        .prefix("people", "a")?
        .map(|record| record.map(|record| record.key().to_vec()))
        .collect::<strongroom::Result<_>>()?;
    assert_eq!(keys, [b"ada".to_vec(), b"alan".to_vec()]);
    println!(
        "{} keys begin with a; {} people are left",
        keys.len(),
        vault.read()?.count("people")?
    );
    Ok(())
}
