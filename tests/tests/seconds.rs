//! Second copies of config, key slots and archives: whatever happens to one of the two, everything opens and restores; what
//! was removed by hand stays removed; nobody is given another archive than the one that was there.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use garret_core::{
    Area, Error, Key, LocalStore, Locked, MemoryStore, ProblemKind, Secret, Silent, Store, message,
};
use garret_format::config::KeyMode;
use garret_format::object::{Envelope, Kind};
use garret_format::tombstones::Tombstones;
use garret_testkit::{
    FaultStore, Forge, Lab, PASSPHRASE, Random, Recorder, Verb, both, cheap_key, damage,
};

type Objects = BTreeMap<Key, Vec<u8>>;

const SECOND: &[u8] = b"another passphrase";

struct Victim {
    lab: Lab,
    store: MemoryStore,
    objects: Objects,
    contents: BTreeMap<String, Vec<u8>>,
    mode: KeyMode,
}

fn archive(name: &str) -> Key {
    Key::Archive(name.to_owned())
}

/// Two archives, and two passphrases where there are any.
fn victim(mode: KeyMode) -> Victim {
    let (lab, store) = Lab::memory(mode);
    let mut random = Random::new(7);
    let mut contents = BTreeMap::new();
    for name in ["first", "vm/second"] {
        let bytes = random.bytes(9000);
        lab.backup_bytes(name, &bytes).unwrap();
        contents.insert(name.to_owned(), bytes);
    }
    if mode == KeyMode::Passphrase {
        let locked = Locked::find(Box::new(store.clone())).unwrap().expecting(lab.keys.id());
        let opened = locked.open(Secret::Passphrase(PASSPHRASE)).unwrap();
        locked.add_key(&opened, &cheap_key(SECOND), &Silent).unwrap();
    }
    let objects = store.objects();
    Victim { lab, store, objects, contents, mode }
}

fn is_first(key: &Key) -> bool {
    matches!(key, Key::Config | Key::Slot(_) | Key::Archive(_))
}

impl Victim {
    fn over(&self, objects: Objects) -> (Lab, MemoryStore) {
        let store = MemoryStore::from_objects(objects);
        let shared = store.clone();
        (self.lab.with_store(move || Box::new(shared.clone())), store)
    }

    /// Everything opens and restores, and what was damaged is told of in one line.
    fn holds(&self, damaged: &Key, objects: Objects) -> Result<(), String> {
        let (lab, store) = self.over(objects);
        let said = |error: Error| format!("{damaged}: {}", message(&error));
        let recorder = Recorder::default();
        let locked = Locked::find(Box::new(store)).map_err(said)?.expecting(lab.keys.id());
        if self.mode == KeyMode::Passphrase && !matches!(damaged, Key::Archive(_)) {
            for passphrase in [PASSPHRASE, SECOND] {
                locked.unlock(Secret::Passphrase(passphrase)).map_err(said)?;
            }
        }
        let repository = locked.with(lab.keys.clone()).reader(&recorder).map_err(said)?;
        for (name, content) in &self.contents {
            let found = repository.archive(name).map_err(said)?;
            repository.tell(&recorder);
            let bytes = lab.restore_from(&repository, &found).map_err(said)?;
            if bytes != *content || found.archive.name != *name {
                return Err(format!("{damaged}: {name} is another"));
            }
        }
        let heard = recorder.heard();
        match heard.as_slice() {
            [told]
                if told.kind == ProblemKind::Warning
                    && told.text.contains(&damaged.to_string())
                    && told.text.contains("its second copy was used") =>
            {
                Ok(())
            }
            _ => Err(format!("{damaged}: {heard:?}")),
        }
    }

    fn firsts(&self) -> Vec<Key> {
        self.objects.keys().filter(|key| is_first(key)).cloned().collect()
    }
}

