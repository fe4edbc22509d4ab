//! Repair (T19): after any damage of packs and index a repair takes no archive and nothing that is intact, a check then
//! finds no damaged pack and names exactly what cannot be restored, and a backup of the same files makes every archive
//! whole again. Broken off anywhere and run again it comes to the same.
//!
//! `GARRET_DAMAGES` is how many damages are tried (60).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use garret_core::{Area, Key, MemoryStore, Result, Silent, Store, StoreErrorKind};
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Random, Recorder};

type Objects = BTreeMap<Key, Vec<u8>>;

/// A repository and what its archives hold.
struct Victim {
    lab: Lab,
    store: MemoryStore,
    sound: Objects,
    /// Packs and segments in the order in which they were made: names are hashes of what is random, so that order is another
    /// each time.
    made: Vec<Key>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Victim {
    /// Three nights that share most; the last is stored in packs of several groups.
    fn new(mode: KeyMode) -> Self {
        let (lab, store) = Lab::memory(mode);
        let mut image = Image::generate(31, 2_500_000);
        let (mut contents, mut made) = (BTreeMap::new(), Vec::new());
        for night in 0..3 {
            image.mutate(night);
            let name = format!("n{night}");
            lab.backup_bytes(&name, &image.bytes).unwrap();
            contents.insert(name, image.bytes.clone());
            let is_new =
                |key: &Key| !made.contains(key) && matches!(key, Key::Pack(_) | Key::Index(_));
            let new: Vec<Key> = store.objects().into_keys().filter(is_new).collect();
            made.extend(new);
        }
        Victim { made, sound: store.objects(), lab, store, contents }
    }

    fn set(&self, objects: &Objects) {
        for area in [Area::Packs, Area::Index, Area::Archives, Area::Damage, Area::Quarantine] {
            for (key, _) in self.store.list(area).unwrap() {
                self.store.delete(&key).unwrap();
            }
        }
        self.store.delete(&Key::Verified).unwrap();
        objects.iter().for_each(|(key, bytes)| self.store.put(key, &[bytes]).unwrap());
    }

    fn archives(&self) -> Objects {
        let is_archive = |key: &Key| matches!(key, Key::Archive(_));
        self.store.objects().into_iter().filter(|(key, _)| is_archive(key)).collect()
    }

    /// Which archives come back exactly. None comes back otherwise.
    fn whole(&self, when: &str) -> Vec<String> {
        let names = self.contents.keys().filter(|name| match self.lab.restore_bytes(name) {
            Ok(bytes) => {
                assert!(bytes == self.contents[*name], "{when}: {name} has other bytes");
                true
            }
            Err(_) => false,
        });
        names.cloned().collect()
    }

    /// What a repair promises, of a repository that was repaired.
    fn is_repaired(&self, whole_before: &[String], archives: &Objects, when: &str) {
        assert!(self.archives() == *archives, "{when}: no archive is touched");
        assert!(self.whole(when) == whole_before, "{when}: what came back comes back");
        assert_eq!(
            self.store.list(Area::Damage).unwrap(),
            [],
            "{when}: no pack is known to be damaged"
        );
        let (report, problems) = self.lab.check_reporting(true).unwrap();
        assert_eq!(
            (report.damaged_packs, report.missing_packs, report.damaged_segments),
            (0, 0, 0),
            "{when}: {problems:?}"
        );
        // What is lost keeps no space from being given back, unless it hides what an archive needs.
        let lists_are_there = report.incomplete.iter().all(|one| one.file_count.is_some());
        assert_eq!(self.lab.gc_reporting().is_ok(), lists_are_there, "{when}");
        assert!(self.whole(when) == whole_before, "{when}: what came back comes back after gc");
        let lost: Vec<&String> = report.incomplete.iter().map(|one| &one.name).collect();
        let missing: Vec<&String> =
            self.contents.keys().filter(|name| !whole_before.contains(name)).collect();
        assert_eq!(lost, missing, "{when}: {problems:?}");
    }

    /// A backup of what is still there mends everything.
    fn heals(&self, when: &str) {
        for (name, bytes) in &self.contents {
            self.lab.backup_bytes(&format!("again-{name}"), bytes).unwrap();
        }
        let all: Vec<String> = self.contents.keys().cloned().collect();
        // The list of files of an archive is its own: no backup stores that again.
        let lists = self.whole(when);
        let (report, problems) = self.lab.check_reporting(true).unwrap();
        let lost = report.incomplete.iter().filter(|one| one.file_count.is_some()).count();
        assert_eq!(lost, 0, "{when}: every file is mended: {problems:?}");
        assert_eq!(all.len() - lists.len(), report.incomplete.len(), "{when}");
    }
}

/// One to three damages of packs and the index.
fn damage(victim: &Victim, random: &mut Random) -> (Objects, String) {
    let mut objects = victim.sound.clone();
    let mut words = Vec::new();
    for _ in 0..=random.below(3) {
        let with_index = random.below(3) == 0;
        let is_left =
            |key: &&Key| objects.contains_key(*key) && (with_index || matches!(key, Key::Pack(_)));
        let keys: Vec<Key> = victim.made.iter().filter(is_left).cloned().collect();
        let Some(key) = keys.get(random.below(keys.len().max(1))) else { continue };
        let sibling = objects[&keys[random.below(keys.len())]].clone();
        let bytes = objects.get_mut(key).unwrap();
        let at = random.below(bytes.len());
        let what = match random.below(6) {
            0 | 1 => {
                bytes[at] ^= 1 << random.below(8);
                "flipped"
            }
            2 => {
                bytes.truncate(at);
                "cut"
            }
            3 => {
                let end = (at + 4096).min(bytes.len());
                bytes[at..end].fill(0);
                "page zeroed"
            }
            4 => {
                *bytes = sibling;
                "another in its place"
            }
            _ => {
                objects.remove(key);
                "removed"
            }
        };
        words.push(format!("{key} {what} at {at}"));
    }
    (objects, words.join(", "))
}

fn repair(lab: &Lab) -> Result<Recorder> {
    let recorder = Recorder::default();
    lab.exclusive()?.repair(2, &recorder)?;
    Ok(recorder)
}

#[test]
fn a_repair_loses_nothing_names_what_is_lost_and_a_backup_heals_it() {
    let rounds = std::env::var("GARRET_DAMAGES").map_or(60, |count| count.parse().unwrap());
    let (mut lossy, mut quarantined) = (0, 0);
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = Victim::new(mode);
        for seed in 0..rounds / 2 {
            let mut random = Random::new(seed);
            let (objects, words) = damage(&victim, &mut random);
            let when = format!("seed {seed}, {words}");
            victim.set(&objects);
            let (whole, archives) = (victim.whole(&when), victim.archives());
            repair(&victim.lab).unwrap_or_else(|error| panic!("{when}: {error}"));
            victim.is_repaired(&whole, &archives, &when);
            for (key, len) in victim.store.list(Area::Quarantine).unwrap() {
                let Key::Quarantine(id) = key else { unreachable!() };
                let was = &objects[&Key::Pack(id)];
                assert!(victim.store.get(&key, 0..len).unwrap() == *was, "{when}: {key}");
                quarantined += 1;
            }
            let before = victim.store.objects();
            let again = repair(&victim.lab).unwrap();
            assert_eq!(again.problems(), [""; 0], "{when}: a second one finds nothing to do");
            let mut after = victim.store.objects();
            // What it has read is noted again.
            after.insert(Key::Verified, before[&Key::Verified].clone());
            assert!(after == before, "{when}: nor does it anything");
            lossy += u32::from(whole.len() < victim.contents.len());
            victim.heals(&when);
        }
    }
    assert!(lossy > 10 && quarantined > 20, "{lossy} {quarantined}");
}

