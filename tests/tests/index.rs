//! The index is a cache (T20): whatever is lost of it, or of the client's copy, is made again from the packs.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use garret_core::{Compression, Key, MemoryStore};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, Random, Recorder};

/// A repository in a directory, a client's cache, and three archives.
fn three_archives(dir: &Path) -> (Lab, BTreeMap<String, Vec<u8>>) {
    let mut lab = Lab::local(&dir.join("repo"), KeyMode::Passphrase);
    lab.cache = Some(dir.join("cache"));
    let mut image = Image::generate(1, 2_000_000);
    let mut contents = BTreeMap::new();
    for name in ["a", "b", "c"] {
        lab.backup_bytes(name, &image.bytes).unwrap();
        contents.insert(name.to_owned(), image.bytes.clone());
        image.mutate(contents.len() as u64);
    }
    (lab, contents)
}

fn all_restore(lab: &Lab, contents: &BTreeMap<String, Vec<u8>>, when: &str) {
    for (name, bytes) in contents {
        let restored = lab.restore_bytes(name).unwrap_or_else(|e| panic!("{when}: {name}: {e}"));
        assert!(restored == *bytes, "{when}: {name} has other bytes");
    }
}

fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
}

#[test]
fn the_index_and_the_clients_copy_are_made_again() {
    for (index, copy) in [(true, false), (false, true), (true, true)] {
        for whole_directory in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (lab, contents) = three_archives(dir.path());
            let (stored, cache) = (dir.path().join("repo/index"), dir.path().join("cache"));
            for (lost, path) in [(index, &stored), (copy, &cache)] {
                match (lost, whole_directory) {
                    (true, true) => fs::remove_dir_all(path).unwrap(),
                    (true, false) => empty(path),
                    (false, _) => {}
                }
            }
            let when = format!("index lost: {index}, copy lost: {copy}, {whole_directory}");
            all_restore(&lab, &contents, &when);
            let again = lab.backup_bytes("d", &contents["c"]).unwrap();
            assert_eq!(again.written.chunk_count, 0, "{when}");
            // The repository has its index again: a client without a copy reads no footer.
            let fresh = lab.with_cache(None);
            let recorder = Recorder::default();
            drop(fresh.reader_reporting(&recorder).unwrap());
            assert_eq!(recorder.problems(), [""; 0]);
            assert!(fs::read_dir(&stored).unwrap().count() > 0, "{when}");
            lab.delete("b").unwrap();
            lab.gc().unwrap();
            let left = contents.into_iter().filter(|(name, _)| name != "b").collect();
            all_restore(&lab, &left, &when);
            lab.check();
            fresh.check();
        }
    }
}

#[test]
fn packs_without_footer_are_walked_and_every_intact_group_is_found() {
    let (mut lab, memory) = Lab::memory(KeyMode::Passphrase);
    lab.compression = Compression::None;
    let mut contents = BTreeMap::new();
    for number in 0..10 {
        let name = format!("{number}");
        contents.insert(name.clone(), Image::noise(number, 1_500_000).bytes);
        lab.backup_bytes(&name, &contents[&name]).unwrap();
    }
    let mut objects = memory.objects();
    objects.retain(|key, _| !matches!(key, Key::Index(_)));
    for (number, (_, bytes)) in
        objects.iter_mut().filter(|(key, _)| matches!(key, Key::Pack(_))).enumerate()
    {
        let len = bytes.len();
        match number % 5 {
            0 => bytes[len - 1] ^= 1,
            1 => bytes[len - 30] ^= 1,
            2 => bytes.truncate(len - 9),
            _ => {}
        }
    }
    let store = MemoryStore::from_objects(objects.clone());
    let lab = lab.with_store(move || Box::new(store.clone()));
    all_restore(&lab, &contents, "footers lost");
    let (_, problems) = lab.check_reporting(true).unwrap();
    assert!(problems.len() >= 6, "{problems:?}");
    // One group of such a pack is damaged too: what lies behind it is still found.
    let victim = objects.iter_mut().find(|(key, bytes)| {
        matches!(key, Key::Pack(_)) && bytes.len() > 1_400_000 && !bytes.ends_with(b"tail")
    });
    let (_, bytes) = victim.unwrap();
    bytes[5000] ^= 1;
    let store = MemoryStore::from_objects(objects.clone());
    let lab = lab.with_store(move || Box::new(store.clone()));
    let lost: Vec<bool> = contents.keys().map(|name| lab.restore_bytes(name).is_err()).collect();
    assert_eq!(lost.iter().filter(|lost| **lost).count(), 1, "{lost:?}");
    let name = contents.keys().nth(lost.iter().position(|lost| *lost).unwrap()).unwrap();
    let mut lab = lab;
    lab.skip_sample = true;
    let again = lab.backup_bytes("again", &contents[name]).unwrap();
    let (found, all) = (again.written.chunk_bytes, contents[name].len() as u64);
    assert!(found < all, "the groups behind the damaged one were not found: {found} of {all}");
    all_restore(&lab, &contents, "healed");
}

