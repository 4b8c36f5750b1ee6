//! Writes and reads of documents.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use strongroom::check::CheckOptions;
use strongroom::content::GcOptions;
use strongroom::documents::{SpaceOptions, WriteOptions};
use strongroom::{CancelToken, ErrorKind};

use crate::scene::{Scene, noise, password};

#[test]
fn documents_are_read_with_their_own_key_and_password_only() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", r#"{"a": 1}"#, &[]);
    let (key_b, b) = scene.add("pb", r#"{"b": [2]}"#, &[&key_a]);
    assert_eq!(a.read().unwrap().text(), r#"{"a": 1}"#);
    assert_eq!(b.read().unwrap().text(), r#"{"b": [2]}"#);
    assert!(!a.verify().unwrap().any() && !b.verify().unwrap().any());
    let scene = scene.reopen();
    assert_eq!(scene.open(&key_a, "pa").read().unwrap().bytes(), br#"{"a": 1}"#);
    assert_eq!(
        scene.open(&key_b, "pb").read().unwrap().decode::<serde_json::Value>().unwrap()["b"][0],
        2
    );
    for (key, name) in [(&key_a, "pb"), (&key_b, "pa"), (&key_a, "neither")] {
        let error = scene.space.partition(key, &password(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
}

#[test]
fn reader_keeps_the_old_document_during_updates() {
    let scene = Scene::new();
    let (_key, a) = scene.add("pa", "[1]", &[]);
    let before = scene.vault.read().unwrap();
    for n in 2..5 {
        a.write(format!("[{n}]")).unwrap();
    }
    assert_eq!(a.read_at(&before).unwrap().text(), "[1]");
    let foreign = Scene::new().vault.read().unwrap();
    assert_eq!(a.read_at(&foreign).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(a.read().unwrap().text(), "[4]");
    drop(before);
    scene.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_eq!(a.read().unwrap().text(), "[4]");
    let report = scene.vault.check(&CheckOptions::new()).unwrap();
    assert!(report.is_ok() && report.unknown.is_empty(), "{report:?}");
    // Two objects of cells and twenty segments. No object of an old generation is left.
    assert_eq!((report.objects, report.due), (22, 0));
}

/// Returns the number of units that differ between two dumps.
fn changed(before: &[u8], after: &[u8], unit: usize) -> usize {
    before.chunks(unit).zip(after.chunks(unit)).filter(|(a, b)| a != b).count()
}

#[test]
fn update_changes_no_slot_outside_its_partition() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "1", &[]);
    let (key_b, b) = scene.add("pb", "2", &[&key_a]);
    let (_, c) = scene.add("pc", "3", &[&key_a, &key_b]);
    // 33 chunks have 297 shares. A partition has 327 of 981 slots. There are 64 cells of 4 KiB.
    let mut all = vec![false; 981];
    for partition in [&a, &b, &c] {
        let (cells, slots) = scene.space.dump().unwrap();
        partition.write("[\"another\"]").unwrap();
        let (cells_after, slots_after) = scene.space.dump().unwrap();
        assert_eq!(changed(&cells, &cells_after, 4096), 8);
        assert_eq!(changed(&slots, &slots_after, 80), 327);
        for (slot, _) in
            slots.chunks(80).zip(slots_after.chunks(80)).enumerate().filter(|(_, (a, b))| a != b)
        {
            assert!(!std::mem::replace(&mut all[slot], true), "slot {slot} is of two partitions");
        }
    }
    assert!(all.iter().all(|&met| met), "three partitions do not fill the space");
}

#[test]
fn updates_of_both_documents_write_equal_objects() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "1", &[]);
    let (_, b) = scene.add("pb", "2", &[&key_a]);
    let calls = |write: &dyn Fn()| {
        let before = scene.faulty.calls();
        write();
        (scene.faulty.calls() - before, sizes(&scene))
    };
    let short = calls(&|| _ = a.write("3").unwrap());
    let long = calls(&|| _ = b.write(format!("[{}1]", "\"x\",".repeat(500))).unwrap());
    assert_eq!(short, long);
}

fn sizes(scene: &Scene) -> Vec<u64> {
    use strongroom::backends::Backend;
    let mut sizes: Vec<u64> =
        scene.memory.list("content/", None, 100).unwrap().iter().map(|e| e.size).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn write_expecting_another_version_is_a_conflict() {
    let scene = Scene::new();
    let (key, a) = scene.add("pa", "1", &[]);
    let read = a.read().unwrap();
    let other = scene.open(&key, "pa");
    let newest = other.write("2").unwrap().version;
    let expecting = |version| WriteOptions::new().expected(version);
    let before = scene.space.dump().unwrap();
    let error = a.write_with("3", &expecting(read.version())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(scene.space.dump().unwrap() == before);
    a.write_with("3", &expecting(newest)).unwrap();
    assert_eq!(other.read().unwrap().text(), "3");
}

#[test]
fn plan_reports_sizes_and_changes_nothing() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "[1,2,3]", &[]);
    let before = scene.space.dump().unwrap();
    let plan = a.plan("[1,2,3,4]").unwrap();
    assert_eq!((plan.bytes_now, plan.bytes_then, plan.change_bytes()), (7, 9, 2));
    assert_eq!((plan.chunks_now, plan.chunks_then), (1, 1));
    assert!((plan.change_percent() - 28.57).abs() < 0.01 && !plan.is_large_change());
    assert!((plan.capacity_percent() - 100.0 * 9.0 / 2048.0).abs() < 0.01);
    let large = a.plan(noise(1_500)).unwrap();
    assert!(large.is_large_change() && large.chunks_then > 10, "{large}");
    assert_eq!(large.version, a.read().unwrap().version());
    assert!(scene.space.dump().unwrap() == before);
}

#[test]
fn background_write_reports_progress_and_can_be_cancelled() {
    let scene = Scene::new();
    let (_, a) = scene.add("pa", "1", &[]);
    let write = a.write_in_background("2").unwrap();
    while !write.is_finished() {
        assert!(write.done() <= 22 && (0.0..=1.0).contains(&write.progress()));
        std::thread::yield_now();
    }
    assert_eq!((write.done(), write.total()), (22, 22));
    assert!((write.progress() - 1.0).abs() < 1e-9);
    let version = write.wait().unwrap().version;
    let read = a.read().unwrap();
    assert_eq!((read.text(), read.version()), ("2", version));
    let written = a.replace_in_background("3", version).unwrap().wait().unwrap();
    let stale = a.replace_in_background("4", version).unwrap().wait().unwrap_err();
    assert_eq!((stale.kind(), a.read().unwrap().version()), (ErrorKind::Conflict, written.version));
    let error = a.write_in_background("not json").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);

    // Another write has the write turn, so the background write is cancelled before it begins.
    let (begun, go) = (Barrier::new(2), Barrier::new(2));
    let hold = || {
        let progress = |done, _| {
            if done == 1 {
                begun.wait();
                go.wait();
            }
        };
        let options = WriteOptions::new().progress(&progress);
        a.write_with("\"held\"", &options).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(hold);
        begun.wait();
        let write = a.write_in_background("\"never\"").unwrap();
        write.cancel();
        go.wait();
        assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    });
    assert_eq!(a.read().unwrap().text(), "\"held\"");

    let cancel = CancelToken::new();
    let seen = AtomicU64::new(0);
    let progress = |done, total| {
        assert_eq!(total, Some(22));
        seen.store(done, Ordering::SeqCst);
        if done == 7 {
            cancel.cancel();
        }
    };
    let options = WriteOptions::new().progress(&progress).cancel(&cancel);
    let error = a.write_with("3", &options).unwrap_err();
    assert_eq!((error.kind(), seen.load(Ordering::SeqCst)), (ErrorKind::Cancelled, 7));
    assert_eq!(a.read().unwrap().text(), "\"held\"");
    assert_eq!(scene.space.info().unwrap().unfinished, None);
    scene.vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    assert_eq!(sizes(&scene).len(), 22);
}

#[test]
fn threads_updating_two_partitions_lose_nothing() {
    let scene = Scene::new();
    let (key_a, a) = scene.add("pa", "0", &[]);
    let (_, b) = scene.add("pb", "0", &[&key_a]);
    std::thread::scope(|scope| {
        for partition in [&a, &b] {
            scope.spawn(move || {
                for n in 1..=20 {
                    partition.write(n.to_string()).unwrap();
                    assert_eq!(partition.read().unwrap().text(), n.to_string());
                }
            });
        }
    });
    assert_eq!((a.read().unwrap().text(), b.read().unwrap().text()), ("20", "20"));
}

#[test]
fn exact_bytes_of_json_are_read_back() {
    let scene = Scene::with(&SpaceOptions::default().capacity_bytes(8_192));
    let (_, a) = scene.add("pa", "null", &[]);
    let long = format!("-{}.{}e-{}", "9".repeat(400), "0".repeat(400), "1".repeat(40));
    for text in [
        "0",
        " null ",
        "1E400",
        "-0.0",
        "1e-999999",
        &long,
        "{\"b\":1,\"a\":2,\"b\":3}",
        "\"\u{1F512}\u{10FFFF} \\ud83d\"",
        "\"\\u0000\u{7f}\"",
        "[\n\t1 ,\r\n2]",
        "{}",
        &format!("\"{}\"", "\0".escape_unicode()).replace("\\u{0}", "\\u0000"),
    ] {
        a.write(text).unwrap();
        assert_eq!(a.read().unwrap().text(), text);
    }
    // Stored lengths of 0 and multiples of 64, with zeros at every boundary.
    for len in (0..=512).step_by(64).chain([1, 54, 55, 56, 57, 63, 65]) {
        let text = format!("\"{}\"", "a".repeat(len));
        a.write(&text).unwrap();
        assert_eq!(a.read().unwrap().text(), text);
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        "-?(0|[1-9][0-9]{0,60})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,9})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|v| format!("[{}]", v.join(" , "))),
            prop::collection::vec(("[a-c]", inner), 0..6).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(k, v)| format!("\"{k}\" : {v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn generated_json_is_read_back(text in any_json(), t in 2u8..6, more in 0u8..6) {
        let scene = Scene::with(
            &SpaceOptions::default().capacity_bytes(8_192).shares(t, t + more),
        );
        let (key, a) = scene.add("pa", &text, &[]);
        let read = a.read().unwrap();
        prop_assert_eq!(read.text(), text.as_str());
        let again = scene.reopen();
        let opened = again.open(&key, "pa");
        let read = opened.read().unwrap();
        prop_assert_eq!(read.text(), text.as_str());
    }
}
