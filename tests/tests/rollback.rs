//! What a client saw and does not find (T24): an older state of the repository is noticed whichever it is, a removal too, and
//! no deletion by another host is taken for either.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use garret_core::{
    Area, Deletions, Key, Look, MemoryStore, Progress, Repository, Rollback, SEEN_MAX, Seen,
    SeenArchive, Silent, Store, StoreError,
};
use garret_format::config::KeyMode;
use garret_format::object::Kind;
use garret_format::tombstones::Tombstones;
use garret_testkit::{Forge, Image, Lab, PASSPHRASE, Random, Recorder, both, damage};

type Objects = BTreeMap<Key, Vec<u8>>;
const MODES: [KeyMode; 2] = [KeyMode::None, KeyMode::Passphrase];

/// A host, and what it remembers.
struct Client {
    lab: Lab,
    seen: Seen,
}

impl Client {
    fn new(lab: &Lab) -> Self {
        Client { lab: lab.clone(), seen: Seen::default() }
    }

    /// What it finds where it opens the repository; nothing is remembered.
    fn look_at(&self, lab: &Lab) -> Look {
        look(&lab.reader().unwrap(), &self.seen, &Silent).unwrap()
    }

    /// Opens the repository and remembers it, as a command does that nothing keeps from it.
    #[track_caller]
    fn opens(&mut self) -> Vec<SeenArchive> {
        let look = self.look_at(&self.lab);
        assert_eq!(look.rollback, None);
        self.seen = look.seen;
        look.lost
    }

    /// The same, where all is well.
    #[track_caller]
    fn finds_everything(&mut self) {
        assert_eq!(names(&self.opens()), [""; 0]);
    }

    fn creates(&mut self, name: &str, bytes: &[u8]) {
        self.opens();
        let mut writer = self.lab.writer().unwrap();
        let reader = Box::new(io::Cursor::new(bytes.to_vec()));
        let input = garret_core::Input::Stream { name: b"image".to_vec(), reader };
        let report = writer.backup(name, vec![input], &self.lab.options(), &Silent).unwrap();
        writer.note_made(&mut self.seen, &report.archive).unwrap();
    }

    /// Deletes, gives back space, records what was removed by hand, as `delete` and `prune` do.
    fn deletes(&mut self, names: &[String]) {
        let mut pruner = self.lab.pruner().unwrap();
        let look = look(&pruner, &self.seen, &Silent).unwrap();
        assert_eq!(look.rollback, None);
        pruner.delete(names).unwrap();
        pruner.gc(&self.lab.gc_options(), &Silent).unwrap();
        pruner.record_deleted(&look.lost).unwrap();
        let now = pruner.sight().unwrap();
        self.seen = pruner.look(&now, &look.seen, &Silent).unwrap().seen;
    }
}

/// What is found when a repository is opened.
fn look(
    repository: &Repository,
    seen: &Seen,
    progress: &dyn Progress,
) -> garret_core::Result<Look> {
    repository.look(&*repository.first_sight()?, seen, progress)
}

fn names(archives: &[SeenArchive]) -> Vec<&str> {
    archives.iter().map(|archive| archive.name.as_str()).collect()
}

fn lab_over(lab: &Lab, objects: &Objects) -> Lab {
    let store = MemoryStore::from_objects(objects.clone());
    lab.with_store(move || Box::new(store.clone()))
}

fn archive(name: &str) -> Key {
    Key::Archive(name.to_owned())
}

fn whole(store: &MemoryStore, key: &Key) -> Vec<u8> {
    store.get(key, 0..store.len(key).unwrap()).unwrap()
}

fn rename(store: &MemoryStore, from: &str, to: &str) {
    store.put(&archive(to), &[&whole(store, &archive(from))]).unwrap();
    store.delete(&archive(from)).unwrap();
}

