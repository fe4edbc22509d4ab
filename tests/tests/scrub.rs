//! Scrub: without a key, exactly the files that are not what was written are named; parts of it come to the whole; nothing is
//! written. The oracle is the list of what was damaged.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use garret_core::{
    Area, Error, Guard, Key, LockMode, Locked, MemoryStore, Part, Result, ScrubOptions,
    ScrubReport, Silent, Store, StoreError, StoreErrorKind,
};
use garret_format::PackId;
use garret_format::config::KeyMode;
use garret_testkit::{Fault, FaultStore, Image, Lab, Random, Recorder, Verb};

/// Scrubs one part, and gives what was said of which files.
fn scrub(
    store: impl Store + 'static,
    part: Part,
    threads: usize,
) -> (ScrubReport, BTreeSet<String>) {
    let mut options = ScrubOptions::default();
    (options.part, options.threads) = (part, threads);
    let recorder = Recorder::default();
    let locked = Locked::find(Box::new(store)).unwrap();
    let report = locked.scrub(&options, &recorder).unwrap();
    let heard = recorder.heard();
    assert!(heard.iter().all(|problem| problem.text.contains(problem.subject.as_deref().unwrap())));
    let named: BTreeSet<String> = heard.iter().map(|one| one.subject.clone().unwrap()).collect();
    assert_eq!(named.len(), heard.len(), "one line each");
    assert_eq!(
        named.len() as u64,
        report.damaged_packs + report.damaged_segments + report.damaged_copies
    );
    recorder.settled();
    (report, named)
}

/// A repository of many small packs and segments, of which no one needs to know a key.
fn many(seed: u64) -> MemoryStore {
    let (lab, store) = Lab::memory(KeyMode::Passphrase);
    lab.backup_bytes("one", &Image::generate(seed, 500_000).bytes).unwrap();
    let mut random = Random::new(seed);
    for _ in 0..100 {
        let len = random.below(2000);
        let bytes = random.bytes(len);
        let id = PackId::from_bytes(*blake3::hash(&bytes).as_bytes());
        store.put(&Key::Pack(id), &[&bytes]).unwrap();
    }
    store
}

fn named_by_hash(store: &MemoryStore) -> BTreeMap<Key, Vec<u8>> {
    let is_one = |key: &Key| matches!(key, Key::Pack(_) | Key::Index(_) | Key::ArchiveCopy(_));
    store.objects().into_iter().filter(|(key, _)| is_one(key)).collect()
}

#[test]
fn a_scrub_names_what_was_damaged_and_nothing_else_and_writes_nothing() {
    for seed in 0..20 {
        let store = many(seed);
        let (whole, named) = scrub(store.clone(), Part::default(), 1 + seed as usize % 3);
        assert!(named.is_empty(), "seed {seed}: {named:?}");
        let objects = named_by_hash(&store);
        let count = whole.pack_count + whole.segment_count + whole.copy_count;
        assert_eq!(count, objects.len() as u64);
        assert_eq!(whole.bytes, objects.values().map(|bytes| bytes.len() as u64).sum::<u64>());
        let mut random = Random::new(seed);
        let mut damaged = BTreeSet::new();
        for (key, mut bytes) in objects {
            if random.below(10) > 0 {
                continue;
            }
            match random.below(4) {
                0 if !bytes.is_empty() => {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
                1 if !bytes.is_empty() => bytes.truncate(random.below(bytes.len())),
                2 => bytes = random.bytes(10),
                _ => bytes.push(0),
            }
            store.put(&key, &[&bytes]).unwrap();
            damaged.insert(key.to_string());
        }
        let before = store.objects();
        let (_, named) = scrub(store.clone(), Part::default(), 2);
        assert_eq!(named, damaged, "seed {seed}");
        for count in [2, 7, 1000] {
            let parts = (1..=count).map(|number| Part::new(number, count).unwrap());
            let parts: Vec<_> = parts.map(|part| scrub(store.clone(), part, 1)).collect();
            let sum =
                |of: fn(&ScrubReport) -> u64| parts.iter().map(|(part, _)| of(part)).sum::<u64>();
            assert_eq!(sum(|part| part.pack_count), whole.pack_count, "seed {seed}: {count} parts");
            assert_eq!(sum(|part| part.segment_count), whole.segment_count);
            assert_eq!(sum(|part| part.copy_count), whole.copy_count);
            let all: BTreeSet<String> = parts.into_iter().flat_map(|(_, named)| named).collect();
            assert_eq!(all, damaged, "seed {seed}: {count} parts");
        }
        assert!(store.objects() == before, "seed {seed}: nothing is written");
    }
}

/// Counts how often each byte is read, and refuses to write.
#[derive(Clone)]
struct ReadOnly {
    inner: MemoryStore,
    read: Arc<Mutex<BTreeMap<Key, u64>>>,
}

impl Store for ReadOnly {
    garret_testkit::through!(inner: len, list, lock, pass_over, has_sessions, notices, place);
    fn get(&self, key: &Key, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        *self.read.lock().unwrap().entry(key.clone()).or_default() += range.end - range.start;
        self.inner.get(key, range)
    }
    fn put(&self, key: &Key, _: &[&[u8]]) -> Result<(), StoreError> {
        panic!("{key} is written");
    }
    fn put_new(&self, key: &Key, _: &[u8]) -> Result<(), StoreError> {
        panic!("{key} is written");
    }
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        panic!("{key} is removed");
    }
    fn adopt(&self, key: &Key) -> Result<(), StoreError> {
        panic!("{key} is adopted");
    }
    fn sync(&self) -> Result<(), StoreError> {
        panic!("a sync");
    }
    fn sweep(&self) -> Result<(), StoreError> {
        panic!("a sweep");
    }
}

