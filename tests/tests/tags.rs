//! Tags and protection: what is protected stays, whoever dies when; what an archive is tagged with is what was said last; the
//! archive itself is never touched.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use garret_core::{Area, Error, Key, Silent, Store, StoreErrorKind, TagChange};
use garret_format::ArchiveHash;
use garret_format::config::KeyMode;
use garret_format::object::{ENVELOPE_LEN, Envelope, Kind};
use garret_format::tags::TagRecord;
use garret_testkit::{Fault, FaultStore, Image, Lab, PowerStore, damage};

fn change(add: &[&str], remove: &[&str], protect: Option<bool>) -> TagChange {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut change = TagChange::default();
    (change.add, change.remove, change.protect) = (words(add), words(remove), protect);
    change
}

fn tag(lab: &Lab, names: &[&str], change: &TagChange) -> garret_core::Result<()> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    lab.pruner()?.tag(&names, change)
}

/// What is said of each archive: its tags, and whether it is protected.
fn said(lab: &Lab) -> BTreeMap<String, (Vec<String>, bool)> {
    let repository = lab.reader().unwrap();
    let tags = repository.tags(&Silent).unwrap();
    let of = |name: String| {
        let found = repository.archive(&name).unwrap();
        let own = tags.of(&found).iter().cloned().collect();
        (name, (own, tags.is_protected(&found)))
    };
    repository.archive_names().unwrap().into_iter().map(of).collect()
}

fn image() -> Vec<u8> {
    Image::noise(1, 200_000).bytes
}

/// A repository with the archives a and b; a was made with the tag `first`.
fn two(mode: KeyMode) -> (Lab, garret_core::MemoryStore) {
    let (lab, store) = Lab::memory(mode);
    let mut options = lab.options();
    options.tags = BTreeSet::from(["first".to_owned()]);
    let reader = Box::new(std::io::Cursor::new(image()));
    let input = garret_core::Input::Stream { name: b"image".to_vec(), reader };
    lab.writer().unwrap().backup("a", vec![input], &options, &Silent).unwrap();
    lab.backup_bytes("b", &image()).unwrap();
    (lab, store)
}

fn is(tags: &[&str], protected: bool) -> (Vec<String>, bool) {
    (tags.iter().map(|tag| (*tag).to_owned()).collect(), protected)
}

#[test]
fn what_was_said_last_holds_and_the_archive_stays_as_it_is() {
    let (lab, store) = two(KeyMode::Passphrase);
    let archives = |objects: BTreeMap<Key, Vec<u8>>| -> BTreeMap<Key, Vec<u8>> {
        objects.into_iter().filter(|(key, _)| !matches!(key, Key::Tags(_))).collect()
    };
    let before = archives(store.objects());
    tag(&lab, &["a", "b"], &change(&["x", "golden"], &["first"], None)).unwrap();
    let now = said(&lab);
    assert_eq!(
        (&now["a"], &now["b"]),
        (&is(&["golden", "x"], false), &is(&["golden", "x"], false))
    );
    tag(&lab, &["b"], &change(&[], &[], Some(true))).unwrap();
    tag(&lab, &["b"], &change(&["y"], &["x", "nobody"], None)).unwrap();
    assert_eq!(said(&lab)["b"], is(&["golden", "y"], true));
    assert_eq!(archives(store.objects()), before);
    // As it was made: nothing is said of it any more.
    tag(&lab, &["a"], &change(&["first"], &["golden", "x"], None)).unwrap();
    tag(&lab, &["b"], &change(&[], &["golden", "y"], Some(false))).unwrap();
    assert_eq!(store.objects(), before);
}