/// Twenty states, one after the other, of whatever a night brings; with each what a client remembers that was there then.
fn history(mode: KeyMode, seed: u64) -> (Lab, Vec<(Objects, Seen)>) {
    let (lab, store) = Lab::memory(mode);
    let (mut random, mut hosts) = (Random::new(seed), [Client::new(&lab), Client::new(&lab)]);
    let mut watcher = Client::new(&lab);
    let mut states = Vec::new();
    for number in 0..20 {
        let there = lab.names();
        let some = |random: &mut Random| there[random.below(there.len())].clone();
        let host = &mut hosts[random.below(2)];
        let bytes = Image::noise(seed << 8 | number, 1000 + random.below(20_000)).bytes;
        let what = random.below(if there.len() < 3 { 1 } else { 6 });
        match what {
            0 | 1 => host.creates(&format!("night-{number}"), &bytes),
            2 => host.deletes(&[some(&mut random)]),
            // The same name again, of whatever length.
            3 => {
                let name = some(&mut random);
                host.deletes(std::slice::from_ref(&name));
                host.creates(&name, &bytes);
            }
            // As users of zbackup do.
            4 => {
                store.delete(&archive(&some(&mut random))).unwrap();
                host.deletes(&[]);
            }
            // The same name again, and nobody else can tell that it is another archive, for it is as long.
            _ => {
                let name = some(&mut random);
                store.delete(&archive(&name)).unwrap();
                host.creates(&name, &bytes);
            }
        }
        watcher.opens();
        // Whoever made the last change saw it too.
        let by_watcher = what < 5 && random.below(2) == 0;
        let seen = if by_watcher { watcher.seen.clone() } else { host.seen.clone() };
        states.push((store.objects(), seen));
    }
    (lab, states)
}

#[test]
fn every_earlier_state_is_noticed_by_who_saw_a_later_one() {
    let (mut pairs, mut told_apart) = (0, 0);
    for mode in MODES {
        for seed in 0..4 {
            let (lab, states) = history(mode, seed);
            for (later, (objects, seen)) in states.iter().enumerate() {
                let client = Client { lab: lab.clone(), seen: seen.clone() };
                let same = client.look_at(&lab_over(&lab, objects));
                assert_eq!((same.rollback, &same.seen.deletions), (None, &seen.deletions));
                for (earlier, (objects, _)) in states[..later].iter().enumerate() {
                    let look = client.look_at(&lab_over(&lab, objects));
                    let what = format!("{mode:?}, seed {seed}: {earlier} for {later}");
                    assert!(look.rollback.is_some() || !look.lost.is_empty(), "{what}");
                    pairs += 1;
                    told_apart += u32::from(look.rollback.is_some());
                }
            }
        }
    }
    assert_eq!((pairs, told_apart), (8 * 190, 8 * 190), "each state but by hand has its packs");
    println!("{pairs} older states noticed, {told_apart} of them told apart from a removal");
}

#[test]
fn two_hundred_deletions_by_other_hosts_are_no_alarm() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut random = Random::new(24);
    let mut hosts = [Client::new(&lab), Client::new(&lab)];
    let mut watcher = Client::new(&lab);
    let (mut count, mut number) = (0, 0);
    while count < 200 {
        while lab.names().len() < 4 + random.below(6) {
            let bytes = Image::noise(number, 100 + random.below(3000)).bytes;
            hosts[random.below(2)].creates(&format!("night-{number}"), &bytes);
            number += 1;
        }
        if random.below(3) == 0 {
            watcher.finds_everything();
        }
        let there = lab.names();
        let host = &mut hosts[random.below(2)];
        let doomed = there[random.below(there.len())].clone();
        match random.below(4) {
            0 => host.deletes(&there[..2]),
            1 => host.deletes(std::slice::from_ref(&doomed)),
            // Removed by hand, and given back by a host that had seen it.
            2 => {
                host.opens();
                store.delete(&archive(&doomed)).unwrap();
                host.deletes(&[]);
            }
            _ => {
                rename(&store, &doomed, &format!("moved/{doomed}"));
                host.deletes(&[there.iter().find(|name| **name != doomed).unwrap().clone()]);
            }
        }
        count += 1;
        if random.below(2) == 0 {
            watcher.finds_everything();
        }
    }
    watcher.finds_everything();
    hosts.iter_mut().for_each(Client::finds_everything);
    let there: BTreeSet<String> = lab.names().into_iter().collect();
    let seen: BTreeSet<String> =
        names(&watcher.seen.archives).into_iter().map(str::to_owned).collect();
    assert_eq!(seen, there);
}