/// What may happen to a file that stays where it is.
fn damages(bytes: &[u8], others: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8) | 1 << ((at + 3) % 8);
        found.push((format!("byte {at} flipped"), flipped));
        if at % 3 == 0 || at < 50 {
            found.push((format!("cut at {at}"), bytes[..at].to_vec()));
        }
    }
    found.push(("zeroed".to_owned(), vec![0; bytes.len()]));
    found.push(("erased".to_owned(), vec![0xff; bytes.len()]));
    found.push(("longer".to_owned(), [bytes, &[0]].concat()));
    found.push(("doubled".to_owned(), [bytes, bytes].concat()));
    let mut page = bytes.to_vec();
    page[..bytes.len() / 2].fill(0);
    found.push(("half zeroed".to_owned(), page));
    found.extend(others.iter().map(|other| ("another's bytes".to_owned(), other.clone())));
    found
}

#[test]
fn whatever_damages_a_first_its_copy_serves() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let (tried, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        for key in victim.firsts() {
            // An archive in the place of another was moved there, and nothing is wrong with it.
            let is_other = |other: &&Key| match (&key, other) {
                (Key::Archive(_), Key::Archive(_) | Key::ArchiveCopy(_)) => false,
                (_, other) => !both(&victim.objects, &key).contains(other),
            };
            let others = victim.objects.keys().filter(is_other);
            let others: Vec<Vec<u8>> = others.map(|other| victim.objects[other].clone()).collect();
            let damages = damages(&victim.objects[&key], &others);
            let next = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while let Some((what, bytes)) =
                            damages.get(next.fetch_add(1, Ordering::Relaxed))
                        {
                            let mut objects = victim.objects.clone();
                            objects.insert(key.clone(), bytes.clone());
                            let held =
                                catch_unwind(AssertUnwindSafe(|| victim.holds(&key, objects)));
                            tried.fetch_add(1, Ordering::Relaxed);
                            match held {
                                Ok(Ok(())) => {}
                                Ok(Err(why)) => bad.lock().unwrap().push(format!("{what}: {why}")),
                                Err(_) => bad.lock().unwrap().push(format!("{what}: panic")),
                            }
                        }
                    });
                }
            });
        }
        let bad = bad.into_inner().unwrap();
        assert!(tried.into_inner() > 500);
        assert!(bad.is_empty(), "{mode:?}: {} wrong: {:#?}", bad.len(), &bad[..bad.len().min(5)]);
    }
}

/// All of them at once, which are then known by their names alone.
#[test]
fn all_firsts_may_be_damaged_at_once() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        for damaged in [&[][..], &[0; 400], &[0xff; 90], b"garret"] {
            let victim = victim(mode);
            for key in victim.firsts() {
                victim.store.put(&key, &[damaged]).unwrap();
            }
            for (name, content) in &victim.contents {
                assert!(victim.lab.restore_bytes(name).unwrap() == *content, "{mode:?}: {name}");
            }
            let (report, problems) = victim.lab.check_reporting(true).unwrap();
            assert_eq!(problems.len(), victim.firsts().len(), "{problems:?}");
            assert_eq!(report.damaged_copies as usize, victim.firsts().len());
            assert_eq!(report.incomplete, [], "every archive restores");
            let is_used = |text: &&String| text.contains("its second copy was used");
            let used = problems.iter().filter(is_used).count();
            let found = problems.iter().filter(|text| text.contains("its second copy is intact"));
            // Which one is read is not for a check to find out, but for who opens it.
            assert_eq!(used + found.count(), problems.len(), "{problems:?}");
            assert!(used < problems.len(), "{problems:?}");
        }
    }
}

/// The copies of a slot and of config are no less bound to the repository than these.
#[test]
fn a_copy_of_another_repository_or_slot_serves_nobody() {
    let (victim, stranger) = (victim(KeyMode::Passphrase), self::victim(KeyMode::Passphrase));
    let slots: Vec<Key> =
        victim.firsts().into_iter().filter(|key| matches!(key, Key::Slot(_))).collect();
    let theirs = stranger.objects.iter().find(|(key, _)| matches!(key, Key::Slot(_))).unwrap().1;
    for bytes in [theirs, &victim.objects[&slots[1]]] {
        let mut objects = victim.objects.clone();
        objects.insert(slots[0].clone(), Vec::new());
        objects.insert(both(&victim.objects, &slots[0])[1].clone(), bytes.clone());
        let (lab, store) = victim.over(objects);
        let locked = Locked::find(Box::new(store)).unwrap().expecting(lab.keys.id());
        let opened =
            [PASSPHRASE, SECOND].map(|word| locked.unlock(Secret::Passphrase(word)).is_ok());
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1, "the other slot's");
    }
    let mut objects = victim.objects.clone();
    objects.insert(Key::Config, Vec::new());
    objects.insert(Key::ConfigCopy, stranger.objects[&Key::Config].clone());
    let (lab, store) = victim.over(objects);
    let locked = Locked::find(Box::new(store)).unwrap().expecting(lab.keys.id());
    assert_eq!(locked.config_hash(), Locked::find(Box::new(stranger.store)).unwrap().config_hash());
    assert!(locked.unlock(Secret::Passphrase(PASSPHRASE)).is_err());
}

