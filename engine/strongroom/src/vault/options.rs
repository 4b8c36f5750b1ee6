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
    pub(super) cipher: Cipher,
    pub(super) password: PasswordPolicy,
    pub(super) adopt_older_state: bool,
    pub(super) restore_key_set: bool,
    pub(super) take_over: bool,
    pub(super) upkeep_every: Option<Duration>,
    pub(super) handlers: Arc<dyn KnownWork>,
    pub(super) recorder: Arc<dyn Recorder>,
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
    /// the most, and at least 4 KiB. A stager and a reader each hold one in memory, and while it
    /// is sealed or opened its other form. Packs of chunks are about twice as long. A vault may be opened
    /// with another length than it was written with.
    pub fn object_bytes(mut self, bytes: usize) -> Self {
        self.object_bytes = bytes;
        self
    }

    /// What a new vault is sealed with; by default what suits this machine's processor. A vault
    /// that exists keeps its cipher.
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// What an attempt at a password costs that this handle adds or wraps anew: at least, and by
    /// default, [`PasswordCosts::RFC9106_SECOND`].
    pub fn password_costs(mut self, costs: PasswordCosts) -> Self {
        self.password.costs = costs;
        self
    }

    /// How much memory a vault's header may ask for when a password is tried, in KiB; 1 GiB by
    /// default, 4 GiB at most. `Invalid` is what opening one says that asks for more.
    pub fn password_memory_kib_max(mut self, kib: u32) -> Self {
        self.password.bounds.memory_kib_max = kib;
        self
    }

    /// Passwords that cost next to nothing. Only under feature `testing`.
    #[cfg(feature = "testing")]
    pub fn cheap_passwords(mut self) -> Self {
        self.password = PasswordPolicy::for_tests();
        self
    }

    /// Goes on from an older state that was put in the place of a newer one, which is lost then.
    /// Without it such a vault can be read, and writes are `Conflict`
    /// ([`Recovery::key_copy_ahead`](crate::vault::Recovery::key_copy_ahead)).
    pub fn adopt_older_state(mut self, adopt: bool) -> Self {
        self.adopt_older_state = adopt;
        self
    }

    /// Puts the copy of the key set on the backend into a state file both of whose own copies are
    /// damaged. A key that was removed since that copy was written opens the vault again.
    pub fn restore_key_set(mut self, restore: bool) -> Self {
        self.restore_key_set = restore;
        self
    }

    /// Takes content on a store that others can reach over from a session that has not closed, or from another
    /// state of the vault; of no effect where there is nothing to take over. That session finds out before its next
    /// deletes and within a minute of its next commit, and writes nothing from then on; this one deletes
    /// nothing for a day. Whatever only the other state knew is lost. Told by
    /// [`Recovery::taken_over`](crate::vault::Recovery::taken_over).
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// Has a thread of the vault's own drop expired artifacts and free what nothing refers to, every so
    /// often; without it that is the host's to call ([`Artifacts::expire`](crate::artifacts::Artifacts::expire),
    /// [`Vault::gc`]). The first time is one such wait after the vault was opened.
    pub fn upkeep(mut self, every: Duration) -> Self {
        self.upkeep_every = Some(every);
        self
    }

    /// What the host does with its operations, by their names: what is left to do is judged by them
    /// ([`Recovery::operations`](crate::vault::Recovery::operations)), and a
    /// [`Runner`](crate::runner::Runner) runs them.
    pub fn handlers(mut self, handlers: impl KnownWork) -> Self {
        self.handlers = Arc::new(handlers);
        self
    }

    /// Where what the vault measures of itself goes as well; by default nowhere.
    pub fn recorder(mut self, recorder: impl Recorder + 'static) -> Self {
        self.recorder = Arc::new(recorder);
        self
    }

    /// Checked once, by whatever creates or opens.
    pub(super) fn validate(&self) -> Result<()> {
        self.lock.validate()?;
        self.password.checked()?;
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
    /// source; `Denied` if the key is none of the vault's; `Invalid` for a file that is no vault's
    /// and for another format; `Corrupt` for a damaged one. None of these changes anything.
    ///
    /// With content on a store that others can reach also `Locked` if another session has it, `Denied` if it was used
    /// with another state since, `NotFound` if the store knows nothing of the vault: see
    /// [`take_over`](Self::take_over).
    ///
    /// [`LockRefused`]: crate::vault::LockRefused
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