#[test]
fn an_archive_that_was_moved_or_copied_is_not_missed() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut client = Client::new(&lab);
    for name in ["a", "b", "c"] {
        client.creates(name, name.as_bytes());
    }
    rename(&store, "a", "old/a");
    rename(&store, "c", "latest");
    client.finds_everything();
    store.put(&archive("copy"), &[&whole(&store, &archive("b"))]).unwrap();
    store.delete(&archive("b")).unwrap();
    client.finds_everything();
    // One of two copies goes.
    store.put(&archive("twin"), &[&whole(&store, &archive("copy"))]).unwrap();
    client.finds_everything();
    lab.delete("twin").unwrap();
    client.finds_everything();
    store.delete(&archive("copy")).unwrap();
    assert_eq!(
        names(&client.opens()),
        ["copy"],
        "the archive went with the second, which nobody deleted"
    );
    assert_eq!(lab.gc().unwrap().removed_count, 1);
    client.finds_everything();
    let mut left = names(&client.seen.archives);
    left.sort_unstable();
    assert_eq!(left, ["latest", "old/a"]);
}

#[test]
fn what_was_removed_by_hand_is_missed_until_its_deletion_is_recorded_or_it_is_back() {
    for mode in MODES {
        let (lab, store) = Lab::memory(mode);
        let mut clients = [Client::new(&lab), Client::new(&lab), Client::new(&lab)];
        for name in ["a", "b", "c", "d"] {
            clients[0].creates(name, &Image::noise(name.len() as u64, 3000).bytes);
        }
        clients.iter_mut().for_each(Client::finds_everything);
        let kept = whole(&store, &archive("b"));
        store.delete(&archive("b")).unwrap();
        for client in &mut clients {
            assert_eq!(names(&client.opens()), ["b"]);
            assert_eq!(names(&client.opens()), ["b"], "and again");
        }
        store.put(&archive("put/back"), &[&kept]).unwrap();
        clients.iter_mut().for_each(Client::finds_everything);
        // The newest one too is a removal, for what it held is there.
        store.delete(&archive("d")).unwrap();
        assert_eq!(names(&clients[1].opens()), ["d"]);
        clients[0].deletes(&["a".to_owned()]);
        clients.iter_mut().for_each(Client::finds_everything);
        // Given back by a host that knew nothing of it: its copy tells, so it is recorded.
        clients[0].creates("e", &Image::noise(5, 30_000).bytes);
        clients[1].finds_everything();
        store.delete(&archive("e")).unwrap();
        assert_eq!(lab.gc().unwrap().removed_count, 1);
        clients.iter_mut().for_each(Client::finds_everything);
        // Without the copy nobody records it then, and it is no older state.
        clients[0].creates("f", &Image::noise(6, 30_000).bytes);
        clients[1].finds_everything();
        both(&store.objects(), &archive("f")).iter().for_each(|key| store.delete(key).unwrap());
        assert_eq!(lab.gc().unwrap().removed_count, 0);
        for client in &mut clients[..2] {
            assert_eq!(names(&client.opens()), ["f"]);
        }
        assert_eq!(names(&clients[2].opens()), [""; 0], "never seen");
    }
}

