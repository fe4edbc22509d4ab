//! Gc gives back what nobody needs, keeps what somebody needs, and refuses when it cannot know.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use garret_core::{Compression, Error, Input, Key, MemoryStore, Silent, Writer};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, both, damage, is_structure};

fn lab(mode: KeyMode) -> (Lab, MemoryStore) {
    let (mut lab, store) = Lab::memory(mode);
    lab.compression = Compression::Lz4;
    lab.threads = 2;
    (lab, store)
}

fn backup(repository: &mut Writer, lab: &Lab, name: &str, bytes: &[u8]) -> u64 {
    let reader = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let inputs = vec![Input::Stream { name: b"image".to_vec(), reader }];
    let report = repository.backup(name, inputs, &lab.options(), &garret_core::Silent).unwrap();
    report.written.chunk_bytes
}

#[test]
fn after_deleting_all_but_one_the_repository_is_as_small_as_a_fresh_one() {
    let (lab_, _) = lab(KeyMode::Passphrase);
    let mut image = Image::noise(1, 44_000_000);
    for night in 0..4 {
        lab_.backup_bytes(&format!("night-{night}"), &image.bytes).unwrap();
        // A fifth of the image, scattered, so that old packs are partly needed.
        for part in 0..20 {
            let start = part * 2_200_000 + night * 300_000;
            let new = Image::noise((100 * night + part) as u64, 440_000).bytes;
            image.bytes[start..start + 440_000].copy_from_slice(&new);
        }
    }
    lab_.backup_bytes("last", &image.bytes).unwrap();
    let before = lab_.stored_len();
    for night in 0..4 {
        lab_.delete(&format!("night-{night}")).unwrap();
    }
    let report = lab_.gc().unwrap();
    let after = lab_.stored_len();
    let (fresh, _) = lab(KeyMode::Passphrase);
    fresh.backup_bytes("last", &image.bytes).unwrap();
    let smallest = fresh.stored_len();
    assert!(after * 100 <= smallest * 105, "{before} -> {after}, fresh {smallest}, {report:?}");
    assert!(before > after);
    assert!(lab_.restore_bytes("last").unwrap() == image.bytes);
    lab_.check();
    assert_eq!(
        lab_.gc().unwrap(),
        garret_core::GcReport::default(),
        "a second gc has nothing to do"
    );
    assert_eq!(lab_.backup_bytes("again", &image.bytes).unwrap().written.chunk_count, 0);
}

#[test]
fn with_no_archive_left_nothing_is_left() {
    let (lab, store) = lab(KeyMode::None);
    lab.backup_bytes("a", &Image::generate(2, 3_000_000).bytes).unwrap();
    lab.delete("a").unwrap();
    lab.gc().unwrap();
    assert_eq!(lab.stored_len(), 0);
    let left: Vec<Key> = store.objects().into_keys().collect();
    let kept = [Key::Config, Key::Tombstones, Key::ConfigCopy, Key::TombstonesCopy];
    assert_eq!(left, kept, "and that it was deleted");
}

/// Who looks has a session of its own, which is nobody who might need it.
#[test]
fn a_plan_says_what_a_backup_that_was_killed_has_left() {
    let (lab, store) = lab(KeyMode::None);
    lab.backup_bytes("a", &Image::noise(1, 1 << 20).bytes).unwrap();
    let mut objects = store.objects();
    objects.retain(|key, _| !matches!(key, Key::Index(_) | Key::Archive(_) | Key::ArchiveCopy(_)));
    let store = MemoryStore::from_objects(objects);
    let lab = lab.with_store(move || Box::new(store.clone()));
    let plan = lab.reader().unwrap().plan_gc(&[], 1, &garret_core::Silent).unwrap();
    assert!(plan.freed_bytes() > 1 << 20, "{plan}");
    assert_eq!(lab.gc().unwrap().deleted_pack_bytes, plan.freed_bytes());
}

#[test]
fn what_two_creators_stored_at_once_restores_twice_and_is_kept_once() {
    let (lab, _) = lab(KeyMode::None);
    let image = Image::noise(3, 6_000_000).bytes;
    let (mut one, mut two) = (lab.writer().unwrap(), lab.writer().unwrap());
    let (first, second) =
        (backup(&mut one, &lab, "one", &image), backup(&mut two, &lab, "two", &image));
    assert_eq!((first, second), (image.len() as u64, image.len() as u64), "stored twice");
    drop((one, two));
    let restore = || ["one", "two"].map(|name| lab.restore_bytes(name).unwrap() == image);
    assert_eq!(restore(), [true, true]);
    let twice = lab.stored_len();
    lab.gc().unwrap();
    let once = lab.stored_len();
    assert!(once * 100 < twice * 55, "{twice} -> {once}");
    assert_eq!(restore(), [true, true]);
    lab.check();
}

