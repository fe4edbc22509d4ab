//! The contract of [`Store`], clause by clause, for any implementation. The words are those of `garret_core::Store`.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use garret_core::{Area, Key, LockMode, Store, StoreErrorKind};
use garret_format::condemned::EPOCH_MAX;
use garret_format::object::Kind;
use garret_format::{ArchiveHash, PackId, SegmentId, SlotId};

use crate::Random;

/// Runs every clause on stores that `make` gives; each must be empty and prepared as by init.
pub fn store_suite(make: &dyn Fn() -> Box<dyn Store>) {
    let clauses: [fn(&dyn Store); 14] = [
        what_was_put_is_got_back,
        put_replaces,
        put_new_refuses_what_is_there,
        of_two_put_new_at_once_one_succeeds,
        a_range_that_is_not_fully_there_fails,
        absent_objects_are_not_found,
        list_gives_each_area_what_was_put_and_not_deleted,
        delete_of_an_absent_object_succeeds,
        adopt_needs_the_object_and_sweep_keeps_every_object,
        a_reader_never_sees_part_of_a_put,
        a_whole_object_is_what_one_put_put,
        puts_and_syncs_from_many_threads_work,
        locks_exclude_and_end_with_their_guard,
        locks_let_in_whom_they_should,
    ];
    for clause in clauses {
        clause(&*make());
    }
}

fn keys() -> Vec<Key> {
    let archive = |name: &str| Key::Archive(name.to_owned());
    vec![
        Key::Config,
        Key::Slot(SlotId::from_bytes([1; 16])),
        Key::Pack(PackId::from_bytes([0xab; 32])),
        Key::Pack(PackId::from_bytes([0; 32])),
        Key::Index(SegmentId::from_bytes([3; 32])),
        Key::Damage(PackId::from_bytes([0xab; 32])),
        Key::Quarantine(PackId::from_bytes([0xab; 32])),
        Key::Verified,
        Key::Condemned,
        Key::Tombstones,
        Key::Cold,
        Key::Tags(ArchiveHash::from_bytes([0xab; 32])),
        Key::ConfigCopy,
        Key::TombstonesCopy,
        Key::SlotCopy(SlotId::from_bytes([1; 16])),
        Key::ArchiveCopy(ArchiveHash::from_bytes([0xab; 32])),
        archive("plain"),
        archive("vm/2026-11-23 03:00"),
        archive("vm/deep/er"),
        archive("umlaut-\u{e4}"),
    ]
}

fn whole(store: &dyn Store, key: &Key) -> Vec<u8> {
    let len = store.len(key).unwrap();
    store.get(key, 0..len).unwrap()
}

fn what_was_put_is_got_back(store: &dyn Store) {
    let mut random = Random::new(1);
    for (number, key) in keys().iter().enumerate() {
        let bytes = random.bytes(number * 1000);
        let (first, last) = bytes.split_at(bytes.len() / 3);
        store.put(key, &[first, &[], last]).unwrap();
        assert_eq!(store.len(key).unwrap(), bytes.len() as u64, "{key}");
        assert_eq!(whole(store, key), bytes, "{key}");
        let (start, end) = (bytes.len() / 4, bytes.len() / 2);
        assert_eq!(store.get(key, start as u64..end as u64).unwrap(), bytes[start..end], "{key}");
    }
    store.sync().unwrap();
}

fn put_replaces(store: &dyn Store) {
    for key in keys() {
        store.put(&key, &[b"a long first object"]).unwrap();
        store.put(&key, &[b"short"]).unwrap();
        assert_eq!(whole(store, &key), b"short", "{key}");
    }
}

fn put_new_refuses_what_is_there(store: &dyn Store) {
    for key in keys() {
        store.put_new(&key, b"first").unwrap();
        let error = store.put_new(&key, b"second").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{key}");
        assert_eq!(whole(store, &key), b"first", "{key}");
    }
}