#[test]
fn what_is_not_there_its_copy_does_not_bring_back() {
    let victim = victim(KeyMode::Passphrase);
    let without = |key: &Key| {
        let mut objects = victim.objects.clone();
        objects.remove(key);
        victim.over(objects)
    };
    let (_, store) = without(&Key::Config);
    assert!(matches!(Locked::find(Box::new(store)), Err(Error::NotARepository { .. })));
    let (lab, _) = without(&archive("first"));
    assert!(matches!(lab.restore_bytes("first"), Err(Error::ArchiveMissing(_))));
    assert_eq!(lab.names(), ["vm/second"]);
    for slot in victim.firsts().into_iter().filter(|key| matches!(key, Key::Slot(_))) {
        let (lab, store) = without(&slot);
        let locked = Locked::find(Box::new(store)).unwrap().expecting(lab.keys.id());
        let opened =
            [PASSPHRASE, SECOND].map(|word| locked.unlock(Secret::Passphrase(word)).is_ok());
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1);
    }
}

#[test]
fn a_removed_passphrase_opens_nothing_whatever_is_left_of_its_slot() {
    let victim = victim(KeyMode::Passphrase);
    let locked = Locked::find(Box::new(victim.store.clone())).unwrap();
    let locked = locked.expecting(victim.lab.keys.id());
    let opened = locked.open(Secret::Passphrase(PASSPHRASE)).unwrap();
    let gone = locked.open(Secret::Passphrase(SECOND)).unwrap().slot().unwrap();
    locked.remove_key(&opened, gone, &Silent).unwrap();
    victim.store.put(&Key::Slot(gone), &[b"garretK"]).unwrap();
    let error = locked.unlock(Secret::Passphrase(SECOND)).err().unwrap();
    assert!(message(&error).contains(&format!("keys/{gone}")), "{error:?}");
    let slots = victim.store.list(Area::Copies).unwrap();
    assert!(!slots.iter().any(|(key, _)| *key == Key::SlotCopy(gone)));
}

fn copies(store: &dyn Store) -> Vec<Key> {
    let listed = store.list(Area::Copies).unwrap().into_iter().map(|(key, _)| key);
    listed.filter(|key| matches!(key, Key::ArchiveCopy(_))).collect()
}

fn tombstones(victim: &Victim) -> usize {
    let objects = victim.store.objects();
    let Some(bytes) = objects.get(&Key::Tombstones) else { return 0 };
    let forge = Forge::plain(&objects[&Key::Config]);
    assert!(Envelope::decode(bytes, Kind::Tombstones).is_ok());
    Tombstones::decode(&forge.opened(Kind::Tombstones, bytes).unwrap()).unwrap().rows.len()
}

fn rename(store: &MemoryStore, from: &str, to: &str) {
    let bytes = store.objects()[&archive(from)].clone();
    store.put(&archive(to), &[&bytes]).unwrap();
    store.delete(&archive(from)).unwrap();
}

#[test]
fn gc_takes_a_removal_for_a_deletion_and_a_renaming_for_none() {
    let victim = victim(KeyMode::None);
    let (lab, store) = (&victim.lab, &victim.store);
    rename(store, "first", "moved");
    let (_, problems) = lab.gc_reporting().unwrap();
    assert_eq!((problems.len(), copies(store).len(), tombstones(&victim)), (0, 2, 0));
    let gone = both(&store.objects(), &archive("vm/second"))[1].clone();
    store.delete(&archive("vm/second")).unwrap();
    let recorder = Recorder::default();
    let mut pruner = lab.pruner().unwrap();
    assert_eq!(pruner.gc(&lab.gc_options(), &recorder).unwrap().removed_count, 1);
    assert_eq!((recorder.problems(), recorder.notices()), (vec![], vec![]));
    drop(pruner);
    assert!(!copies(store).contains(&gone) && copies(store).len() == 1);
    // The archive, and that packs went.
    assert_eq!(tombstones(&victim), 2);
    assert_eq!(lab.names(), ["moved"]);
    lab.check();
    // Again there is nothing to do.
    lab.gc().unwrap();
    assert_eq!(tombstones(&victim), 2);
}

