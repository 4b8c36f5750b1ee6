//! The builder of a vault: every component can be replaced before `create` or `open`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_backends::Backend;
use strongroom_base::component::{Clock, Entropy, OsEntropy, ProcessIdentity, SystemClock};
use strongroom_base::fs::{FileSystem, Os};
use strongroom_base::{Error, ErrorKind, Result};

use super::handle::Vault;
use super::lock::LockPolicy;
use crate::operations::{KnownWork, NoKnownWork, NoRecorder, Recorder};
use strongroom_crypto::{Cipher, KeySource, PasswordCosts, PasswordPolicy};
use strongroom_store::objects::{OBJECT_BYTES_MAX, OBJECT_BYTES_MIN};
use strongroom_store::state::StateStorage;

/// Options for creating or opening a vault. [`Vault::options`] returns them.
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
    pub(super) cipher: Cipher,
    pub(super) password: PasswordPolicy,
    pub(super) adopt_older_state: bool,
    pub(super) restore_key_set: bool,
    pub(super) take_over: bool,
    pub(super) upkeep_every: Option<Duration>,
    pub(super) handlers: Arc<dyn KnownWork>,
    pub(super) recorder: Arc<dyn Recorder>,
}

/// Components that a test replaces to make a run repeatable.
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
            cipher: Cipher::for_this_machine(),
            password: PasswordPolicy::default(),
            adopt_older_state: false,
            restore_key_set: false,
            take_over: false,
            upkeep_every: None,
            handlers: Arc::new(NoKnownWork),
            recorder: Arc::new(NoRecorder),
        }
    }

    /// Sets the backend of content; by default the disk, in the vault's folder.
    ///
    /// A vault must always be opened with the backend that it was created on.
    pub fn backend(mut self, backend: impl Backend + 'static) -> Self {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// Sets how to wait for a vault that another process holds; by default at most 10 s.
    pub fn lock_policy(mut self, policy: LockPolicy) -> Self {
        self.lock = policy;
        self
    }

    /// Sets the purpose of opening the vault; `"open vault"` by default.
    ///
    /// Processes that wait for the vault see it in their
    /// [`LockRefused`](crate::vault::LockRefused).
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = Some(purpose.into());
        self
    }

    /// Sets the memory for cached pages of the state, in bytes; 64 MiB by default.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how long a write waits for other writes of this process; 30 s by default.
    ///
    /// After that time the write fails with `Locked`.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets the longest object on the backend, in bytes; 8 MiB by default.
    ///
    /// At least 4 KiB, at most 8 MiB; otherwise creating and opening fail with `Invalid`. A stager
    /// and a reader each hold one object in memory, and a second form of it while it is sealed or
    /// opened. Packs of chunks are about twice as long. Each open may use another length.
    pub fn object_bytes(mut self, bytes: usize) -> Self {
        self.object_bytes = bytes;
        self
    }

    /// Sets the cipher of a new vault; by default the best for this machine's processor.
    ///
    /// An existing vault keeps its cipher.
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// Sets the cost of one guess at a password.
    ///
    /// It applies to passwords that this handle adds or rewraps.
    ///
    /// Both the minimum and the default are [`PasswordCosts::RFC9106_SECOND`].
    pub fn password_costs(mut self, costs: PasswordCosts) -> Self {
        self.password.costs = costs;
        self
    }

    /// Sets the most memory that trying a password may take, in KiB; 1 GiB by default.
    ///
    /// At most 4 GiB. The vault's header states the memory that it needs. If that is more, opening
    /// fails with `Invalid`.
    pub fn password_memory_kib_max(mut self, kib: u32) -> Self {
        self.password.bounds.memory_kib_max = kib;
        self
    }

    /// Makes passwords cost almost nothing. Only under feature `testing`.
    #[cfg(feature = "testing")]
    pub fn cheap_passwords(mut self) -> Self {
        self.password = PasswordPolicy::for_tests();
        self
    }

    /// Continues from an older state file that replaced a newer one.
    ///
    /// The newer state is lost then. Without this option the vault can be read, but writes fail
    /// with `Conflict` (see [`Recovery::key_copy_ahead`](crate::vault::Recovery::key_copy_ahead)).
    /// The same holds if the key copy is missing or not authentic, because then the age of the
    /// state is unknown
    /// ([`Recovery::key_copy_unverified`](crate::vault::Recovery::key_copy_unverified)).
    pub fn adopt_older_state(mut self, adopt: bool) -> Self {
        self.adopt_older_state = adopt;
        self
    }

    /// Restores a header from the key copy on the backend.
    ///
    /// It has an effect only if both copies of the header are damaged or forged.
    ///
    /// A key that was removed after that key copy was written opens the vault again.
    pub fn restore_key_set(mut self, restore: bool) -> Self {
        self.restore_key_set = restore;
        self
    }

    /// Takes over content on a store.
    ///
    /// It is taken from an open session, or from another state of the vault.
    ///
    /// It has no effect if there is nothing to take over. The other session detects the loss before
    /// its next deletes, and within a minute of its next commit. From then on it writes nothing. If
    /// it has committed, its [`close`](crate::Vault::close) returns the loss.
    ///
    /// This session deletes nothing for a day. Changes that only the other state knew are lost.
    /// [`Recovery::taken_over`](crate::vault::Recovery::taken_over) reports the take-over.
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// Runs upkeep periodically, on a thread of the vault.
    ///
    /// Upkeep expires artifacts and collects garbage. There is a pause of `every` before each run,
    /// also before the first. Without this option the host calls
    /// [`Artifacts::expire`](crate::artifacts::Artifacts::expire) and [`Vault::gc`].
    pub fn upkeep(mut self, every: Duration) -> Self {
        self.upkeep_every = Some(every);
        self
    }

    /// Sets the handlers of the host's operations, by their names.
    ///
    /// They decide the resumability of operations
    /// ([`Recovery::operations`](crate::vault::Recovery::operations)), and a
    /// [`Runner`](crate::runner::Runner) runs them.
    pub fn handlers(mut self, handlers: impl KnownWork) -> Self {
        self.handlers = Arc::new(handlers);
        self
    }

    /// Sets a recorder that receives the vault's measurements; by default none.
    pub fn recorder(mut self, recorder: impl Recorder + 'static) -> Self {
        self.recorder = Arc::new(recorder);
        self
    }

    /// Checks the options, once for each create or open.
    pub(super) fn validate(&self) -> Result<()> {
        self.lock.validate()?;
        self.password.checked()?;
        if (OBJECT_BYTES_MIN..=OBJECT_BYTES_MAX).contains(&self.object_bytes) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "configure vault").with_detail(format!(
            "objects of {} bytes, must be of {OBJECT_BYTES_MIN} to {OBJECT_BYTES_MAX}",
            self.object_bytes
        )))
    }

    /// Sets the file system of the vault's folder; the operating system's by default.
    pub fn file_system(mut self, fs: impl FileSystem + 'static) -> Self {
        self.fs = Arc::new(fs);
        self
    }

    /// Sets the clock; the system's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.components.clock = Arc::new(clock);
        self
    }

    /// Sets the source of entropy. Only under feature `testing`.
    ///
    /// In production the source is always the operating system's.
    #[cfg(feature = "testing")]
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.components.entropy = Arc::new(entropy);
        self
    }

    /// Sets this process's identity in the holder note. Only under feature `testing`.
    #[cfg(feature = "testing")]
    pub fn process(mut self, process: ProcessIdentity) -> Self {
        self.components.process = process;
        self
    }

    /// Creates a vault in the folder `path`.
    ///
    /// The parent folder must exist. The folder is created if it is missing, and must otherwise be
    /// empty. Durable on return.
    ///
    /// A crash at any moment leaves no vault or a whole one. The next `create` discards leftovers.
    ///
    /// `AlreadyExists` if the folder has a vault, `Invalid` if it has anything else. `Locked` if
    /// another process is creating a vault there, and does not finish in time. `Uncertain` if the
    /// vault was created but could not be opened.
    pub fn create(self, path: impl AsRef<Path>) -> Result<Vault> {
        let path = path.as_ref();
        Vault::create_in_folder(self, path).map_err(|e| e.or_subject(path.display()))
    }

    /// Opens the vault in the folder `path`, and recovers from a crash.
    ///
    /// [`Vault::recovery`] reports what was recovered.
    ///
    /// `NotFound` if there is no vault. `Locked` if another process holds it, with [`LockRefused`]
    /// as source. `Denied` if the key is none of the vault's. `Invalid` for a file that is no
    /// vault's state, and for an unknown format. `Corrupt` for a damaged state. None of these
    /// changes anything.
    ///
    /// With content on a store there are more errors. `Locked` if another session is the content
    /// owner, `Denied` if the content was used with another state since. `NotFound` if the store
    /// has no owner ref of the vault. [`take_over`](Self::take_over) overrides all three.
    ///
    /// [`LockRefused`]: crate::vault::LockRefused
    pub fn open(self, path: impl AsRef<Path>) -> Result<Vault> {
        let path = path.as_ref();
        Vault::open_in_folder(self, path).map_err(|e| e.or_subject(path.display()))
    }

    /// Creates a vault without a folder: its state in `state`, its content on `backend`.
    ///
    /// Such a vault has no lock between processes: the host must keep other processes out.
    /// Otherwise the same as [`create`](Self::create).
    pub fn create_on(
        self,
        state: impl StateStorage + 'static,
        backend: impl Backend + 'static,
    ) -> Result<Vault> {
        Vault::create_on(self.backend(backend), Arc::new(state))
    }

    /// Opens a vault without a folder; see [`create_on`](Self::create_on) and [`open`](Self::open).
    pub fn open_on(
        self,
        state: impl StateStorage + 'static,
        backend: impl Backend + 'static,
    ) -> Result<Vault> {
        Vault::open_on(self.backend(backend), Arc::new(state))
    }
}
