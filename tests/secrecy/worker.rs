//! The worker process: uses every feature of a vault, with markers as the host's data.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io::Read;
use std::path::{Path, PathBuf};

use strongroom::content::GcOptions;
use strongroom::documents::SpaceOptions;
use strongroom::keys::{Cipher, NewKey};
use strongroom::operations::{CHECKPOINT_BYTES_MAX, Checkpoint, Operation};
use strongroom::records::RECORD_KEY_BYTES_MAX;
use strongroom::vault::LockPolicy;
use strongroom::{Batch, Error, ErrorKind, Result, SecretPassword, Vault, VaultOptions};

use crate::log;
use crate::markers::{Markers, Use};
use crate::support::process::print_line;
use crate::support::records::{check, long};

pub(crate) const PART: &str = "STRONGROOM_SECRECY_PART";
pub(crate) const SCRATCH: &str = "STRONGROOM_SECRECY_SCRATCH";
pub(crate) const MARKERS: &str = "STRONGROOM_SECRECY_MARKERS";
pub(crate) const CIPHER: &str = "STRONGROOM_SECRECY_CIPHER";

/// The stop at which the test kills the worker.
pub(crate) const KILL: &str = "to be killed";
pub(crate) const FIRST_STOPS: [&str; 6] =
    ["written", "refused", "removed", "rotated", "compacted", KILL];
pub(crate) const SECOND_STOPS: [&str; 3] = ["reopened", "worked on", "closed"];

/// Length of a staged value in bytes: three objects, the first of two blocks.
const STAGED_BYTES: usize = 250_000;
/// Distance between two markers in a value, in bytes.
const MARKED_BYTES: usize = 4_096;
const OBJECT_BYTES: usize = 100_000;

/// Runs the part of this worker; does nothing in the test program itself.
pub(crate) fn run() {
    let Ok(part) = std::env::var(PART) else { return };
    let scratch = PathBuf::from(std::env::var_os(SCRATCH).unwrap());
    log::start(&scratch);
    let markers = Markers::parse(&std::env::var(MARKERS).unwrap());
    let name = std::env::var(CIPHER).unwrap();
    let ciphers = [Cipher::Aes256GcmSiv, Cipher::XChaCha20Poly1305];
    let cipher = ciphers.into_iter().find(|cipher| cipher.as_str() == name).unwrap();
    let host = Host { markers, path: scratch.join("vault"), scratch, cipher };
    match part.as_str() {
        "first" => host.first(),
        "second" => host.second(),
        other => panic!("no such part: {other}"),
    }
}

struct Host {
    markers: Markers,
    scratch: PathBuf,
    path: PathBuf,
    cipher: Cipher,
}

