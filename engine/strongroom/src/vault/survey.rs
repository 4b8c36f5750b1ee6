//! What a store holds of a vault whose state is lost.

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

/// What a store holds of a vault, told from the store alone: see [`VaultOptions::check_store`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreReport {
    /// The vault's id.
    pub vault: Uuid,
    /// How often its keys were changed, its creation included.
    pub key_generation: u64,
    /// Who has the content, or had it last.
    pub holder: Option<Holder>,
    /// Whether that session has closed the vault.
    pub is_closed: bool,
    /// Objects of content, and their length in bytes.
    pub objects: u64,
    /// Their length in bytes.
    pub object_bytes: u64,
    /// Those of them that are packs of chunks.
    pub packs: u64,
    /// Those that belong to the share space, or are values from before schema 5.
    pub others: u64,
    /// Distinct chunks in the packs.
    pub chunks: u64,
    /// Their length before compression, in bytes.
    pub chunk_bytes: u64,
    /// Lengths in bytes of the contents that the packs hold: of artifacts and long values, some perhaps let
    /// go of; the shortest first. Short ones lie in the state.
    pub contents: Vec<u64>,
    /// Objects that are not what was put, each with why.
    pub damaged: Vec<(String, String)>,
    /// Keys among the content that are not the vault's.
    pub unknown: Vec<String>,
}

impl StoreReport {
    /// Whether everything that was looked at is as it was put.
    pub fn is_ok(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl VaultOptions {
    /// Tells what lies on the [`backend`](Self::backend) of a vault whose state is lost: by the key set that lies
    /// there, which any key of the vault opens. Nothing is changed. Names, versions and records lie in the
    /// state, so contents are told by their lengths. With [`ReadData::All`] every chunk is read and opened,
    /// otherwise only the lists of packs and the nodes.
    ///
    /// `Invalid` without a backend; `NotFound` if there is no key set, `Conflict` if there are those of several vaults;
    /// `Denied` if the key opens none.
    pub fn check_store(self, options: &CheckOptions<'_>) -> Result<StoreReport> {
        const CHECK: &str = "check store";
        let backend = self.backend.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, CHECK)
                .with_reason(Reason::StoreNotNamed)
                .with_detail("the content of a vault on disk lies in its folder")
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