/// Who takes the state as it is has a record again, whether he removes anything or not.
#[test]
fn a_gc_that_removes_nothing_leaves_no_damaged_record_of_deletions() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    for name in ["a", "b"] {
        lab.backup_bytes(name, name.as_bytes()).unwrap();
    }
    lab.delete("a").unwrap();
    lab.gc().unwrap();
    damage(&store, &Key::Tombstones, b"garretT");
    assert_eq!(lab.check_reporting(false).unwrap().1.len(), 1);
    lab.gc().unwrap();
    lab.check();
}

/// The archive is gone with its packs, and nobody who had the key removed any: this is what was before.
#[test]
fn an_older_state_is_told_apart_from_a_removal() {
    for mode in MODES {
        let (lab, store) = Lab::memory(mode);
        let mut client = Client::new(&lab);
        client.creates("a", b"content");
        let before = store.objects();
        client.creates("b", &Image::noise(1, 3000).bytes);
        let look = client.look_at(&lab_over(&lab, &before));
        assert_eq!((look.rollback, names(&look.lost)), (Some(Rollback::Archives), vec!["b"]));
        // Also where others went on from there.
        let fork = lab_over(&lab, &before);
        for number in 10..20 {
            fork.backup_bytes(&number.to_string(), &Image::noise(number, 3000).bytes).unwrap();
        }
        assert_eq!(client.look_at(&fork).rollback, Some(Rollback::Archives));
        // Deletions too do not come undone; also where somebody went on from there and deleted as many others.
        client.deletes(&["b".to_owned()]);
        for undone in [before.clone(), {
            let other = MemoryStore::from_objects(before.clone());
            let shared = other.clone();
            let lab = lab.with_store(move || Box::new(shared.clone()));
            (0..9).for_each(|number| {
                lab.backup_bytes("x", &Image::noise(number, 2000).bytes).unwrap();
                Client::new(&lab).deletes(&["x".to_owned()]);
            });
            other.objects()
        }] {
            let look = client.look_at(&lab_over(&lab, &undone));
            assert_eq!(look.rollback, Some(Rollback::Deletions));
        }
    }
}

#[test]
fn a_record_of_deletions_that_is_old_forged_damaged_or_gone_is_an_older_state() {
    for mode in MODES {
        let (lab, store) = Lab::memory(mode);
        let mut client = Client::new(&lab);
        for name in ["a", "b", "c"] {
            client.creates(name, name.as_bytes());
        }
        client.deletes(&["a".to_owned()]);
        let old = whole(&store, &Key::Tombstones);
        client.deletes(&["b".to_owned()]);
        let good = whole(&store, &Key::Tombstones);
        let (theirs, other) = Lab::memory(mode);
        for name in ["a", "b"] {
            theirs.backup_bytes(name, name.as_bytes()).unwrap();
            theirs.delete(name).unwrap();
        }
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let foreign = whole(&other, &Key::Tombstones);
        let box_of_another = whole(&store, &archive("c"));
        let cut = good[..good.len() - 1].to_vec();
        let long = vec![0; 2 << 20];
        for (what, bytes, is_told) in [
            ("old", old, false),
            ("of another repository", foreign, true),
            ("an archive", box_of_another, true),
            ("flipped", flipped, true),
            ("cut", cut, true),
            ("long", long, true),
            ("empty", Vec::new(), true),
        ] {
            damage(&store, &Key::Tombstones, &bytes);
            let recorder = Recorder::default();
            let look = look(&lab.reader().unwrap(), &client.seen, &recorder).unwrap();
            assert_eq!(look.rollback, Some(Rollback::Deletions), "{mode:?}: {what}");
            assert_eq!(recorder.notices().len(), usize::from(is_told), "{what}");
            assert!(recorder.notices().iter().all(|line| line.contains("tombstones")), "{what}");
        }
        for key in [Key::Tombstones, Key::TombstonesCopy] {
            store.delete(&key).unwrap();
        }
        assert_eq!(client.look_at(&lab).rollback, Some(Rollback::Deletions), "gone");
        for key in [Key::Tombstones, Key::TombstonesCopy] {
            store.put(&key, &[&good]).unwrap();
        }
        client.finds_everything();
        // One that is damaged is found by a check, and made anew by a repair or the next deletion.
        damage(&store, &Key::Tombstones, b"rot");
        let (report, problems) = lab.check_reporting(false).unwrap();
        assert_eq!((report.problem_count, problems.len()), (1, 1), "{problems:?}");
        assert!(problems[0].contains("tombstones"), "{problems:?}");
        lab.exclusive().unwrap().repair(1, &Silent).unwrap();
        lab.check();
        damage(&store, &Key::Tombstones, b"rot");
        lab.delete("c").unwrap();
        let mut new = Client::new(&lab);
        new.finds_everything();
        assert_eq!(new.seen.deletions.count, 1);
    }
}