#[test]
fn what_was_renamed_or_copied_by_hand_is_found_by_what_is_left_of_it() {
    let victim = victim(KeyMode::Passphrase);
    let (lab, store) = (&victim.lab, &victim.store);
    let content = &victim.contents["first"];
    rename(store, "first", "moved");
    lab.backup_bytes("first", b"a new one").unwrap();
    let bytes = store.objects()[&archive("moved")].clone();
    let broken = |at: usize| {
        let mut broken = bytes.clone();
        broken[at] ^= 0x55;
        broken
    };
    for damaged in [broken(7), broken(20), broken(100), bytes[..40].to_vec()] {
        store.put(&archive("moved"), &[&damaged]).unwrap();
        assert!(lab.restore_bytes("moved").unwrap() == *content);
        assert!(lab.restore_bytes("first").unwrap() == b"a new one");
    }
    // Of a file and its copy by hand one is enough.
    store.put(&archive("moved"), &[&bytes]).unwrap();
    store.put(&archive("by hand"), &[&broken(60)]).unwrap();
    assert!(lab.restore_bytes("by hand").unwrap() == *content);
    let (_, problems) = lab.gc_reporting().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(lab.restore_bytes("by hand").unwrap() == *content);
}

/// By its name alone a file is known only while none can have been moved to it.
#[test]
fn nobody_is_given_an_archive_that_was_removed() {
    // Another was moved to the name of one that was removed, and nothing is left of it to tell which it was.
    let victim = victim(KeyMode::None);
    let (lab, store) = (&victim.lab, &victim.store);
    store.delete(&archive("first")).unwrap();
    rename(store, "vm/second", "first");
    let len = store.objects()[&archive("first")].len();
    for left in [vec![], vec![0; len], vec![0xff; len]] {
        store.put(&archive("first"), &[&left]).unwrap();
        assert!(matches!(lab.restore_bytes("first"), Err(Error::Corrupt { .. })));
        assert!(lab.gc().is_err(), "what it needs is not known");
        assert_eq!(copies(store).len(), 2, "and what may be its copy stays");
    }
    // One that was deleted, with what is left of its copy.
    let victim = self::victim(KeyMode::None);
    let (lab, store) = (&victim.lab, &victim.store);
    let bytes = store.objects()[&archive("first")].clone();
    lab.delete("first").unwrap();
    for damaged in [&bytes[..50], &[]] {
        store.put(&archive("first"), &[damaged]).unwrap();
        assert!(matches!(lab.restore_bytes("first"), Err(Error::Corrupt { .. })));
    }
}

/// Damage of one archive, and the removal of another by hand, leave two copies without a file: the one that was made with the
/// name of the damaged file is its own.
#[test]
fn a_damaged_archive_is_served_while_another_was_removed_by_hand() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let (lab, store) = (&victim.lab, &victim.store);
        let content = Random::new(11).bytes(9000);
        // As long as the first.
        lab.backup_bytes("night", &content).unwrap();
        let before = store.objects();
        for left in [0, 0xff] {
            let (lab, store) = victim.over(before.clone());
            let len = before[&archive("night")].len();
            assert_eq!(before[&archive("first")].len(), len, "nothing but their names differs");
            store.delete(&archive("first")).unwrap();
            store.put(&archive("night"), &[&vec![left; len]]).unwrap();
            assert!(lab.restore_bytes("night").unwrap() == content, "{mode:?}");
            let mut pruner = lab.pruner().unwrap();
            assert_eq!(pruner.gc(&lab.gc_options(), &Silent).unwrap().removed_count, 1);
            drop(pruner);
            assert!(lab.restore_bytes("night").unwrap() == content, "{mode:?}");
            assert_eq!(copies(&store).len(), 2, "the copy of what was removed went, and no other");
            lab.exclusive().unwrap().repair(1, &Silent).unwrap();
            assert_eq!(store.objects()[&archive("night")], before[&archive("night")]);
            lab.check();
        }
        // Deleting the damaged one deletes that one.
        store.delete(&archive("first")).unwrap();
        store.put(&archive("night"), &[&vec![0; before[&archive("night")].len()]]).unwrap();
        lab.delete("night").unwrap();
        let bytes = before[&archive("night")].clone();
        store.put(&archive("night"), &[&bytes[..50]]).unwrap();
        assert!(matches!(lab.restore_bytes("night"), Err(Error::Corrupt { .. })), "it is recorded");
    }
}

