//! A repository: what is open, and who may do what with it.
//!
//! ```text
//! open(store) -> Locked --unlock--> Keys        the configuration is read, a program asks for a passphrase
//!                Locked --open--> Opened         the same, to add, change or remove keys
//!                Locked::with(keys) -> Unlocked  where the copy of the index lies, how long to wait
//!                                      |-- reader()    -> Repository   reads; cheap to clone
//!                                      |-- writer()    -> Writer       adds archives; others may do the same
//!                                      |-- checker()   -> Checker      reads, and believes nothing that the client remembers
//!                                      |-- pruner()    -> Pruner       deletes, one at a time, beside who reads and adds
//!                                      `-- exclusive() -> Exclusive    repairs; nobody else is there
//! ```
//!
//! A right is a type: what is not allowed does not compile. All others can do what a [`Repository`] can. The lock is
//! held until the last of them, and of their clones and files, is dropped.

mod archives;
mod entry;
mod locked;
mod looked;
mod rights;
mod sessions;
mod sight;
mod slots;

use std::sync::{Arc, PoisonError, RwLock};

use garret_format::config::Config;
use garret_format::{ChunkId, RepositoryId};

use crate::error::Result;
use crate::keys::Keys;
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::Sealer;
use crate::limits::total_len;
use crate::objects::copies::Served;
use crate::objects::index::{Index, IndexSource};
use crate::objects::pack::PackReader;
use crate::progress::Progress;
use crate::read::chunks::Chunks;
use crate::read::groups::Groups;
use crate::store::{Area, Clock, Guard, Store, Traffic};
use looked::Looked;

pub use archives::Items;
pub use entry::Right;
pub(crate) use rights::{Adding, Deleting};

pub use locked::{ChunkSize, Identity, InitOptions, LOCK_WAIT_DEFAULT, Locked, Secret, init, open};
pub use sessions::{Checker, Exclusive, Pruner, Unlocked, Writer};
pub use sight::Sight;
pub use slots::Opened;

/// An open repository, to be read. Clones are the same repository; any number of threads may use it.
#[derive(Clone)]
pub struct Repository {
    shared: Arc<Shared>,
}

/// What all sessions on one repository have in common.
struct Shared {
    store: Arc<dyn Store>,
    config: Config,
    keys: Keys,
    data: Sealer,
    metadata: Sealer,
    hasher: ChunkHasher,
    groups: Arc<Groups>,
    /// That of the right: also of what outlives the session.
    lock: Arc<dyn Guard>,
    clock: Arc<dyn Clock>,
    served: Arc<Served>,
    /// What was there when it was opened.
    sight: Option<Arc<Sight>>,
    looked: Looked,
    /// Replaced as a whole: who reads goes on with the one that he began with.
    index: RwLock<Arc<Index>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl AsRef<Repository> for Repository {
    fn as_ref(&self) -> &Repository {
        self
    }
}

impl Repository {
    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.shared.config.repository
    }

    /// The configuration that init wrote.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The ids of every chunk that a pack holds, sorted: those of contents, of recipes and of item streams. For tests and
    /// comparisons: takes 32 bytes of memory per chunk.
    pub fn chunk_ids(&self) -> Vec<ChunkId> {
        let index = self.index();
        let records = index.tables().flat_map(|tables| tables.records().collect::<Vec<_>>());
        let mut ids: Vec<ChunkId> = records.map(|record| record.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What went over the line to its store since that was opened; none where there is no line.
    pub fn traffic(&self) -> Option<Traffic> {
        self.store().traffic()
    }

    /// Whether its store itself keeps a second one from creating what is there; it is asked by creating something. None where
    /// that is no question, as of a directory.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn is_exclusive(&self) -> Result<Option<bool>> {
        Ok(self.store().is_exclusive()?)
    }

    /// Bytes of all packs, index segments and archives.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn stored_len(&self) -> Result<u64> {
        let mut lens = Vec::new();
        for area in [Area::Packs, Area::Index, Area::Archives] {
            lens.extend(self.store().list(area)?.into_iter().map(|(_, len)| len));
        }
        Ok(total_len(lens))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    pub(crate) fn metadata(&self) -> &Sealer {
        &self.shared.metadata
    }

    pub(crate) fn hasher(&self) -> &ChunkHasher {
        &self.shared.hasher
    }

    pub(crate) fn packs(&self) -> PackReader<'_> {
        self.shared.groups.packs()
    }

    pub(crate) fn served(&self) -> &Served {
        &self.shared.served
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// Days since 1970-01-01; none before.
    pub(crate) fn today(&self) -> u32 {
        u32::try_from(self.clock().date().div_euclid(24 * 60 * 60)).unwrap_or(0)
    }

    /// The index as it is now.
    pub(crate) fn index(&self) -> Arc<Index> {
        // Whatever happens to a holder of this lock, it holds an index or the next one.
        self.shared.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_index(&self, index: Index) {
        *self.shared.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    /// The chunks as they are now.
    pub(crate) fn chunks(&self) -> Chunks {
        Chunks::new(self.shared.groups.clone(), self.index(), self.shared.lock.clone())
    }

    pub(crate) fn index_source(&self) -> IndexSource<'_> {
        IndexSource {
            packs: self.packs(),
            metadata: self.metadata(),
            hasher: self.hasher(),
            repository: self.id(),
        }
    }

    /// Passes on what the user should know of the storage, and of damage that was bypassed: what came up since it was called
    /// last. The operations do it when they end.
    pub fn tell(&self, progress: &dyn Progress) {
        self.store().notices().iter().for_each(|notice| progress.notice(notice));
        self.shared.groups.take_bypassed().iter().for_each(|problem| progress.problem(problem));
        self.served().take().iter().for_each(|problem| progress.problem(problem));
    }
}
