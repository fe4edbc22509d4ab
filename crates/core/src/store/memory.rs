//! A store in memory: for tests, and as the plainest statement of the contract.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Area, Guard, Key, LockMode, Store, StoreError};

/// Objects in a map. Clones share the objects.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    objects: Mutex<BTreeMap<Key, Arc<Vec<u8>>>>,
    lock: Mutex<Holders>,
    released: Condvar,
}

impl Shared {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who holds the lock.
#[derive(Debug, Default)]
struct Holders {
    /// By epoch.
    sessions: BTreeMap<u64, usize>,
    checks: usize,
    prunes: bool,
    exclusive: bool,
}

impl Holders {
    fn exclude(&self, mode: LockMode) -> bool {
        let deletes = self.exclusive || self.prunes;
        match mode {
            LockMode::Session(_) => self.exclusive,
            LockMode::Check => deletes,
            LockMode::Prune => deletes || self.checks > 0,
            LockMode::Exclusive => deletes || self.checks > 0 || !self.sessions.is_empty(),
        }
    }

    fn add(&mut self, mode: LockMode) {
        match mode {
            LockMode::Session(epoch) => *self.sessions.entry(epoch).or_default() += 1,
            LockMode::Check => self.checks += 1,
            LockMode::Prune => self.prunes = true,
            LockMode::Exclusive => self.exclusive = true,
        }
    }

    fn remove(&mut self, mode: LockMode) {
        match mode {
            LockMode::Session(epoch) => {
                if let Some(count) = self.sessions.get_mut(&epoch) {
                    *count -= 1;
                }
                self.sessions.retain(|_, count| *count > 0);
            }
            LockMode::Check => self.checks -= 1,
            LockMode::Prune => self.prunes = false,
            LockMode::Exclusive => self.exclusive = false,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every object and its bytes.
    pub fn objects(&self) -> BTreeMap<Key, Vec<u8>> {
        self.map().iter().map(|(key, bytes)| (key.clone(), bytes.to_vec())).collect()
    }

    /// A store that holds exactly these objects.
    pub fn from_objects(objects: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Self {
        let store = Self::default();
        store.map().extend(objects.into_iter().map(|(key, bytes)| (key, Arc::new(bytes))));
        store
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Vec<u8>>>> {
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &Key) -> Result<Arc<Vec<u8>>, StoreError> {
        let found = self.map().get(key).cloned();
        found.ok_or_else(|| StoreError::new("read", key, io::ErrorKind::NotFound.into()))
    }
}

impl Store for MemoryStore {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.map().insert(key.clone(), Arc::new(parts.concat()));
        Ok(())
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        match self.map().entry(key.clone()) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(StoreError::new("create", key, io::ErrorKind::AlreadyExists.into()))
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Arc::new(bytes.to_vec()));
                Ok(())
            }
        }
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let object = self.object(key)?;
        match object.get(range.start as usize..range.end as usize) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(StoreError::new("read", key, io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn get_whole(&self, key: &Key, max: u64) -> Result<Vec<u8>, StoreError> {
        let object = self.object(key)?;
        match object.len() as u64 > max {
            true => Err(StoreError::too_long(key, object.len() as u64, max)),
            false => Ok(object.to_vec()),
        }
    }

    fn len(&self, key: &Key) -> Result<u64, StoreError> {
        Ok(self.object(key)?.len() as u64)
    }

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        let is_listed = |key: &Key| {
            matches!(
                (area, key),
                (Area::Slots, Key::Slot(_))
                    | (Area::Packs, Key::Pack(_))
                    | (Area::Index, Key::Index(_))
                    | (Area::Archives, Key::Archive(_))
                    | (Area::Damage, Key::Damage(_))
                    | (Area::Quarantine, Key::Quarantine(_))
                    | (Area::Tags, Key::Tags(_))
                    | (Area::Copies, Key::ConfigCopy | Key::TombstonesCopy)
                    | (Area::Copies, Key::SlotCopy(_) | Key::ArchiveCopy(_))
            )
        };
        let objects = self.map();
        let listed = objects.iter().filter(|(key, _)| is_listed(key));
        Ok(listed.map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.map().remove(key);
        Ok(())
    }

    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        self.object(key).map(drop)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn lock(
        &self,
        mode: LockMode,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Box<dyn Guard>, StoreError> {
        let busy = |holders: &mut Holders| holders.exclude(mode);
        let mut holders = self.shared.holders();
        if busy(&mut holders) && !patience.is_zero() {
            waiting("another program");
        }
        let wait = self.shared.released.wait_timeout_while(holders, patience, busy);
        (holders, _) = wait.unwrap_or_else(PoisonError::into_inner);
        if busy(&mut holders) {
            return Err(StoreError::new("lock", Key::Config, io::ErrorKind::WouldBlock.into()));
        }
        holders.add(mode);
        Ok(Box::new(MemoryGuard { shared: self.shared.clone(), mode }))
    }

    fn has_sessions(&self, epochs: RangeInclusive<u64>) -> Result<bool, StoreError> {
        // A map has no range that ends before it begins.
        let is_any = !epochs.is_empty();
        Ok(is_any && self.shared.holders().sessions.range(epochs).next().is_some())
    }

    fn pass_over(&self, _key: &Key) {}

    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

struct MemoryGuard {
    shared: Arc<Shared>,
    mode: LockMode,
}

impl Guard for MemoryGuard {}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        self.shared.holders().remove(self.mode);
        self.shared.released.notify_all();
    }
}
