//! A small vault: its data after each commit, and its bytes after a close or a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom::backends::Memory;
use strongroom::keys::Cipher;
use strongroom::operations::{Checkpoint, Lane, OperationsQuery};
use strongroom::{Batch, ErrorKind, Result, Snapshot, Vault, VaultOptions};
use strongroom_testkit::{ManualClock, SeededEntropy, TestKey};

use crate::image::{Image, ImageStorage};
use crate::support::records::long;

const OPERATION: &str = "import";
/// Bytes of the value on the backend, which has three objects.
pub(crate) const STAGED_BYTES: usize = 66_000;
const OBJECT_BYTES: usize = 32 << 10;

/// Returns the options of a new process. Each process has another `seed`, and so other entropy.
pub(crate) fn options(seed: u64) -> VaultOptions {
    Vault::options(TestKey)
        .clock(ManualClock::new())
        .entropy(SeededEntropy::new(seed))
        .object_bytes(OBJECT_BYTES)
        .cache_bytes(1 << 20)
}

/// All data that a host can read: records by namespace and key, lanes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) records: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    pub(crate) lanes: BTreeMap<String, (u64, Vec<u8>)>,
}

/// The result of comparing a vault with a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The vault has exactly the data of the view.
    Right,
    /// All returned data is right, and some reads were refused.
    Refused(ErrorKind),
    Wrong(String),
}

impl View {
    /// Reads the whole vault.
    pub(crate) fn of(vault: &Vault) -> Result<Self> {
        let snapshot = vault.read()?;
        let mut view = Self::default();
        for namespace in snapshot.namespaces()? {
            for record in snapshot.prefix(&namespace.name, "")? {
                let record = record?;
                let key = (namespace.name.clone(), record.key().to_vec());
                view.records.insert(key, record.value().bytes()?.to_vec());
            }
        }
        for operation in snapshot.operations(&OperationsQuery::new().limit(100))? {
            let lanes = operation.lanes.into_iter();
            view.lanes.extend(lanes.map(|lane| (lane.name, (lane.checkpoints, lane.data))));
        }
        Ok(view)
    }

    /// Compares the vault with the view.
    ///
    /// Reads each record by itself, then everything in order. Refused reads are not compared.
    pub(crate) fn compare(&self, vault: &Vault) -> Comparison {
        let snapshot = match vault.read() {
            Ok(snapshot) => snapshot,
            Err(error) => return Comparison::Refused(error.kind()),
        };
        let mut refused = None;
        for ((namespace, key), expected) in &self.records {
            match get(&snapshot, namespace, key) {
                Ok(found) if found.as_ref() == Some(expected) => {}
                Ok(found) => {
                    let found = found.map(|bytes| bytes.len());
                    return Comparison::Wrong(format!(
                        "{namespace}/{}: {found:?}",
                        key.escape_ascii()
                    ));
                }
                Err(kind) => refused = Some(kind),
            }
        }
        drop(snapshot);
        match Self::of(vault) {
            Ok(view) if view == *self => refused.map_or(Comparison::Right, Comparison::Refused),
            Ok(_) => Comparison::Wrong("a scan returns other data".into()),
            Err(error) => Comparison::Refused(error.kind()),
        }
    }
}