/// Of an archive that was renamed, and of which nothing is left then, no name tells; the message says how to say it.
#[test]
fn who_renamed_an_archive_that_is_erased_is_told_how_to_have_it_back() {
    let victim = victim(KeyMode::None);
    let (lab, store) = (&victim.lab, &victim.store);
    rename(store, "first", "moved");
    let erased = vec![0; store.objects()[&archive("moved")].len()];
    store.put(&archive("moved"), &[&erased]).unwrap();
    let text = message(&lab.restore_bytes("moved").unwrap_err());
    assert!(
        text.starts_with("Data integrity error: backups/moved is damaged at offset 0"),
        "{text}"
    );
    assert!(text.contains("was made as first and is not there"), "{text}");
    assert!(text.ends_with("if this was it, rename this file to first"), "{text}");
    assert!(message(&lab.gc().unwrap_err()).ends_with("rename this file to first"));
    rename(store, "moved", "first");
    assert!(lab.restore_bytes("first").unwrap() == victim.contents["first"]);
    lab.gc_reporting().unwrap();
    lab.exclusive().unwrap().repair(1, &Silent).unwrap();
    lab.check();
}

/// An archive and its copy by hand are one archive, which is not deleted while one of the two stays.
#[test]
fn of_an_archive_with_two_names_the_one_that_stays_keeps_its_second_copy() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        for (deleted, stays) in [("first", "by hand"), ("by hand", "first")] {
            let victim = victim(mode);
            let (lab, store) = (&victim.lab, &victim.store);
            let bytes = store.objects()[&archive("first")].clone();
            store.put(&archive("by hand"), &[&bytes]).unwrap();
            lab.delete(deleted).unwrap();
            lab.gc().unwrap();
            let mut broken = bytes.clone();
            broken[100] ^= 0x55;
            store.put(&archive(stays), &[&broken]).unwrap();
            assert!(lab.restore_bytes(stays).unwrap() == victim.contents["first"], "{stays}");
            lab.gc_reporting().unwrap();
            lab.exclusive().unwrap().repair(1, &Silent).unwrap();
            assert_eq!(store.objects()[&archive(stays)], bytes);
            lab.check();
            // Now it goes.
            lab.delete(stays).unwrap();
            lab.gc().unwrap();
            assert_eq!(copies(store).len(), 1);
        }
    }
}

/// Damage of many archives costs each of them the same, not the square.
#[test]
fn many_damaged_archives_cost_a_few_requests_each() {
    const COUNT: usize = 40;
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone());
    let inside = store.clone();
    let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
    let names: Vec<String> = (0..COUNT).map(|number| format!("{number:03}")).collect();
    names.iter().for_each(|name| drop(lab.backup_bytes(name, name.as_bytes()).unwrap()));
    let objects = memory.objects();
    for name in &names {
        let mut bytes = objects[&archive(name)].clone();
        bytes[60] ^= 1;
        memory.put(&archive(name), &[&bytes]).unwrap();
    }
    let asked = |work: &dyn Fn(), most: usize| {
        store.disarm();
        work();
        let is_of = |object: &str| object.starts_with("backups/") || object.starts_with("copies/");
        let count = store.log().iter().filter(|(_, object)| is_of(object)).count();
        assert!(count <= most * COUNT, "{count} requests for {COUNT} archives");
    };
    let read_all = || {
        let repository = lab.reader().unwrap();
        names.iter().for_each(|name| drop(repository.archive(name).unwrap()));
    };
    // Its length and its bytes, each once by who asks and once to see which copy is whose; the copy the same.
    asked(&read_all, 9);
    let prune = || {
        let mut pruner = lab.pruner().unwrap();
        pruner.delete(&names[..5]).unwrap();
        pruner.gc(&lab.gc_options(), &Silent).unwrap();
    };
    asked(&prune, 40);
}

