//! Every implementation of `Store` keeps the contract.

use garret_core::{LocalStore, MemoryStore, Sharing};
use garret_testkit::{Fault, FaultStore, PowerStore, store_suite};

#[test]
fn a_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    store_suite(&|| {
        number.set(number.get() + 1);
        Box::new(
            LocalStore::create(&dir.path().join(format!("{}", number.get())), Sharing::Private)
                .unwrap(),
        )
    });
}

#[test]
fn memory_keeps_the_contract() {
    store_suite(&|| Box::new(MemoryStore::new()));
}

#[test]
fn the_stores_that_fail_keep_the_contract_until_they_do() {
    store_suite(&|| Box::new(FaultStore::new(PowerStore::new())));
}

#[test]
fn a_directory_passes_over_what_is_no_object_and_sweeps_what_interrupted_puts_left() {
    use garret_core::{Area, Store};
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
    use garret_core::{Key, Store, StoreErrorKind};
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
    use garret_core::{Area, Input, Store};
    use garret_format::config::KeyMode;
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
