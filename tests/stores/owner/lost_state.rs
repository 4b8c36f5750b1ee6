//! A check of the store of a vault whose state is lost.

use std::fs;

use strongroom::backends::Condition;
use strongroom::check::{CheckOptions, ReadData};
use strongroom::{ErrorKind, Vault};

use super::Scene;
use crate::scene::{assert_all_data, noise, put};

#[test]
fn check_store_without_a_state_reports_contents_and_damage() {
    let scene = Scene::new();
    let vault = scene.open("a").unwrap();
    put(&vault, "long", &noise(3_000_000, 1));
    put(&vault, "short", &noise(600_000, 2));
    put(&vault, "in state", b"short");
    vault
        .documents()
        .create_space(&strongroom::documents::SpaceOptions::default().capacity_bytes(16 << 10))
        .unwrap();
    let before = assert_all_data(&vault);
    vault.close().unwrap();
    fs::remove_dir_all(scene.folder("a")).unwrap();

    for read_data in [ReadData::No, ReadData::All] {
        let check = CheckOptions::new().read_data(read_data);
        let report = scene.options().check_store(&check).unwrap();
        assert!(report.is_ok() && report.is_closed && report.unknown.is_empty(), "{report:?}");
        assert_eq!(report.objects, before.objects);
        assert!(report.packs > 0 && report.others > 0, "{report:?}");
        assert_eq!(report.contents, [600_000, 3_000_000]);
        assert_eq!(report.chunk_bytes / 100_000, 36, "{report:?}");
        let holder = report.holder.unwrap();
        assert_eq!(holder.process.pid, std::process::id());
    }
    // Another key is denied, and a damaged pack is reported.
    let other = Vault::options(strongroom::SecretKey::new([1; 32])).backend(scene.store());
    let denied = other.check_store(&CheckOptions::new()).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    let store = scene.store();
    let longest = store.list("content/", None, 100).unwrap();
    let longest = longest.into_iter().max_by_key(|entry| entry.size).unwrap().key;
    let mut body = store.get(&longest).unwrap().body.to_vec();
    body[100] ^= 1;
    store.put(&longest, body.into(), &Condition::Any).unwrap();
    let check = CheckOptions::new().read_data(ReadData::All);
    let report = scene.options().check_store(&check).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].0, longest.as_str());
    let options = scene.options();
    for entry in store.list("", None, 1_000).unwrap() {
        store.delete(&entry.key).unwrap();
    }
    assert_eq!(options.check_store(&check).unwrap_err().kind(), ErrorKind::NotFound);
}