#[test]
fn a_record_of_deletions_of_which_one_file_is_lost_is_in_the_other_and_is_mended() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut client = Client::new(&lab);
    for number in 10..30 {
        client.creates(&number.to_string(), &[number]);
    }
    client.deletes(&["10".to_owned()]);
    let behind = whole(&store, &Key::Tombstones);
    let mends: [(&str, &dyn Fn()); 3] = [
        ("a gc", &|| _ = lab.gc().unwrap()),
        ("a repair", &|| _ = lab.exclusive().unwrap().repair(1, &Silent).unwrap()),
        ("a deletion", &|| {
            let names = lab.names();
            lab.delete(&names[0]).unwrap();
        }),
    ];
    for (mend, mended) in mends {
        client.deletes(&lab.names()[..1]);
        for lost in [Key::Tombstones, Key::TombstonesCopy] {
            let mut newer = whole(&store, &lost);
            newer[7] ^= 2;
            // What rots in the copy at the same length a check finds, and no gc.
            let newer = if lost == Key::Tombstones { &newer[..] } else { b"rots" };
            for rot in [Some(&b"rot"[..]), Some(&[]), Some(newer), None] {
                let what = format!("{lost} {rot:?}, {mend}");
                match rot {
                    Some(bytes) => store.put(&lost, &[bytes]).unwrap(),
                    None => store.delete(&lost).unwrap(),
                }
                // Nothing of it stops anybody, and only what is damaged is told of.
                let recorder = Recorder::default();
                let reader = lab.reader().unwrap();
                let look = look(&reader, &client.seen, &recorder).unwrap();
                assert_eq!((look.rollback, look.lost.len()), (None, 0), "{what}");
                reader.tell(&recorder);
                drop(reader);
                let told = recorder.problems();
                let is_read = lost == Key::Tombstones && rot.is_some();
                assert_eq!(told.len(), usize::from(is_read), "{what}: {told:?}");
                let (report, problems) = lab.check_reporting(false).unwrap();
                let is_told = is_read || lost == Key::TombstonesCopy;
                assert_eq!(problems.len(), usize::from(is_told), "{what}: {problems:?}");
                assert_eq!(report.problem_count, u64::from(is_told), "{what}");
                mended();
                lab.check();
                assert_eq!(whole(&store, &Key::Tombstones), whole(&store, &Key::TombstonesCopy));
                client.finds_everything();
            }
        }
    }
    // A copy that is behind tells nobody, unless it is needed: then it is an older state.
    store.put(&Key::TombstonesCopy, &[&behind]).unwrap();
    client.finds_everything();
    lab.check();
    store.put(&Key::Tombstones, &[b"rot"]).unwrap();
    assert_eq!(client.look_at(&lab).rollback, Some(Rollback::Deletions));
}

/// A store that does not give some files, for a while, and with which error.
#[derive(Clone)]
struct Sulking {
    inner: MemoryStore,
    sulks: Arc<Mutex<Vec<(Key, i32)>>>,
}

const EIO: i32 = 5;

impl Sulking {
    fn new() -> (Lab, Self) {
        let (first, inner) = Lab::memory(KeyMode::Passphrase);
        let store = Sulking { inner, sulks: Arc::default() };
        let shared = store.clone();
        (first.with_store(move || Box::new(shared.clone())), store)
    }

