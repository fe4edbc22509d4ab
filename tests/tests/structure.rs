//! The structure of archives lies in packs of its own, each part of it in two: any one of them may be lost, at any time, and
//! no archive is lost with it; and as soon as a gc or a repair has been there, any other may be lost too.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{Area, Key, MemoryStore, Silent, Store};
use garret_format::config::KeyMode;
use garret_testkit::{Lab, Random, Recorder, check_options, is_structure};

type Contents = BTreeMap<String, Vec<u8>>;

/// The packs of structure.
fn structure(store: &MemoryStore) -> Vec<Key> {
    let is_ours =
        |(key, bytes): &(Key, Vec<u8>)| matches!(key, Key::Pack(_)) && is_structure(bytes);
    store.objects().into_iter().filter(is_ours).map(|(key, _)| key).collect()
}

/// The ways in which a pack is lost.
const WAYS: [&str; 4] = ["gone", "cut off", "flipped", "erased"];

fn lose(store: &MemoryStore, pack: &Key, way: &str) {
    let mut bytes = store.get(pack, 0..store.len(pack).unwrap()).unwrap();
    let middle = bytes.len() / 2;
    match way {
        "gone" => return store.delete(pack).unwrap(),
        "cut off" => bytes.truncate(middle),
        "flipped" => bytes.iter_mut().skip(24).step_by(7).for_each(|byte| *byte ^= 1),
        "erased" => bytes.fill(0),
        way => unreachable!("{way}"),
    }
    store.put(pack, &[&bytes]).unwrap();
}

fn with(lab: &Lab, store: &MemoryStore) -> (Lab, MemoryStore) {
    let store = MemoryStore::from_objects(store.objects());
    let opened = store.clone();
    (lab.with_store(move || Box::new(opened.clone())), store)
}

#[track_caller]
fn all_restore(lab: &Lab, contents: &Contents, when: &str) {
    assert_eq!(lab.names(), contents.keys().cloned().collect::<Vec<_>>(), "{when}");
    for (name, content) in contents {
        match lab.restore_bytes(name) {
            Ok(bytes) => assert!(bytes == *content, "{when}: {name} has other bytes"),
            Err(error) => panic!("{when}: {name}: {error}"),
        }
    }
}

/// Whether any one of the packs of structure may be lost.
#[track_caller]
fn any_may_be_lost(lab: &Lab, store: &MemoryStore, contents: &Contents, when: &str) {
    let packs = structure(store);
    assert!(contents.is_empty() || packs.len() >= 2, "{when}: {} packs", packs.len());
    for pack in packs {
        let (lab, store) = with(lab, store);
        lose(&store, &pack, "gone");
        all_restore(&lab, contents, &format!("{when}, without {pack}"));
    }
}

/// Files long enough for recipes with nodes, and their archives.
fn filled(lab: &Lab, random: &mut Random, names: &[&str]) -> Contents {
    let mut contents = Contents::new();
    for name in names {
        let len = 300_000 + random.below(500_000);
        let bytes = random.bytes(len);
        lab.backup_bytes(name, &bytes).unwrap();
        contents.insert((*name).to_owned(), bytes);
    }
    contents
}

#[test]
fn a_lost_pack_of_structure_costs_no_archive_and_a_gc_makes_up_for_it() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let (lab, store) = Lab::memory(mode);
        let contents = filled(&lab, &mut Random::new(1), &["one", "two"]);
        assert_eq!(structure(&store).len(), 4, "two for each archive");
        for pack in structure(&store) {
            for way in WAYS {
                let when = format!("{mode:?}, {pack} {way}");
                let (lab, store) = with(&lab, &store);
                lose(&store, &pack, way);
                all_restore(&lab, &contents, &when);
                // Damage that shows in the bytes alone has to be met by who reads them all.
                let (report, _) = lab.check_reporting(true).unwrap();
                assert_eq!(report.incomplete, [], "{when}");
                lab.gc_reporting().unwrap();
                all_restore(&lab, &contents, &when);
                any_may_be_lost(&lab, &store, &contents, &when);
                let (report, problems) = lab.check_reporting(true).unwrap();
                // That a pack went is said until a repair takes it from the index.
                let missing =
                    if way == "gone" { vec![format!("{pack} is missing")] } else { vec![] };
                assert_eq!((report.damaged_packs, problems), (0, missing), "{when}");
            }
        }
    }
}

#[test]
fn a_repair_makes_up_for_a_lost_pack_of_structure() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let contents = filled(&lab, &mut Random::new(2), &["one", "two"]);
    for pack in structure(&store) {
        for way in WAYS {
            let when = format!("{pack} {way}");
            let (lab, store) = with(&lab, &store);
            lose(&store, &pack, way);
            lab.exclusive().unwrap().repair(1, &Silent).unwrap();
            any_may_be_lost(&lab, &store, &contents, &when);
            lab.check();
        }
    }
}

/// Also when the index went with the pack, so that nobody knows that there was one.
#[test]
fn a_repair_makes_a_second_copy_of_what_is_left_of_a_repository() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let contents = filled(&lab, &mut Random::new(5), &["one", "two"]);
    for pack in structure(&store) {
        let (lab, store) = with(&lab, &store);
        lose(&store, &pack, "gone");
        for (segment, _) in store.list(Area::Index).unwrap() {
            store.delete(&segment).unwrap();
        }
        lab.exclusive().unwrap().repair(1, &Silent).unwrap();
        any_may_be_lost(&lab, &store, &contents, &format!("without {pack} and the index"));
        lab.check();
    }
}