fn of_two_put_new_at_once_one_succeeds(store: &dyn Store) {
    for round in 0..50 {
        let key = Key::Archive(format!("round/{round}"));
        let (start, won) = (Barrier::new(2), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for me in 0..2u8 {
                let (key, start, won) = (&key, &start, &won);
                scope.spawn(move || {
                    start.wait();
                    match store.put_new(key, &[me; 100]) {
                        Ok(()) => drop(won.fetch_add(1, Ordering::SeqCst)),
                        Err(error) => assert_eq!(error.kind, StoreErrorKind::AlreadyExists),
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), 1, "round {round}");
        let bytes = whole(store, &key);
        assert!(bytes == [0; 100] || bytes == [1; 100]);
    }
}

fn a_range_that_is_not_fully_there_fails(store: &dyn Store) {
    let key = Key::Pack(PackId::from_bytes([7; 32]));
    store.put(&key, &[&[5; 100]]).unwrap();
    assert_eq!(store.get(&key, 100..100).unwrap(), b"");
    assert_eq!(store.get(&key, 99..100).unwrap(), [5]);
    #[expect(clippy::reversed_empty_ranges, reason = "what a hostile index may ask for")]
    let reversed = 50..40;
    for range in [0..101, 99..101, 100..101, 101..101, 200..300, 0..u64::MAX, reversed] {
        let error = store.get(&key, range.clone()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::WrongLength, "{range:?}");
    }
}

fn absent_objects_are_not_found(store: &dyn Store) {
    for key in keys() {
        assert_eq!(store.get(&key, 0..1).unwrap_err().kind, StoreErrorKind::NotFound, "{key}");
        assert_eq!(store.len(&key).unwrap_err().kind, StoreErrorKind::NotFound, "{key}");
    }
}

fn list_gives_each_area_what_was_put_and_not_deleted(store: &dyn Store) {
    let in_area = |area, key: &Key| match key {
        Key::Config | Key::Verified | Key::Condemned | Key::Tombstones | Key::Cold => false,
        Key::Slot(_) => area == Area::Slots,
        Key::Pack(_) => area == Area::Packs,
        Key::Index(_) => area == Area::Index,
        Key::Archive(_) => area == Area::Archives,
        Key::Damage(_) => area == Area::Damage,
        Key::Quarantine(_) => area == Area::Quarantine,
        Key::Tags(_) => area == Area::Tags,
        Key::ConfigCopy | Key::TombstonesCopy => area == Area::Copies,
        Key::SlotCopy(_) | Key::ArchiveCopy(_) => area == Area::Copies,
    };
    let mut expected = keys();
    for key in &expected {
        let kind = match key {
            Key::Config | Key::ConfigCopy => Kind::Config,
            Key::Slot(_) | Key::SlotCopy(_) => Kind::Slot,
            Key::Pack(_) => Kind::Pack,
            Key::Index(_) => Kind::Index,
            Key::Archive(_) | Key::ArchiveCopy(_) => Kind::Archive,
            Key::Damage(_) => Kind::Damage,
            Key::Tags(_) => Kind::Tags,
            Key::Verified => Kind::Verified,
            Key::Condemned => Kind::Condemned,
            Key::Cold => Kind::Cold,
            Key::Tombstones | Key::TombstonesCopy => Kind::Tombstones,
            // Whatever is left of one.
            Key::Quarantine(_) => Kind::Archive,
        };
        store.put(key, &[&kind.header(), &vec![1; key.to_string().len()]]).unwrap();
    }
    let areas = [
        Area::Slots,
        Area::Packs,
        Area::Index,
        Area::Archives,
        Area::Damage,
        Area::Tags,
        Area::Quarantine,
        Area::Copies,
    ];
    loop {
        for area in areas {
            let mut listed = store.list(area).unwrap();
            listed.sort();
            let wanted = expected.iter().filter(|key| in_area(area, key));
            let mut wanted: Vec<(Key, u64)> =
                wanted.map(|key| (key.clone(), store.len(key).unwrap())).collect();
            wanted.sort();
            assert_eq!(listed, wanted, "{area:?}");
        }
        // Some are listed at once where that is less work.
        for some in [&areas[..], &[Area::Archives, Area::Damage, Area::Index, Area::Packs]] {
            let mut listed = store.list_all(some).unwrap();
            let each = some.iter().map(|area| store.list(*area).unwrap());
            let mut wanted: Vec<(Key, u64)> = each.flatten().collect();
            listed.sort();
            wanted.sort();
            assert_eq!(listed, wanted, "{some:?}");
        }
        match expected.pop() {
            Some(key) => store.delete(&key).unwrap(),
            None => break,
        }
    }
}

fn delete_of_an_absent_object_succeeds(store: &dyn Store) {
    for key in keys() {
        store.delete(&key).unwrap();
        store.put(&key, &[b"x"]).unwrap();
        store.delete(&key).unwrap();
        store.delete(&key).unwrap();
        assert_eq!(store.len(&key).unwrap_err().kind, StoreErrorKind::NotFound, "{key}");
        store.put_new(&key, b"again").unwrap();
    }
    store.sync().unwrap();
}

fn adopt_needs_the_object_and_sweep_keeps_every_object(store: &dyn Store) {
    for key in keys() {
        store.put(&key, &[b"x"]).unwrap();
        store.adopt(&key).unwrap();
    }
    store.sync().unwrap();
    store.sweep().unwrap();
    keys().iter().for_each(|key| assert_eq!(whole(store, key), b"x", "{key}"));
}

fn a_reader_never_sees_part_of_a_put(store: &dyn Store) {
    const LEN: usize = 200_000;
    let key = Key::Pack(PackId::from_bytes([9; 32]));
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for fill in 1..40u8 {
                let half = vec![fill; LEN / 2];
                store.put(&key, &[&half, &half]).unwrap();
            }
            done.store(1, Ordering::SeqCst);
        });
        while done.load(Ordering::SeqCst) == 0 {
            if let Ok(bytes) = store.get(&key, 0..LEN as u64) {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a torn object");
            } else if let Ok(len) = store.len(&key) {
                assert_eq!(len, LEN as u64, "a short object");
            }
        }
    });
}

