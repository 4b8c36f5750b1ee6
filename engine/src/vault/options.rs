//! The builder of a vault: every component can be replaced before `create` or `open`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_backends::component::{Clock, Entropy, OsEntropy, ProcessIdentity, SystemClock};
use strongroom_backends::fs::{FileSystem, Os};
use strongroom_backends::{Backend, Error, ErrorKind, Result};

use super::handle::Vault;
use super::lock::LockPolicy;
use crate::content::{OBJECT_BYTES_MAX, OBJECT_BYTES_MIN};
use crate::keys::KeySource;
use crate::state::StateStorage;

/// What a vault is created or opened with. Get one from [`Vault::options`].
#[derive(Clone)]
pub struct VaultOptions {
    pub(super) keys: Arc<dyn KeySource>,
    pub(super) components: Components,
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) backend: Option<Arc<dyn Backend>>,
    pub(super) lock: LockPolicy,
    pub(super) purpose: Option<String>,
    pub(super) cache_bytes: usize,
    pub(super) write_timeout: Duration,
    pub(super) object_bytes: usize,
    #[cfg(feature = "testing")]
    pub(super) read_plant: Option<super::plant::ReadPlant>,
}

/// The components that make a run repeatable.
#[derive(Clone, Debug)]
pub(crate) struct Components {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) process: ProcessIdentity,
}

impl std::fmt::Debug for VaultOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultOptions")
            .field("fs", &self.fs)
            .field("backend", &self.backend)
            .field("lock", &self.lock)
            .finish_non_exhaustive()
    }
}

impl VaultOptions {
    pub(super) fn new(keys: Arc<dyn KeySource>) -> Self {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        Self {
            keys,
            components: Components {
                clock: Arc::new(SystemClock::new()),
                entropy: Arc::new(OsEntropy),
                process: ProcessIdentity::of_this_process(host),
            },
            fs: Arc::new(Os),
            backend: None,
            lock: LockPolicy::default(),
            purpose: None,
            cache_bytes: 64 << 20,
            write_timeout: Duration::from_secs(30),
            object_bytes: OBJECT_BYTES_MAX,
            #[cfg(feature = "testing")]
            read_plant: None,
        }
    }

    /// Where content lies; by default on disk, in the vault's own folder. A vault must always be
    /// opened with the backend that it was created on.
    pub fn backend(mut self, backend: impl Backend + 'static) -> Self {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// How to wait for a vault that another process has; by default at most 10 s.
    pub fn lock_policy(mut self, policy: LockPolicy) -> Self {
        self.lock = policy;
        self
    }

    /// What the vault is opened for, as processes that wait for it are told; `"open vault"` by
    /// default.
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = Some(purpose.into());
        self
    }

    /// How much memory caches pages of the state, in bytes; 64 MiB by default.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long a write waits for the writes before it in this process; 30 s by default. Then it
    /// is `Locked`.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long an object on the backend is at most, in bytes; 8 MiB by default, which is also
    /// the most, and at least 4 KiB. A stager and a reader each hold one in memory. A vault may
    /// be opened with another length than it was written with.
    pub fn object_bytes(mut self, bytes: usize) -> Self {
        self.object_bytes = bytes;
        self
    }

    /// Checked once, by whatever creates or opens.
    pub(super) fn validate(&self) -> Result<()> {
        self.lock.validate()?;
        if (OBJECT_BYTES_MIN..=OBJECT_BYTES_MAX).contains(&self.object_bytes) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "configure vault").with_detail(format!(
            "objects of {} bytes, not of {OBJECT_BYTES_MIN} to {OBJECT_BYTES_MAX}",
            self.object_bytes
        )))
    }

    /// The file system of the vault's folder; the operating system's by default.
    pub fn file_system(mut self, fs: impl FileSystem + 'static) -> Self {
        self.fs = Arc::new(fs);
        self
    }

    /// The clock; the system's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.components.clock = Arc::new(clock);
        self
    }

    /// The source of entropy. Only under feature `testing`: in production it is the operating
    /// system's, always.
    #[cfg(feature = "testing")]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.components.entropy = Arc::new(entropy);
        self
    }

    /// Who this process claims to be in the holder's note. Only under feature `testing`.
    #[cfg(feature = "testing")]
    pub fn process(mut self, process: ProcessIdentity) -> Self {
        self.components.process = process;
        self
    }

    /// Steps into the beginning of reads. Only under feature `testing`.
    #[cfg(feature = "testing")]
    pub fn read_plant(mut self, plant: super::plant::ReadPlant) -> Self {
        self.read_plant = Some(plant);
        self
    }

    /// Creates a vault in the folder `path`, whose parent exists; the folder is made if it is
    /// absent, and must otherwise be empty.
    ///
    /// A crash at any moment leaves no vault or a whole one; what it left is discarded by the
    /// next `create`. `AlreadyExists` if there is a vault, `Invalid` if there is anything else,
    /// `Locked` if another process creates one at this moment and does not finish in time.
    pub fn create(self, path: impl AsRef<Path>) -> Result<Vault> {
        let path = path.as_ref();
        Vault::create_in_folder(self, path).map_err(|e| e.or_subject(path.display()))
    }

    /// Opens the vault in the folder `path`, and recovers what a crash left: see
    /// [`Vault::recovery`].
    ///
    /// `NotFound` if there is none; `Locked` if another process has it, with [`LockRefused`] as
    /// source; `Invalid` for a file that is no vault's and for a newer format; `Corrupt` for a
    /// damaged one. None of these changes anything.
    ///
    /// [`LockRefused`]: crate::LockRefused
    pub fn open(self, path: impl AsRef<Path>) -> Result<Vault> {
        let path = path.as_ref();
        Vault::open_in_folder(self, path).map_err(|e| e.or_subject(path.display()))
    }

    /// Creates a vault without a folder: its state in `state`, its content on `backend`.
    ///
    /// There is no lock between processes then; keeping others out is the host's part.
    pub fn create_on(
        self,
        state: impl StateStorage + 'static,
        backend: impl Backend + 'static,
    ) -> Result<Vault> {
        Vault::create_on(self.backend(backend), Arc::new(state))
    }

    /// Opens a vault without a folder; see [`create_on`](Self::create_on).
    pub fn open_on(
        self,
        state: impl StateStorage + 'static,
        backend: impl Backend + 'static,
    ) -> Result<Vault> {
        Vault::open_on(self.backend(backend), Arc::new(state))
    }
}
