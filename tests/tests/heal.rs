//! Damage heals, and never spreads: a pack that rots is found by use or by a check, nothing new is built on it, the next
//! backup stores again what it held, and gc drops it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Cursor;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use garret_core::{Area, Input, Key, MemoryStore, Store, StoreError};
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, Recorder, is_structure};

fn content() -> Vec<u8> {
    Image::noise(7, 3_000_000).bytes
}

fn input() -> Input {
    Input::Stream { name: b"image".to_vec(), reader: Box::new(Cursor::new(content())) }
}

/// One archive, `old`, of what is still there.
fn lab(mode: KeyMode) -> (Lab, MemoryStore) {
    let (lab, store) = Lab::memory(mode);
    lab.backup_bytes("old", &content()).unwrap();
    (lab, store)
}

/// Flips one bit in the middle of the pack that holds the content. Gives its key and its bytes as they were.
fn rot(store: &MemoryStore) -> (Key, Vec<u8>) {
    let packs = store.list(Area::Packs).unwrap();
    let (key, len) = packs.into_iter().max_by_key(|(_, len)| *len).unwrap();
    let whole = store.get(&key, 0..len).unwrap();
    let mut bytes = whole.clone();
    bytes[1_500_000] ^= 4;
    store.put(&key, &[&bytes]).unwrap();
    (key, whole)
}

fn records(store: &MemoryStore) -> Vec<String> {
    store.list(Area::Damage).unwrap().into_iter().map(|(key, _)| key.to_string()).collect()
}

/// What every way of finding damage leads to: it is recorded, the old archive came back with the new one, gc makes all sound.
fn is_healed(lab: &Lab, store: &MemoryStore, damaged: &Key, names: &[&str]) {
    for name in names {
        assert!(lab.restore_bytes(name).unwrap() == content(), "{name}");
    }
    lab.gc_reporting().unwrap();
    assert!(store.len(damaged).is_err(), "gc drops what is damaged and needed no more");
    assert_eq!(records(store), [""; 0], "its record goes with it");
    lab.check();
    for name in names {
        assert!(lab.restore_bytes(name).unwrap() == content(), "{name} after gc");
    }
}

#[test]
fn what_a_check_found_the_next_backup_heals() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let (lab, store) = lab(mode);
        let (damaged, _) = rot(&store);
        let (report, _) = lab.check_reporting(true).unwrap();
        assert_eq!(report.incomplete.len(), 1);
        assert_eq!(records(&store).len(), 1);
        assert!(lab.restore_bytes("old").is_err(), "nothing heals by itself");
        let made = lab.backup_bytes("new", &content()).unwrap();
        assert!(made.written.chunk_bytes >= 2_900_000, "all of the pack is stored again");
        is_healed(&lab, &store, &damaged, &["old", "new"]);
    }
}

#[test]
fn a_backup_finds_what_has_rotted_and_does_not_build_on_it() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let (damaged, _) = rot(&store);
    // A repository of three groups: the sample sees all of them but for one time in some thousands.
    let (made, problems) = lab.backup_inputs("new", vec![input()]).unwrap();
    assert!(problems.iter().any(|line| line.contains(&damaged.to_string())), "{problems:?}");
    assert!(made.archive.archive.is_complete(), "the new archive lacks nothing");
    is_healed(&lab, &store, &damaged, &["old", "new"]);
}

#[test]
fn what_is_not_there_any_more_stays_lost_and_nothing_else_suffers() {
    let (lab, store) = lab(KeyMode::Passphrase);
    lab.backup_bytes("other", &Image::noise(9, 500_000).bytes).unwrap();
    let (damaged, _) = rot(&store);
    lab.check_reporting(true).unwrap();
    lab.gc_reporting().unwrap();
    assert!(store.len(&damaged).is_ok(), "what is intact of it is needed");
    let (report, _) = lab.check_reporting(true).unwrap();
    let lost: Vec<_> = report.incomplete.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(lost, ["old"]);
    assert!(lab.restore_bytes("other").unwrap() == Image::noise(9, 500_000).bytes);
    // Its groups are still read: only one of three is lost.
    lab.backup_bytes("start", &content()[..900_000]).unwrap();
    assert!(lab.restore_bytes("start").unwrap() == content()[..900_000]);
}

#[test]
fn known_damage_is_told_until_it_is_mended_and_forgotten_when_the_pack_is_back() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let (damaged, whole) = rot(&store);
    lab.check_reporting(true).unwrap();
    let (report, problems) = lab.check_reporting(false).unwrap();
    assert_eq!(report.damaged_packs, 1);
    assert!(problems.iter().any(|line| line.contains(&damaged.to_string())), "{problems:?}");
    // As from a mirror.
    store.put(&damaged, &[&whole]).unwrap();
    assert_eq!(lab.check_reporting(true).unwrap().1, [""; 0]);
    assert_eq!(records(&store), [""; 0]);
    lab.check();
    assert_eq!(lab.backup_bytes("new", &content()).unwrap().written.chunk_count, 0);
}

/// What the index lists is a pack, also when nothing is left of its first bytes.
#[test]
fn a_pack_that_does_not_begin_as_one_is_damaged_and_heals() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let (damaged, mut bytes) = rot(&store);
    bytes[..4096].fill(0x5a);
    store.put(&damaged, &[&bytes]).unwrap();
    let (report, _) = lab.check_reporting(true).unwrap();
    assert_eq!((report.damaged_packs, report.incomplete.len()), (1, 1));
    assert_eq!(records(&store).len(), 1);
    lab.backup_bytes("new", &content()).unwrap();
    is_healed(&lab, &store, &damaged, &["old", "new"]);
}

