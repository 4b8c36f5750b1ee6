//! Resumes an interrupted job at its last checkpoint.

use strongroom::operations::{Checkpoint, OperationState};
use strongroom::{Batch, Result, SecretPassword, Vault};

/// Imports at most `most` of 100 items. Each item and its checkpoint are one commit.
fn import(vault: &Vault, most: u32) -> Result<u32> {
    let operation = vault.operations().begin_or_resume("import-7", ["main"])?;
    let lane = operation.lane("main")?;
    let done: u32 = lane.status()?.decode()?.unwrap_or(0);
    for item in (done..100).take(most as usize) {
        let mut batch = Batch::new();
        batch.insert("items", item.to_be_bytes(), format!("item {item}"));
        lane.commit(batch, Checkpoint::encode(&(item + 1))?)?;
    }
    if most >= 100 - done {
        lane.complete()?;
        operation.complete()?;
    }
    Ok(done)
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("vault");
    let password = || SecretPassword::new("correct horse battery staple");
    let vault = Vault::options(password()).create(&folder)?;
    assert_eq!(import(&vault, 40)?, 0);
    drop(vault); // as if the process had died here

    let vault = Vault::options(password()).open(&folder)?;
    assert_eq!(import(&vault, 100)?, 40);
    let state = vault.read()?.operation("import-7")?.expect("it exists").state;
    assert_eq!((state, vault.read()?.count("items")?), (OperationState::Completed, 100));
    println!("resumed at item 40, completed at 100");
    Ok(())
}
