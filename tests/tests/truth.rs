//! Check tells the truth (T18): after random damage the archives that `check` names are those that cannot be restored
//! exactly, found out by restoring each of them. `check --verify-data` names them whatever was damaged, and no other.
//! `check` alone believes what footers say of the groups before them: it names none wrongly, and misses an archive only
//! if damage lies in a group that nobody reads without `--verify-data`.
//!
//! `GARRET_DAMAGES` is how many damages are tried (300).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use garret_core::{Compression, Key, MemoryStore};
use garret_format::config::KeyMode;
use garret_testkit::{Lab, Random};

type Objects = BTreeMap<Key, Vec<u8>>;

/// A repository whose archives share some of what they need, and what they hold.
struct Victim {
    lab: Lab,
    objects: Objects,
    /// The keys in the order in which they were made: names are hashes of what is random, so that order is another each time.
    made: Vec<Key>,
    contents: BTreeMap<String, Vec<u8>>,
}

/// Six nights: some chunks are needed by several archives, one content by two; packs of one and of several groups.
fn victim(mode: KeyMode) -> Victim {
    let (mut lab, store) = Lab::memory(mode);
    let mut random = Random::new(18);
    let base = random.bytes(400_000);
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut made: Vec<Key> = store.objects().into_keys().collect();
    for night in 0..6 {
        lab.compression = [Compression::Zstd(3), Compression::Lz4, Compression::None][night % 3];
        let mut bytes = match night {
            3 => contents["n0"].clone(),
            4 => random.text(60_000),
            _ => base.clone(),
        };
        match night {
            3 => {}
            5 => bytes.extend(random.bytes(1_500_000)),
            _ => bytes.extend(random.bytes(20_000 * (night + 1))),
        }
        let name = format!("n{night}");
        lab.backup_bytes(&name, &bytes).unwrap();
        contents.insert(name, bytes);
        let new: Vec<Key> = store.objects().into_keys().filter(|key| !made.contains(key)).collect();
        made.extend(new);
    }
    Victim { lab, objects: store.objects(), made, contents }
}

/// What one damage was, and to which kind of object.
struct Damage {
    words: String,
    kind: &'static str,
    objects: Objects,
}

/// One to three damages of packs, index and archives.
fn damage(victim: &Victim, random: &mut Random) -> Damage {
    let mut objects = victim.objects.clone();
    let (mut words, mut kinds) = (Vec::new(), BTreeSet::new());
    for _ in 0..[1, 1, 1, 2, 3][random.below(5)] {
        let kind = ["pack", "pack", "index", "archive"][random.below(4)];
        let is_left = |key: &&Key| kind_of(key) == kind && objects.contains_key(*key);
        let of_kind: Vec<Key> = victim.made.iter().filter(is_left).cloned().collect();
        let Some(key) = of_kind.get(random.below(of_kind.len().max(1))) else { continue };
        kinds.insert(kind);
        let bytes = objects.get_mut(key).unwrap();
        let at = random.below(bytes.len().max(1));
        let what = match random.below(6) {
            0 if !bytes.is_empty() => {
                bytes[at] ^= 1 << random.below(8);
                format!("bit at {at}")
            }
            1 => {
                bytes.truncate(at);
                format!("cut to {at}")
            }
            2 => {
                let page = at & !4095;
                let end = bytes.len().min(page + 4096);
                bytes[page..end].fill(0);
                format!("page at {page} zeroed")
            }
            3 => {
                bytes.extend(random.bytes(1 + at % 100));
                "longer".to_owned()
            }
            4 => {
                objects.remove(key);
                "removed".to_owned()
            }
            _ => {
                let other = of_kind[random.below(of_kind.len())].clone();
                let (one, two) = (objects[key].clone(), objects[&other].clone());
                objects.extend([(key.clone(), two), (other.clone(), one)]);
                format!("exchanged for {other}")
            }
        };
        words.push(format!("{key}: {what}"));
    }
    let kind = match (kinds.len(), kinds.pop_first()) {
        (1, Some(kind)) => kind,
        _ => "several",
    };
    Damage { words: words.join(", "), kind, objects }
}

