//! From keys to a session: enters for the right, and opens the index.
//!
//! In: a repository and its keys. Out: a [`Repository`] that can be read, or more than that. Promises: the lock that is held
//! is that of the right, for as long as anything of the session lives; who checks or deletes goes by what the repository
//! says, never by the client's copy of the index.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::entry::{Entered, Right};
use super::looked::Looked;
use super::sight::Sight;
use super::{Locked, Repository, Shared};
use crate::error::{Error, Result};
use crate::keys::chunk::ChunkHasher;
use crate::keys::seal::Sealer;
use crate::keys::{Keys, Purpose};
use crate::limits::KEPT_LEN_DEFAULT;
use crate::objects::index::{Cache, Index, IndexSource, Inventory};
use crate::objects::pack::PackReader;
use crate::objects::tags;
use crate::progress::Progress;
use crate::read::groups::Groups;
use crate::store::{Clock, SystemClock};

/// A repository and its keys: what is left to say before it is open.
pub struct Unlocked {
    locked: Locked,
    keys: Keys,
    cache: Option<PathBuf>,
    kept_len: u64,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unlocked").field("locked", &self.locked).finish_non_exhaustive()
    }
}

/// A session that adds archives. Others may do the same at the same time.
///
/// What deletes is not to be had of it:
///
/// ```compile_fail
/// fn forget(writer: &garret_core::Writer) {
///     let _ = writer.delete(&["night".to_owned()]);
/// }
/// ```
#[derive(Debug)]
pub struct Writer {
    repository: Repository,
}

/// A session that checks: its index was made of what the repository holds, and of nothing that the client remembers.
///
/// Who only reads cannot check:
///
/// ```compile_fail
/// fn check(repository: &garret_core::Repository, options: &garret_core::CheckOptions) {
///     let _ = repository.check(options, &garret_core::Silent);
/// }
/// ```
#[derive(Debug)]
pub struct Checker {
    repository: Repository,
}

/// A session that deletes: one at a time, beside any that read and add.
///
/// Who only reads cannot give space back:
///
/// ```compile_fail
/// fn collect(repository: &mut garret_core::Repository, options: &garret_core::GcOptions) {
///     let _ = repository.gc(options, &garret_core::Silent);
/// }
/// ```
#[derive(Debug)]
pub struct Pruner {
    checker: Checker,
}

/// A session that repairs. Nobody else has the repository open meanwhile.
#[derive(Debug)]
pub struct Exclusive {
    checker: Checker,
}

impl Deref for Writer {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.repository
    }
}

impl Deref for Checker {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.repository
    }
}

/// What deletes can check as well.
impl Deref for Pruner {
    type Target = Checker;

    fn deref(&self) -> &Checker {
        &self.checker
    }
}

impl Deref for Exclusive {
    type Target = Checker;

    fn deref(&self) -> &Checker {
        &self.checker
    }
}

impl AsRef<Repository> for Writer {
    fn as_ref(&self) -> &Repository {
        self
    }
}

impl AsRef<Repository> for Checker {
    fn as_ref(&self) -> &Repository {
        self
    }
}

impl AsRef<Repository> for Pruner {
    fn as_ref(&self) -> &Repository {
        self
    }
}

impl AsRef<Repository> for Exclusive {
    fn as_ref(&self) -> &Repository {
        self
    }
}

impl Locked {
    /// The repository with its keys, to be opened.
    pub fn with(self, keys: Keys) -> Unlocked {
        let clock = Arc::new(SystemClock::new());
        Unlocked { locked: self, keys, cache: None, kept_len: KEPT_LEN_DEFAULT, clock }
    }
}

impl Unlocked {
    /// Keeps the client's copy of the index below this directory, so that it is not read anew each time; without one, in
    /// memory.
    #[must_use]
    pub fn cache(mut self, directory: Option<&Path>) -> Self {
        self.cache = directory.map(Path::to_owned);
        self
    }

    /// Keeps about so many bytes of what was read in memory, instead of 64 MiB. More for random reads, less for what reads
    /// everything once.
    #[must_use]
    pub fn keep(mut self, bytes: u64) -> Self {
        self.kept_len = bytes;
        self
    }

    /// Goes by another clock than the machine's for when a check ends, and the days that are noted of packs. When an archive
    /// begins and ends is always the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How many archives are protected, for who holds a lock already: it is not opened, and no archive is read.
    ///
    /// # Errors
    /// The store cannot be listed or read.
    pub fn protected_count(&self) -> Result<usize> {
        let metadata = Sealer::new(self.locked.id(), Purpose::Metadata, &self.keys);
        Ok(tags::load(self.locked.store(), &metadata)?.0.protected_count())
    }