#[test]
fn each_damaged_copy_is_named_and_those_that_are_made_anew_are_counted() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        let firsts = victim.firsts();
        let copies: Vec<Key> =
            firsts.iter().map(|key| both(&victim.objects, key)[1].clone()).collect();
        copies.iter().for_each(|key| victim.store.put(key, &[b"garret"]).unwrap());
        let (report, problems) = victim.lab.check_reporting(false).unwrap();
        assert_eq!(problems.len(), copies.len(), "{problems:?}");
        for (key, first) in copies.iter().zip(&firsts) {
            let named = problems.iter().filter(|text| text.contains(&key.to_string()));
            let text = named.collect::<Vec<_>>();
            assert_eq!(text.len(), 1, "{key}: {problems:?}");
            assert!(
                text[0].contains(&format!("the second copy of {first} is damaged")),
                "{text:?}"
            );
        }
        assert_eq!(report.problem_count as usize, copies.len());
        let done = victim.lab.exclusive().unwrap().repair(1, &Silent).unwrap();
        assert_eq!((done.mended_files, done.made_copies as usize), (0, copies.len()));
        victim.lab.check();
    }
}

/// Without encryption nothing binds `config` to what is stored but that it opens.
#[test]
fn a_copy_of_config_that_is_another_repository_s_does_no_harm() {
    let (victim, stranger) = (victim(KeyMode::None), self::victim(KeyMode::None));
    for left in [&[][..], b"garret", &[0; 116]] {
        let mut objects = victim.objects.clone();
        objects.insert(Key::Config, left.to_vec());
        objects.insert(Key::ConfigCopy, stranger.objects[&Key::Config].clone());
        let (lab, store) = victim.over(objects.clone());
        let refused = [
            lab.exclusive().map(drop),
            lab.pruner().map(drop),
            lab.writer().map(drop),
            lab.reader().map(drop),
        ];
        for refused in refused {
            let text = message(&refused.unwrap_err());
            assert!(
                text.contains("copies/config") && text.contains("another repository's"),
                "{text}"
            );
        }
        assert_eq!(store.objects(), objects);
    }
}

#[test]
fn what_is_damaged_and_where_is_said_once() {
    let victim = victim(KeyMode::Passphrase);
    for (key, at, what) in [
        (Key::Config, 84, "config"),
        (victim.firsts()[1].clone(), 312, "key slot"),
        (archive("first"), 0, "archive"),
    ] {
        let mut bytes = victim.objects[&key].clone();
        bytes[at] ^= 0x55;
        let (lab, store) = victim.over(victim.objects.clone());
        store.put(&key, &[&bytes]).unwrap();
        let locked = Locked::find(Box::new(store)).unwrap();
        let recorder = Recorder::default();
        locked.slots().unwrap();
        locked.tell(&recorder);
        let repository = lab.reader_reporting(&recorder).unwrap();
        repository.archive("first").unwrap();
        repository.tell(&recorder);
        let told: Vec<String> = recorder.heard().into_iter().map(|told| told.text).collect();
        let said = format!("{key} is damaged at offset {at}: {what}: do");
        assert!(told[0].contains(&said), "{told:?}");
        assert_eq!(told[0].matches("at offset").count(), 1, "{told:?}");
    }
}

#[test]
fn gc_leaves_the_copy_of_an_archive_that_is_about_to_be_published() {
    let victim = victim(KeyMode::None);
    let (lab, store) = (&victim.lab, &victim.store);
    let session = lab.writer().unwrap();
    // What it has put and not published, as far as a gc can see.
    let bytes = store.objects()[&archive("first")].clone();
    let copy = both(&store.objects(), &archive("first"))[1].clone();
    store.delete(&archive("first")).unwrap();
    lab.gc().unwrap();
    assert!(copies(store).contains(&copy));
    store.put(&archive("first"), &[&bytes]).unwrap();
    lab.gc().unwrap();
    store.delete(&archive("first")).unwrap();
    drop(session);
    lab.gc().unwrap();
    assert!(!copies(store).contains(&copy));
    // What somebody deleted goes at once.
    let _session = lab.writer().unwrap();
    lab.delete("vm/second").unwrap();
    lab.gc().unwrap();
    assert_eq!(copies(store), []);
}