/// Prints a stop, and waits until the test has scanned all files.
fn stop(at: &str) {
    print_line(at);
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

impl Host {
    fn of(&self, usage: Use) -> &[String] {
        self.markers.of(usage)
    }

    fn password(&self, n: usize) -> SecretPassword {
        SecretPassword::new(&self.of(Use::Password)[n])
    }

    fn options(&self, key: impl strongroom::keys::KeySource + 'static) -> VaultOptions {
        let options = Vault::options(key).cipher(self.cipher).object_bytes(OBJECT_BYTES);
        options.cheap_passwords().purpose("test of secrecy")
    }

    /// Returns incompressible bytes that contain the marker many times.
    ///
    /// Without sealing, the markers would be on disk unchanged.
    fn text(marker: &str, len: usize) -> Vec<u8> {
        let mut bytes = long(len as u64, len);
        let marks = bytes.chunks_exact_mut(MARKED_BYTES).map(|chunk| &mut chunk[..marker.len()]);
        marks.for_each(|mark| mark.copy_from_slice(marker.as_bytes()));
        bytes
    }

    fn first(&self) {
        let vault = self.options(self.password(0)).create(&self.path).unwrap();
        vault
            .keys()
            .add(&NewKey::new(&self.markers.raw_key(0)).label(&self.of(Use::Label)[0]))
            .unwrap();
        vault.keys().add(&NewKey::new(&self.password(1)).label(&self.of(Use::Label)[1])).unwrap();
        let operation = self.write(&vault);
        self.write_documents(&vault);
        self.assert_open_files_in_scratch();
        stop("written");
        self.provoke(&vault);
        stop("refused");
        drop(operation);
        self.remove(&vault);
        stop("removed");
        let (password, key) = (self.password(2), self.markers.raw_key(1));
        let label = &self.of(Use::Label)[2];
        vault.keys().rotate(&[NewKey::new(&password), NewKey::new(&key).label(label)]).unwrap();
        stop("rotated");
        vault.compact().unwrap();
        stop("compacted");
        drop(self.write_rows(&vault));
        let staged = vault.stage(&Self::text(&self.of(Use::StagedValue)[5], STAGED_BYTES)[..]);
        let _never_referred_to = staged.unwrap();
        stop(KILL);
        unreachable!("the test kills the worker");
    }

    fn second(&self) {
        let vault = self.options(self.markers.raw_key(1)).open(&self.path).unwrap();
        assert!(vault.recovery().state_repaired && vault.recovery().objects > 0);
        stop("reopened");
        let operation = vault.operations().resume(&self.of(Use::Operation)[0]).unwrap();
        self.advance(&vault, &operation, 3);
        vault.keys().replace(vault.keys().list()[0].id, &self.password(3)).unwrap();
        self.provoke(&vault);
        vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
        assert!(check(&vault).unwrap().is_ok());
        self.assert_open_files_in_scratch();
        stop("worked on");
        drop(operation);
        vault.close().unwrap();
        stop("closed");
        println!("{}", core_limit());
    }

    /// Writes inline and staged records in all namespaces, operations and checkpoints.
    fn write(&self, vault: &Vault) -> Operation {
        self.write_rows(vault).unwrap();
        for (n, marker) in self.of(Use::StagedValue).iter().enumerate() {
            let staged = vault.stage(&Self::text(marker, STAGED_BYTES + n)[..]).unwrap();
            vault.write(|tx| tx.insert("staged", marker_key(n), staged)).unwrap();
        }
        let (ids, lanes) = (self.of(Use::Operation), self.of(Use::Lane));
        let [first, others @ ..] = ids else { panic!("operations") };
        for id in others {
            drop(vault.operations().begin(id, lanes.iter().cloned()).unwrap());
        }
        let operation = vault.operations().begin(first, lanes.iter().cloned()).unwrap();
        (0..3).for_each(|round| self.advance(vault, &operation, round));
        operation
    }

    /// Writes two documents, provokes errors, changes one password, destroys one document.
    fn write_documents(&self, vault: &Vault) {
        let passwords = self.of(Use::DocumentPassword);
        let word = |n: usize| SecretPassword::new(&passwords[n]);
        let texts = self.of(Use::Document);
        let text = |n: usize| format!("{{\"{}\": [\"{}\"]}}", texts[n], texts[n + 1]);
        let space =
            vault.documents().create_space(&SpaceOptions::default().capacity_bytes(1_024)).unwrap();
        let a = space.add_partition(&word(0), &[]).unwrap();
        let b = space.add_partition(&word(0), &[&a]).unwrap();
        let mut partition = space.partition(&a, &word(0)).unwrap();
        partition.write(text(0)).unwrap();
        partition.write(text(2)).unwrap();
        partition.change_password(&word(1)).unwrap();
        assert_eq!(partition.read().unwrap().text(), text(2));
        self.assert_refused(space.partition(&b, &word(1)), ErrorKind::Denied);
        self.assert_refused(partition.write(format!("{} x", text(0))), ErrorKind::Invalid);
        self.assert_refused(partition.write(text(0).repeat(2)), ErrorKind::Invalid);
        self.assert_refused(partition.read().unwrap().decode::<u64>(), ErrorKind::Invalid);
        self.assert_hidden(&(&a, &partition, partition.read().unwrap(), &space));
        space.destroy_partition(&b).unwrap();
    }

    fn write_rows(&self, vault: &Vault) -> Result<()> {
        let mut batch = Batch::new();
        for (n, namespace) in self.of(Use::Namespace).iter().enumerate() {
            for (m, key) in self.of(Use::RecordKey).iter().enumerate() {
                let value = &self.of(Use::Value)[(n + m) % Use::Value.range().len()];
                batch.insert(namespace, key.as_bytes(), Self::text(value, 40 << (m % 8)));
                batch.insert(namespace, format!("{n} {key}"), value.as_bytes());
            }
        }
        vault.apply(batch)
    }

    /// Commits a checkpoint and a record in every lane.
    fn advance(&self, vault: &Vault, operation: &Operation, round: usize) {
        for (n, name) in self.of(Use::Lane).iter().enumerate() {
            let lane = operation.lane(name).unwrap();
            let data = Self::text(&self.of(Use::Checkpoint)[(n + round) % 6], 300);
            let mut batch = Batch::new();
            batch.insert("done", name.as_bytes(), Self::text(name, 100));
            lane.commit(batch, Checkpoint::new(data)).unwrap();
            self.assert_hidden(&(&lane, lane.status().unwrap()));
        }
        self.assert_hidden(&(vault, operation));
    }

    /// Deletes records, a namespace, an operation and a key.
    fn remove(&self, vault: &Vault) {
        let namespaces = self.of(Use::Namespace);
        let removed: Result<()> = vault.write(|tx| {
            for key in &self.of(Use::RecordKey)[..4] {
                tx.delete(&namespaces[0], key)?;
            }
            tx.delete("staged", marker_key(0))?;
            tx.delete_namespace(&namespaces[1])?;
            tx.insert("staged", marker_key(1), self.of(Use::Value)[0].as_bytes())
        });
        removed.unwrap();
        vault.operations().delete(&self.of(Use::Operation)[1]).unwrap();
        vault.keys().delete(vault.keys().list()[1].id).unwrap();
        vault.gc(&GcOptions::new().without_repacking(true)).unwrap();
    }

    /// Makes refused calls with markers.
    ///
    /// Asserts that the errors contain no marker except names.
    fn provoke(&self, vault: &Vault) {
        let refused = self.of(Use::Refused);
        let (namespace, key) = (&self.of(Use::Namespace)[2], &self.of(Use::RecordKey)[5]);
        let conflict = |condition: fn(&mut Batch, &str, &str, &str)| {
            let mut batch = Batch::new();
            batch.insert(namespace, refused[0].as_bytes(), refused[1].as_bytes());
            condition(&mut batch, namespace, key, &refused[2]);
            self.assert_hidden(&batch);
            self.assert_refused(vault.apply(batch), ErrorKind::Conflict);
        };
        conflict(|batch, namespace, key, _| _ = batch.require_absent(namespace, key));
        conflict(|batch, namespace, _, other| _ = batch.require_present(namespace, other));
        conflict(|batch, namespace, key, other| _ = batch.require_equal(namespace, key, other));
        let long_key = refused[4].repeat(RECORD_KEY_BYTES_MAX);
        let invalid = |outcome| self.assert_refused(outcome, ErrorKind::Invalid);
        invalid(vault.write(|tx| tx.insert(namespace, &long_key, "")));
        invalid(vault.write(|tx| tx.insert(namespace, key, &Self::text(&refused[5], 1 << 20)[..])));
        let own: Result<()> = vault.write(|tx| {
            tx.insert(namespace, &refused[6], &refused[7])?;
            Err(Error::new(ErrorKind::Invalid, "the host's own error"))
        });
        invalid(own);
        let snapshot = vault.read().unwrap();
        for record in snapshot.prefix(namespace, "").unwrap() {
            self.assert_hidden(&record.unwrap());
        }
        self.assert_hidden(&(&snapshot, snapshot.get(namespace, key).unwrap()));
        drop(snapshot);
        let id = &self.of(Use::Operation)[2];
        let lanes = self.of(Use::Lane).iter().cloned();
        self.assert_refused(vault.operations().begin(id, lanes), ErrorKind::AlreadyExists);
        self.assert_refused(
            vault.operations().resume(&self.of(Use::Namespace)[0]),
            ErrorKind::NotFound,
        );
        let operation = vault.operations().take_over(id).unwrap();
        let lane = operation.lane(&self.of(Use::Lane)[0]).unwrap();
        let data = Self::text(&self.of(Use::Checkpoint)[0], CHECKPOINT_BYTES_MAX + 1);
        let checkpoint = Checkpoint::new(data);
        self.assert_hidden(&checkpoint);
        self.assert_refused(lane.commit(Batch::new(), checkpoint), ErrorKind::Invalid);
        drop((lane, operation));

        let wrong = SecretPassword::new(&refused[0]);
        self.assert_hidden(&(&wrong, self.markers.raw_key(2)));
        self.assert_refused(vault.keys().find(&wrong), ErrorKind::Denied);
        self.assert_refused(vault.keys().find(&self.markers.raw_key(3)), ErrorKind::Denied);
        let label = self.of(Use::Label)[3].repeat(9);
        self.assert_refused(
            vault.keys().add(&NewKey::new(&wrong).label(&label)),
            ErrorKind::Invalid,
        );
        let at_once = LockPolicy { tries: 1, ..LockPolicy::default() };
        let second = self.options(self.password(0)).lock_policy(at_once);
        self.assert_hidden(&second);
        self.assert_refused(second.open(&self.path), ErrorKind::Locked);
    }

    /// Asserts that the error and its sources contain no secret.
    #[track_caller]
    fn assert_refused<T>(&self, outcome: Result<T>, kind: ErrorKind) {
        let error = outcome.err().expect("the call is refused");
        assert_eq!(error.kind(), kind, "{error}");
        self.assert_hidden(&error);
        let mut cause: Option<&dyn StdError> = Some(&error);
        while let Some(error) = cause {
            self.assert_hidden(&format_args!("{error} {error:?} {error:#?}"));
            cause = error.source();
        }
    }

    /// Asserts that the debug output of `value` contains no secret.
    #[track_caller]
    fn assert_hidden(&self, value: &dyn Debug) {
        let shown = format!("{value:?} {value:#?}");
        for secret in self.markers.secret() {
            let bytes = format!("{:?}", secret.as_bytes());
            let numbers = bytes.trim_matches(['[', ']']);
            assert!(
                !shown.contains(secret) && !shown.contains(numbers),
                "debug output shows a secret"
            );
        }
    }

    /// Asserts that the test scans every file that this process has open.
    fn assert_open_files_in_scratch(&self) {
        let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
        let scratch = self.scratch.canonicalize().unwrap();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        for target in targets {
            let is_file = target.metadata().is_ok_and(|meta| meta.is_file());
            let is_ours = target.starts_with(&scratch) || target.starts_with("/proc");
            assert!(is_ours || !is_file || is_inherited(&target), "{} is open", target.display());
        }
    }
}

/// Returns whether `target` is a standard stream, inherited from the test program.
fn is_inherited(target: &Path) -> bool {
    (0..3).any(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).is_ok_and(|t| t == target))
}

fn marker_key(n: usize) -> String {
    format!("staged {n}")
}

/// Returns the kernel's limit of core dumps.
fn core_limit() -> String {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max core")).unwrap_or("unknown");
    format!("limit of core dumps: {}", line.split_whitespace().collect::<Vec<_>>().join(" "))
}
