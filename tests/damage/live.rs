//! Bytes that change below an open handle.
//!
//! A handle that has read a damaged block returns `Corrupt` permanently. It returns no unchecked
//! data and does not open the state again by itself. Committed data is there again once the bytes
//! are restored.

use strongroom::backends::Memory;
use strongroom::keys::Cipher;
use strongroom::{Batch, ErrorKind, Result, Vault};

use crate::image::{Damage, Image, ImageStorage, layout};
use crate::scene::{Comparison, LeftVault, options, vaults};
use crate::support::records::{all, assert_error, check, put, try_put};

/// An open vault without a cache, and its storage.
struct OpenVault {
    vault: Vault,
    state: ImageStorage,
    backend: Memory,
    left: LeftVault,
}

fn opened() -> OpenVault {
    let left = vaults(Cipher::Aes256GcmSiv, 6).closed;
    let (state, backend) = left.image.damaged(&Damage::new("nothing"));
    let vault = options(77).cache_bytes(0).open_on(state.clone(), backend.clone()).unwrap();
    // The write marks the state as in use, so its super-header is no longer the closed one.
    put(&vault, "k05", &left.now.records[&("n".into(), b"k05".to_vec())]);
    OpenVault { vault, state, backend, left }
}

impl OpenVault {
    /// Returns a damage of one flipped bit in each block.
    fn damage_of_all(&self) -> Damage {
        let image = Image::of(&self.state, &self.backend);
        let bit = |number: &usize| layout::block(*number).start + 100 + number % 4000;
        let written = image.written();
        let flips = written.iter().map(bit).map(|at| (at, image.state[at] ^ 4));
        flips.fold(Damage::new("all blocks"), |damage, (at, byte)| damage.write(at, &[byte]))
    }

    /// Returns a damage of one block.
    fn damage_of(&self, number: usize) -> Damage {
        let at = layout::block(number).start + 2_000;
        Damage::flip(&self.state.bytes(), at)
    }
}

fn is_corrupt<T>(outcome: Result<T>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::Corrupt)
}

#[test]
fn damage_below_open_handle_is_corrupt_permanently() {
    let open = opened();
    let vault = &open.vault;
    let undamaged = open.state.bytes();
    open.state.damage(&open.damage_of_all());
    assert_error(all(vault), ErrorKind::Corrupt, "");
    // The bytes are restored, but this handle has read damaged ones.
    open.state.damage(&Damage::new("restored").write(0, &undamaged));
    let changes = open.state.changes();
    for _ in 0..3 {
        assert_error(all(vault), ErrorKind::Corrupt, "");
        assert_error(try_put(vault, "later", b"x"), ErrorKind::Corrupt, "");
        let mut batch = Batch::new();
        batch.insert("n", "later", "x");
        assert_error(vault.apply(batch), ErrorKind::Corrupt, "");
        assert_error(vault.operations().begin("later", ["a"]), ErrorKind::Corrupt, "");
        assert_error(vault.info(), ErrorKind::Corrupt, "");
        assert_error(vault.compact(), ErrorKind::Corrupt, "");
    }
    assert_eq!(open.state.changes(), changes, "a handle that has read damage wrote");
    let _ = vault.clone().close();
    drop(open.vault);
    let again = options(78).open_on(open.state.clone(), open.backend.clone()).unwrap();
    assert_eq!(open.left.now.compare(&again), Comparison::Right);
    assert!(!again.recovery().last_commit_may_be_missing, "{:?}", again.recovery());
}

#[test]
fn check_of_open_handle_reports_each_damaged_block_in_use() {
    let (mut reported, mut kept) = (0, 0);
    let written = Image::of(&opened().state, &opened().backend).written();
    for number in written {
        let open = opened();
        open.state.damage(&open.damage_of(number));
        let report = check(&open.vault).unwrap();
        if report.state_intact == Some(false) {
            reported += 1;
            assert!(!report.is_ok(), "block {number}: {report:?}");
            // The damage is reported in every later call, and nothing is written.
            assert_error(try_put(&open.vault, "later", b"x"), ErrorKind::Corrupt, "");
            let again = check(&open.vault);
            assert!(again.is_err() || again.is_ok_and(|report| !report.is_ok()), "{number}");
        } else {
            kept += 1;
            assert!(report.is_ok(), "block {number}: {report:?}");
            assert_eq!(open.left.now.compare(&open.vault), Comparison::Right, "block {number}");
        }
    }
    println!(
        "blocks damaged below an open handle: {reported} reported by the check, {kept} not in use"
    );
    assert!(reported >= 8, "{reported}");
}

#[test]
fn read_of_open_handle_returns_no_damaged_block() {
    let (mut refused, mut right) = (0, 0);
    for number in Image::of(&opened().state, &opened().backend).written() {
        let open = opened();
        open.state.damage(&open.damage_of(number));
        match open.left.now.compare(&open.vault) {
            Comparison::Right => right += 1,
            Comparison::Refused(ErrorKind::Corrupt) => {
                refused += 1;
                assert!(
                    is_corrupt(all(&open.vault)),
                    "block {number}: the handle recovered by itself"
                );
                assert!(is_corrupt(try_put(&open.vault, "later", b"x")), "block {number}");
            }
            other => panic!("block {number}: {other:?}"),
        }
    }
    println!("blocks damaged below an open handle: {refused} reads refused, {right} right");
    assert!(refused >= 4, "{refused}");
}

/// The write is the first call that reaches the damage.
#[test]
fn write_that_reaches_damage_is_corrupt_and_loses_nothing() {
    let (mut refused, mut done) = (0, 0);
    for number in Image::of(&opened().state, &opened().backend).written() {
        let open = opened();
        let undamaged = open.state.bytes();
        let damage = open.damage_of(number);
        open.state.damage(&damage);
        let outcome = try_put(&open.vault, "later", b"x");
        match &outcome {
            Ok(()) => done += 1,
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "block {number}: {error}");
                assert!(is_corrupt(try_put(&open.vault, "later", b"x")), "block {number}");
                let at = layout::block(number);
                drop(open.vault);
                // With the bytes restored from outside, all data is there.
                let restored = Damage::new("restored").write(at.start, &undamaged[at]);
                open.state.damage(&restored);
                let again = options(79).open_on(open.state, open.backend).unwrap();
                assert_eq!(open.left.now.compare(&again), Comparison::Right, "block {number}");
            }
        }
    }
    println!("blocks damaged below an open handle: {refused} writes refused, {done} done");
    assert!(refused > 0);
}

/// Damages header and super-header while a handle has them open.
#[test]
fn header_damage_below_open_handle_loses_no_data_silently() {
    for at in [100, 4096 + 100, layout::SUPER_AT + 30, layout::SUPER_AT + layout::SUPER_STRIDE + 30]
    {
        let open = opened();
        open.state.damage(&Damage::flip(&open.state.bytes(), at));
        let wrote = try_put(&open.vault, "later", b"x");
        let mut expected = (*open.left.now).clone();
        if wrote.is_ok() {
            expected.records.insert(("n".into(), b"later".to_vec()), b"x".to_vec());
        }
        drop(open.vault);
        let again = options(80).open_on(open.state, open.backend).unwrap();
        let may_be_missing = again.recovery().last_commit_may_be_missing;
        let seen = expected.compare(&again);
        assert!(seen == Comparison::Right || may_be_missing, "byte {at}: {seen:?}");
    }
}
