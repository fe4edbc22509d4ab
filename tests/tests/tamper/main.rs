//! Tampering (T23): who holds the storage exchanges, replays, renames and mixes what is in it, and what is in
//! repositories with the same key and with another. Each case ends in an error that says the right thing, or in exactly
//! the right bytes; what docs/security.md says is not noticed (an older state, the file of an archive under another
//! name) is asserted as that. After each, a backup and a gc go their way: nothing becomes other bytes by them, and what
//! restored still does.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

mod kinds;
mod places;

use std::collections::BTreeMap;

use garret_core::{Compression, Key, Locked, MemoryStore, Secret};
use garret_format::RepositoryId;
use garret_format::config::{Config, KeyMode};
use garret_testkit::{Forge, Lab, PASSPHRASE, Random, follow, is_structure};

type Objects = BTreeMap<Key, Vec<u8>>;
type Contents = BTreeMap<String, Vec<u8>>;

/// The boxes of the other repository with the same key are sealed for this id.
const SIBLING: [u8; 32] = [0x77; 32];

/// How a case has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Everything is restored.
    Exact,
    /// Something is not, and every error has one of these texts.
    Refused(&'static [&'static str]),
    /// Something is restored that says it was made under another name; else as above.
    SaysItsName(&'static [&'static str]),
}

#[derive(Clone)]
struct Case {
    family: &'static str,
    what: String,
    objects: Objects,
    end: End,
}

/// Repositories with the same archives' names and other contents.
struct World {
    lab: Lab,
    forge: Forge,
    contents: Contents,
    now: Objects,
    /// The same before the last archive, under an older passphrase.
    before: Objects,
    /// The same key, another id.
    sibling: Objects,
    /// Another key, the same passphrase.
    stranger: Objects,
}

const NAMES: [&str; 3] = ["one", "three", "two"];

/// An archive of each name, in a pack each, and what is in them.
fn fill(lab: &Lab, seed: u64, names: &[&str]) -> Contents {
    let mut random = Random::new(seed);
    let mut contents = Contents::new();
    for (number, name) in names.iter().enumerate() {
        // Of different lengths, so that no pack is as long as another.
        let bytes = random.bytes(1_200_000 + 100_000 * number + 10_000 * seed as usize);
        lab.backup_bytes(name, &bytes).unwrap();
        contents.insert((*name).to_owned(), bytes);
    }
    contents
}

fn slots(objects: &Objects) -> Vec<Key> {
    objects.keys().filter(|key| matches!(key, Key::Slot(_))).cloned().collect()
}

/// The packs of files, the shortest first: that of the archive that was made first.
fn packs(objects: &Objects) -> Vec<Key> {
    let is_data =
        |(key, bytes): &(&Key, &Vec<u8>)| matches!(key, Key::Pack(_)) && !is_structure(bytes);
    let mut keys: Vec<Key> = objects.iter().filter(is_data).map(|(key, _)| key.clone()).collect();
    keys.sort_by_key(|key| objects[key].len());
    keys
}

fn segments(objects: &Objects) -> Vec<Key> {
    objects.keys().filter(|key| matches!(key, Key::Index(_))).cloned().collect()
}

fn archive(name: &str) -> Key {
    Key::Archive(name.to_owned())
}

/// The same without any index, so that packs are known by their footers only.
fn without_index(mut objects: Objects) -> Objects {
    objects.retain(|key, _| !matches!(key, Key::Index(_)));
    objects
}

impl World {
    fn new() -> Self {
        let (mut lab, store) = Lab::memory(KeyMode::Passphrase);
        lab.compression = Compression::None;
        let mut contents = fill(&lab, 1, &NAMES[..2]);
        let before = store.objects();
        let config = before[&Key::Config].clone();
        let forge = Forge::unlock(&config, &before[&slots(&before)[0]], PASSPHRASE);
        contents.extend(fill(&lab, 2, &NAMES[2..]));
        let locked = Locked::find(Box::new(store.clone())).unwrap().expecting(lab.keys.id());
        garret_testkit::change_key(&locked, PASSPHRASE).unwrap();
        // The same master key over another id: what a copied repository with a config of its own is.
        let id = RepositoryId::from_bytes(SIBLING);
        let other = Config { repository: id, ..Config::decode(&config).unwrap() };
        let sibling = MemoryStore::from_objects([(Key::Config, other.encode())]);
        let opened = sibling.clone();
        fill(&lab.with_store(move || Box::new(opened.clone())), 3, &NAMES);
        let (mut strange, stranger) = Lab::memory(KeyMode::Passphrase);
        strange.compression = Compression::None;
        fill(&strange, 4, &NAMES);
        let (now, sibling, stranger) = (store.objects(), sibling.objects(), stranger.objects());
        World { lab, forge, contents, now, before, sibling, stranger }
    }