    /// Opens it to be read. Where there are no locks, so that nobody who deletes sees the reader, one line says that a gc may
    /// end the reading.
    ///
    /// # Errors
    /// `WrongPassphrase` for the keys of another repository; `Lock` if somebody repairs it for longer than is waited;
    /// `Unsupported` for one of a newer garret; a store that cannot be read.
    pub fn reader(self, progress: &dyn Progress) -> Result<Repository> {
        self.open(("read", Right::Read), 0, progress)
    }

    /// Opens it to add archives.
    ///
    /// # Errors
    /// As of [`reader`](Self::reader).
    pub fn writer(self, progress: &dyn Progress) -> Result<Writer> {
        let features = self.locked.config.features.write;
        let repository = self.open(("write", Right::Write), features, progress)?;
        Ok(Writer { repository })
    }

    /// Opens it to be checked; waits until nobody deletes.
    ///
    /// # Errors
    /// As of [`reader`](Self::reader); `Lock` if somebody deletes in it for longer than is waited.
    pub fn checker(self, progress: &dyn Progress) -> Result<Checker> {
        let repository = self.open(("read", Right::Check), 0, progress)?;
        Ok(Checker { repository })
    }

    /// Opens it to delete; waits until nobody else deletes or checks.
    ///
    /// # Errors
    /// As of [`checker`](Self::checker).
    pub fn pruner(self, progress: &dyn Progress) -> Result<Pruner> {
        let features = self.locked.config.features;
        let features = features.write | features.delete;
        let repository = self.open(("write", Right::Prune), features, progress)?;
        Ok(Pruner { checker: Checker { repository } })
    }

    /// Opens it to be repaired; waits until nobody else has it open.
    ///
    /// # Errors
    /// As of [`reader`](Self::reader); `Lock` if anybody has it open for longer than is waited.
    pub fn exclusive(self, progress: &dyn Progress) -> Result<Exclusive> {
        let features = self.locked.config.features;
        let features = features.write | features.delete;
        let repository = self.open(("write", Right::Alone), features, progress)?;
        Ok(Exclusive { checker: Checker { repository } })
    }

    fn open(
        self,
        (kind, right): (&'static str, Right),
        features: u32,
        progress: &dyn Progress,
    ) -> Result<Repository> {
        let Unlocked { locked, keys, cache, kept_len, clock } = self;
        if !keys.fit(&locked.config) {
            return Err(Error::WrongPassphrase);
        }
        locked.permit(features)?;
        let metadata = Sealer::new(locked.id(), Purpose::Metadata, &keys);
        locked.prove_config(&metadata)?;
        let Entered { lock, condemned, inventory } =
            right.enter(&locked, kind, &metadata, progress)?;
        let Locked { store, config, served, .. } = locked;
        let data = Sealer::new(config.repository, Purpose::Data, &keys);
        let hasher = ChunkHasher::new(&keys);
        let cache = match cache.filter(|_| right.believes_copy()) {
            Some(root) => Cache::in_directory(&root, config.repository, keys.get(Purpose::Client)),
            None => Cache::in_memory(),
        };
        let source = IndexSource {
            packs: PackReader { store: &*store, sealer: &data, group_len_max: config.group_len },
            metadata: &metadata,
            hasher: &hasher,
            repository: config.repository,
        };
        let (index, inventory) = Index::open(&source, cache, &condemned, inventory?, progress)?;
        let sight = Sight::of(inventory).map(Arc::new);
        let (boxes, names) = (data.clone(), hasher.clone());
        let groups = Groups::new(store.clone(), boxes, names, config.group_len, kept_len);
        let (groups, index) = (Arc::new(groups), RwLock::new(Arc::new(index)));
        let shared = Shared {
            store,
            config,
            keys,
            data,
            metadata,
            hasher,
            groups,
            lock: lock.into(),
            clock,
            served,
            sight,
            looked: Looked::new(right.believes_copy()),
            index,
        };
        let repository = Repository { shared: Arc::new(shared) };
        repository.tell(progress);
        Ok(repository)
    }
}

impl Repository {
    /// Adds to the index what came into the repository since. Gives what it went by: whatever the archives that are listed
    /// there need was there before them.
    pub(crate) fn refresh_index(&self, progress: &dyn Progress) -> Result<Inventory> {
        let inventory = Inventory::list(self.store())?;
        let mut index = Index::clone(&self.index());
        let updated = index.update(&self.index_source(), inventory, progress);
        self.set_index(index);
        updated
    }
}