#[test]
fn seven_nights_read_each_byte_once_and_no_slot() {
    let inner = many(3);
    let read = Arc::default();
    let store = ReadOnly { inner: inner.clone(), read: Arc::clone(&read) };
    let mut sizes = Vec::new();
    for night in 1..=7 {
        let (report, _) = scrub(store.clone(), Part::new(night, 7).unwrap(), 2);
        sizes.push(report.pack_count);
    }
    assert!(
        sizes.iter().all(|size| (3..40).contains(size)),
        "equal, as far as chance is: {sizes:?}"
    );
    let mut read = read.lock().unwrap().clone();
    read.remove(&Key::Config);
    let lens = |objects: BTreeMap<Key, Vec<u8>>| -> BTreeMap<Key, u64> {
        objects.into_iter().map(|(key, bytes)| (key, bytes.len() as u64)).collect()
    };
    let mut expected = lens(named_by_hash(&inner));
    expected.retain(|_, len| *len > 0);
    assert_eq!(read, expected);
}

#[test]
fn parts_that_there_are_not_cannot_be_named() {
    assert!(Part::new(0, 7).is_none() && Part::new(8, 7).is_none() && Part::new(0, 0).is_none());
    assert!(Part::new(u32::MAX, u32::MAX).is_some());
    assert_eq!(Part::new(1, 1), Some(Part::default()));
}

/// What cannot be read is damaged; what cannot be read once is told of as that.
#[test]
fn a_disk_that_does_not_give_a_file_is_told_of() {
    let inner = many(1);
    for times in [1, 2] {
        let faults = FaultStore::new(inner.clone());
        let recorder = Recorder::default();
        let locked = Locked::find(Box::new(faults.clone())).unwrap();
        let (verbs, kind) = (vec![Verb::Get], StoreErrorKind::Other);
        faults.arm(Fault { verbs, after: 5, times, kind });
        let report = locked.scrub(&ScrubOptions::default(), &recorder).unwrap();
        assert_eq!(report.damaged_packs + report.damaged_segments, 1);
        let told = "do not give the same twice";
        assert_eq!(recorder.problems()[0].contains(told), times == 1, "{:?}", recorder.problems());
    }
}

#[test]
fn who_deletes_is_waited_for_and_nobody_else() {
    let store = many(2);
    let none = std::time::Duration::ZERO;
    let scrub = |store: &MemoryStore| {
        let locked = Locked::find(Box::new(store.clone())).unwrap().with_patience(none);
        locked.scrub(&ScrubOptions::default(), &Silent)
    };
    let held: Box<dyn Guard> = store.lock(LockMode::Exclusive, none, &mut |_| {}).unwrap();
    assert!(matches!(scrub(&store), Err(Error::Lock { kind: "read", .. })));
    drop(held);
    let _held = store.lock(LockMode::Session(0), none, &mut |_| {}).unwrap();
    assert!(scrub(&store).unwrap().pack_count > 100);
    assert!(store.list(Area::Damage).unwrap().is_empty());
}