#[test]
fn copies_that_are_missing_are_made_anew_by_gc_without_a_word() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        for (key, _) in victim.store.list(Area::Copies).unwrap() {
            victim.store.delete(&key).unwrap();
        }
        let (report, problems) = victim.lab.check_reporting(false).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("copies/config") && problems[0].contains("is missing (and"));
        assert_eq!(report.damaged_copies as usize, victim.firsts().len());
        let recorder = Recorder::default();
        victim.lab.pruner().unwrap().gc(&victim.lab.gc_options(), &recorder).unwrap();
        assert_eq!((recorder.problems(), recorder.notices()), (vec![], vec![]));
        assert_eq!(victim.store.objects(), victim.objects, "{mode:?}");
        victim.lab.check();
    }
}

/// A repair makes of one that is intact two, and keeps what was damaged.
#[test]
fn a_repair_puts_back_firsts_and_copies() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = victim(mode);
        for key in victim.firsts() {
            let [first, copy] = both(&victim.objects, &key).try_into().unwrap();
            for damaged in [first, copy] {
                for left in [&[][..], b"garret"] {
                    victim.store.put(&damaged, &[left]).unwrap();
                    let (report, problems) = victim.lab.check_reporting(false).unwrap();
                    assert_eq!((report.problem_count, problems.len()), (1, 1), "{problems:?}");
                    assert!(problems[0].contains(&damaged.to_string()), "{problems:?}");
                    let done = victim.lab.exclusive().unwrap().repair(1, &Silent).unwrap();
                    let is_told = is_first(&damaged) && damaged != Key::Config;
                    assert_eq!(done.mended_files, u64::from(is_told), "{damaged}");
                    let mut objects = victim.store.objects();
                    let aside: Vec<Key> = victim
                        .store
                        .list(Area::Quarantine)
                        .unwrap()
                        .into_iter()
                        .map(|(k, _)| k)
                        .collect();
                    let is_kept = is_first(&damaged) && !left.is_empty();
                    assert_eq!(aside.len(), usize::from(is_kept), "{damaged}");
                    for aside in aside {
                        assert_eq!(objects.remove(&aside).unwrap(), left);
                        victim.store.delete(&aside).unwrap();
                    }
                    objects.remove(&Key::Verified);
                    assert_eq!(objects, victim.objects, "{damaged}");
                    victim.lab.check();
                    victim.store.delete(&Key::Verified).unwrap();
                }
            }
        }
    }
}

/// Another file in the place of an archive is passed over, but the archive's copy is not given up for it.
#[test]
fn an_archive_that_something_else_was_written_over_is_told_of_and_put_back() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let root = tempfile::tempdir().unwrap();
        let lab = Lab::local(root.path(), mode);
        let content = Random::new(9).bytes(30_000);
        lab.backup_bytes("vm/one", &content).unwrap();
        lab.backup_bytes("two", &content).unwrap();
        let file = root.path().join("backups/vm/one");
        let noise = Random::new(10).bytes(300);
        std::fs::write(&file, &noise).unwrap();
        for _ in 0..2 {
            let refused = lab.gc_reporting().map(drop).unwrap_err();
            assert!(message(&refused).contains("backups/vm/one is no archive any more"));
            let (report, problems) = lab.check_reporting(false).unwrap();
            assert_eq!(report.problem_count, 1, "{problems:?}");
            assert!(problems[0].contains("backups/vm/one is damaged"), "{problems:?}");
            assert!(problems[0].ends_with("its second copy is intact"), "{problems:?}");
        }
        let done = lab.exclusive().unwrap().repair(1, &Silent).unwrap();
        assert_eq!(done.mended_files, 1);
        assert!(lab.restore_bytes("vm/one").unwrap() == content);
        let aside = std::fs::read_dir(root.path().join("quarantine")).unwrap();
        let aside = aside.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        assert_eq!(aside.collect::<Vec<_>>(), [noise]);
        lab.check();
        lab.delete("vm/one").unwrap();
        std::fs::write(&file, b"something else").unwrap();
        lab.check();
    }
}