/// Two creators have stored the same beside files of their own, one of this length, and a gc has listed one of the two
/// copies: twice the same repository.
fn stored_twice(len: usize) -> [(Lab, MemoryStore); 2] {
    let (lab, store) = lab(KeyMode::None);
    let shared = Image::noise(3, 60_000).bytes;
    let own = [4, 5].map(|seed| Image::noise(seed, 6_000_000).bytes);
    let input = |name: &[u8], bytes: &Vec<u8>| {
        let (name, reader) = (name.to_vec(), Box::new(std::io::Cursor::new(bytes.clone())));
        Input::Stream { name, reader }
    };
    let mut writers = [lab.writer().unwrap(), lab.writer().unwrap()];
    for (number, writer) in writers.iter_mut().enumerate() {
        let more = Image::noise(7 + number as u64, len).bytes;
        let files =
            vec![input(b"own", &own[number]), input(b"shared", &shared), input(b"more", &more)];
        writer.backup(&format!("both-{number}"), files, &lab.options(), &Silent).unwrap();
    }
    drop(writers);
    for (number, image) in own.iter().enumerate() {
        lab.backup_bytes(&format!("own-{number}"), image).unwrap();
    }
    // A gc that deletes nothing leaves the index as it is.
    lab.backup_bytes("scrap", &Image::noise(6, 100_000).bytes).unwrap();
    lab.delete("scrap").unwrap();
    lab.gc().unwrap();
    assert!(lab.check().unlisted_chunks > 0);
    [0, 1].map(|_| {
        let store = MemoryStore::from_objects(store.objects());
        let inside = store.clone();
        (lab.with_store(move || Box::new(inside.clone())), store)
    })
}

#[test]
fn what_is_listed_nowhere_any_more_and_needed_by_nobody_is_no_damage() {
    let unlisted = stored_twice(0).into_iter().enumerate().map(|(gone, (lab, _))| {
        for name in ["both-0", "both-1", &format!("own-{gone}")] {
            lab.delete(name).unwrap();
        }
        lab.gc().unwrap();
        lab.check().unlisted_chunks
    });
    // Where the copy that is listed went, and the other one's pack stays.
    assert!(unlisted.sum::<u64>() > 0);
}

#[test]
fn of_two_copies_the_one_that_is_not_listed_serves_after_a_repair() {
    for (lost, (lab, store)) in stored_twice(0).into_iter().enumerate() {
        let is_data =
            |(key, bytes): &(Key, Vec<u8>)| matches!(key, Key::Pack(_)) && !is_structure(bytes);
        let mut files: Vec<(Key, Vec<u8>)> = store.objects().into_iter().filter(is_data).collect();
        assert_eq!(files.len(), 2);
        let (key, mut bytes) = files.swap_remove(lost);
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        damage(&store, &key, &bytes);
        lab.exclusive().unwrap().repair(2, &Silent).unwrap();
        let is_whole = |name: &String| lab.restore_bytes(name).is_ok();
        let whole: Vec<String> = lab.names().into_iter().filter(is_whole).collect();
        let is_left = |number| whole == [format!("both-{number}"), format!("own-{number}")];
        assert!(is_left(0) || is_left(1), "{whole:?}");
    }
}

/// The copy that is listed nowhere is the last one then. Its pack wastes more than gc leaves.
#[test]
fn of_two_copies_the_one_that_is_not_listed_stays_while_packs_are_damaged() {
    for (lost, (lab, store)) in stored_twice(400_000).into_iter().enumerate() {
        let shared = Image::noise(3, 60_000).bytes;
        lab.backup_bytes("shared", &shared).unwrap();
        let is_data =
            |(key, bytes): &(Key, Vec<u8>)| matches!(key, Key::Pack(_)) && !is_structure(bytes);
        let mut files: Vec<(Key, Vec<u8>)> = store.objects().into_iter().filter(is_data).collect();
        assert_eq!(files.len(), 2);
        let (key, mut bytes) = files.swap_remove(lost);
        bytes[100..].fill(0);
        damage(&store, &key, &bytes);
        assert!(lab.check_reporting(true).unwrap().0.problem_count > 0);
        ["both-0", "both-1"].iter().for_each(|name| lab.delete(name).unwrap());
        lab.gc_reporting().unwrap();
        lab.exclusive().unwrap().repair(2, &Silent).unwrap();
        assert!(lab.restore_bytes("shared").unwrap() == shared, "{lost}");
        lab.gc_reporting().unwrap();
        assert!(lab.restore_bytes("shared").unwrap() == shared, "{lost}");
    }
}

#[test]
fn creators_at_the_same_time_on_threads_all_restore() {
    let (lab, _) = lab(KeyMode::Passphrase);
    let images: Vec<Vec<u8>> = (0..4).map(|n| Image::generate(n / 2, 2_000_000).bytes).collect();
    std::thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            let lab = &lab;
            scope.spawn(move || lab.backup_bytes(&format!("{number}"), image).unwrap());
        }
    });
    for round in 0..2 {
        for (number, image) in images.iter().enumerate() {
            assert!(lab.restore_bytes(&format!("{number}")).unwrap() == *image, "round {round}");
        }
        lab.gc().unwrap();
    }
    lab.check();
}

