//! Records that only those write who may delete, kept while nobody else may.
//!
//! In: what was read of them, put and deleted. Out: the same again, without asking the server. Promises: nothing is given out
//! that another client can have changed since: only while a lease is held beside which nobody else deletes, and only what was
//! read or put under it; nor what this client has put another in place of.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use garret_core::{Key, Leases, StoreError, StoreErrorKind};

/// What is known of records.
#[derive(Default)]
pub(crate) struct Records(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The bytes of each; none of one that is not there.
    records: HashMap<Key, Option<Vec<u8>>>,
    /// How often anything changed: what was asked for before that, and is answered after it, may be what was there before.
    changes: u64,
}

impl Known {
    fn change(&mut self, key: &Key, now: Option<Option<Vec<u8>>>) {
        self.changes += 1;
        match now {
            Some(now) => drop(self.records.insert(key.clone(), now)),
            None => drop(self.records.remove(key)),
        }
    }
}

fn is_record(key: &Key) -> bool {
    matches!(key, Key::Condemned | Key::Tombstones | Key::TombstonesCopy)
}

impl Records {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object, as `read` gives it unless it is known.
    pub(crate) fn get(
        &self,
        key: &Key,
        leases: &Leases,
        read: impl FnOnce() -> Result<Vec<u8>, StoreError>,
    ) -> Result<Vec<u8>, StoreError> {
        if !is_record(key) || !leases.nobody_deletes() {
            return read();
        }
        let before = {
            let known = self.known();
            match known.records.get(key) {
                Some(Some(bytes)) => return Ok(bytes.clone()),
                Some(None) => {
                    let missing = io::ErrorKind::NotFound.into();
                    return Err(StoreError::new("read", key.to_string(), missing));
                }
                None => known.changes,
            }
        };
        let found = read();
        let now = match &found {
            Ok(bytes) => Some(bytes.clone()),
            Err(error) if error.kind == StoreErrorKind::NotFound => None,
            Err(_) => return found,
        };
        let mut known = self.known();
        if known.changes == before {
            known.records.insert(key.clone(), now);
        }
        found
    }

    /// Does `change`, after which the object has these bytes, or is not there.
    pub(crate) fn change(
        &self,
        key: &Key,
        now: impl FnOnce() -> Option<Vec<u8>>,
        change: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !is_record(key) {
            return change();
        }
        self.known().change(key, None);
        let changed = change();
        // What failed may have been done all the same.
        self.known().change(key, changed.is_ok().then(now));
        changed
    }

    /// A lease was taken: what was read before it may be another by now.
    pub(crate) fn clear(&self) {
        let mut known = self.known();
        known.records.clear();
        known.changes += 1;
    }
}