fn get(snapshot: &Snapshot, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, ErrorKind> {
    let value = snapshot.get(namespace, key).map_err(|e| e.kind())?;
    value.map(|value| value.bytes().map(|bytes| bytes.to_vec())).transpose().map_err(|e| e.kind())
}

/// The vault of the workload, with a view after each commit.
///
/// An image is taken after each commit too.
struct Scene {
    state: ImageStorage,
    backend: Memory,
    vault: Vault,
    views: Vec<View>,
    images: Vec<Image>,
}

impl Scene {
    fn note(&mut self) {
        self.views.push(View::of(&self.vault).unwrap());
        self.images.push(Image::of(&self.state, &self.backend));
    }

    fn write(&mut self, rows: &[(&str, &str, usize)]) {
        let mut batch = Batch::new();
        for (n, (namespace, key, len)) in rows.iter().enumerate() {
            let value = long((self.views.len() * 100 + n) as u64, *len);
            batch.insert(*namespace, *key, value);
        }
        self.vault.apply(batch).unwrap();
        self.note();
    }

    fn checkpoint(&mut self, lane: &Lane, done: u32) {
        let mut batch = Batch::new();
        batch.insert("n", format!("item {done}"), long(u64::from(done), 50));
        lane.commit(batch, Checkpoint::encode(&done).unwrap()).unwrap();
        self.note();
    }

    fn work(&mut self) {
        let rows: Vec<String> = (0..12).map(|i| format!("k{i:02}")).collect();
        let rows: Vec<_> = rows.iter().map(|key| ("n", key.as_str(), 300)).collect();
        self.write(&rows);
        self.write(&[("other", "page", 3_000), ("other", "pages", 9_000), ("n", "k03", 10)]);
        let operation = self.vault.operations().begin(OPERATION, ["a", "b"]).unwrap();
        let lane = operation.lane("a").unwrap();
        self.checkpoint(&lane, 1);
        let staged = self.vault.stage(&long(7, STAGED_BYTES)[..]).unwrap();
        self.vault.write(|tx| tx.insert("n", "staged", staged)).unwrap();
        self.note();
        self.checkpoint(&lane, 2);
        drop((lane, operation));
        let removed = self.vault.write(|tx| {
            tx.delete("n", "k07")?;
            tx.delete("other", "page")
        });
        assert!(removed.unwrap());
        self.note();
        self.write(&[("n", "k04", 500), ("other", "page", 2_000)]);
        // The last commit changes a row, adds rows, and writes to both namespaces.
        self.write(&[("n", "k05", 400), ("n", "last", 100), ("other", "last", 100)]);
    }
}

/// A vault in the state in which a process left it.
#[derive(Clone)]
pub(crate) struct LeftVault {
    pub(crate) name: &'static str,
    pub(crate) image: Arc<Image>,
    /// The data of the vault.
    pub(crate) now: Arc<View>,
    /// The data before the last commit.
    pub(crate) before: Arc<View>,
    pub(crate) is_closed: bool,
}

/// One vault, left in several ways.
pub(crate) struct Vaults {
    pub(crate) closed: LeftVault,
    /// The process died after the last commit.
    pub(crate) crashed: LeftVault,
    /// The vault was closed and reopened, and its process died.
    ///
    /// The process had not written since the reopening.
    pub(crate) reopened: LeftVault,
    /// The bytes after each commit, oldest first. The last one is the image of `crashed`.
    pub(crate) history: Vec<Image>,
    /// The data after each commit.
    pub(crate) views: Vec<View>,
}

/// Creates the vault of `seed`, under `cipher`.
pub(crate) fn vaults(cipher: Cipher, seed: u64) -> Vaults {
    let (state, backend) = (ImageStorage::default(), Memory::new());
    let options = |more: u64| options(seed * 1_000 + more).cipher(cipher);
    let vault = options(0).create_on(state.clone(), backend.clone()).unwrap();
    let (views, images) = (Vec::new(), Vec::new());
    let mut scene = Scene { state, backend, vault, views, images };
    scene.work();
    let Scene { state, backend, vault, views, images: history } = scene;
    vault.close().unwrap();
    let closed = Image::of(&state, &backend);
    let vault = options(1).open_on(state.clone(), backend.clone()).unwrap();
    assert!(vault.recovery().was_clean(), "{:?}", vault.recovery());
    let reopened = Image::of(&state, &backend);
    drop(vault);

    let [.., before, now] = &views[..] else { panic!("fewer than two commits") };
    assert_ne!(before, now);
    let (before, now) = (Arc::new(before.clone()), Arc::new(now.clone()));
    let left = |name, image: &Image| {
        let (before, now) = (Arc::clone(&before), Arc::clone(&now));
        LeftVault { name, image: Arc::new(image.clone()), now, before, is_closed: name == "closed" }
    };
    Vaults {
        closed: left("closed", &closed),
        crashed: left("crashed", history.last().unwrap()),
        reopened: left("reopened", &reopened),
        history,
        views,
    }
}