fn kind_of(key: &Key) -> &'static str {
    match key {
        Key::Config | Key::Slot(_) => "key",
        Key::Cold => "mark of a second place",
        Key::Pack(_) => "pack",
        Key::Index(_) => "index",
        Key::Archive(_) => "archive",
        Key::ConfigCopy | Key::TombstonesCopy => "copy",
        Key::SlotCopy(_) | Key::ArchiveCopy(_) => "copy",
        Key::Verified => "record of verified packs",
        Key::Condemned => "record of condemned packs",
        Key::Tombstones => "record of deletions",
        Key::Tags(_) => "tag record",
        Key::Damage(_) | Key::Quarantine(_) => "about damage",
    }
}

/// What came of the trials.
#[derive(Default)]
struct Tally {
    lost: AtomicUsize,
    whole: AtomicUsize,
    /// Damages that cost no archive.
    healed: AtomicUsize,
    /// Lost archives that only `--verify-data` names.
    unread: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Victim {
    /// Whether an archive comes back with the bytes that it was made of, or those that it says it was made with.
    fn restores(&self, lab: &Lab, name: &str, tally: &Tally, when: &str) -> bool {
        let said = lab.reader().and_then(|repository| repository.archive(name));
        let restored = lab.restore_bytes(name);
        match (said, restored) {
            (Ok(said), Ok(bytes)) => {
                let is_right = self.contents[&said.archive.name] == bytes;
                if !is_right {
                    tally.wrong.lock().unwrap().push(format!("{when}: {name}: other bytes"));
                }
                is_right
            }
            _ => false,
        }
    }

    fn trial(&self, seed: u64, tally: &Tally) {
        let damage = damage(self, &mut Random::new(seed));
        let when = format!("seed {seed}: {}", damage.words);
        let objects = damage.objects;
        let store = MemoryStore::from_objects(objects.clone());
        let lab = self.lab.with_store(move || Box::new(store.clone()));
        let wrong = |text: String| tally.wrong.lock().unwrap().push(format!("{when}: {text}"));
        // What was removed is not there to be named: that is what docs/security.md says of rollback.
        let names = lab.names();
        let lost: BTreeSet<String> =
            names.iter().filter(|name| !self.restores(&lab, name, tally, &when)).cloned().collect();
        tally.lost.fetch_add(lost.len(), Ordering::Relaxed);
        tally.whole.fetch_add(names.len() - lost.len(), Ordering::Relaxed);
        for verify in [false, true] {
            let (report, problems) = lab.check_reporting(verify).unwrap();
            let named: BTreeSet<String> =
                report.incomplete.iter().map(|archive| archive.name.clone()).collect();
            let told: BTreeSet<String> = problems
                .iter()
                .filter_map(|text| text.strip_prefix("backups/")?.split_once(": "))
                .map(|(name, _)| name.split(' ').next().unwrap().to_owned())
                .collect();
            if named != told.iter().filter(|name| named.contains(*name)).cloned().collect() {
                wrong(format!("verify {verify}: counts {named:?} and tells {told:?}"));
            }
            let missed: Vec<&String> = lost.difference(&named).collect();
            let invented: Vec<&String> = named.difference(&lost).collect();
            if !invented.is_empty() {
                wrong(format!("verify {verify}: {invented:?} restores and is named: {problems:?}"));
            }
            if verify && !missed.is_empty() {
                wrong(format!("{missed:?} is missed: {problems:?}"));
            }
            if verify {
                altered_and_not_told(&objects, &problems).into_iter().for_each(wrong);
            } else {
                tally.unread.fetch_add(missed.len(), Ordering::Relaxed);
            }
            // Without the bytes of groups, only what lies in packs may be missed.
            if !verify && !missed.is_empty() && ["index", "archive"].contains(&damage.kind) {
                wrong(format!("check misses {missed:?}: {problems:?}"));
            }
            if verify && lost.is_empty() && report.problem_count > 0 {
                tally.healed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What is said otherwise than it is of single packs and segments: each that is not what its name says is told, and no other.
fn altered_and_not_told(objects: &Objects, problems: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, bytes) in objects {
        let id = match key {
            Key::Pack(id) => id.as_bytes(),
            Key::Index(id) => id.as_bytes(),
            _ => continue,
        };
        let is_altered = blake3::hash(bytes) != *id;
        let object = key.to_string();
        let is_told = match is_altered {
            true => problems.iter().any(|text| text.contains(&object)),
            false => problems.iter().any(|text| text.contains(&format!("{object} is damaged"))),
        };
        if is_altered != is_told {
            wrong.push(format!("{object}: altered {is_altered}, told {is_told}: {problems:?}"));
        }
    }
    wrong
}

fn damages() -> u64 {
    std::env::var("GARRET_DAMAGES").map_or(300, |count| count.parse().unwrap())
}

fn try_damages(mode: KeyMode, seeds: std::ops::Range<u64>) {
    let (victim, tally) = (victim(mode), Tally::default());
    let next = Mutex::new(seeds.clone());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else { break };
                    victim.trial(seed, &tally);
                }
            });
        }
    });
    let Tally { lost, whole, healed, unread, wrong } = tally;
    let wrong = wrong.into_inner().unwrap();
    let (lost, whole) = (lost.into_inner(), whole.into_inner());
    println!(
        "{mode:?}: {} damages, {lost} archives lost, {whole} whole; {} damages cost nothing and are told; without \
         --verify-data {} of the lost are missed; {} wrong",
        seeds.end - seeds.start,
        healed.into_inner(),
        unread.into_inner(),
        wrong.len()
    );
    assert!(lost > 10 && whole > 10, "{lost} lost and {whole} whole archives are no test");
    assert!(wrong.is_empty(), "{} wrong, first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
}