/// It may be somebody's image.
#[test]
fn what_is_too_long_to_be_put_aside_is_not_written_over() {
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::local(root.path(), KeyMode::Passphrase);
    lab.backup_bytes("one", b"content").unwrap();
    let path = root.path().join("backups/one");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(65 << 20).unwrap();
    let heard = Recorder::default();
    lab.exclusive().unwrap().repair(1, &heard).unwrap();
    let said = heard.problems().concat();
    assert!(said.contains("backups/one") && said.contains("copy it elsewhere"), "{said}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 65 << 20);
    file.set_len(0).unwrap();
    assert_eq!(lab.exclusive().unwrap().repair(1, &Silent).unwrap().mended_files, 1);
    assert_eq!(lab.restore_bytes("one").unwrap(), b"content");
    lab.check();
}

/// The lock is on the file that is put back: who comes afterwards has the new one.
#[test]
fn config_is_put_back_under_the_lock_that_is_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let lab = Lab::local(&root, KeyMode::None);
    lab.backup_bytes("a", b"content").unwrap();
    let before = std::fs::read(root.join("config")).unwrap();
    std::fs::write(root.join("config"), &before[..30]).unwrap();
    let mut repair = lab.exclusive().unwrap();
    assert_eq!(std::fs::read(root.join("config")).unwrap(), before);
    let others = lab.unlocked_without_patience().reader(&Silent);
    assert!(matches!(others, Err(Error::Lock { .. })), "it is alone");
    repair.repair(1, &Silent).unwrap();
    drop(repair);
    lab.check();
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(store.list(Area::Quarantine).unwrap().len(), 1);
    store.remove().unwrap();
    assert!(!root.exists());
}

#[test]
fn what_is_well_costs_no_request_of_a_copy_but_the_one_that_puts_it() {
    let store = FaultStore::new(MemoryStore::new());
    let inside = store.clone();
    let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::Passphrase);
    let of_copies = |store: &FaultStore| -> Vec<Verb> {
        let log = store.log();
        let on = |on: &str| on.starts_with("copies/") || on.contains("Copies");
        log.iter().filter(|(_, object)| on(object)).map(|(verb, _)| *verb).collect()
    };
    store.disarm();
    lab.backup_bytes("a", b"content").unwrap();
    assert_eq!(of_copies(&store), [Verb::Put]);
    store.disarm();
    lab.restore_bytes("a").unwrap();
    lab.names();
    let repository = lab.reader().unwrap();
    let now = repository.first_sight().unwrap();
    let seen = repository.look(&now, &Default::default(), &Silent).unwrap().seen;
    repository.look(&now, &seen, &Silent).unwrap();
    assert_eq!(of_copies(&store), []);
    drop(repository);
    let mut pruner = lab.pruner().unwrap();
    store.disarm();
    pruner.gc(&lab.gc_options(), &Silent).unwrap();
    assert_eq!(of_copies(&store), [Verb::List; 2], "which copies there are");
    let of_archive = |(verb, on): &&(Verb, String)| *verb == Verb::Get && on == "backups/a";
    assert_eq!(store.log().iter().filter(of_archive).count(), 1, "the archive is read once");
}

/// Both are damaged: the message is that of the first.
#[test]
fn where_both_are_damaged_the_first_is_named() {
    let victim = victim(KeyMode::Passphrase);
    for key in victim.firsts() {
        let (lab, store) = victim.over(victim.objects.clone());
        damage(&store, &key, b"garret");
        let locked = Locked::find(Box::new(store)).map(|locked| locked.expecting(lab.keys.id()));
        let error = locked.and_then(|locked| {
            locked.slots()?.into_iter().try_for_each(|(_, slot)| slot.map(drop))?;
            lab.restore_bytes("first")?;
            lab.restore_bytes("vm/second")
        });
        let text = message(&error.unwrap_err());
        assert!(text.contains(&key.to_string()) && !text.contains("copies/"), "{text}");
    }
}