/// A file that has not changed for long, so that backups after the first do not read it.
fn settled_file() -> PathBuf {
    let path = fs::canonicalize(std::env::var_os("CARGO").unwrap_or("/bin/sh".into())).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 64 << 10, "{}", path.display());
    path
}

#[test]
fn a_lost_pack_is_told_and_the_next_backup_of_the_same_source_heals_every_archive() {
    let path = settled_file();
    let content = fs::read(&path).unwrap();
    for (with_cache, other_sessions) in [(false, 0), (true, 0), (true, 12)] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repo");
        let mut lab = Lab::local(&root, KeyMode::None);
        lab.cache = with_cache.then(|| dir.path().join("cache"));
        lab.compression = Compression::Lz4;
        lab.backup_path("old", &path).unwrap();
        let again = lab.backup_path("older", &path).unwrap();
        assert_eq!(again.untouched_bytes, content.len() as u64, "the file is not settled");
        let (when, largest) = (format!("{with_cache} {other_sessions}"), largest_pack(&root));
        fs::remove_file(largest).unwrap();
        assert!(lab.restore_bytes("old").is_err());
        let (_, problems) = lab.check_reporting(false).unwrap();
        assert!(problems.iter().any(|text| text.starts_with("packs/")), "{problems:?}");
        assert!(problems.iter().any(|text| text.starts_with("backups/old")), "{problems:?}");
        for number in 0..other_sessions {
            let noise = Image::noise(number, 20_000).bytes;
            lab.backup_bytes(&format!("other/{number}"), &noise).unwrap();
        }
        // Neither gc nor deleting something else makes it forget that something is lost.
        lab.backup_bytes("garbage", &Image::noise(99, 50_000).bytes).unwrap();
        lab.delete("garbage").unwrap();
        assert!(lab.gc_reporting().is_err(), "{when}: gc with a needed chunk missing");
        lab.backup_path("new", &path).unwrap();
        for name in ["old", "older", "new"] {
            let restored = lab.restore_bytes(name);
            let restored = restored.unwrap_or_else(|error| panic!("{when}: {name}: {error}"));
            assert!(restored == content, "{when}: {name}");
        }
        lab.gc().unwrap();
        lab.check();
        assert!(lab.restore_bytes("old").unwrap() == content);
    }
}

/// The length that a pack has afterwards.
type Cut = fn(u64) -> u64;

/// What can happen to a pack without anybody touching its index: a copy that broke off, a disk that lost blocks.
const CUTS: [(&str, Cut); 6] = [
    ("emptied", |_| 0),
    ("cut in its header", |_| 20),
    ("cut to its header", |_| 32),
    ("cut in half", |len| len / 2),
    ("cut by a byte", |len| len - 1),
    ("longer by a byte", |len| len + 1),
];