    fn set(&self, sulks: &[(Key, i32)]) {
        *self.sulks.lock().unwrap() = sulks.to_vec();
    }
}

impl Store for Sulking {
    garret_testkit::through!(inner: put, put_new, len, list, delete, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: doubtful, has_sessions, notices, place);

    fn get(&self, key: &Key, range: std::ops::Range<u64>) -> Result<Vec<u8>, StoreError> {
        match self.sulks.lock().unwrap().iter().find(|(sulks, _)| sulks == key) {
            Some((_, errno)) => {
                Err(StoreError::new("read", key, io::Error::from_raw_os_error(*errno)))
            }
            None => self.inner.get(key, range),
        }
    }
}

/// What a disk does not give now it may give again: nothing is put in its place, and what would have to be is refused.
#[test]
fn a_record_of_deletions_that_the_disk_does_not_give_for_a_while_is_kept() {
    let (lab, store) = Sulking::new();
    let mut client = Client::new(&lab);
    for name in ["a", "b", "c"] {
        client.creates(name, name.as_bytes());
    }
    client.deletes(&["a".to_owned()]);
    let both = [(Key::Tombstones, EIO), (Key::TombstonesCopy, EIO)];
    for is_copy_there in [true, false] {
        if !is_copy_there {
            store.delete(&Key::TombstonesCopy).unwrap();
        }
        let good = whole(&store.inner, &Key::Tombstones);
        store.set(&both);
        let error = lab.delete("b").unwrap_err().to_string();
        assert!(error.contains("tombstones"), "{error}");
        _ = lab.gc();
        store.set(&[]);
        assert!(whole(&store.inner, &Key::Tombstones) == good, "{is_copy_there}");
        assert_eq!(lab.names(), ["b", "c"]);
        client.finds_everything();
    }
    // Who repairs has given up.
    store.set(&both);
    lab.exclusive().unwrap().repair(1, &Silent).unwrap();
    store.set(&[]);
    let copies = store.inner.list(Area::Copies).unwrap();
    assert!(!copies.iter().any(|(key, _)| *key == Key::TombstonesCopy));
    assert_eq!(client.look_at(&lab).rollback, Some(Rollback::Deletions));
    lab.delete("b").unwrap();
    lab.check();
}

/// Whatever is wrong with one file, and whatever keeps the other from being read for a while: nobody writes over that, and
/// nobody takes it for an older state.
#[test]
fn a_file_of_the_record_that_is_not_given_is_kept_whatever_the_other_is() {
    const TRANSIENT: [i32; 5] = [EIO, 13, 24, 110, 116];
    let (lab, store) = Sulking::new();
    let mut client = Client::new(&lab);
    ["a", "b", "c"].iter().for_each(|name| client.creates(name, name.as_bytes()));
    client.deletes(&["a".to_owned()]);
    let [first, copy] = [Key::Tombstones, Key::TombstonesCopy];
    let good = whole(&store.inner, &first);
    for errno in TRANSIENT {
        for rot in [None, Some(&b"rot"[..])] {
            let what = format!("{rot:?}, {errno}");
            match rot {
                None => store.inner.delete(&first).unwrap(),
                Some(rot) => store.inner.put(&first, &[rot]).unwrap(),
            }
            store.set(&[(copy.clone(), errno)]);
            assert!(lab.delete("b").is_err(), "{what}");
            _ = lab.gc();
            let look = lab.reader().and_then(|reader| look(&reader, &client.seen, &Silent));
            // Where nothing can be read at all, and the disk is broken, it is unknown whether it is an older state.
            let is_silent = look.is_err() || errno == EIO;
            assert!(is_silent || look.is_ok_and(|look| look.rollback.is_none()), "{what}");
            store.set(&[]);
            assert!(whole(&store.inner, &copy) == good, "{what}");
            assert_eq!(lab.names(), ["b", "c"]);
            client.finds_everything();
            store.inner.put(&first, &[&good]).unwrap();
        }
    }
    // A rotten first is told of whatever keeps the second from being read.
    store.inner.put(&first, &[b"rot"]).unwrap();
    store.set(&[(copy.clone(), 13)]);
    assert_eq!(lab.check_reporting(false).unwrap().1.len(), 1);
    look(&lab.reader().unwrap(), &Seen::default(), &Silent).unwrap();
    store.set(&[]);
    store.inner.put(&first, &[&good]).unwrap();
    // One that is behind, as where the disk was full, serves; but it takes nobody's place.
    client.deletes(&["b".to_owned()]);
    let newer = whole(&store.inner, &first);
    store.inner.put(&copy, &[&good]).unwrap();
    store.set(&[(first.clone(), EIO)]);
    assert!(lab.delete("c").is_err());
    _ = lab.gc();
    store.set(&[]);
    assert!(whole(&store.inner, &first) == newer && whole(&store.inner, &copy) == good);
    client.finds_everything();
    lab.exclusive().unwrap().repair(1, &Silent).unwrap();
    assert!(whole(&store.inner, &first) == newer && whole(&store.inner, &copy) == newer);
    // Where the first is gone, and its disk does not give the second, a repair ends it.
    store.inner.delete(&first).unwrap();
    store.set(&[(copy.clone(), EIO)]);
    assert!(lab.delete("c").is_err());
    lab.exclusive().unwrap().repair(1, &Silent).unwrap();
    lab.delete("c").unwrap();
}

