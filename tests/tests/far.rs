//! A store that is far away gives the same as one that is near, with few requests; what others must not pay for is counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use garret_core::{Destination, Key, MemoryStore, Selection, Silent, StoredFile};
use garret_format::config::KeyMode;
use garret_testkit::{FarStore, FaultStore, Image, Lab, Random, Verb, is_structure};

const MIB: usize = 1 << 20;

/// A lab in a store that wants so many requests at once, and counts them.
fn far(in_flight: usize, threads: usize) -> (Lab, FarStore<MemoryStore>, MemoryStore) {
    let memory = MemoryStore::new();
    let store = FarStore::new(memory.clone(), Duration::ZERO, in_flight);
    let inside = store.clone();
    let mut lab = Lab::over(move || Box::new(inside.clone()), KeyMode::Passphrase);
    lab.threads = threads;
    (lab, store, memory)
}

fn stored_file(lab: &Lab, name: &str) -> StoredFile {
    let repository = lab.reader().unwrap();
    let item = repository.items(&repository.archive(name).unwrap()).next().unwrap().unwrap();
    repository.open_file(&item).unwrap().unwrap()
}

/// What a session goes by it lists when it has seen that nothing was condemned since it took its lock (rule S1), however many
/// requests the store wants at once: a gc whose record has come and gone may have been deleting until then.
#[test]
fn a_session_lists_nothing_before_it_knows_what_is_condemned() {
    let faults = FaultStore::new(MemoryStore::new());
    let store = FarStore::new(faults.clone(), Duration::ZERO, 16);
    let lab = Lab::over(move || Box::new(store.clone()), KeyMode::None);
    lab.backup_bytes("a", b"content").unwrap();
    for writes in [false, true] {
        faults.disarm();
        match writes {
            true => drop(lab.writer().unwrap()),
            false => drop(lab.reader().unwrap()),
        }
        let log = faults.log();
        let condemned = log.iter().rposition(|(_, on)| on == "condemned").unwrap();
        let listed = log.iter().position(|(verb, _)| *verb == Verb::List).unwrap();
        assert!(condemned < listed, "{log:?}");
    }
}

/// Requests bounded by the length, whatever is read.
#[test]
fn a_pack_is_asked_for_in_runs_and_a_check_asks_for_it_once() {
    let (lab, store, _) = far(16, 3);
    let image = Image::noise(1, 100 * MIB).bytes;
    store.requests();
    lab.backup_bytes("a", &image).unwrap();
    // 4 packs and 2 of structure; config, lists, the archive's name, segment, archive.
    let made = store.requests();
    assert!(made <= 20, "{made} requests of a backup");
    let open = {
        drop(lab.reader().unwrap());
        store.requests()
    };
    assert!(open <= 10, "{open} requests to open");
    assert!(lab.restore_bytes("a").unwrap() == image);
    let restored = store.requests();
    // 13 windows of 8 MiB, which begin and end within a group and cross from pack to pack; the archive and its items.
    assert!(restored <= open + 2 * 13 + 6, "{restored} requests of a restore to a pipe");
    let dir = tempfile::tempdir().unwrap();
    let restored = lab.restore_to("a", dir.path(), &lab.restore_options()).unwrap();
    assert!(restored.problems.is_empty());
    assert!(std::fs::read(dir.path().join("image")).unwrap() == image);
    let restored = store.requests();
    assert!(restored <= open + 13 + 4 + 6, "{restored} requests of a restore to a directory");
    lab.check();
    let checked = store.requests();
    // 6 packs: head, end, and all of it.
    // Config, the slot and the archive, and a copy of each.
    let copies = 2 * 2 * 3 + 2;
    assert!(checked <= open + 6 * 3 + 4 + 12 + copies, "{checked} requests of a check");
}

/// Near and far, few threads and many: the same bytes, and the same groups for gc.
#[test]
fn far_and_near_give_the_same() {
    let mut random = Random::new(3);
    let first = Image::noise(2, 9 * MIB).bytes;
    let mut second = first.clone();
    for at in (0..second.len() - MIB).step_by(3 * MIB) {
        second[at..at + MIB / 2].copy_from_slice(&random.bytes(MIB / 2));
    }
    for (in_flight, threads) in [(1, 1), (1, 3), (2, 1), (16, 4)] {
        let (lab, _, _) = far(in_flight, threads);
        lab.backup_bytes("first", &first).unwrap();
        lab.backup_bytes("second", &second).unwrap();
        lab.delete("first").unwrap();
        let collected = lab.gc().unwrap();
        assert!(collected.deleted_pack_count > 0, "{in_flight} {threads}: nothing was repacked");
        assert!(lab.restore_bytes("second").unwrap() == second, "{in_flight} {threads}");
        lab.check();
        let file = stored_file(&lab, "second");
        for _ in 0..100 {
            let at = random.below(second.len() - 70_000);
            let mut bytes = vec![0; 70_000];
            file.read(&mut bytes, at as u64).unwrap();
            assert!(bytes == second[at..at + 70_000], "{in_flight} {threads}: at {at}");
        }
    }
}