#[test]
fn what_is_protected_is_not_deleted_under_whatever_name() {
    let (lab, store) = two(KeyMode::None);
    tag(&lab, &["a"], &change(&["x"], &[], Some(true))).unwrap();
    let moved = Key::Archive("z".to_owned());
    let bytes = store.objects()[&Key::Archive("a".to_owned())].clone();
    store.put(&moved, &[&bytes]).unwrap();
    store.delete(&Key::Archive("a".to_owned())).unwrap();
    assert_eq!(said(&lab)["z"], is(&["first", "x"], true));
    let names = ["b", "z"].map(str::to_owned);
    let refused = lab.pruner().unwrap().delete(&names).unwrap_err();
    assert!(matches!(&refused, Error::Protected(name) if name == "z"), "{refused}");
    assert_eq!(lab.names(), names, "nor is what was to go with it");
    lab.gc().unwrap();
    assert!(lab.restore_bytes("z").unwrap() == image());
    tag(&lab, &["z"], &change(&[], &[], Some(false))).unwrap();
    lab.delete("z").unwrap();
    assert_eq!(store.list(Area::Tags).unwrap().len(), 1, "its tags are left over");
    lab.gc().unwrap();
    assert_eq!(store.list(Area::Tags).unwrap(), [], "until the next gc");
    // Removed by hand: the record goes too.
    tag(&lab, &["b"], &change(&[], &[], Some(true))).unwrap();
    store.delete(&Key::Archive("b".to_owned())).unwrap();
    lab.gc().unwrap();
    assert_eq!(store.list(Area::Tags).unwrap(), []);
}

#[test]
fn nobody_is_tagged_if_one_cannot_be() {
    let (lab, store) = two(KeyMode::None);
    let before = store.objects();
    let missing = tag(&lab, &["a", "nobody"], &change(&["x"], &[], Some(true))).unwrap_err();
    assert!(matches!(missing, Error::ArchiveMissing(name) if name == "nobody"));
    for word in ["", "a,b", "a b", "a\u{202e}", &"x".repeat(65)] {
        let refused = tag(&lab, &["a"], &change(&[word], &[], None)).unwrap_err();
        assert!(matches!(refused, Error::BadOption(_)), "{word:?}: {refused}");
    }
    let many: Vec<String> = (0..64).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = tag(&lab, &["a"], &change(&many, &[], None)).unwrap_err();
    assert!(refused.to_string().contains("64 tags at most"), "{refused}");
    assert_eq!(store.objects(), before);
    tag(&lab, &["a"], &change(&many, &["first"], None)).unwrap();
}

/// Whatever became of a record, its archive is protected, a check says so, and what is said next mends it.
#[test]
fn a_damaged_record_protects() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let (lab, store) = two(mode);
        tag(&lab, &["a"], &change(&["x"], &[], None)).unwrap();
        tag(&lab, &["b"], &change(&["y"], &[], None)).unwrap();
        let records = store.list(Area::Tags).unwrap();
        let whole = store.objects();
        let of = |name: &str| {
            let found = lab.reader().unwrap().archive(name).unwrap();
            Key::Tags(ArchiveHash::from_bytes(found.fingerprint))
        };
        let (own, other) = (of("a"), of("b"));
        assert!(records.iter().any(|(key, _)| *key == own));
        let mut flipped = whole[&own].clone();
        flipped[ENVELOPE_LEN + 3] ^= 1;
        let cut = &whole[&own][..ENVELOPE_LEN + 10];
        let long = vec![b'g'; 100_000];
        for (what, bytes) in [
            ("a bit", &flipped[..]),
            ("its end", cut),
            ("all of it", &[]),
            ("another's", &whole[&other]),
            ("an archive's", &whole[&Key::Archive("a".to_owned())]),
            ("no end of it", &[&Kind::Tags.header()[..], &long].concat()),
        ] {
            store.put(&own, &[bytes]).unwrap();
            assert_eq!(said(&lab)["a"], is(&["first"], true), "{what}");
            assert_eq!(said(&lab)["b"], is(&["y"], false), "{what}");
            assert!(matches!(lab.delete("a"), Err(Error::Protected(_))), "{what}");
            let (_, problems) = lab.check_reporting(false).unwrap();
            let found = problems.iter().filter(|line| line.contains("counts as protected"));
            assert_eq!(found.count(), 1, "{what}: {problems:?}");
            lab.gc().unwrap();
            if what.len() % 2 == 0 {
                lab.exclusive().unwrap().repair(1, &Silent).unwrap();
                lab.check();
                assert_eq!(said(&lab)["a"], is(&["first"], true), "{what}: put right");
            }
            tag(&lab, &["a"], &change(&["x"], &[], Some(false))).unwrap();
            assert_eq!(said(&lab)["a"], is(&["first", "x"], false), "{what}");
            lab.check();
        }
    }
}