/// Where nobody knows that there was another pack nothing is damaged or missing; but the next pack that is lost would cost
/// archives.
#[test]
fn a_check_says_that_structure_lies_in_one_pack_only_and_a_gc_makes_up_for_it() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let contents = filled(&lab, &mut Random::new(7), &["one", "two"]);
    lose(&store, &structure(&store)[0], "gone");
    for (segment, _) in store.list(Area::Index).unwrap() {
        store.delete(&segment).unwrap();
    }
    let check = || {
        let recorder = Recorder::default();
        let checker = lab.checker().unwrap();
        let report = checker.check(&check_options(false, 1), &recorder).unwrap();
        assert_eq!((report.problem_count, recorder.problems()), (0, vec![]));
        (report.lonely_parts, recorder.notices())
    };
    let (lonely, notices) = check();
    assert!(lonely > 0);
    let [said] = notices.as_slice() else { panic!("{notices:?}") };
    assert!(said.contains(&format!("{lonely} of the parts are in one pack only")), "{said}");
    lab.gc_reporting().unwrap();
    assert_eq!(check(), (0, vec![]));
    any_may_be_lost(&lab, &store, &contents, "after the gc");
}

/// The letter of a pack's kind is bound to its footer: whoever changes it has nothing stored twice.
#[test]
fn whoever_changes_the_kind_of_packs_has_no_data_stored_twice() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let contents = filled(&lab, &mut Random::new(6), &["one", "two"]);
    for (key, bytes) in store.objects() {
        if matches!(key, Key::Pack(_)) {
            let mut bytes = bytes;
            bytes[6] = if is_structure(&bytes) { b'P' } else { b'N' };
            store.put(&key, &[&bytes]).unwrap();
        } else if matches!(key, Key::Index(_)) {
            store.delete(&key).unwrap();
        }
    }
    all_restore(&lab, &contents, "changed");
    let before = lab.stored_len();
    lab.check_reporting(true).unwrap();
    lab.gc_reporting().unwrap();
    lab.exclusive().unwrap().repair(1, &Silent).unwrap();
    all_restore(&lab, &contents, "repaired");
    // Quarantine has a copy of what was changed.
    let aside = store.list(Area::Quarantine).unwrap().into_iter().map(|(_, len)| len).sum::<u64>();
    let after = lab.stored_len() - aside;
    assert!(after < before + before / 10, "{before} bytes, and now {after}");
}

/// The next backup that needs structure of which one copy is lost stores another.
#[test]
fn a_backup_stores_again_what_it_needs_and_finds_once() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let mut contents = filled(&lab, &mut Random::new(3), &["one"]);
    let bytes = contents["one"].clone();
    let lost = structure(&store).remove(0);
    lose(&store, &lost, "gone");
    let written = lab.backup_bytes("again", &bytes).unwrap().written;
    assert!(written.chunk_count == 0 && written.node_count > 0, "{written:?}");
    contents.insert("again".to_owned(), bytes);
    let (alone, kept) = with(&lab, &store);
    alone.delete("one").unwrap();
    contents.remove("one");
    any_may_be_lost(&alone, &kept, &contents, "after the next backup");
}

/// Names and lists need no pack of files.
#[test]
fn lists_are_read_without_the_packs_of_files() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let contents = filled(&lab, &mut Random::new(4), &["one", "two"]);
    let all: BTreeSet<Key> = store.objects().into_keys().collect();
    let structure: BTreeSet<Key> = structure(&store).into_iter().collect();
    for pack in all.into_iter().filter(|key| matches!(key, Key::Pack(_))) {
        if !structure.contains(&pack) {
            lose(&store, &pack, "gone");
        }
    }
    let repository = lab.reader_reporting(&Silent).unwrap();
    for (name, content) in contents {
        let archive = repository.archive(&name).unwrap();
        let items: Vec<_> = repository.items(&archive).map(Result::unwrap).collect();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].size, content.len() as u64);
        assert!(lab.restore_bytes(&name).is_err());
    }
}

/// Backups, deletions, gcs and losses in any order: after each gc any one pack may be lost.
#[test]
fn whatever_happens_each_part_of_structure_stays_in_two_packs() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let (lab, store) = Lab::memory(KeyMode::None);
        let mut contents = Contents::new();
        let mut image = random.bytes(900_000);
        for step in 0..40 {
            let when = format!("seed {seed}, step {step}");
            match random.below(10) {
                0..5 => {
                    let at = random.below(image.len() - 100_000);
                    let len = 1 + random.below(100_000);
                    let new = random.bytes(len);
                    image[at..at + new.len()].copy_from_slice(&new);
                    let name = format!("{step:02}");
                    lab.backup_bytes(&name, &image).unwrap();
                    contents.insert(name, image.clone());
                }
                5..7 => {
                    let Some(name) = contents.keys().nth(random.below(contents.len().max(1)))
                    else {
                        continue;
                    };
                    let name = name.clone();
                    lab.delete(&name).unwrap();
                    contents.remove(&name);
                }
                _ => {
                    let packs = structure(&store);
                    if random.below(2) == 0 && !packs.is_empty() {
                        lose(&store, &packs[random.below(packs.len())], "gone");
                    }
                    lab.gc_reporting().unwrap();
                    any_may_be_lost(&lab, &store, &contents, &when);
                }
            }
        }
        lab.gc_reporting().unwrap();
        any_may_be_lost(&lab, &store, &contents, &format!("seed {seed}, in the end"));
        let report = lab.check_reporting(true).unwrap().0;
        assert_eq!((report.incomplete, report.lonely_parts), (vec![], 0), "seed {seed}");
    }
}
