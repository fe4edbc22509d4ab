//! Records that only those write who may delete, kept while nobody else may.
//!
//! In: what was read of them, put and deleted. Out: the same again, without asking the server. Promises: nothing is given out
//! that another client can have changed since: only while a lease is held beside which nobody else deletes, and only what was
//! read or put under it; nor what this client has put another in place of. A machine that was paused does not know that its
//! lease is over: in place of what is known nothing is put before it was seen to be there still.

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
    fn forget(&mut self, key: &Key) {
        self.changes += 1;
        self.records.remove(key);
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

    /// Does `change`, after which the object has these bytes, or is not there. `read` gives what the server has, if it is not
    /// longer than that.
    ///
    /// # Errors
    /// `Busy` if that is not what is known.
    pub(crate) fn change(
        &self,
        key: &Key,
        now: impl FnOnce() -> Option<Vec<u8>>,
        read: impl FnOnce(u64) -> Result<Vec<u8>, StoreError>,
        change: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !is_record(key) {
            return change();
        }
        let before = self.known().records.get(key).cloned();
        if let Some(before) = before {
            let is_same = match (read(before.as_ref().map_or(0, Vec::len) as u64), before) {
                (Err(error), before) if error.kind == StoreErrorKind::NotFound => before.is_none(),
                (Err(error), _) if error.kind == StoreErrorKind::WrongLength => false,
                (there, before) => before == Some(there?),
            };
            if !is_same {
                self.known().forget(key);
                let why = "another client has changed it meanwhile: run the command again";
                let source = io::Error::new(io::ErrorKind::WouldBlock, why);
                return Err(StoreError::new("replace", key.to_string(), source));
            }
        }
        self.known().forget(key);
        let changed = change();
        let mut known = self.known();
        // What was asked for meanwhile may be the old one.
        known.forget(key);
        // What failed may have been done all the same: then it is not known.
        if changed.is_ok() {
            known.records.insert(key.clone(), now());
        }
        changed
    }

    /// A lease was taken: what was read before it may be another by now.
    pub(crate) fn clear(&self) {
        let mut known = self.known();
        known.records.clear();
        known.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use garret_core::{Guard, LeaseTable, LockMode};

    use super::*;

    #[derive(Default)]
    struct Table(Mutex<BTreeMap<String, Duration>>);

    impl LeaseTable for Table {
        fn put(&self, name: &str) -> Result<(), StoreError> {
            self.0.lock().unwrap().insert(name.to_owned(), Duration::from_secs(1));
            Ok(())
        }

        fn list(&self) -> Result<Vec<(String, Duration)>, StoreError> {
            Ok(self.0.lock().unwrap().clone().into_iter().collect())
        }

        fn remove(&self, name: &str) -> Result<(), StoreError> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    /// A server with one record, which counts how often it is asked.
    #[derive(Default)]
    struct Server {
        record: Mutex<Option<Vec<u8>>>,
        asked: Cell<u32>,
    }

    impl Server {
        fn read(&self) -> Result<Vec<u8>, StoreError> {
            self.asked.set(self.asked.get() + 1);
            let missing = || StoreError::new("read", "record", io::ErrorKind::NotFound.into());
            self.record.lock().unwrap().clone().ok_or_else(missing)
        }

        fn put(&self, records: &Records, bytes: &[u8]) -> Result<(), StoreError> {
            let put = || {
                *self.record.lock().unwrap() = Some(bytes.to_vec());
                Ok(())
            };
            records.change(&Key::Tombstones, || Some(bytes.to_vec()), |_| self.read(), put)
        }
    }

    fn lock(leases: &Leases, mode: LockMode) -> Box<dyn Guard> {
        leases.lock(mode, Duration::ZERO, &mut |_| {}).unwrap()
    }

    #[test]
    fn a_record_is_asked_for_once_while_nobody_else_deletes() {
        let leases = Leases::new(Arc::new(Table::default())).unwrap();
        for (mode, is_kept) in [
            (LockMode::Session(0), false),
            (LockMode::Check, true),
            (LockMode::Prune, true),
            (LockMode::Exclusive, true),
        ] {
            let (records, server) = (Records::default(), Server::default());
            let get = |key: &Key| records.get(key, &leases, || server.read());
            let guard = lock(&leases, mode);
            for bytes in [None, Some(vec![1]), Some(vec![2, 3])] {
                if let Some(bytes) = &bytes {
                    server.put(&records, bytes).unwrap();
                }
                let before = server.asked.get();
                for _ in 0..3 {
                    assert_eq!(get(&Key::Tombstones).ok(), bytes, "{mode:?}");
                }
                let asked = server.asked.get() - before;
                // What was put is known; that it is not there was asked for once.
                let once = u32::from(bytes.is_none());
                assert_eq!(asked, if is_kept { once } else { 3 }, "{mode:?} {bytes:?}");
            }
            drop(guard);
            let before = server.asked.get();
            get(&Key::Tombstones).unwrap();
            assert_eq!(server.asked.get(), before + 1, "{mode:?}: its lease has ended");
        }
    }

    #[test]
    fn nothing_takes_the_place_of_what_another_has_put_meanwhile() {
        let leases = Leases::new(Arc::new(Table::default())).unwrap();
        let _guard = lock(&leases, LockMode::Prune);
        for before in [None, Some(vec![1])] {
            let (records, server) = (Records::default(), Server::default());
            server.record.lock().unwrap().clone_from(&before);
            let get = || records.get(&Key::Tombstones, &leases, || server.read()).ok();
            assert_eq!(get(), before);
            *server.record.lock().unwrap() = Some(vec![9]);
            let refused = server.put(&records, &[2]).unwrap_err();
            assert_eq!(refused.kind, StoreErrorKind::Busy);
            assert_eq!(get(), Some(vec![9]), "it is there");
            server.put(&records, &[2]).unwrap();
        }
    }

    #[test]
    fn what_was_asked_for_before_a_change_is_not_kept() {
        let leases = Leases::new(Arc::new(Table::default())).unwrap();
        let _guard = lock(&leases, LockMode::Prune);
        let (records, server) = (Records::default(), Server::default());
        server.record.lock().unwrap().replace(vec![1]);
        let slow = records.get(&Key::Tombstones, &leases, || {
            let old = server.read();
            server.put(&records, &[2]).unwrap();
            old
        });
        assert_eq!(slow.unwrap(), [1]);
        assert_eq!(records.get(&Key::Tombstones, &leases, || server.read()).unwrap(), [2]);
    }
}
