//! Chunks that are stored twice: two creators at once, or a gc that was cut short, leave some. One copy may be damaged.
//!
//! In: everything in two packs. Promises: each archive comes back whichever pack is damaged, with a word about it; `check`
//! calls no archive incomplete, and none complete that does not come back; gc keeps the intact copy, whichever it is. Two
//! segments that list one pack make no second copy of it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Cursor;

use garret_core::{Area, Input, Key, MemoryStore, Silent, Store};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab};

/// Two archives, made at the same time by two creators who did not see each other: everything is there twice.
fn everything_twice() -> (Lab, MemoryStore, Vec<u8>) {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let content = Image::noise(7, 3_000_000).bytes;
    let mut creators = [lab.writer().unwrap(), lab.writer().unwrap()];
    for (creator, name) in creators.iter_mut().zip(["one", "two"]) {
        let reader = Box::new(Cursor::new(content.clone()));
        let inputs = vec![Input::Stream { name: b"image".to_vec(), reader }];
        creator.backup(name, inputs, &lab.options(), &Silent).unwrap();
    }
    (lab, store, content)
}

fn packs(store: &MemoryStore) -> Vec<(Key, u64)> {
    let mut packs = store.list(Area::Packs).unwrap();
    packs.sort_unstable();
    packs
}

/// Flips a bit of every kilobyte of the content: no group of it stays intact. What follows it is the archive's own, and there
/// once.
fn ruin(store: &MemoryStore, (key, len): &(Key, u64)) {
    let mut bytes = store.get(key, 0..*len).unwrap();
    bytes.iter_mut().take(2_900_000).skip(40).step_by(1000).for_each(|byte| *byte ^= 1);
    store.put(key, &[&bytes]).unwrap();
}

/// The packs that hold what another holds too.
fn twins(store: &MemoryStore) -> Vec<(Key, u64)> {
    let big: Vec<_> = packs(store).into_iter().filter(|(_, len)| *len > 100_000).collect();
    assert_eq!(big.len(), 2, "the content lies in two packs");
    big
}

#[test]
fn whichever_copy_is_damaged_the_archives_come_back_with_a_word() {
    let (lab, store, content) = everything_twice();
    let mut met = 0;
    for (key, len) in twins(&store) {
        let whole = store.get(&key, 0..len).unwrap();
        ruin(&store, &(key.clone(), len));
        let mut told = Vec::new();
        for name in ["one", "two"] {
            let directory = tempfile::tempdir().unwrap();
            let restored = lab.restore_to(name, directory.path(), &lab.restore_options()).unwrap();
            let file = std::fs::read(directory.path().join("image")).unwrap();
            assert!(file == content, "{name}: {:?}", restored.problems);
            told.extend(restored.problems);
            assert!(lab.restore_bytes(name).unwrap() == content, "{name} to a stream");
        }
        let (report, problems) = lab.check_reporting(true).unwrap();
        assert_eq!(report.incomplete, []);
        let names_it = |line: &String| line.contains(&key.to_string());
        assert!(problems.iter().any(names_it), "{problems:?}");
        met += usize::from(told.iter().any(names_it));
        // As if nothing had been.
        store.put(&key, &[&whole]).unwrap();
        let Key::Pack(id) = key else { unreachable!("packs gives packs") };
        store.delete(&Key::Damage(id)).unwrap();
    }
    assert_eq!(met, 1, "the first copy is asked first, and its damage told of");
}

#[test]
fn gc_keeps_the_intact_copy_and_the_repository_is_sound_again() {
    for which in 0..2 {
        let (lab, store, content) = everything_twice();
        let damaged = twins(&store).remove(which);
        ruin(&store, &damaged);
        lab.gc_reporting().unwrap();
        assert!(packs(&store).iter().all(|(key, _)| *key != damaged.0), "the damaged copy is gone");
        lab.check();
        for name in ["one", "two"] {
            assert!(lab.restore_bytes(name).unwrap() == content, "{name}");
        }
    }
}

#[test]
fn gc_gives_back_the_second_copy() {
    let (lab, store, content) = everything_twice();
    lab.gc().unwrap();
    let len: u64 = packs(&store).iter().map(|(_, len)| len).sum();
    assert!(len < content.len() as u64 * 11 / 10, "{len} bytes");
    lab.check();
}

#[test]
fn gc_removes_nothing_of_what_has_no_intact_copy() {
    let (lab, store, _) = everything_twice();
    let before = packs(&store);
    twins(&store).iter().for_each(|pack| ruin(&store, pack));
    let (_, problems) = lab.gc_reporting().unwrap();
    assert!(!problems.is_empty(), "it is told of");
    assert_eq!(packs(&store), before);
}

#[test]
fn a_pack_that_two_segments_list_is_one_copy() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let content = Image::noise(8, 3_000_000).bytes;
    lab.backup_bytes("one", &content).unwrap();
    let segments = store.list(Area::Index).unwrap();
    let stored = segments.iter().map(|(key, len)| (key, store.get(key, 0..*len).unwrap()));
    let stored: Vec<_> = stored.collect();
    segments.iter().for_each(|(key, _)| store.delete(key).unwrap());
    // Its segment lists every pack that none lists.
    lab.backup_bytes("two", b"else").unwrap();
    stored.iter().for_each(|(key, bytes)| store.put(key, &[bytes]).unwrap());
    let is_big = |(_, len): &(Key, u64)| *len > 100_000;
    let [big] = &packs(&store).into_iter().filter(is_big).collect::<Vec<_>>()[..] else {
        panic!("the content lies in one pack")
    };
    ruin(&store, big);
    assert!(lab.restore_bytes("one").is_err());
    let (report, problems) = lab.check_reporting(true).unwrap();
    let incomplete: Vec<_> = report.incomplete.iter().map(|one| &one.name).collect();
    assert_eq!(incomplete, ["one"], "{problems:?}");
    let repaired = lab.exclusive().unwrap().repair(2, &Silent).unwrap();
    assert_eq!(repaired.quarantined_packs, 1);
    assert!(packs(&store).iter().all(|pack| pack != big), "what is damaged is taken away");
    lab.backup_bytes("three", &content).unwrap();
    assert!(lab.restore_bytes("one").unwrap() == content, "a backup of the same heals it");
}