/// An object that is replaced by others of other lengths is read as one of them.
fn a_whole_object_is_what_one_put_put(store: &dyn Store) {
    let bytes = |fill: u8| vec![fill; usize::from(fill) * 97 % 1000 + 1];
    let done = AtomicUsize::new(0);
    store.put(&Key::Condemned, &[&bytes(0)]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for fill in 0..200u8 {
                store.put(&Key::Condemned, &[&bytes(fill)]).unwrap();
            }
            done.store(1, Ordering::SeqCst);
        });
        while done.load(Ordering::SeqCst) == 0 {
            let read = store.get_whole(&Key::Condemned, 1000).unwrap();
            assert!(read == bytes(read[0]), "parts of two");
        }
    });
    let len = bytes(199).len() as u64;
    assert_eq!(store.get_whole(&Key::Condemned, len).unwrap(), bytes(199));
    let error = store.get_whole(&Key::Condemned, len - 1).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::WrongLength);
    let error = store.get_whole(&Key::Verified, len).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
}

fn puts_and_syncs_from_many_threads_work(store: &dyn Store) {
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            scope.spawn(move || {
                for number in 0..20u8 {
                    let mut id = [thread; 32];
                    id[0] = number;
                    let key = Key::Pack(PackId::from_bytes(id));
                    store.put(&key, &[&[thread, number]]).unwrap();
                    store.sync().unwrap();
                }
            });
        }
    });
    assert_eq!(store.list(Area::Packs).unwrap().len(), 80);
}

