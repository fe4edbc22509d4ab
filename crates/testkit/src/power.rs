//! A store in memory that knows what a power cut would leave: the contract of durability, taken at its worst.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use garret_core::{Key, MemoryStore, Store, StoreError};

use crate::Random;

/// Objects in memory, and which of them are durable. Clones share the objects.
///
/// Between two syncs anything may happen to each object on its own: its put or delete is durable, or it is not.
#[derive(Clone, Default)]
pub struct PowerStore {
    live: MemoryStore,
    durable: Arc<Mutex<BTreeMap<Key, Vec<u8>>>>,
}

impl PowerStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of these objects, all durable.
    pub fn from_objects(objects: BTreeMap<Key, Vec<u8>>) -> Self {
        let live = MemoryStore::from_objects(objects.clone());
        PowerStore { live, durable: Arc::new(Mutex::new(objects)) }
    }

    /// The objects that a crash of the process leaves: all of them.
    pub fn after_kill(&self) -> BTreeMap<Key, Vec<u8>> {
        self.live.objects()
    }

    /// The objects after a power cut; `keep` says of each change since the last sync whether it had reached the disk.
    pub fn after_power_cut(&self, mut keep: impl FnMut(&Key) -> bool) -> BTreeMap<Key, Vec<u8>> {
        let (live, durable) = (self.live.objects(), self.durable().clone());
        let keys: BTreeSet<&Key> = live.keys().chain(durable.keys()).collect();
        let left = keys.into_iter().filter_map(|key| {
            let (new, old) = (live.get(key), durable.get(key));
            let bytes = if new == old || keep(key) { new } else { old };
            Some((key.clone(), bytes?.clone()))
        });
        left.collect()
    }

    /// The objects after a power cut that kept a random half of what was not synced.
    pub fn after_random_power_cut(&self, seed: u64) -> BTreeMap<Key, Vec<u8>> {
        let mut random = Random::new(seed);
        self.after_power_cut(|_| random.below(2) == 0)
    }

    fn durable(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<u8>>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for PowerStore {
    crate::through!(live: put, put_new, get, get_whole, len, delete, adopt, pass_over, doubtful);
    crate::through!(live: list, sweep, lock, has_sessions, notices, place);

    fn sync(&self) -> Result<(), StoreError> {
        *self.durable() = self.live.objects();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let store = PowerStore::new();
        let key = |name: &str| Key::Archive(name.to_owned());
        store.put(&key("old"), &[b"1"]).unwrap();
        store.sync().unwrap();
        store.delete(&key("old")).unwrap();
        store.put(&key("new"), &[b"2"]).unwrap();
        let names = |objects: BTreeMap<Key, Vec<u8>>| objects.into_keys().collect::<Vec<_>>();
        assert_eq!(names(store.after_kill()), [key("new")]);
        assert_eq!(names(store.after_power_cut(|_| false)), [key("old")]);
        assert_eq!(names(store.after_power_cut(|_| true)), [key("new")]);
        store.sync().unwrap();
        assert_eq!(names(store.after_power_cut(|_| false)), [key("new")]);
    }
}
