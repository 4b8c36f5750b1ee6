//! Checks a vault with all its content, and shrinks its state file.

use strongroom::check::{CheckOptions, ReadData};
use strongroom::{Batch, SecretPassword, Vault};

fn main() -> strongroom::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = SecretPassword::new("correct horse battery staple");
    let vault = Vault::options(password).create(folder.path().join("vault"))?;
    let mut batch = Batch::new();
    for item in 0..20_000_u32 {
        batch.insert("items", item.to_be_bytes(), [7; 200]);
    }
    vault.apply(batch)?;
    let image = vault.stage(&vec![1; 300_000][..])?; // a long value, in chunks
    vault.write(|tx| tx.insert("files", "image", image))?;
    vault.write(|tx| {
        (0..19_000_u32).try_for_each(|i| tx.delete("items", i.to_be_bytes()).map(drop))
    })?;

    let report = vault.check(&CheckOptions::new().read_data(ReadData::All))?;
    assert!(report.is_ok() && report.records == 1_001, "{report:?}");
    let (before, after) = (vault.info()?.state_bytes, vault.compact()?.bytes_after);
    assert!(after < before);
    println!("{} records are sound; the state has {after} bytes, {before} before", report.records);
    vault.close()
}