/// Who may be there beside whom, whoever comes first; and which sessions are seen.
fn locks_let_in_whom_they_should(store: &dyn Store) {
    store.put(&Key::Config, &[b"what a repository has"]).unwrap();
    let modes = [
        LockMode::Session(0),
        LockMode::Session(7),
        LockMode::Check,
        LockMode::Prune,
        LockMode::Exclusive,
    ];
    let take = |mode| store.lock(mode, Duration::ZERO, &mut |_| {});
    for one in modes {
        for other in modes {
            let (held, both) = (take(one).unwrap(), [one, other]);
            let is_let_in = !both.contains(&LockMode::Exclusive)
                && (both.contains(&LockMode::Session(0))
                    || both.contains(&LockMode::Session(7))
                    || both == [LockMode::Check; 2]);
            match take(other) {
                Ok(_) => assert!(is_let_in, "{other:?} beside {one:?}"),
                Err(error) => {
                    assert!(!is_let_in, "{other:?} beside {one:?}: {error}");
                    assert_eq!(error.kind, StoreErrorKind::Busy);
                }
            }
            drop(held);
        }
    }
    let has = |epochs| store.has_sessions(epochs).unwrap();
    let others = [LockMode::Check, LockMode::Exclusive].map(|mode| {
        let held = take(mode).unwrap();
        let seen = has(0..=EPOCH_MAX);
        drop(held);
        seen
    });
    assert_eq!(others, [false; 2], "who is no session is none");
    let last = take(LockMode::Session(EPOCH_MAX)).unwrap();
    let _pruner = take(LockMode::Prune).unwrap();
    let (first, again) = (take(LockMode::Session(3)).unwrap(), take(LockMode::Session(3)).unwrap());
    assert!(has(0..=3) && has(3..=3) && has(3..=9) && has(4..=EPOCH_MAX));
    assert!(!has(0..=2) && !has(4..=EPOCH_MAX - 1));
    drop(first);
    assert!(has(3..=3), "another is left");
    drop(again);
    assert!(!has(0..=EPOCH_MAX - 1));
    drop(last);
    assert!(!has(0..=EPOCH_MAX));
}

fn locks_exclude_and_end_with_their_guard(store: &dyn Store) {
    store.put(&Key::Config, &[b"what a repository has"]).unwrap();
    let patience = Duration::from_secs(600);
    let mut never = |who: &str| panic!("{who} does not hold a lock");
    let one = store.lock(LockMode::Session(0), patience, &mut never).unwrap();
    let two = store.lock(LockMode::Session(0), patience, &mut never).unwrap();
    let error = store.lock(LockMode::Exclusive, Duration::ZERO, &mut never).err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Busy);
    let (waited, held) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let waiting = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = store
                .lock(LockMode::Exclusive, patience, &mut |_| {
                    waited.fetch_add(1, Ordering::SeqCst);
                    waiting.wait();
                })
                .unwrap();
            held.store(1, Ordering::SeqCst);
            drop(guard);
        });
        waiting.wait();
        assert_eq!(held.load(Ordering::SeqCst), 0);
        drop(one);
        assert_eq!(held.load(Ordering::SeqCst), 0, "one of two is still held");
        drop(two);
    });
    assert_eq!((waited.into_inner(), held.into_inner()), (1, 1));
    drop(store.lock(LockMode::Exclusive, patience, &mut never).unwrap());
    drop(store.lock(LockMode::Session(0), patience, &mut never).unwrap());
    let held = store.lock(LockMode::Exclusive, Duration::ZERO, &mut never).unwrap();
    let mut told = 0;
    let soon = Duration::from_millis(20);
    let error = store.lock(LockMode::Session(0), soon, &mut |_| told += 1).err().unwrap();
    // A store that takes longer to be asked has waited for nobody.
    assert!(error.kind == StoreErrorKind::Busy && told <= 1, "{error}, told {told} times");
    drop(held);
}