/// A bit of its version makes no pack of a newer garret of it, also where no index says whose it is.
#[test]
fn a_pack_whose_version_rots_is_set_aside() {
    for mode in [KeyMode::None, KeyMode::Passphrase] {
        let victim = Victim::new(mode);
        let packs: Vec<Key> =
            victim.sound.keys().filter(|key| matches!(key, Key::Pack(_))).cloned().collect();
        for pack in packs {
            let mut objects = victim.sound.clone();
            objects.retain(|key, _| !matches!(key, Key::Index(_)));
            objects.get_mut(&pack).unwrap()[7] ^= 8;
            victim.set(&objects);
            let when = format!("{mode:?}: {pack}");
            let (whole, archives) = (victim.whole(&when), victim.archives());
            assert_eq!(whole.len(), archives.len(), "{when}: what is behind that byte is intact");
            repair(&victim.lab).unwrap();
            victim.is_repaired(&whole, &archives, &when);
            assert_eq!(victim.store.list(Area::Quarantine).unwrap().len(), 1, "{pack}");
        }
    }
}

/// Every operation of the store fails, from there on as after a death, then the next repair runs.
#[test]
fn a_repair_that_broke_off_anywhere_is_finished_by_the_next() {
    let victim = Victim::new(KeyMode::None);
    for seed in [2, 5, 11] {
        let (objects, words) = damage(&victim, &mut Random::new(seed));
        victim.set(&objects);
        let (whole, archives) = (victim.whole(&words), victim.archives());
        let mut after = 0;
        loop {
            victim.set(&objects);
            let store = FaultStore::new(victim.store.clone());
            let inside = store.clone();
            let lab = victim.lab.with_store(move || Box::new(inside.clone()));
            store.arm(Fault {
                verbs: Vec::new(),
                after,
                times: Fault::FOR_GOOD,
                kind: StoreErrorKind::Other,
            });
            let broken = lab.exclusive().and_then(|mut session| session.repair(1, &Silent));
            store.disarm();
            let when = format!("seed {seed}, {words}, operation {after}");
            let came_back = victim.whole(&when);
            assert!(
                whole.iter().all(|name| came_back.contains(name)),
                "{when}: nothing is lost by it"
            );
            repair(&victim.lab).unwrap_or_else(|error| panic!("{when}: {error}"));
            victim.is_repaired(&whole, &archives, &when);
            if broken.is_ok() {
                break;
            }
            after += 1;
        }
        assert!(after > 20, "seed {seed}: {after} operations");
    }
}