    /// Everything as it is but for one change.
    fn with(&self, change: impl FnOnce(&mut Objects)) -> Objects {
        let mut objects = self.now.clone();
        change(&mut objects);
        objects
    }

    /// Whether these objects are opened, with the passphrase, by who knows which key it must give.
    fn opens(&self, objects: &Objects) -> Result<Lab, String> {
        let store = MemoryStore::from_objects(objects.clone());
        let text = |error| garret_core::message(&error);
        let locked = Locked::find(Box::new(store.clone())).map_err(text)?;
        let locked = locked.expecting(self.lab.keys.id());
        let keys = locked.unlock(Secret::Passphrase(PASSPHRASE)).map_err(text)?;
        locked.with(keys.clone()).reader(&garret_core::Silent).map_err(text)?;
        let mut lab = Lab::existing(move || Box::new(store.clone()), keys);
        lab.compression = Compression::None;
        Ok(lab)
    }

    /// What is restored now: how often exactly, and under another name, and which errors there were.
    fn restored(&self, lab: &Lab, what: &str) -> (usize, usize, Vec<String>) {
        let (mut exact, mut renamed, mut errors) = (0, 0, Vec::new());
        for (name, content) in &self.contents {
            match lab.restore_bytes(name) {
                Ok(bytes) if bytes == *content => exact += 1,
                Ok(bytes) => {
                    let opened = lab.reader().unwrap();
                    let said = opened.archive(name).unwrap().archive.name;
                    assert!(said != *name && bytes == self.contents[&said], "{what}: other bytes");
                    renamed += 1;
                }
                Err(error) => errors.push(garret_core::message(&error)),
            }
        }
        (exact, renamed, errors)
    }

    /// What is wrong with how a case ended.
    fn run(&self, case: &Case) -> Option<String> {
        let what = format!("{}: {}", case.family, case.what);
        let (exact, renamed, errors) = match self.opens(&case.objects) {
            Ok(lab) => {
                let found = self.restored(&lab, &what);
                self.go_on(&lab, &what);
                found
            }
            Err(error) => (0, 0, vec![error]),
        };
        let counts = format!("{what}: {exact} exact, {renamed} renamed, {errors:?}");
        let says = |texts: &[&str]| {
            errors.iter().all(|error| texts.iter().any(|text| error.contains(text)))
        };
        let is_right = match case.end {
            End::Exact => exact == self.contents.len(),
            End::Refused(texts) => renamed == 0 && !errors.is_empty() && says(texts),
            End::SaysItsName(texts) => renamed > 0 && says(texts),
        };
        (!is_right).then(|| format!("{counts}: not {:?}", case.end))
    }

    /// The next night and a gc, whatever they think of it.
    fn go_on(&self, lab: &Lab, what: &str) {
        let (again, mut new) = (&self.contents["one"], self.contents["two"].clone());
        new.truncate(700_000);
        new.extend(Random::new(9).bytes(50_000));
        for (name, bytes) in [("again", again), ("new", &new)] {
            // It may rely on a pack that is as long as it was: what is in it, a backup reads but a sample of.
            let mut lab = lab.clone();
            lab.skip_sample = true;
            let made = lab.backup_bytes(name, bytes).and_then(|_| lab.restore_bytes(name));
            assert!(made.is_err() || made.unwrap() == *bytes, "{what}: {name}");
        }
        let whole = || -> Vec<String> {
            lab.names().into_iter().filter(|name| lab.restore_bytes(name).is_ok()).collect()
        };
        let before = whole();
        drop(lab.gc_reporting());
        let after = whole();
        assert!(before.iter().all(|name| after.contains(name)), "{what}: {before:?}, {after:?}");
        self.restored(lab, what);
    }
}

/// Collects the cases of one family.
struct Family<'w> {
    world: &'w World,
    name: &'static str,
    cases: Vec<Case>,
}

impl Family<'_> {
    fn add(&mut self, what: impl Into<String>, end: End, change: impl FnOnce(&mut Objects)) {
        let mut objects = self.world.with(change);
        // Whoever does that does it to second copies too.
        follow(&self.world.now, &mut objects);
        self.cases.push(Case { family: self.name, what: what.into(), objects, end });
    }
}

#[test]
fn what_is_tampered_with_is_refused_or_exact() {
    let world = World::new();
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in places::cases(&world).into_iter().chain(kinds::cases(&world)) {
        wrong.extend(world.run(&case));
        let place = match case.end {
            End::Exact => 0,
            End::Refused(_) => 1,
            End::SaysItsName(_) => 2,
        };
        counts.entry(case.family).or_default()[place] += 1;
    }
    let all: usize = counts.values().flatten().sum();
    println!("{all} cases: exact, refused, told by its name: {counts:?}");
    assert!(all >= 100, "{all} cases");
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}