#[test]
fn a_pack_in_another_length_counts_for_what_is_left_of_it_and_the_next_backup_heals() {
    let path = fs::canonicalize("/bin/sh").unwrap();
    let content = fs::read(&path).unwrap();
    for (what, cut) in CUTS {
        for with_cache in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("repo");
            let mut lab = Lab::local(&root, KeyMode::Passphrase);
            lab.cache = with_cache.then(|| dir.path().join("cache"));
            lab.backup_path("a", &path).unwrap();
            let noise = Image::noise(1, 300_000).bytes;
            lab.backup_bytes("b", &noise).unwrap();
            lab.backup_bytes("c", &Image::noise(2, 300_000).bytes).unwrap();
            let packs = packs(&root);
            assert!(packs.len() >= 3, "{packs:?}");
            for (number, pack) in packs.iter().enumerate() {
                let when = format!("pack {number} {what}, with a copy of the index: {with_cache}");
                let len = pack.metadata().unwrap().len();
                let file = fs::File::options().write(true).open(pack).unwrap();
                file.set_len(cut(len)).unwrap();
                lab.backup_path(&format!("a{number}"), &path).unwrap();
                lab.backup_bytes(&format!("b{number}"), &noise).unwrap();
                for (name, expected) in [("a", &content), ("b", &noise)] {
                    let name = format!("{name}{number}");
                    let restored = lab.restore_bytes(&name);
                    let restored = restored.unwrap_or_else(|e| panic!("{when}: {name}: {e}"));
                    assert!(restored == *expected, "{when}: {name}");
                }
                let fresh = lab.with_cache(None);
                assert!(fresh.restore_bytes(&format!("b{number}")).unwrap() == noise, "{when}");
            }
            // Archives that lack their own list of files are beyond help; the others stay whole through a gc.
            for name in ["a", "b", "c"] {
                lab.delete(name).unwrap();
            }
            for number in 0..packs.len() - 1 {
                lab.delete(&format!("a{number}")).unwrap();
                lab.delete(&format!("b{number}")).unwrap();
            }
            lab.gc().unwrap();
            let last = packs.len() - 1;
            assert!(lab.restore_bytes(&format!("a{last}")).unwrap() == content, "{what}");
            assert!(lab.restore_bytes(&format!("b{last}")).unwrap() == noise, "{what}");
        }
    }
}

/// A whole pack that comes back, after what was left of it was listed, counts again.
#[test]
fn a_pack_that_gets_its_length_back_counts_as_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let mut lab = Lab::local(&root, KeyMode::None);
    lab.cache = Some(dir.path().join("cache"));
    let (one, two) = (Image::noise(1, 300_000).bytes, Image::noise(2, 300_000).bytes);
    lab.backup_bytes("one", &one).unwrap();
    let (pack, whole) = (largest_pack(&root), fs::read(largest_pack(&root)).unwrap());
    for _ in 0..2 {
        fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
        assert!(lab.restore_bytes("one").is_err());
        lab.backup_bytes("two", &two).unwrap();
        fs::write(&pack, &whole).unwrap();
        assert!(lab.restore_bytes("one").unwrap() == one);
        assert_eq!(lab.backup_bytes("again", &one).unwrap().written.chunk_count, 0);
        // The row that was written meanwhile is wrong now, and does no harm.
        let (report, problems) = lab.check_reporting(true).unwrap();
        assert!(problems.iter().all(|text| text.starts_with("index/")), "{problems:?}");
        assert_eq!((report.damaged_packs, report.incomplete.len()), (0, 0), "{problems:?}");
        lab.delete("two").unwrap();
        lab.delete("again").unwrap();
    }
}

/// Two losses at once: the only list of the lost pack is lost with it, so nothing tells that an untouched file's content of
/// the archive before is not there any more.
#[test]
fn a_pack_and_the_index_lost_together_make_no_archive_that_does_not_restore() {
    let path = fs::canonicalize("/bin/sh").unwrap();
    let content = fs::read(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repo");
    let lab = Lab::local(&root, KeyMode::None);
    // Puts the data into a pack of its own: the archive of the file then adds only its item.
    lab.backup_bytes("seed", &content).unwrap();
    let data = largest_pack(&root);
    assert_eq!(lab.backup_path("old", &path).unwrap().written.chunk_count, 0);
    lab.delete("seed").unwrap();
    fs::remove_file(data).unwrap();
    fs::remove_dir_all(root.join("index")).unwrap();
    if lab.backup_path("new", &path).is_ok() {
        let restored = lab.restore_bytes("new").unwrap();
        assert!(restored == content);
    }
}

fn packs(root: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(root.join("packs")).unwrap();
    let packs = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    let mut packs: Vec<PathBuf> = packs.map(|pack| pack.unwrap().path()).collect();
    packs.sort();
    packs
}

fn largest_pack(root: &Path) -> PathBuf {
    packs(root).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn a_client_whose_copy_is_old_notices_that_another_has_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let (one, mut contents) = three_archives(dir.path());
    let two = one.with_cache(Some(dir.path().join("other cache")));
    all_restore(&two, &contents, "the other client");
    for round in 0..4 {
        let (pruning, waiting) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let (first, _) = contents.pop_first().unwrap();
        pruning.delete(&first).unwrap();
        pruning.gc().unwrap();
        all_restore(waiting, &contents, "a client with an old copy");
        let name = format!("{round}-{first}");
        let image = Image::generate(round + 50, 1_000_000).bytes;
        waiting.backup_bytes(&name, &image).unwrap();
        contents.insert(format!("z{name}"), image.clone());
        waiting.backup_bytes(&format!("z{name}"), &image).unwrap();
        waiting.delete(&name).unwrap();
        all_restore(pruning, &contents, "the client that pruned");
        waiting.gc().unwrap();
        drop(pruning.reader().unwrap());
        // What comes and goes behind the back of an old copy must not make its packs look half empty.
        waiting.backup_bytes("garbage", &Image::noise(round + 70, 600_000).bytes).unwrap();
        waiting.delete("garbage").unwrap();
        assert!(waiting.gc().unwrap().deleted_pack_count > 0);
        assert_eq!(pruning.gc().unwrap().repacked_bytes, 0, "round {round}");
        one.check();
        two.check();
    }
}

/// What a crashed session left is in the copies of all who saw it; once one of them has listed it in the repository, the
/// others do not list it again.
#[test]
fn packs_of_a_crashed_session_are_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, contents) = three_archives(dir.path());
    let two = one.with_cache(Some(dir.path().join("other cache")));
    empty(&dir.path().join("repo/index"));
    all_restore(&one, &contents, "without index");
    all_restore(&two, &contents, "without index, the other client");
    let listed = || fs::read_dir(dir.path().join("repo/index")).unwrap().count();
    one.backup_bytes("d", &contents["c"]).unwrap();
    assert_eq!(listed(), 2, "what was left, and what is new");
    two.backup_bytes("e", &contents["c"]).unwrap();
    assert_eq!(listed(), 3, "only what is new");
    two.backup_bytes("garbage", &Image::noise(2, 900_000).bytes).unwrap();
    two.delete("garbage").unwrap();
    assert_eq!(two.gc().unwrap().repacked_bytes, 0);
    one.check();
}

