//! Survey of a store whose vault has lost its state.

use std::sync::Arc;

use strongroom_base::{Error, ErrorKind, Reason, Result};
use uuid::Uuid;

use super::check::{CheckOptions, ReadData};
use super::key_copy::only_key_set;
use super::lifecycle::check_backend;
use super::lock::Holder;
use super::options::VaultOptions;
use super::owner::read_owner;
use strongroom_content::{IdKeys, survey_packs};
use strongroom_crypto::KeySet;
use strongroom_store::objects::Objects;

/// Content of a vault's store without its state: see [`VaultOptions::check_store`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreReport {
    /// Id of the vault.
    pub vault: Uuid,
    /// Key generation: number of changes of the key set, the creation included.
    pub key_generation: u64,
    /// Last known content owner, if any.
    pub holder: Option<Holder>,
    /// Set if that session has closed the vault.
    pub is_closed: bool,
    /// Number of content objects.
    pub objects: u64,
    /// Length of these objects, in bytes.
    pub object_bytes: u64,
    /// Number of these objects that are packs of chunks.
    pub packs: u64,
    /// Number of other objects: of the share space, or values from before schema 5.
    pub others: u64,
    /// Number of distinct chunks in the packs.
    pub chunks: u64,
    /// Length of the chunks before compression, in bytes.
    pub chunk_bytes: u64,
    /// Lengths of the contents in the packs, in bytes, the shortest first.
    ///
    /// They are those of artifacts and long values, some perhaps released. Short contents are in
    /// the state and not listed.
    pub contents: Vec<u64>,
    /// Damaged objects, each with its name and the damage.
    pub damaged: Vec<(String, String)>,
    /// Keys of foreign objects among the vault's content.
    pub unknown: Vec<String>,
}

impl StoreReport {
    /// Returns whether no examined object is damaged.
    pub fn is_ok(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl VaultOptions {
    /// Surveys the [`backend`](Self::backend) of a vault whose state is lost. Changes nothing.
    ///
    /// It uses the key copy on the backend, which any key of the vault opens. Names, versions and
    /// records are in the state, so the report lists contents only by length. With
    /// [`ReadData::All`] every chunk is read and opened; otherwise only nodes and the lists of
    /// packs.
    ///
    /// `Invalid` without a backend. `NotFound` if the backend has no key set, `Conflict` if it has
    /// those of several vaults. `Denied` if the key opens none. `Unavailable` if the backend cannot
    /// be reached.
    pub fn check_store(self, options: &CheckOptions<'_>) -> Result<StoreReport> {
        const CHECK: &str = "check store";
        let backend = self.backend.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, CHECK)
                .with_reason(Reason::StoreNotNamed)
                .with_detail("no store is named; the content of a vault on disk is in its folder")
        })?;
        self.password.checked()?;
        let unlock = self.keys.unlock()?;
        let header = only_key_set(&**backend)?;
        check_backend(&header, backend.name())?;
        let keys = KeySet::unlock(header, &unlock, self.password.bounds)?;
        let header = keys.header();
        let owner = read_owner(&self, backend, &keys)?;
        let entropy = Arc::clone(&self.components.entropy);
        let objects = Objects::new(
            Arc::clone(backend),
            entropy,
            self.object_bytes,
            header.vault,
            keys.content_keys(),
            Arc::clone(&self.components.clock),
        );
        let read_data = options.read_data == ReadData::All;
        let ids = IdKeys::new(keys.id_key());
        let found = survey_packs(&objects, &ids, read_data, options.call)?;
        let is_closed = owner.as_ref().is_some_and(|(_, closed)| *closed);
        Ok(StoreReport {
            vault: header.vault,
            key_generation: header.generation,
            holder: owner.map(|(holder, _)| holder),
            is_closed,
            objects: found.objects,
            object_bytes: found.object_bytes,
            packs: found.packs,
            others: found.others,
            chunks: found.chunks,
            chunk_bytes: found.chunk_bytes,
            contents: found.contents,
            damaged: found.damaged,
            unknown: found.unknown,
        })
    }
}
