//! A repository: where its objects are, what its keys are, what its index knows. Owned by one operation at a time.
//!
//! Opening goes in steps, because a program has to ask for a passphrase in between: [`Locked::find`] reads the
//! configuration, [`Locked::unlock`] finds the keys, [`Repository::open`] takes the lock and opens the index.

mod locked;

use std::path::PathBuf;

use garret_format::config::Config;
use garret_format::{ChunkId, RepositoryId};

use crate::chunk::ChunkHasher;
use crate::error::{Error, Result};
use crate::index::{Cache, Index, IndexSource};
use crate::keys::{Keys, Purpose};
use crate::limits::total_len;
use crate::pack::PackReader;
use crate::progress::Progress;
use crate::seal::Sealer;
use crate::store::{Area, Guard, LockMode, Store};

pub use locked::{Identity, InitOptions, LOCK_WAIT_DEFAULT, Locked, Secret, init};

/// What an operation is going to do, which decides the lock it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read; nothing is written to the repository.
    Read,
    /// Read, and believe nothing that the client remembers.
    Check,
    /// Add archives; others may do the same.
    Create,
    /// Delete; nobody else may be there.
    Delete,
}

impl Access {
    fn words(self) -> &'static str {
        match self {
            Access::Read => "read it",
            Access::Check => "check it",
            Access::Create => "add to it",
            Access::Delete => "delete from it",
        }
    }
}

/// An open repository.
pub struct Repository {
    access: Access,
    pub(crate) store: Box<dyn Store>,
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) data: Sealer,
    pub(crate) metadata: Sealer,
    pub(crate) hasher: ChunkHasher,
    pub(crate) index: Index,
    _lock: Box<dyn Guard>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Repository {
    /// Takes the lock and opens the index; the client's copy of the index lies below `cache`, or in memory. Who checks or
    /// deletes never uses that copy: what is needed is decided by what the repository says.
    pub fn open(
        locked: Locked,
        keys: Keys,
        access: Access,
        cache: Option<PathBuf>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let Locked { store, patience, config, .. } = locked;
        if !keys.fit(&config) {
            return Err(Error::WrongPassphrase);
        }
        let features = match access {
            Access::Read | Access::Check => 0,
            Access::Create => config.features.write,
            Access::Delete => config.features.write | config.features.delete,
        };
        if features != 0 {
            let kind = garret_format::DecodeErrorKind::UnsupportedFeatures(features);
            let error = garret_format::DecodeError { what: "config", offset: 40, kind };
            return Err(Error::decode("config", 0, error));
        }
        let mode = if access == Access::Delete { LockMode::Exclusive } else { LockMode::Shared };
        let place = store.place();
        let mut waiting =
            |who: &str| progress.wait(&format!("waiting for {who} to finish with {place}"));
        let kind = match access {
            Access::Read | Access::Check => "read",
            Access::Create | Access::Delete => "write",
        };
        let lock = store.lock(mode, patience, &mut waiting).map_err(|source| Error::Lock {
            kind,
            place: place.clone(),
            source,
        })?;
        let data = Sealer::new(config.repository, Purpose::Data, &keys);
        let metadata = Sealer::new(config.repository, Purpose::Metadata, &keys);
        let hasher = ChunkHasher::new(&keys);
        let cache = match (access, cache) {
            (Access::Read | Access::Create, Some(root)) => {
                Cache::in_directory(&root, config.repository, keys.get(Purpose::Client))
            }
            _ => Cache::in_memory(),
        };
        let packs = PackReader { store: &*store, sealer: &data, group_len_max: config.group_len };
        let source = IndexSource {
            packs,
            metadata: &metadata,
            hasher: &hasher,
            repository: config.repository,
        };
        let index = Index::open(&source, cache, progress)?;
        // Who reads one archive only is told too of what lies beside it.
        let _names = store.list(Area::Archives);
        let repository =
            Repository { access, store, config, keys, data, metadata, hasher, index, _lock: lock };
        repository.tell(progress);
        Ok(repository)
    }

    /// Fails unless the repository was opened for this.
    ///
    /// # Errors
    /// `Access`.
    pub(crate) fn require(&self, needed: Access) -> Result<()> {
        let may = match needed {
            Access::Read => true,
            Access::Check => matches!(self.access, Access::Check | Access::Delete),
            Access::Create => matches!(self.access, Access::Create | Access::Delete),
            Access::Delete => self.access == Access::Delete,
        };
        let (needed, opened) = (needed.words(), self.access.words());
        if may { Ok(()) } else { Err(Error::Access { needed, opened }) }
    }

    /// Passes on what the user should know of the storage.
    pub(crate) fn tell(&self, progress: &dyn Progress) {
        self.store.notices().iter().for_each(|notice| progress.wait(notice));
    }

    /// Makes the index that of what the repository now holds. If it fails, the index knows nothing: what is looked for is
    /// missing then, never wrong.
    pub(crate) fn reopen_index(&mut self, progress: &dyn Progress) -> Result<()> {
        self.index.forget();
        let packs = PackReader {
            store: &*self.store,
            sealer: &self.data,
            group_len_max: self.config.group_len,
        };
        let source = IndexSource {
            packs,
            metadata: &self.metadata,
            hasher: &self.hasher,
            repository: self.config.repository,
        };
        self.index.update(&source, progress)
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.config.repository
    }

    /// The configuration that init wrote.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The ids of every chunk that a pack holds, sorted: those of contents, of recipes and of item streams. For tests and
    /// comparisons: takes 32 bytes of memory per chunk.
    pub fn chunk_ids(&self) -> Vec<ChunkId> {
        let records = self.index.tables().flat_map(|tables| tables.records().collect::<Vec<_>>());
        let mut ids: Vec<ChunkId> = records.map(|record| record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Bytes of all packs, index segments and archives.
    pub fn stored_len(&self) -> Result<u64> {
        let mut lens: Vec<u64> = self.store.list_packs()?.into_iter().map(|(_, len)| len).collect();
        for area in [Area::Index, Area::Archives] {
            for key in self.store.list(area)? {
                lens.push(self.store.len(&key)?);
            }
        }
        Ok(total_len(lens))
    }

    pub(crate) fn index_source(&self) -> IndexSource<'_> {
        IndexSource {
            packs: self.packs(),
            metadata: &self.metadata,
            hasher: &self.hasher,
            repository: self.config.repository,
        }
    }

    pub(crate) fn packs(&self) -> PackReader<'_> {
        PackReader { store: &*self.store, sealer: &self.data, group_len_max: self.config.group_len }
    }
}