/// What a gc removes beside a backup is in the index of that backup: it is nothing that the client saw.
#[test]
fn a_removal_after_a_gc_beside_a_backup_is_no_older_state() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut client = Client::new(&lab);
    for (number, name) in ["x", "y", "z"].into_iter().enumerate() {
        client.creates(name, &Image::noise(number as u64, 90_000).bytes);
    }
    let early = lab.reader().unwrap();
    client.deletes(&["x".to_owned()]);
    let mut late = lab.writer().unwrap();
    drop(early);
    client.deletes(&[]);
    let input = garret_core::Input::Stream { name: b"image".to_vec(), reader: Box::new(&b"n"[..]) };
    let made = late.backup("n", vec![input], &lab.options(), &Silent).unwrap();
    late.note_made(&mut client.seen, &made.archive).unwrap();
    store.delete(&archive("y")).unwrap();
    assert_eq!(names(&client.opens()), ["y"]);
}

/// Two that delete at once wait for each other, and each finds the other's record.
#[test]
fn hosts_that_delete_at_the_same_time_lose_no_record() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut client = Client::new(&lab);
    for number in 0..24 {
        client.creates(&number.to_string(), &[number; 100]);
    }
    std::thread::scope(|scope| {
        for host in 0..3 {
            let lab = lab.clone();
            scope.spawn(move || {
                (host * 8..host * 8 + 8).for_each(|n| lab.delete(&n.to_string()).unwrap())
            });
        }
    });
    client.finds_everything();
    assert_eq!((client.seen.deletions.count, client.seen.archives.len()), (24, 0));
    let objects = store.objects();
    let (_, slot) = objects.iter().find(|(key, _)| matches!(key, Key::Slot(_))).unwrap();
    let forge = Forge::unlock(&objects[&Key::Config], slot, PASSPHRASE);
    let record = forge.opened(Kind::Tombstones, &objects[&Key::Tombstones]).unwrap();
    let rows: BTreeSet<_> = Tombstones::decode(&record).unwrap().rows.into_iter().collect();
    assert_eq!(rows.len(), 24);
}

/// A disk on which nothing can be put, or nothing be deleted.
#[derive(Clone)]
struct Stuck {
    inner: MemoryStore,
    is_full: Arc<AtomicBool>,
    keeps: Arc<AtomicBool>,
}