#[test]
fn many_small_packs_become_few() {
    let (lab, store) = lab(KeyMode::None);
    let images: Vec<Vec<u8>> = (0..12).map(|n| Image::noise(n, 100_000).bytes).collect();
    for (number, image) in images.iter().enumerate() {
        lab.backup_bytes(&format!("{number}"), image).unwrap();
    }
    let packs = || store.objects().keys().filter(|key| matches!(key, Key::Pack(_))).count();
    // Each left one of its file, and two of its structure.
    assert_eq!(packs(), 36);
    lab.gc().unwrap();
    assert_eq!(packs(), 3);
    for (number, image) in images.iter().enumerate() {
        assert!(lab.restore_bytes(&format!("{number}")).unwrap() == *image);
    }
    lab.check();
}

/// The objects with one byte of one object changed.
fn damaged(store: &MemoryStore, lab: &Lab, key: &Key, place: usize) -> (Lab, MemoryStore) {
    let mut objects = store.objects();
    for key in both(&store.objects(), key) {
        objects.get_mut(&key).unwrap()[place] ^= 0x40;
    }
    let store = MemoryStore::from_objects(objects);
    let inside = store.clone();
    (lab.with_store(move || Box::new(inside.clone())), store)
}

#[test]
fn an_archive_that_cannot_be_read_stops_gc_before_it_deletes_anything() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let image = Image::noise(4, 500_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    lab.backup_bytes("b", &Image::noise(5, 500_000).bytes).unwrap();
    lab.backup_bytes("c", &Image::noise(6, 500_000).bytes).unwrap();
    lab.delete("c").unwrap();
    let b = Key::Archive("b".to_owned());
    for place in [0, 7, 8, 40, 100] {
        let (lab, store) = damaged(&store, &lab, &b, place);
        let before = store.objects();
        assert!(lab.gc_reporting().is_err(), "byte {place}");
        assert!(store.objects() == before, "byte {place}");
        // Removing what is damaged is possible, and then gc is.
        lab.delete("b").unwrap();
        assert_eq!(lab.gc().unwrap().deleted_pack_count, 6, "all packs of two archives");
        assert!(lab.restore_bytes("a").unwrap() == image);
        lab.check();
    }
}

#[test]
fn a_chunk_that_is_needed_and_nowhere_stops_gc_before_it_deletes_anything() {
    let (lab, store) = lab(KeyMode::None);
    let first = Image::noise(7, 500_000).bytes;
    lab.backup_bytes("seed", &first).unwrap();
    let (data, _) = store.objects().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    // The data is in the pack of the archive before: this one adds its list of files, which stays readable.
    assert_eq!(lab.backup_bytes("a", &first).unwrap().written.chunk_count, 0);
    let image = Image::noise(8, 500_000).bytes;
    lab.backup_bytes("b", &image).unwrap();
    lab.backup_bytes("garbage", &Image::noise(9, 500_000).bytes).unwrap();
    lab.delete("garbage").unwrap();
    lab.delete("seed").unwrap();
    garret_core::Store::delete(&store, &data).unwrap();
    let before = store.objects();
    assert!(matches!(lab.gc_reporting(), Err(Error::MissingChunk { .. })));
    assert!(store.objects() == before);
    lab.delete("a").unwrap();
    lab.gc().unwrap();
    assert!(lab.restore_bytes("b").unwrap() == image);
    lab.check();
}

#[test]
fn a_damaged_group_stays_where_it_is_and_everything_else_is_collected() {
    let (mut lab, store) = lab(KeyMode::None);
    lab.compression = Compression::None;
    let shared = Image::noise(10, 3_000_000).bytes;
    let mut both = shared.clone();
    both.extend(Image::noise(11, 3_000_000).bytes);
    lab.backup_bytes("both", &both).unwrap();
    lab.backup_bytes("half", &shared).unwrap();
    lab.delete("both").unwrap();
    let (victim, _) = store.objects().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    assert!(matches!(victim, Key::Pack(_)));
    let (lab, store) = damaged(&store, &lab, &victim, 100_000);
    let (report, problems) = lab.gc_reporting().unwrap();
    assert_eq!((report.problem_count, problems.len()), (1, 1), "{problems:?}");
    assert!(problems[0].contains(" packs/") && problems[0].contains("offset"), "{problems:?}");
    assert!(store.objects().contains_key(&victim), "the damaged pack is gone");
    let error = lab.restore_bytes("half").unwrap_err();
    assert!(garret_core::message(&error).contains("packs/"), "{error}");
    // Backing up the same source does not help while the damaged pack is there; when it is removed, it does.
    garret_core::Store::delete(&store, &victim).unwrap();
    lab.backup_bytes("healed", &shared).unwrap();
    assert!(lab.restore_bytes("half").unwrap() == shared);
}
