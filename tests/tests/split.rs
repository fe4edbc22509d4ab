//! A repository whose packs of files lie in a second place that gives nothing back unless it is told to before: all that is
//! done every night goes on without reading there, and a restore reads what it said that it would read.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use garret_core::{
    Area, Destination, Error, Key, MemoryStore, Selection, Split, Store, StoreError, StoreErrorKind,
};
use garret_format::PackId;
use garret_format::config::KeyMode;
use garret_testkit::{Image, Lab, Random, Recorder, check_options, is_structure, store_suite};

/// Keeps packs until it is told to give them back, and for one restore only.
#[derive(Clone, Default)]
struct Glacier {
    objects: MemoryStore,
    warm: Arc<Mutex<BTreeSet<PackId>>>,
    asked: Arc<Mutex<BTreeSet<PackId>>>,
    /// Not listed.
    hidden: Arc<Mutex<Option<PackId>>>,
}

impl Store for Glacier {
    garret_testkit::through!(objects: put, put_new, len, delete, adopt, sync, sweep, lock);
    garret_testkit::through!(objects: doubtful, has_sessions, pass_over, notices, place);

    fn list(&self, area: Area) -> Result<Vec<(Key, u64)>, StoreError> {
        let mut listed = self.objects.list(area)?;
        let hidden = self.hidden.lock().unwrap().map(Key::Pack);
        listed.retain(|(key, _)| Some(key) != hidden.as_ref());
        Ok(listed)
    }

    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if let Key::Pack(pack) = key {
            self.asked.lock().unwrap().insert(*pack);
            if !self.warm.lock().unwrap().contains(pack) {
                return Err(StoreError::new("read", key, io::ErrorKind::PermissionDenied.into()));
            }
        }
        self.objects.get(key, range)
    }
}

impl Glacier {
    fn warm(&self, packs: impl IntoIterator<Item = PackId>) {
        *self.warm.lock().unwrap() = packs.into_iter().collect();
        self.asked.lock().unwrap().clear();
    }

    fn packs(&self) -> BTreeSet<PackId> {
        let keys = self.objects.list(Area::Packs).unwrap().into_iter();
        keys.map(|(key, _)| if let Key::Pack(pack) = key { pack } else { panic!("{key}") })
            .collect()
    }
}

/// A repository, and the two places in which it lies.
fn split(mode: KeyMode) -> (Lab, MemoryStore, Glacier) {
    let (hot, cold) = (MemoryStore::new(), Glacier::default());
    Split::mark(&boxed(&hot), &boxed(&cold)).unwrap();
    let places = (hot.clone(), cold.clone());
    let open = move || -> Box<dyn Store> {
        Box::new(Split::open(boxed(&places.0), boxed(&places.1)).unwrap())
    };
    (Lab::over(open, mode), hot, cold)
}