impl Stuck {
    fn fail(&self, flag: &AtomicBool, key: &Key, kind: io::ErrorKind) -> Result<(), StoreError> {
        match flag.load(Ordering::Relaxed) {
            true => Err(StoreError::new("change", key, kind.into())),
            false => Ok(()),
        }
    }
}

impl Store for Stuck {
    garret_testkit::through!(inner: get, len, list, adopt, sync, sweep, lock, pass_over);
    garret_testkit::through!(inner: doubtful, has_sessions, notices, place);

    fn put(&self, key: &Key, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.fail(&self.is_full, key, io::ErrorKind::StorageFull)?;
        self.inner.put(key, parts)
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.fail(&self.is_full, key, io::ErrorKind::StorageFull)?;
        self.inner.put_new(key, bytes)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.fail(&self.keeps, key, io::ErrorKind::Other)?;
        // Something was there, and makes room.
        self.is_full.store(false, Ordering::Relaxed);
        self.inner.delete(key)
    }
}

#[test]
fn a_deletion_is_recorded_before_it_is_done_and_on_a_full_disk_right_after() {
    let (lab, inner) = Lab::memory(KeyMode::Passphrase);
    let stuck = Stuck { inner, is_full: Arc::default(), keeps: Arc::default() };
    let shared = stuck.clone();
    let lab = lab.with_store(move || Box::new(shared.clone()));
    let mut client = Client::new(&lab);
    for name in ["a", "b", "c"] {
        client.creates(name, &Image::noise(name.len() as u64, 3000).bytes);
    }
    stuck.keeps.store(true, Ordering::Relaxed);
    lab.delete("a").unwrap_err();
    stuck.keeps.store(false, Ordering::Relaxed);
    assert!(stuck.inner.objects().contains_key(&Key::Tombstones));
    client.finds_everything();
    assert_eq!(lab.names(), ["a", "b", "c"]);
    // It goes another way, and nobody misses it.
    stuck.inner.delete(&archive("a")).unwrap();
    client.finds_everything();
    stuck.is_full.store(true, Ordering::Relaxed);
    lab.delete("b").unwrap();
    client.finds_everything();
    assert_eq!((lab.names(), client.seen.deletions.count), (vec!["c".to_owned()], 2));
}

/// Where all is as it was, one archive is read, whatever their number.
#[test]
fn what_has_not_changed_is_not_read() {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    let mut client = Client::new(&lab);
    (0..30).for_each(|number| client.creates(&format!("{number:02}"), b"content"));
    client.finds_everything();
    let last = client.seen.archives.last().unwrap().name.clone();
    let other = whole(&store, &archive("07"));
    assert_eq!(other.len() as u64, client.seen.archives.last().unwrap().len);
    // What were read would fail.
    for (key, _) in store.list(Area::Archives).unwrap() {
        let len = store.len(&key).unwrap() as usize;
        store.put(&key, &[&vec![0; len]]).unwrap();
    }
    client.finds_everything();
    assert_eq!(client.seen.archives.len(), 30, "damage is for who reads it to tell");
    // Another archive in the place of the one that was seen last is another archive.
    store.put(&archive(&last), &[&other]).unwrap();
    assert_eq!(names(&client.opens()), [last.as_str()]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let (lab, _store) = Lab::memory(KeyMode::None);
    let mut client = Client::new(&lab);
    client.creates("last", b"content");
    let one = client.seen.archives[0].clone();
    let many = (0..SEEN_MAX as u64).map(|number| SeenArchive {
        name: format!("n{number}"),
        id: garret_format::ArchiveId::from_bytes(*blake3_16(number).first_chunk().unwrap()),
        ..one.clone()
    });
    client.seen =
        Seen { archives: many.collect(), deletions: Deletions::default(), packs: Vec::new() };
    let look = client.look_at(&lab);
    assert_eq!((look.seen.archives.len(), look.lost.len()), (SEEN_MAX, SEEN_MAX));
    assert_eq!(look.seen.archives.last().unwrap().name, "last", "the oldest went");
}

fn blake3_16(number: u64) -> [u8; 32] {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}