/// One damaged group among those that came in one request costs what needs it and nothing else.
#[test]
fn damage_in_a_run_is_that_of_one_group() {
    let (lab, _, memory) = far(8, 2);
    let dir = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let bytes = Image::noise(number, 3 * MIB / 2).bytes;
        std::fs::write(dir.path().join(number.to_string()), bytes).unwrap();
    }
    lab.backup_path("a", dir.path()).unwrap();
    let objects = memory.objects();
    let is_data =
        |(key, bytes): &(&Key, &Vec<u8>)| matches!(key, Key::Pack(_)) && !is_structure(bytes);
    let (key, bytes) = objects.iter().find(is_data).unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let mut changed = objects.clone();
    changed.insert(key.clone(), damaged);
    let memory = MemoryStore::from_objects(changed);
    let store = FarStore::new(memory, Duration::ZERO, 8);
    let lab = lab.with_store(move || Box::new(store.clone()));
    let to = tempfile::tempdir().unwrap();
    let restored = lab.restore_to("a", to.path(), &lab.restore_options()).unwrap();
    let lost = restored.problems.len();
    assert!((1..=2).contains(&lost), "{lost} files are lost: {:?}", restored.problems);
    assert_eq!(restored.report.file_count, 20 - lost as u64);
    let (found, _) = lab.check_reporting(true).unwrap();
    assert_eq!((found.damaged_packs, found.incomplete.len()), (1, 1));
    assert_eq!(found.incomplete[0].file_count, Some(lost as u64));
}

/// 16 threads want the same group at once: it is read once.
#[test]
fn a_group_that_many_want_is_read_once() {
    let (lab, store, _) = far(1, 1);
    let image = Image::noise(4, MIB / 2).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let file = stored_file(&lab, "a");
    store.requests();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (file, image) = (&file, &image);
            scope.spawn(move || {
                for page in (0..100).map(|number| (number * 7 + thread) % 100) {
                    let mut bytes = [0; 4096];
                    file.read(&mut bytes, page * 4096).unwrap();
                    assert!(bytes[..] == image[page as usize * 4096..][..4096]);
                }
            });
        }
    });
    assert_eq!(store.requests(), 1);
    let repository = lab.reader().unwrap();
    let archive = repository.archive("a").unwrap();
    let (mut all, options) = (Selection::default(), lab.restore_options());
    let to = Destination::Nowhere;
    repository.restore(&archive, &mut all, to, &options, &Silent).unwrap();
}

/// What a night costs does not grow with the nights before it; nor does deleting ask what nobody wants to know.
#[test]
fn requests_do_not_grow_with_the_number_of_archives() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    std::fs::write(&image, Image::noise(5, MIB).bytes).unwrap();
    let (lab, store, _) = far(1, 1);
    let lab = lab.with_cache(Some(home.path().join("cache")));
    let mut made = Vec::new();
    for night in 0..12 {
        store.requests();
        lab.backup_path(&format!("night-{night}"), &image).unwrap();
        made.push(store.requests());
    }
    assert!(made[2..].iter().all(|count| *count == made[2]), "{made:?} requests by night");
    store.requests();
    assert_eq!(lab.names().len(), 12);
    let listed = store.requests();
    assert!(listed <= 10, "{listed} requests to list names");
    lab.delete("night-3").unwrap();
    let deleted = store.requests();
    // Two read the archive, to know which it is, and one its lists, to know whether it is whole; one tells whether it may
    // have another name; three record that it is deleted; one tells whether packs lie in a second place.
    assert!(deleted <= 18, "{deleted} requests to delete");
}

/// Why there is no cache of objects before a store: design.md, "Before a store".
#[test]
fn what_never_changes_is_hardly_read_again_by_who_has_a_copy_of_the_index() {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for number in 0..100 {
        std::fs::write(tree.join(number.to_string()), Image::noise(number, 20_000).bytes).unwrap();
    }
    let store = FaultStore::new(MemoryStore::new());
    let inside = store.clone();
    let lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
    let mut lab = lab.with_cache(Some(home.path().join("cache")));
    // The sample of what is stored must come from the store itself.
    lab.skip_sample = true;
    for night in 0..8 {
        std::fs::write(tree.join("new"), Image::noise(1000 + night, MIB).bytes).unwrap();
        store.disarm();
        lab.backup_path(&format!("night-{night}"), &tree).unwrap();
        let got = |area: &str| {
            let log = store.log();
            log.iter().filter(|(verb, on)| *verb == Verb::Get && on.starts_with(area)).count()
        };
        assert_eq!(got("index/"), 0, "night {night}");
        assert!(got("packs/") <= 2, "night {night}: {} requests of packs", got("packs/"));
    }
}
