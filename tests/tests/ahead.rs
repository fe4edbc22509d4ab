//! A session of a repository far away that enters while its passphrase is tried is as any other.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use garret_core::{Error, Keys, Locked, MemoryStore, Right, Secret, Silent, Store};
use garret_format::KeyId;
use garret_format::condemned::EPOCH_MAX;
use garret_format::config::KeyMode;
use garret_testkit::{FarStore, FaultStore, Image, Lab, PASSPHRASE, Verb};

/// A repository with a passphrase, near and far.
struct Place {
    near: Lab,
    memory: MemoryStore,
    key: KeyId,
}

impl Place {
    fn new() -> Self {
        let (near, memory) = Lab::memory(KeyMode::Passphrase);
        let key = near.keys.id().unwrap();
        near.backup_bytes("a", &Image::noise(1, 1 << 20).bytes).unwrap();
        near.backup_bytes("b", &Image::noise(2, 1 << 20).bytes).unwrap();
        Place { near, memory, key }
    }

    fn over(&self, store: impl Store + 'static, right: Right) -> Locked {
        let far = FarStore::new(store, Duration::ZERO, 16);
        let locked = Locked::find(Box::new(far)).unwrap().expecting(Some(self.key));
        locked.meant_for(right).with_patience(Duration::ZERO)
    }

    fn locked(&self, right: Right) -> Locked {
        self.over(self.memory.clone(), right)
    }

    fn has_sessions(&self, first: u64) -> bool {
        self.memory.has_sessions(first..=EPOCH_MAX).unwrap()
    }
}

fn unlock(locked: &Locked) -> Keys {
    locked.unlock(Secret::Passphrase(PASSPHRASE)).unwrap()
}

#[test]
fn what_was_done_ahead_is_not_done_again() {
    let place = Place::new();
    for right in [Right::Read, Right::Write] {
        let faults = FaultStore::new(place.memory.clone());
        let locked = place.over(faults.clone(), right);
        let keys = unlock(&locked);
        assert!(place.has_sessions(0), "{right:?}");
        // Under the lock: what is condemned, then what there is.
        let log = faults.log();
        let condemned = log.iter().rposition(|(_, on)| on == "condemned").unwrap();
        let listed = |area: &str| log.iter().position(|(_, on)| on == area).unwrap();
        assert!(condemned < listed("Packs") && condemned < listed("Archives"), "{log:?}");
        faults.disarm();
        let unlocked = locked.with(keys);
        let names = match right {
            Right::Read => unlocked.reader(&Silent).unwrap().first_sight().unwrap().names(),
            _ => unlocked.writer(&Silent).unwrap().first_sight().unwrap().names(),
        };
        assert_eq!(names, ["a", "b"]);
        let log = faults.log();
        let is_again = |(verb, on): &(Verb, String)| *verb == Verb::List || on == "condemned";
        assert!(!log.iter().any(is_again), "{right:?}: {log:?}");
        assert!(!place.has_sessions(0), "{right:?}");
    }
}

/// One that a client came in by is asked for by its name: the list would be one more answer to wait for.
#[test]
fn the_key_that_opened_before_is_not_looked_for() {
    let place = Place::new();
    let slot = unlock(&place.locked(Right::Read)).slot();
    for is_known in [false, true] {
        let faults = FaultStore::new(place.memory.clone());
        let locked = place.over(faults.clone(), Right::Read);
        unlock(&locked.trying_first(slot.filter(|_| is_known)));
        let listed = faults.log().iter().any(|(_, on)| on == "Slots");
        assert_eq!(listed, !is_known, "{:?}", faults.log());
    }
}

#[test]
fn where_something_is_condemned_a_session_has_the_epoch_of_that() {
    let place = Place::new();
    let reader = place.near.reader().unwrap();
    place.near.delete("a").unwrap();
    assert!(place.near.gc().unwrap().waiting_pack_count > 0);
    drop(reader);
    for right in [Right::Read, Right::Write] {
        let locked = place.locked(right);
        let keys = unlock(&locked);
        // What cannot be guessed is not waited for.
        assert!(!place.has_sessions(0), "{right:?}");
        let unlocked = locked.with(keys);
        let check = || {
            assert!(place.has_sessions(1), "{right:?}");
            assert!(!place.memory.has_sessions(0..=0).unwrap(), "{right:?}");
        };
        match right {
            Right::Read => {
                let _session = unlocked.reader(&Silent).unwrap();
                check();
            }
            _ => {
                let _session = unlocked.writer(&Silent).unwrap();
                check();
            }
        }
    }
    // Who was there began after it was condemned.
    assert!(place.near.gc().unwrap().deleted_pack_count > 0);
}

#[test]
fn nothing_is_held_for_who_does_not_come_in() {
    let place = Place::new();
    for right in [Right::Read, Right::Write, Right::Check, Right::Prune] {
        let locked = place.locked(right);
        let wrong = locked.unlock(Secret::Passphrase(b"another"));
        assert!(matches!(wrong, Err(Error::WrongPassphrase)), "{right:?}");
        drop(place.near.unlocked_without_patience().exclusive(&Silent).unwrap());
        // Nor for who comes in as another than he said.
        let keys = unlock(&locked);
        drop(locked.with(keys).exclusive(&Silent).unwrap());
    }
}

#[test]
fn who_has_to_wait_hears_so_and_not_from_what_was_tried_ahead() {
    let place = Place::new();
    for right in [Right::Check, Right::Prune] {
        let busy = place.near.pruner().unwrap();
        let locked = place.locked(right);
        let keys = unlock(&locked);
        let opened = match right {
            Right::Check => locked.with(keys).checker(&Silent).map(drop),
            _ => locked.with(keys).pruner(&Silent).map(drop),
        };
        assert!(matches!(opened, Err(Error::Lock { .. })), "{right:?}: {opened:?}");
        drop(busy);
        let locked = place.locked(right);
        let keys = unlock(&locked);
        // It is held from then on.
        assert!(place.near.unlocked_without_patience().exclusive(&Silent).is_err(), "{right:?}");
        match right {
            Right::Check => drop(locked.with(keys).checker(&Silent).unwrap()),
            _ => drop(locked.with(keys).pruner(&Silent).unwrap()),
        }
    }
}