#[test]
fn many_sessions_with_a_copy_that_is_merged_find_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, _) = Lab::memory(KeyMode::Passphrase);
    lab.cache = Some(dir.path().join("cache"));
    let mut contents = BTreeMap::new();
    let mut random = Random::new(1);
    for number in 0..25 {
        let name = format!("{number:02}");
        let image = Image::noise(random.below(10) as u64, 30_000 + random.below(200_000));
        lab.backup_bytes(&name, &image.bytes).unwrap();
        contents.insert(name, image.bytes);
        if number % 6 == 5 {
            let (first, _) = contents.pop_first().unwrap();
            lab.delete(&first).unwrap();
            lab.gc().unwrap();
        }
        all_restore(&lab, &contents, &format!("session {number}"));
        let fresh = lab.with_cache(None);
        let ids = |lab: &Lab| lab.reader().unwrap().chunk_ids();
        assert_eq!(ids(&lab), ids(&fresh), "session {number}");
    }
    lab.check();
}

/// A flipped bit in the client's copy may cost time or an error, never data.
#[test]
fn a_damaged_copy_never_makes_gc_delete_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, memory) = Lab::memory(KeyMode::None);
    let cache = dir.path().join("cache");
    lab.cache = Some(cache.clone());
    let mut contents = BTreeMap::new();
    // So many small packs that gc copies all of them into one.
    for number in 0..9 {
        let name = format!("{number}");
        let image = Image::noise(number, 15_000 + 1000 * number as usize);
        lab.backup_bytes(&name, &image.bytes).unwrap();
        contents.insert(name, image.bytes);
    }
    lab.delete("0").unwrap();
    contents.remove("0");
    let files: Vec<(PathBuf, Vec<u8>)> = index_files(&cache);
    assert!(!files.is_empty());
    let mut trials = 0;
    for (path, bytes) in &files {
        for place in 0..bytes.len() {
            empty(path.parent().unwrap());
            for (path, bytes) in &files {
                fs::write(path, bytes).unwrap();
            }
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            fs::write(path, flipped).unwrap();
            let store = MemoryStore::from_objects(memory.objects());
            let lab = lab.with_store(move || Box::new(store.clone()));
            let bytes = lab.restore_bytes("5");
            assert!(bytes.is_err() || bytes.is_ok_and(|found| found == contents["5"]));
            drop(lab.gc_reporting());
            let fresh = lab.with_cache(None);
            all_restore(&fresh, &contents, &format!("byte {place} of {}", path.display()));
            trials += 1;
        }
    }
    println!("{trials} damaged copies");
}

fn index_files(cache: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = fs::read_dir(cache).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let index = files.filter(|path| path.extension().is_some_and(|e| e == "index"));
    index.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