/// A chunk that every night stores again because the pack of the night before is damaged, and those packs stay, for something
/// in each is lost: the copy that is intact is the one that counts, however many there are.
#[test]
fn the_intact_copy_is_kept_among_many() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let common = Image::noise(1, 200_000).bytes;
    let night = |number: u64| [common.clone(), Image::noise(number, 3_000_000).bytes].concat();
    for number in 10..17 {
        let before = store.list(Area::Packs).unwrap();
        lab.backup_bytes(&format!("night-{number}"), &night(number)).unwrap();
        let new = store.list(Area::Packs).unwrap();
        let (key, len) = new.into_iter().find(|pack| !before.contains(pack)).unwrap();
        if number < 16 {
            let mut bytes = store.get(&key, 0..len).unwrap();
            bytes[200] ^= 1;
            store.put(&key, &[&bytes]).unwrap();
            lab.check_reporting(true).unwrap();
        }
        lab.gc_reporting().unwrap();
        assert!(number < 16 || lab.restore_bytes("night-16").unwrap() == night(16));
    }
    for number in 10..16 {
        lab.delete(&format!("night-{number}")).unwrap();
        lab.gc_reporting().unwrap();
        assert!(lab.restore_bytes("night-16").unwrap() == night(16), "{number}");
    }
    lab.gc().unwrap();
    lab.check();
}

/// A store that gives one wrong bit, the first time that a whole pack is read.
#[derive(Clone)]
struct ErrsOnce {
    inner: MemoryStore,
    has_erred: Arc<AtomicBool>,
}

impl Store for ErrsOnce {
    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.inner.get(key, range)?;
        if bytes.len() > 2_000_000 && !self.has_erred.swap(true, Ordering::Relaxed) {
            bytes[1_500_000] ^= 1;
        }
        Ok(bytes)
    }

    garret_testkit::through!(inner: put, put_new, len, list, delete, adopt, sync, sweep, lock);
    garret_testkit::through!(inner: pass_over, has_sessions, notices, place, doubtful);
}

#[test]
fn a_second_reading_decides() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let once = ErrsOnce { inner: store.clone(), has_erred: Arc::default() };
    let lab = lab.with_store(move || Box::new(once.clone()));
    let (report, problems) = lab.check_reporting(true).unwrap();
    assert_eq!(report.incomplete, []);
    assert!(problems.iter().any(|line| line.contains("the same twice")), "{problems:?}");
    assert_eq!(records(&store), [""; 0], "it is told of, and not recorded");
}

#[test]
fn a_forged_or_damaged_record_counts_for_nothing() {
    let (lab, store) = lab(KeyMode::Passphrase);
    let packs = store.list(Area::Packs).unwrap();
    let Some((Key::Pack(pack), _)) = packs.first().cloned() else { unreachable!() };
    let (other, other_store) = self::lab(KeyMode::Passphrase);
    rot(&other_store);
    other.check_reporting(true).unwrap();
    let Some((theirs, len)) = other_store.list(Area::Damage).unwrap().pop() else { unreachable!() };
    let forged = other_store.get(&theirs, 0..len).unwrap();
    for bytes in [forged, b"garretD\x01".to_vec(), Vec::new()] {
        store.put(&Key::Damage(pack), &[&bytes]).unwrap();
        let told = Recorder::default();
        lab.reader_reporting(&told).unwrap();
        let notices = told.notices();
        assert!(notices.iter().any(|line| line.contains("damaged/")), "{notices:?}");
        let name = format!("again-{}", bytes.len());
        let (made, _) = lab.backup_inputs(&name, vec![input()]).unwrap();
        assert!(made.written.chunk_count == 0, "nothing is stored again because of it");
        lab.check();
    }
    lab.gc().unwrap();
    assert_eq!(records(&store), [""; 0], "gc cleans up");
}

/// A list of files that is damaged in its middle, in both packs that have it: every file that stands before that is restored.
#[test]
fn what_stands_before_a_damaged_part_of_the_list_is_restored() {
    let (lab, store) = Lab::memory(KeyMode::None);
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    // So many that their list takes more than one group.
    for number in 0..9000 {
        let name = format!("{number:05}-{}", "x".repeat(120));
        std::fs::write(tree.join(name), number.to_string()).unwrap();
    }
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o751)).unwrap();
    lab.backup_path("tree", &tree).unwrap();
    for (key, len) in store.list(Area::Packs).unwrap() {
        let mut bytes = store.get(&key, 0..len).unwrap();
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
        // Behind the first of its groups, and before those with nothing but nodes.
        let middle = (bytes.len() - footer) / 3 * 2;
        if is_structure(&bytes) {
            bytes[middle] ^= 1;
            store.put(&key, &[&bytes]).unwrap();
        }
    }
    let repository = lab.reader().unwrap();
    let archive = repository.archive("tree").unwrap();
    let files = repository.items(&archive).map_while(Result::ok);
    let listed = files.filter(|item| item.path.contains(&b'-')).count();
    assert!((1..9000).contains(&listed), "{listed} files stand before the damage");
    let to = home.path().join("to");
    std::fs::create_dir(&to).unwrap();
    assert!(lab.restore_to("tree", &to, &lab.restore_options()).is_err());
    let restored = to.join(tree.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_dir(&restored).unwrap().count(), listed);
    assert_eq!(std::fs::metadata(&restored).unwrap().permissions().mode() & 0o777, 0o751);
}