fn boxed(store: &(impl Store + Clone + 'static)) -> Box<dyn Store> {
    Box::new(store.clone())
}

#[test]
fn two_stores_as_one_keep_the_contract() {
    store_suite(&|| {
        let (hot, cold) = (MemoryStore::new(), MemoryStore::new());
        Split::mark(&boxed(&hot), &boxed(&cold)).unwrap();
        let split = Split::open(boxed(&hot), boxed(&cold)).unwrap();
        hot.delete(&Key::Cold).unwrap();
        Box::new(split)
    });
}

#[test]
fn a_night_reads_nothing_there_and_a_restore_what_it_said() {
    for seed in (0..4).map(|round| seed() * 1000 + round) {
        println!("GARRET_SEED={seed}");
        live(seed);
    }
}

fn seed() -> u64 {
    std::env::var("GARRET_SEED").map_or(1, |seed| seed.parse().unwrap())
}

fn live(seed: u64) {
    let mut random = Random::new(seed);
    let modes = [KeyMode::None, KeyMode::Passphrase];
    let (lab, hot, cold) = split(modes[random.below(2usize)]);
    let mut image = Image::noise(seed, 3_000_000).bytes;
    let mut nights = BTreeMap::new();
    for step in 0..30 {
        cold.warm([]);
        match random.below(8u32) {
            0..=3 => {
                let start = random.below(image.len() - 300_000);
                let new = Image::noise(random.below(9), 300_000).bytes;
                image[start..start + 300_000].copy_from_slice(&new);
                let name = format!("night-{step}");
                lab.backup_bytes(&name, &image).unwrap();
                nights.insert(name, image.clone());
            }
            4 => {
                if let Some(name) = nights.keys().nth(random.below(nights.len().max(1))).cloned() {
                    lab.delete(&name).unwrap();
                    nights.remove(&name);
                }
            }
            5 => drop(lab.gc().unwrap()),
            6 => checked(&lab, &cold),
            _ => {
                for (name, bytes) in &nights {
                    let [needed, asked] = restored(&lab, &cold, name, bytes);
                    assert_eq!(asked, needed, "{name}");
                }
            }
        }
        assert!(cold.asked.lock().unwrap().is_empty() || !cold.warm.lock().unwrap().is_empty());
    }
    lab.gc().unwrap();
    // Where what lies is a matter of what it is, and nothing lies in both.
    let objects = hot.objects();
    let structure = objects.keys().filter(|key| matches!(key, Key::Pack(_)));
    assert!(structure.clone().all(|key| is_structure(&objects[key])));
    assert!(cold.objects.objects().iter().all(|(key, bytes)| match key {
        Key::Pack(_) => !is_structure(bytes) && !objects.contains_key(key),
        key => *key == Key::Cold,
    }));
    // When all can be read it is a repository like any other.
    cold.warm(cold.packs());
    let report = lab.check();
    assert_eq!((report.problem_count, report.archive_count), (0, nights.len() as u64));
    lab.delete(&nights.pop_first().map_or_else(String::new, |(name, _)| name)).ok();
    nights.keys().for_each(|name| lab.delete(name).unwrap());
    lab.gc().unwrap();
    assert_eq!(cold.packs(), BTreeSet::new(), "what nobody needs goes there too");
}

/// A check that need not read every byte finds nothing wrong, reads nothing there, and says so.
fn checked(lab: &Lab, cold: &Glacier) {
    let heard = Recorder::default();
    let report = lab.checker().unwrap().check(&check_options(false, 1), &heard).unwrap();
    assert_eq!(heard.problems(), [""; 0]);
    assert_eq!(report.problem_count, 0);
    let is_told = heard.notices().iter().any(|line| line.contains("were not read"));
    assert_eq!(is_told, !cold.packs().is_empty());
    assert!(cold.asked.lock().unwrap().is_empty());
}

/// Restores it with the packs that it says it needs; gives these, and those that it asked for.
fn restored(lab: &Lab, cold: &Glacier, name: &str, bytes: &[u8]) -> [BTreeSet<PackId>; 2] {
    cold.warm([]);
    let repository = lab.reader().unwrap();
    let archive = repository.archive(name).unwrap();
    let mut all = Selection::default();
    let needed = repository.cold_packs(&archive, &mut all, &lab.restore_options()).unwrap();
    assert_eq!(needed.lost_count, 0);
    let needed: BTreeSet<PackId> = needed.packs.into_keys().collect();
    cold.warm(needed.clone());
    assert_eq!(lab.restore_bytes(name).unwrap(), bytes, "{name}");
    [needed, cold.asked.lock().unwrap().clone()]
}

#[test]
fn a_restore_of_some_of_it_asks_for_no_more() {
    let (lab, _, cold) = split(KeyMode::None);
    let dir = tempfile::tempdir().unwrap();
    let images = [1, 2].map(|seed| Image::noise(seed, 2_000_000).bytes);
    for (image, name) in images.iter().zip(["one", "two"]) {
        std::fs::write(dir.path().join(name), image).unwrap();
        lab.backup_path(name, dir.path()).unwrap();
    }
    std::fs::hard_link(dir.path().join("one"), dir.path().join("three")).unwrap();
    lab.backup_path("all", dir.path()).unwrap();
    let repository = lab.reader().unwrap();
    let archive = repository.archive("all").unwrap();
    let paths = |names: &[&str]| {
        let items = repository.items(&archive).map(|item| item.unwrap().path);
        let is_one = |path: &Vec<u8>| names.iter().any(|name| path.ends_with(name.as_bytes()));
        Selection::new(items.filter(is_one))
    };
    let needed = |names: &[&str]| {
        let options = lab.restore_options();
        let packs = repository.cold_packs(&archive, &mut paths(names), &options).unwrap();
        packs.packs.into_keys().collect::<BTreeSet<PackId>>()
    };
    let [one, two] = [needed(&["one"]), needed(&["two"])];
    assert!(!one.is_empty() && !two.is_empty() && one.is_disjoint(&two));
    assert_eq!(needed(&["three"]), one, "another name of the same");
    assert_eq!(needed(&["one", "two", "three"]), &one | &two);
    // Without them it fails, and says of what.
    cold.warm(two);
    let heard = Recorder::default();
    let to = Destination::Nowhere;
    repository.restore(&archive, &mut paths(&["one"]), to, &lab.restore_options(), &heard).unwrap();
    assert_eq!(heard.problems().len(), 1, "{:?}", heard.problems());
    assert!(heard.problems()[0].contains("cannot read packs/"), "{:?}", heard.problems());
}

#[test]
fn half_a_repository_is_none() {
    let (lab, hot, cold) = split(KeyMode::Passphrase);
    lab.backup_bytes("a", &Image::noise(1, 500_000).bytes).unwrap();
    let half = garret_core::open(hot.clone()).unwrap_err();
    assert!(matches!(half, Error::PacksElsewhere { .. }), "{half}");
    let half = garret_core::open(cold.clone()).unwrap_err();
    assert!(half.to_string().contains("only packs lie there"), "{half}");
    let (_, other, far) = split(KeyMode::None);
    for (hot, cold, what) in [
        (boxed(&hot), boxed(&far), "of another repository"),
        (boxed(&other), boxed(&cold), "of another repository"),
        (boxed(&hot), boxed(&MemoryStore::new()), "no packs of a repository elsewhere"),
        (boxed(&MemoryStore::new()), boxed(&cold), "name no second place"),
    ] {
        let error = Split::open(hot, cold).err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::NotFound);
        assert!(garret_core::message(&error).contains(what), "{}", garret_core::message(&error));
    }
}

