//! Every implementation of `Store` keeps the contract.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use garret_core::{
    LEASE_TIME, Limit, LimitOptions, LocalStore, MemoryStore, Retry, RetryOptions, Sharing, Store,
    StoreError, StoreErrorKind, SystemClock,
};
use garret_testkit::{Fault, FaultStore, LocklessServer, PowerStore, TestClock, store_suite};

/// Stores in directories below this one.
fn in_directories(root: &Path, before: impl Fn(LocalStore) -> Box<dyn Store>) {
    let number = std::cell::Cell::new(0);
    store_suite(&|| {
        number.set(number.get() + 1);
        let root = root.join(number.get().to_string());
        before(LocalStore::create(&root, Sharing::Private).unwrap())
    });
}

#[test]
fn a_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    in_directories(dir.path(), |store| Box::new(store));
}

#[test]
fn memory_keeps_the_contract() {
    store_suite(&|| Box::new(MemoryStore::new()));
}

#[test]
fn leases_keep_the_contract_where_there_are_no_locks() {
    store_suite(&|| {
        let server = LocklessServer::new(Arc::new(SystemClock::new()), Duration::ZERO);
        Box::new(server.client(LEASE_TIME))
    });
}

#[test]
fn the_stores_that_fail_keep_the_contract_until_they_do() {
    store_suite(&|| Box::new(FaultStore::new(PowerStore::new())));
}

#[test]
fn a_store_behind_a_bad_line_keeps_the_contract_when_it_is_asked_again() {
    let mut options = RetryOptions::default();
    options.tries = 50;
    let seed = std::cell::Cell::new(0);
    let behind = |store: FaultStore| {
        seed.set(seed.get() + 1);
        store.arm_at_random(seed.get());
        Box::new(Retry::new(store, options).with_clock(Arc::new(TestClock::new())))
    };
    store_suite(&|| behind(FaultStore::new(MemoryStore::new())));
    let dir = tempfile::tempdir().unwrap();
    in_directories(dir.path(), |store| behind(FaultStore::new(store)));
}

#[test]
fn a_store_that_is_asked_for_less_keeps_the_contract() {
    let (rate, clock) = (NonZero::new(100_000), Arc::new(TestClock::new()));
    for in_flight in [None, NonZero::new(1), NonZero::new(3)] {
        let mut options = LimitOptions::default();
        (options.in_flight, options.up, options.down) = (in_flight, rate, rate);
        let before = |store| Limit::new(store, options).with_clock(clock.clone());
        store_suite(&|| Box::new(before(MemoryStore::new())));
    }
    let mut options = LimitOptions::default();
    options.in_flight = NonZero::new(2);
    let dir = tempfile::tempdir().unwrap();
    in_directories(dir.path(), |store| {
        Box::new(Retry::new(Limit::new(store, options), RetryOptions::default()))
    });
}

/// What may pass, by what the system says.
#[test]
fn errors_of_the_way_to_the_storage_are_transient_and_those_of_the_storage_are_not() {
    use rustix::io::Errno;
    let kind = |errno: Errno| StoreError::new("read", "x", io::Error::from(errno)).kind;
    for errno in [
        Errno::TIMEDOUT,
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::CONNABORTED,
        Errno::PIPE,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTUNREACH,
        Errno::STALE,
    ] {
        assert_eq!(kind(errno), StoreErrorKind::Transient, "{errno}");
    }
    // The end of a FUSE program, or no more descriptors, does not pass by asking.
    for errno in [Errno::IO, Errno::NOTCONN, Errno::MFILE, Errno::NOMEM, Errno::NODEV] {
        assert_eq!(kind(errno), StoreErrorKind::Other, "{errno}");
    }
}

#[test]
fn a_directory_passes_over_what_is_no_object_and_sweeps_what_interrupted_puts_left() {
    use garret_core::Area;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let store = LocalStore::create(&root, Sharing::Private).unwrap();
    let left = "tmp/00112233445566778899aabbccddeeff";
    for name in ["packs/00/junk", "index/README", "keys/.hidden", "backups/.part", "tmp/0123", left]
    {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", root.join("backups/link")).unwrap();
    for area in [Area::Slots, Area::Index, Area::Archives] {
        assert_eq!(store.list(area).unwrap(), [], "{area:?}");
    }
    assert_eq!(store.list(Area::Packs).unwrap(), []);
    let expected = "passed over 3 files that are not the repository's, first backups/link";
    assert_eq!(store.notices(), [expected]);
    assert_eq!(store.notices(), [""; 0]);
    store.sweep().unwrap();
    assert!(!root.join(left).exists() && root.join("tmp/0123").exists());
    assert!(
        LocalStore::create(&root, Sharing::Private).is_err(),
        "a directory that holds something is refused"
    );
}

#[test]
fn a_fault_happens_once_or_from_then_on() {
    use garret_core::Key;
    let store = FaultStore::new(MemoryStore::new());
    let fault = |times| Fault { verbs: vec![], after: 2, times, kind: StoreErrorKind::NoSpace };
    let runs = [(1, [true, true, false, true]), (Fault::FOR_GOOD, [true, true, false, false])];
    for (times, expected) in runs {
        store.arm(fault(times));
        assert_eq!([(); 4].map(|()| store.put(&Key::Config, &[b"x"]).is_ok()), expected);
    }
    store.disarm();
    store.sync().unwrap();
    assert_eq!((store.count(), store.fired()), (1, 0));
}

#[test]
fn a_repository_that_is_removed_takes_only_what_is_its_own() {
    use garret_core::{Area, Input, Key};
    use garret_format::config::KeyMode;
    use garret_format::{ArchiveHash, PackId};
    use garret_testkit::Lab;
    let dir = tempfile::tempdir().unwrap();
    for stranger in [None, Some("backups/vm/note.txt"), Some("packs/README"), Some("theirs")] {
        let root = dir.path().join("repo");
        let lab = Lab::local(&root, KeyMode::Passphrase);
        for name in ["a", "vm/deep/b"] {
            let reader = Box::new(std::io::Cursor::new(name.as_bytes().to_vec()));
            let input = Input::Stream { name: b"x".to_vec(), reader };
            lab.backup_inputs(name, vec![input]).unwrap();
        }
        if let Some(stranger) = stranger {
            std::fs::write(root.join(stranger), "do not forget the milk").unwrap();
        }
        let store = LocalStore::open(&root).unwrap();
        let pack = PackId::from_bytes([7; 32]);
        for key in [
            Key::Verified,
            Key::Condemned,
            Key::Tombstones,
            Key::Cold,
            Key::Damage(pack),
            Key::Quarantine(pack),
            Key::Tags(ArchiveHash::from_bytes([7; 32])),
            Key::ConfigCopy,
            Key::TombstonesCopy,
        ] {
            store.put(&key, &[]).unwrap();
        }
        let removed = store.remove();
        match stranger {
            None => {
                removed.unwrap();
                assert!(!root.exists());
            }
            Some(stranger) => {
                let error = removed.unwrap_err();
                assert!(garret_core::message(&error).contains("not empty"), "{error}");
                let left = std::fs::read(root.join(stranger)).unwrap();
                assert_eq!(left, b"do not forget the milk");
                for area in [Area::Slots, Area::Index, Area::Archives] {
                    assert_eq!(store.list(area).unwrap(), [], "{area:?}");
                }
                assert_eq!(store.list(Area::Packs).unwrap(), []);
                std::fs::remove_dir_all(&root).unwrap();
            }
        }
    }
}
