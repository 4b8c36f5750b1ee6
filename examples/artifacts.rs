//! Stores a file's versions, finds one by tag, and frees space.

use std::io::Read;

use strongroom::artifacts::{ArtifactName, ArtifactQuery, ArtifactSpec};
use strongroom::content::GcOptions;
use strongroom::{SecretPassword, Vault};

fn main() -> strongroom::Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = SecretPassword::new("correct horse battery staple");
    let vault = Vault::options(password).create(folder.path().join("vault"))?;
    let artifacts = vault.artifacts();

    let name = ArtifactName::new("site", "build-1", "log")?;
    let first = ArtifactSpec::new(name.clone()).tag("nightly");
    let first = artifacts.put(first, &b"12 tests passed"[..])?;
    artifacts.put(ArtifactSpec::new(name.clone()), &b"11 of 12 tests passed"[..])?;

    let mut newest = String::new();
    artifacts.open(&name.newest())?.read_to_string(&mut newest).expect("UTF-8");
    assert_eq!(newest, "11 of 12 tests passed");
    let nightly = artifacts.search(&ArtifactQuery::new().tag("nightly"))?;
    assert_eq!(nightly.versions[0].uri(), &first);

    artifacts.delete(&first)?;
    let freed = vault.gc(&GcOptions::new())?;
    println!("{first} is deleted; gc freed {} bytes", freed.bytes);
    assert!(freed.bytes > 0);
    Ok(())
}