/// What a backup left that broke off cannot be read, and is told of; nothing that was finished is lost, and a gc leaves it.
#[test]
fn what_broke_off_there_is_told_of() {
    let (lab, hot, cold) = split(KeyMode::Passphrase);
    let image = Image::noise(1, 500_000).bytes;
    lab.backup_bytes("a", &image).unwrap();
    let index: Vec<Key> = hot.list(Area::Index).unwrap().into_iter().map(|(key, _)| key).collect();
    lab.backup_bytes("b", &Image::noise(2, 500_000).bytes).unwrap();
    // As if it had been killed before it was listed.
    for (key, _) in hot.list(Area::Index).unwrap() {
        if !index.contains(&key) {
            hot.delete(&key).unwrap();
        }
    }
    hot.delete(&Key::Archive("b".to_owned())).unwrap();
    let heard = Recorder::default();
    drop(lab.reader_reporting(&heard).unwrap());
    assert_eq!(heard.problems(), [""; 0]);
    assert!(heard.notices().concat().contains("cannot be read now: 1"));
    let count = cold.packs().len();
    lab.gc().unwrap();
    assert_eq!(cold.packs().len(), count);
    // Its footer is asked for, in vain.
    let [needed, asked] = restored(&lab, &cold, "a", &image);
    assert_eq!(asked.difference(&needed).count(), 1);
    // When it can be read it is found, and goes.
    cold.warm(cold.packs());
    lab.gc().unwrap();
    assert_eq!(cold.packs().len(), count - 1);
}

/// What the index alone knows of packs that cannot be read is not given up; when they can be read it is made anew.
#[test]
fn a_damaged_index_is_kept_until_packs_can_be_read() {
    let (lab, hot, cold) = split(KeyMode::Passphrase);
    let images = [1, 2].map(|seed| Image::noise(seed, 500_000).bytes);
    lab.backup_bytes("a", &images[0]).unwrap();
    let (key, _) = hot.list(Area::Index).unwrap().remove(0);
    let mut bytes = hot.objects()[&key].clone();
    bytes[60] ^= 1;
    hot.put(&key, &[&bytes]).unwrap();
    lab.backup_bytes("b", &images[1]).unwrap();
    lab.delete("b").unwrap();
    for _ in 0..2 {
        lab.gc_reporting().map(drop).unwrap_err();
        assert!(hot.objects().contains_key(&key));
    }
    cold.warm(cold.packs());
    let heard = Recorder::default();
    lab.exclusive().unwrap().repair(1, &heard).unwrap();
    assert!(!hot.objects().contains_key(&key));
    cold.warm([]);
    checked(&lab, &cold);
    let [needed, asked] = restored(&lab, &cold, "a", &images[0]);
    assert_eq!(asked, needed);
    lab.gc().unwrap();
    assert_eq!(cold.packs().len(), 1);
}

/// A listing that is short once costs nothing that lasts: neither what a client remembers, nor what a gc leaves in the index.
#[test]
fn a_pack_that_is_not_listed_for_a_while_is_there_again() {
    let (lab, _, cold) = split(KeyMode::Passphrase);
    let home = tempfile::tempdir().unwrap();
    let lab = lab.with_cache(Some(home.path().to_owned()));
    let images = [1, 2].map(|seed| Image::noise(seed, 500_000).bytes);
    lab.backup_bytes("a", &images[0]).unwrap();
    let first = cold.packs().pop_first().unwrap();
    lab.backup_bytes("b", &images[1]).unwrap();
    std::fs::remove_dir_all(home.path()).unwrap();
    *cold.hidden.lock().unwrap() = Some(first);
    drop(lab.reader().unwrap());
    let _refused = lab.gc_reporting();
    *cold.hidden.lock().unwrap() = None;
    // Once more it is unknown to the copy of the index, and then it is read anew.
    drop(lab.reader().unwrap());
    for (name, image) in ["a", "b"].iter().zip(&images) {
        let [needed, asked] = restored(&lab, &cold, name, image);
        assert_eq!((asked, needed.len()), (needed, 1), "{name}");
    }
    cold.warm([]);
    checked(&lab, &cold);
    let count = cold.packs().len();
    lab.backup_bytes("c", &images[0]).unwrap();
    assert_eq!(cold.packs().len(), count, "nothing is stored again");
}