/// Of an archive of which nothing is left but its name nobody knows whether it is the protected one.
#[test]
fn what_may_be_the_protected_archive_is_not_deleted() {
    let (lab, store) = two(KeyMode::Passphrase);
    tag(&lab, &["a"], &change(&[], &[], Some(true))).unwrap();
    damage(&store, &Key::Archive("a".to_owned()), &Kind::Archive.header());
    assert!(matches!(lab.delete("a"), Err(Error::Protected(_))));
    lab.delete("b").unwrap();
    assert_eq!(lab.names(), ["a"]);
}

#[test]
fn the_record_of_one_archive_is_sealed_and_says_which_it_is() {
    let (lab, store) = two(KeyMode::Passphrase);
    tag(&lab, &["a"], &change(&["secret"], &[], Some(true))).unwrap();
    let objects = store.objects();
    let (key, bytes) = objects.iter().find(|(key, _)| matches!(key, Key::Tags(_))).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"), "{key}");
    assert!(Envelope::decode(bytes, Kind::Tags).is_ok());
    assert!(TagRecord::decode(bytes).is_err());
}

/// A store that dies before each of its operations in turn, killed or with the power; and one that fails once.
#[test]
fn at_every_instant_the_archives_are_there_and_protected_or_not() {
    let (lab, whole) = two(KeyMode::None);
    tag(&lab, &["b"], &change(&["old"], &[], Some(true))).unwrap();
    let before = said(&lab);
    let wanted = change(&["new"], &["old"], Some(false));
    let after_a = is(&["first", "new"], false);
    let after_b = is(&["new"], false);
    let (mut after, mut seen) = (0, BTreeSet::new());
    loop {
        let power = PowerStore::from_objects(whole.objects());
        let store = FaultStore::new(power.clone());
        let inside = store.clone();
        let dying = lab.with_store(move || Box::new(inside.clone()));
        let times = Fault::FOR_GOOD;
        store.arm(Fault { verbs: vec![], after, times, kind: StoreErrorKind::Other });
        let done = tag(&dying, &["a", "b"], &wanted).is_ok();
        let is_over = store.fired() == 0;
        assert!(!is_over || done, "without a fault");
        let cuts = (0..8).map(|seed| power.after_random_power_cut(seed + after * 100));
        let cuts = [power.after_kill(), power.after_power_cut(|_| false)].into_iter().chain(cuts);
        for (number, objects) in cuts.enumerate() {
            let when = format!("operation {after}, state {number}");
            let left = PowerStore::from_objects(objects);
            let lab = lab.with_store(move || Box::new(left.clone()));
            let now = said(&lab);
            assert!(now["a"] == before["a"] || now["a"] == after_a, "{when}: {now:?}");
            assert!(now["b"] == before["b"] || now["b"] == after_b, "{when}: {now:?}");
            if done {
                assert_eq!((&now["a"], &now["b"]), (&after_a, &after_b), "{when}");
            }
            for name in ["a", "b"] {
                assert!(lab.restore_bytes(name).unwrap() == image(), "{when}: {name}");
                assert_eq!(lab.delete(name).is_err(), now[name].1, "{when}: {name}");
            }
            lab.gc().unwrap();
            seen.insert((now["a"] == after_a, now["b"] == after_b));
        }
        if is_over {
            break;
        }
        after += 1;
    }
    assert!(seen.len() >= 3, "{after} operations, {seen:?}");
}