#[test]
fn check_names_the_archives_that_are_lost_and_no_other() {
    let count = damages();
    try_damages(KeyMode::Passphrase, 0..count / 2);
    try_damages(KeyMode::None, count / 2..count);
}

/// What is found by the index does not need the pack's start, nor what is in front of it there; and a byte of a segment's
/// version does not make it one of a newer garret, for which everything would have to stop.
#[test]
fn what_still_restores_is_not_called_lost() {
    let (victim, tally) = (victim(KeyMode::Passphrase), Tally::default());
    let try_with = |what: &str, objects: Objects| {
        let store = MemoryStore::from_objects(objects);
        let lab = victim.lab.with_store(move || Box::new(store.clone()));
        let (report, problems) = lab.check_reporting(true).unwrap();
        let named: Vec<&String> = report.incomplete.iter().map(|archive| &archive.name).collect();
        let names = victim.contents.keys();
        let lost: Vec<&String> =
            names.filter(|name| !victim.restores(&lab, name, &tally, what)).collect();
        assert_eq!(named, lost, "{what}: {problems:?}");
        assert!(report.problem_count > 0, "{what}");
        lost.len()
    };
    for (key, bytes) in &victim.objects {
        let damaged = |places: &[usize]| {
            let mut objects = victim.objects.clone();
            let bytes = objects.get_mut(key).unwrap();
            places.iter().for_each(|place| bytes[*place] ^= 8);
            objects
        };
        match key {
            Key::Pack(_) => {
                for place in [0, 6, 7, 8, 23] {
                    let lost = try_with(&format!("{key} byte {place}"), damaged(&[place]));
                    assert_eq!(lost, 0, "{key} byte {place}");
                }
                // The first frame header and the trailer.
                try_with(&format!("{key} walked in vain"), damaged(&[30, bytes.len() - 3]));
            }
            Key::Index(_) => {
                let lost = try_with(&format!("{key} of another version"), damaged(&[7]));
                assert_eq!(lost, 0, "{key}");
            }
            _ => {}
        }
    }
}
