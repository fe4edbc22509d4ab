//! What whoever opens a repository asks for next, found while it is looked for.
//!
//! In: a server. Out: objects, or that they are not there, and the list of key slots; each once. Promises: nothing of it is
//! left when a lock was taken: what a session goes by is read under its lock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use garret_core::{Area, Key, StoreError, StoreErrorKind};

use crate::names::{directory_of, key_of, name_of};
use crate::service::Service;

/// More than any of what is asked for first has, in bytes.
pub(crate) const FIRST_LEN_MAX: u64 = 1 << 20;
/// Key slots that are looked at before anybody asks: few have more.
const SLOTS_FIRST: usize = 4;

#[derive(Default)]
pub(crate) struct First(Mutex<Found>);

#[derive(Default)]
struct Found {
    objects: HashMap<Key, Result<Vec<u8>, StoreError>>,
    slots: Option<Vec<(Key, u64)>>,
}

impl First {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds an object, or that it is not there. What fails is tried by whoever asks for it.
    pub(crate) fn find(&self, service: &dyn Service, key: &Key) {
        let found = service.get_whole(&name_of(key), FIRST_LEN_MAX);
        let is_known =
            found.as_ref().map_or_else(|error| error.kind == StoreErrorKind::NotFound, |_| true);
        if is_known {
            self.note(key.clone(), found);
        }
    }

    /// The same of the key slots.
    pub(crate) fn find_slots(&self, service: &dyn Service) {
        let Ok(listed) = list(service, Area::Slots) else { return };
        std::thread::scope(|scope| {
            for (key, _) in listed.iter().take(SLOTS_FIRST) {
                scope.spawn(|| self.find(service, key));
            }
        });
        self.found().slots = Some(listed);
    }

    /// Notes what was found.
    pub(crate) fn note(&self, key: Key, found: Result<Vec<u8>, StoreError>) {
        self.found().objects.insert(key, found);
    }

    /// What was found of an object; none if it is longer than `max`.
    pub(crate) fn take(&self, key: &Key, max: u64) -> Option<Result<Vec<u8>, StoreError>> {
        let found = self.found().objects.remove(key)?;
        found.as_ref().map_or(true, |bytes| bytes.len() as u64 <= max).then_some(found)
    }

    /// The list of slots, if they were found.
    pub(crate) fn take_slots(&self) -> Option<Vec<(Key, u64)>> {
        self.found().slots.take()
    }

    /// A lock was taken.
    pub(crate) fn clear(&self) {
        *self.found() = Found::default();
    }
}

/// The objects of a kind, and their lengths in bytes.
pub(crate) fn list(service: &dyn Service, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
    let listed = service.list(directory_of(area), usize::MAX)?.into_iter();
    Ok(listed.filter_map(|found| Some((key_of(area, &found.name)?, found.len))).collect())
}
